"""The engines of a search, as its driver has them: started, listened to, and ended."""

from concurrent.futures import Future
from typing import Any
from uuid import uuid4

import ray

from autodelta.search.attempt import Order
from autodelta.search.executors.messages import Message
from autodelta.search.executors.ray.desk import Desk
from autodelta.search.executors.ray.engine import CALLS, Engine, Office, Opened
from autodelta.search.executors.ray.seat import Sealed
from autodelta.search.executors.ray.slots import Slots
from autodelta.search.work import Work


class Engines:
    """One actor a slot. What engines say, and that they died, comes over the desk like all else."""

    def __init__(self, office: Office, desk: Desk, *, resources: dict[str, float]) -> None:
        self._office = office
        self._desk = desk
        self._resources = {"num_cpus": resources["CPU"], "num_gpus": resources.get("GPU", 0)}
        self._named: dict[int, str] = {}
        self._actors: dict[int, Any] = {}
        self._nodes: dict[int, str] = {}

    def start(self, slots: Slots, slot: int) -> None:
        """Puts an engine into a slot, in place of one that is gone."""
        self.end(slot)
        self._named[slot] = f"engine-{slot}-{uuid4().hex}"
        options = {"name": self._named[slot], "max_concurrency": CALLS, "max_restarts": 0}
        self._actors[slot] = ray.remote(Engine).options(**options, **self._resources).remote(self._office)
        self._listen(slots, slot)

    def hand(self, slot: int, ticket: int, order: Order) -> None:
        """Gives an order to Tune, whose client brings it to the engine."""
        self._desk.hand(Sealed(order, ticket, self._named[slot], self._nodes[slot]))

    def decline(self, slot: int, question: int) -> None:
        """Nothing is to be done beside the others."""
        self._actors[slot].decline.remote(question)

    def drop(self, slot: int, ticket: int) -> None:
        """An order is to end."""
        self._actors[slot].drop.remote(ticket)

    def end(self, slot: int) -> None:
        """Ends an engine, whatever it is doing; the slots will hear that it died."""
        if slot in self._actors:
            ray.kill(self._actors[slot])

    def let_go(self, slot: int) -> None:
        """Ends an engine that is not needed now; nothing more is heard of it."""
        ray.kill(self._actors.pop(slot))

    def close(self) -> None:
        """Ends them all."""
        for slot in (*self._actors,):
            self.let_go(slot)

    def _listen(self, slots: Slots, slot: int) -> None:
        """Has the search hear the engine's next words, or that there is no engine any more."""

        actor = self._actors[slot]

        def pass_on(work: Work, future: "Future[Message]") -> None:
            error = future.exception()
            if self._actors.get(slot) is not actor:
                return  # it was let go
            if error is None:
                self._pass_on(work, slots, slot, future.result())
            else:
                slots.bury(work, slot, last_words(error))

        def heard(future: "Future[Message]") -> None:  # in a thread of Ray's
            self._desk.tell(lambda work: pass_on(work, future))

        actor.told.remote().future().add_done_callback(heard)

    def _pass_on(self, work: Work, slots: Slots, slot: int, message: Message) -> None:
        if isinstance(message, Opened):
            self._nodes[slot] = message.node
        self._listen(slots, slot)
        slots.told(work, slot, message)


def last_words(error: BaseException | None) -> str:
    """Why an actor is gone, as far as Ray says."""
    node = "its node has died" in str(error)  # Ray may not know yet that it was the whole node
    return "the node of its worker died" if node else "its worker process died"
