"""The client: an actor of Ray Tune that has an engine do one order after the other. It holds nothing, and no torch."""

from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError

from autodelta.engine.report import Report
from autodelta.search.attempt import Order

ORDER = "order"  # its key in a trial's config
# What Tune is told that a client takes, as it refuses a trial that takes nothing: one byte.
SHARE: dict[str, int | float] = {"memory": 1}


@dataclass(frozen=True)
class Sealed:
    """An order, and which engine is to do it; loggers of configs see its name, and no more."""

    order: Order
    ticket: int
    engine: str  # the actor's name
    node: str  # Ray's id of its node

    def __repr__(self) -> str:
        """Named after its place in the run's folder."""
        return "-".join([*self.order.folder.parts[-2:], *([self.order.split] if self.order.split else [])])


def beside_its_engine(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Where a client goes: to the node of its engine, if that is still there."""
    return tune.PlacementGroupFactory([SHARE], strategy="STRICT_PACK", _soft_target_node_id=config[ORDER].node)


class Seat(tune.Trainable):
    """A step is one report of an order."""

    def setup(self, config: dict[str, Any]) -> None:
        self._results = 0
        self._sealed: Sealed = config[ORDER]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """The next report, with the outcome if it is the last. Being asked again means to go on."""
        self._results += 1
        result: dict[str, Any] = {"results": self._results}
        try:
            news = ray.get(self._asked())
        except (RayActorError, ValueError):  # by its name an engine that is gone is not found
            return {**result, "lost": True, "done": True}
        if news.report is not None:
            result |= _seen_by_loggers(news.report) | {"report": news.report.model_dump_json()}
        if news.outcome is not None:
            result |= {"outcome": news.outcome.model_dump_json(), "done": True}
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None: ...

    def _asked(self) -> Any:
        sealed = self._sealed
        if self._results == 1:
            self._engine: Any = ray.get_actor(sealed.engine)
            return self._engine.begin.remote(sealed.ticket, sealed.order)
        return self._engine.go_on.remote(sealed.ticket)


def _seen_by_loggers(report: Report) -> dict[str, float]:
    return {name: value for name, value in report.model_dump(exclude={"done"}).items() if value is not None}
