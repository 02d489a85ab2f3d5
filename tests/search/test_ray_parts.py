"""The parts of the Ray executor that need no cluster: desk, slots, folders sent to nodes, what loggers are told."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.files import CACHE
from autodelta.search import loggers, placement
from autodelta.search.attempt import Order
from autodelta.search.budget import parse
from autodelta.search.ledger import Ledger, Spending
from autodelta.search.records import Outcome
from autodelta.search.work import Accounts, Work
from tests.search import fakes

pytest.importorskip("ray")

from ray import cloudpickle

from autodelta.search.executors.messages import Broken
from autodelta.search.executors.ray import cluster, shipping, tuning
from autodelta.search.executors.ray import slots as slots_module
from autodelta.search.executors.ray.cluster import Machines
from autodelta.search.executors.ray.desk import Desk
from autodelta.search.executors.ray.engine import Asks, Counter, Opened
from autodelta.search.executors.ray.engines import last_words
from autodelta.search.executors.ray.seat import Sealed, beside_its_engine
from autodelta.search.executors.ray.shared import RunFolder
from autodelta.search.executors.ray.shipping import Shipment
from autodelta.search.executors.ray.slots import DEATHS_AT_START, Slots

TRIAL_BYTES = 4096


class Scripted(Work):
    """Work with so many orders, that writes down what it is told."""

    def __init__(self, orders: int) -> None:
        super().__init__(None, Accounts(parse("9trials"), Ledger(None), emit=lambda event: None, confirm_share=0.0))
        self.left = list(range(orders))
        self.told: list[tuple[Any, ...]] = []
        self.beside: list[int] = []

    def next(self, *, beside: int = 0, room: bool = True) -> Order | None:
        self.beside.append(beside)
        return order(self.left.pop(0)) if self.left else None

    def report(self, number: int, report: Report) -> bool:
        self.told.append(("report", number, report.step))
        return report.step < 20

    def ended(self, number: int, outcome: Outcome) -> None:
        self.told.append(("ended", number, outcome.state))

    def lost(self, number: int, words: str) -> None:
        self.told.append(("lost", number, words))
        self.left.append(number)

    def silence(self, number: int) -> float:
        return 60.0

    def tick(self) -> None: ...


class Crew:
    """Writes down what it is to do."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def start(self, slots: Slots, slot: int) -> None:
        self.said.append(("start", slot))

    def hand(self, slot: int, ticket: int, order: Order) -> None:
        self.said.append(("hand", slot, ticket))

    def decline(self, slot: int, question: int) -> None:
        self.said.append(("decline", slot, question))

    def drop(self, slot: int, ticket: int) -> None:
        self.said.append(("drop", slot, ticket))

    def end(self, slot: int) -> None:
        self.said.append(("end", slot))

    def let_go(self, slot: int) -> None:
        self.said.append(("let go", slot))


class Served:
    """Serves a counter in a thread, with trials that report at 10, 20 and 40, until there is none for a while."""

    def __init__(self) -> None:
        self.orders: list[int] = []
        self.outcomes: list[str] = []

    @contextmanager
    def by(self, counter: Counter) -> Iterator[None]:
        threading.Thread(target=self._serve, args=(counter,), daemon=True).start()
        yield

    def _serve(self, counter: Counter) -> None:
        while True:
            found = counter.next(beside=0, room=True)
            assert found is not None
            self.orders.append(found.number)
            goes_on = all(counter.report(found.number, report(step)) for step in (10, 20, 40))
            self.outcomes.append("complete" if goes_on else "pruned")
            counter.ended(found.number, Outcome(state="complete" if goes_on else "pruned"))


def staffed(*, orders: int, workers: int = 1) -> tuple[Scripted, Crew, Slots]:
    work, crew = Scripted(orders), Crew()
    slots = Slots(workers, crew)
    slots.begin(work)
    return work, crew, slots


def order(number: int) -> Order:
    assignment = Assignment(number=number, candidate=fakes.a_candidate(), seed=1, report_at=(10, 20, 40))
    return Order(assignment=assignment, folder=Path("/runs/first/trials") / str(number), silence=60.0)


def report(step: int) -> Report:
    return Report(step=step, score=0.5, train_loss=1.0, device_seconds=0.1, done=step == 40)


def asks(number: int, *beside: int) -> Asks:
    return Asks(number=number, beside=frozenset(beside))


def broken(error: Exception) -> Broken:
    try:
        raise error
    except Exception as raised:
        return Broken.of(raised)


def result(count: int, step: int) -> dict[str, Any]:
    return {"results": count, "report": report(step).model_dump_json()}


def complete() -> dict[str, Any]:
    return {**result(1, 40), "outcome": Outcome(state="complete").model_dump_json()}


def test_an_engine_opens_before_it_is_given_an_order_and_each_result_is_heard_once() -> None:
    work, crew, slots = staffed(orders=1)
    assert crew.said == [("start", 0)]
    slots.told(work, 0, Opened(seconds=2.0, node="node"))
    assert work.left == [0]
    slots.told(work, 0, asks(1))
    assert crew.said[1:] == [("hand", 0, 1)]
    assert slots.hear(work, 1, result(1, 10)) is True
    assert slots.hear(work, 1, result(2, 20)) is False
    slots.end(work, 1, result(2, 20))  # Tune hands over the last result once more
    assert work.told == [("report", 0, 10), ("report", 0, 20), ("ended", 0, "pruned")]
    assert crew.said[2:] == [("drop", 0, 1)]
    assert not slots.done
    slots.told(work, 0, asks(2))
    assert slots.done
    assert work.accounts.ledger.by_kind()[Spending.START_UP] == pytest.approx(2.0, abs=0.5)


def test_engines_are_kept_from_phase_to_phase() -> None:
    work, crew, slots = staffed(orders=2, workers=2)
    for slot in (0, 1):
        slots.told(work, slot, Opened(seconds=0.1, node="node"))
        slots.told(work, slot, asks(1))
    for ticket in (1, 2):
        slots.end(work, ticket, complete())
    for slot in (0, 1):
        slots.told(work, slot, asks(2))
    assert slots.done
    slots.begin(Scripted(0))
    assert slots.done
    slots.begin(Scripted(1))
    assert crew.said[4:] == [("hand", 0, 3), ("let go", 1)]


def test_an_engine_with_nothing_to_do_gives_its_device_back_until_there_is_work_again() -> None:
    work, crew, slots = staffed(orders=1, workers=2)
    for slot in (0, 1):
        slots.told(work, slot, Opened(seconds=0.1, node="node"))
        slots.told(work, slot, asks(1))
    assert crew.said[2:] == [("hand", 0, 1), ("let go", 1)]
    assert work.accounts.ledger._leases.keys() == {0}
    assert not slots.done
    slots.end(work, 1, complete())
    slots.told(work, 0, asks(2))
    assert slots.done
    slots.begin(Scripted(0))
    assert slots.done
    slots.begin(Scripted(2))
    assert crew.said[4:] == [("hand", 0, 2), ("start", 1)]


def test_the_order_of_an_engine_that_died_goes_to_the_one_in_its_place() -> None:
    work, crew, slots = staffed(orders=1)
    slots.told(work, 0, Opened(seconds=0.1, node="node"))
    slots.told(work, 0, asks(1))
    slots.end(work, 1, {"results": 1, "lost": True, "done": True})  # the client hears of it first
    assert work.told == []
    slots.bury(work, 0, "its worker process died")
    assert work.told == [("lost", 0, "its worker process died")]
    slots.told(work, 0, Opened(seconds=0.1, node="node"))
    slots.told(work, 0, asks(1))
    assert crew.said[1:] == [("hand", 0, 1), ("end", 0), ("start", 0), ("hand", 0, 2)]
    assert slots.hear(work, 1, result(1, 10)) is False


def test_the_order_of_a_client_that_died_is_dropped_and_given_out_again() -> None:
    work, crew, slots = staffed(orders=1)
    slots.told(work, 0, Opened(seconds=0.1, node="node"))
    slots.told(work, 0, asks(1))
    slots.lose(work, 1, "its worker process died")
    assert work.told == [("lost", 0, "its worker process died")]
    slots.told(work, 0, asks(2))
    assert crew.said[1:] == [("hand", 0, 1), ("drop", 0, 1), ("hand", 0, 2)]


def test_all_orders_of_an_engine_that_fell_silent_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = fakes.Clock()
    monkeypatch.setattr(slots_module.time, "monotonic", clock)
    work, _, slots = staffed(orders=2)
    slots.told(work, 0, Opened(seconds=0.0, node="node"))
    slots.told(work, 0, asks(1))
    slots.told(work, 0, asks(2, 1))
    clock.sleep(61.0)
    slots.bury(work, 0, "its worker process died")
    assert work.told == [("lost", number, "its worker was silent for 61 s, so it was ended") for number in (0, 1)]


def test_an_engine_with_room_is_given_orders_beside_the_others_when_all_know_what_ended() -> None:
    work, crew, slots = staffed(orders=3)
    slots.told(work, 0, Opened(seconds=0.1, node="node"))
    slots.told(work, 0, asks(1))
    slots.told(work, 0, asks(2, 1))
    assert work.beside == [0, 1]
    lease = work.accounts.ledger._leases[0]
    assert (lease.kind, lease.trials) == (Spending.TRAINING, (0, 1))
    slots.told(work, 0, asks(3, 2))  # its first has ended there, and Tune has not said so yet
    assert work.beside == [0, 1]
    slots.end(work, 1, complete())
    assert work.told[-1] == ("ended", 0, "complete")
    assert work.beside == [0, 1, 1]
    slots.told(work, 0, asks(4, 2, 3))
    assert crew.said[1:] == [("hand", 0, 1), ("hand", 0, 2), ("hand", 0, 3), ("decline", 0, 4)]
    slots.end(work, 2, complete())  # without room nothing is asked for
    assert work.beside == [0, 1, 1, 2]


def test_engines_that_die_while_they_open_lose_no_order_and_end_the_search_after_three() -> None:
    work, crew, slots = staffed(orders=1)
    for _ in range(DEATHS_AT_START - 1):
        slots.bury(work, 0, "its worker process died")
    with pytest.raises(RuntimeError, match="die before they are ready"):
        slots.bury(work, 0, "its worker process died")
    assert work.told == []
    assert crew.said == [("start", 0)] * DEATHS_AT_START


def test_what_an_engine_could_not_open_is_the_searchs_error() -> None:
    for error, kind in ((UserError("unknown backbone"), UserError), (ValueError("unknown backbone"), RuntimeError)):
        work, _, slots = staffed(orders=1)
        with pytest.raises(kind, match="unknown backbone"):
            slots.told(work, 0, broken(error))


def test_an_order_is_brought_reports_goes_on_and_ends_at_the_counter() -> None:
    counter, served = Counter(), Served()
    with served.by(counter):
        assert counter.told() == asks(1)
        assert counter.bring(7, order(3)).report == report(10)
        assert counter.go_on(7).report == report(20)
        last = counter.go_on(7)
        assert last.report == report(40)
        assert last.outcome == Outcome(state="complete")
        assert counter.told() == asks(2)
    assert served.orders == [3]


def test_an_order_that_is_dropped_ends_at_its_report_and_one_that_never_came_is_asked_for_again() -> None:
    counter, served = Counter(), Served()
    with served.by(counter):
        assert counter.told() == asks(1)
        counter.drop(6)
        assert counter.told() == asks(2)
        assert counter.bring(6, order(2)).outcome == Outcome(state="pruned")  # too late
        assert counter.bring(7, order(3)).report == report(10)
        counter.drop(7)
        assert counter.told() == asks(3)
        assert counter.go_on(7).outcome == Outcome(state="pruned")
    assert served.orders == [3]
    assert served.outcomes == ["pruned"]


def test_a_worker_stands_still_until_what_it_asks_for_is_brought_or_declined() -> None:
    counter = Counter()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(counter.bring, 1, order(1))
        assert counter.next(beside=0, room=True) == order(1)
        asked = pool.submit(counter.next, beside=1, room=True)
        assert counter.told() == asks(1, 1)
        assert not asked.done()
        counter.decline(1)
        assert asked.result(10) is None
        assert counter.next(beside=1, room=False) is None
        counter.ended(1, Outcome(state="failed"))
        assert first.result(10).outcome == Outcome(state="failed")


def test_an_error_of_the_work_is_raised_where_the_search_waits_and_ends_the_asking() -> None:
    desk = Desk()
    answers: list[str] = []

    def fails(work: Work) -> str:
        raise OSError("the disk is full")

    asking = threading.Thread(target=lambda: answers.append(desk.ask(fails, otherwise="nobody answers")))
    asking.start()
    with pytest.raises(OSError, match="disk is full"):
        desk.serve(Scripted(0), seconds=60.0)
    asking.join(10)
    assert answers == ["nobody answers"]
    assert desk.ask(lambda work: "late", otherwise="closed") == "closed"


def test_a_trials_config_is_small_and_names_its_place_for_loggers() -> None:
    config = tuning._config(Sealed(order(3), ticket=5, engine="engine-0-" + "a" * 32, node="b" * 56))
    assert len(cloudpickle.dumps(config)) < TRIAL_BYTES
    assert str(config["order"]) == "trials-3"
    assert (config["trial"], config["methods"], config["steps"]) == (3, "bitfit", 40)


def test_clients_of_one_node_are_of_one_kind_so_that_tune_keeps_them() -> None:
    places = [beside_its_engine({"order": Sealed(order(n), ticket=n, engine=str(n), node="b" * 56)}) for n in (1, 2)]
    assert places[0] == places[1]
    assert places[0].required_resources.get("CPU", 0) == 0


def test_a_folder_that_a_node_does_not_see_is_fetched_once_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    there = tmp_path / "data" / "support"
    (there / "more").mkdir(parents=True)
    (there / "task.json").write_text("{}")
    (there / "more" / "train.jsonl").write_bytes(b"\x00\xff")
    spec = WorkerSpec(backbone="nano", task="support", data=there.parent)
    sent = shipping.shipments(spec, "node")
    assert [shipment.folder for shipment in sent] == [there]
    assert shipping.placed(spec, sent) == spec  # the node sees it: nothing is fetched

    fetched: list[Shipment] = []
    files = dict(shipping.contents(there))
    elsewhere = tuple(Shipment(tmp_path / "gone" / "support", shipment.sha256, "node") for shipment in sent)

    def fetch(shipment: Shipment) -> dict[str, bytes]:
        fetched.append(shipment)
        return files

    for _ in range(2):
        moved = shipping.placed(spec, elsewhere, fetch)
        assert moved.data is not None
        assert shipping.contents(moved.data / "support") == files
    assert len(fetched) == 1

    files["task.json"] = b"changed"
    wrong = (Shipment(tmp_path / "gone" / "support", "0" * 64, "node"),)
    with pytest.raises(UserError, match="changed while it was sent"):
        shipping.placed(spec, wrong, fetch)
    assert not (tmp_path / "cache" / ("0" * 64) / "support").exists()


def test_a_node_that_sees_another_folder_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    run = RunFolder.seen(tmp_path)
    run.check()
    (tmp_path / "run.json").write_text("{ }")
    with pytest.raises(UserError, match="does not see the run's folder"):
        run.check()


def test_a_cluster_decides_on_device_and_workers() -> None:
    gpus = Machines(cpus=16, gpus=2)
    assert gpus.device(None) == "cuda"
    assert gpus.workers("cuda", gpus_per_worker=0.1) == 20
    assert Machines(cpus=6, gpus=0).workers(Machines(cpus=6, gpus=0).device(None), gpus_per_worker=1.0) == 6
    with pytest.raises(UserError, match="the cluster has no GPU"):
        Machines(cpus=6, gpus=0).device("cuda")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"executor": "local", "address": "auto"}, "--address is Ray's"),
        ({"executor": "local", "log": ("tensorboard",)}, "--log is Ray's"),
        ({"executor": "ray", "gpus_per_worker": 0.0}, "a share of a GPU"),
        ({"executor": "ray", "gpus_per_worker": 2.0}, "a share of a GPU"),
    ],
)
def test_what_does_not_go_together_is_one_line(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        placement.check(asked.pop("executor"), None, **asked)


def test_sharing_a_gpu_without_one_is_one_line() -> None:
    with pytest.raises(UserError, match="the device is 'cpu'"):
        placement.place(executor="local", workers=1, device="cpu", gpus_per_worker=0.5)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("auto", "on a machine of the cluster"),
        ("10.0.0.9:6379", "one of its nodes"),
        ("ray://10.0.0.9:1", "client server"),
    ],
)
def test_an_address_at_which_nothing_is_is_one_line(address: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**how: object) -> None:
        assert how["address"] == address
        raise ConnectionError("a traceback\nnothing is there")

    monkeypatch.setattr(cluster.ray, "init", fails)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    with pytest.raises(UserError, match=rf"no Ray cluster at '{address}' \(nothing is there\).*{said}"):
        placement.place(executor="ray", workers=1, device="cpu", address=address)


@pytest.mark.parametrize(("failures", "connects"), [(2, True), (3, False)])
def test_a_client_server_that_fails_to_start_is_tried_again(
    failures: int, connects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def init(**how: object) -> SimpleNamespace:
        calls.append(how)
        if len(calls) <= failures:
            raise ConnectionAbortedError("RuntimeError: Starting Ray client server failed. See the logs.")
        return SimpleNamespace(dashboard_url=None)

    monkeypatch.setattr(cluster.ray, "init", init)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "WAIT_SECONDS", 0.0)
    if connects:
        assert not cluster.connect("ray://10.0.0.9:10001").started
    else:
        with pytest.raises(UserError, match="no Ray cluster at"):
            cluster.connect("ray://10.0.0.9:10001")
    assert len(calls) == 3


def test_loggers_are_named_and_what_they_lack_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loggers.names("tensorboard, mlflow,tensorboard") == ("tensorboard", "mlflow")
    with pytest.raises(UserError, match="did you mean 'wandb'"):
        loggers.names("wandbb")
    monkeypatch.setattr(loggers, "LOGGERS", {"mlflow": ("no_such_module", "mlflow")})
    with pytest.raises(UserError, match=r"pip install 'autodelta\[mlflow\]'"):
        loggers.check(("mlflow",))


def test_what_ray_says_of_a_lost_actor_is_told_in_a_few_words() -> None:
    node = RuntimeError("The actor died because its node has died. Node Id: 4a27")
    assert last_words(node) == "the node of its worker died"
    process = RuntimeError("The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR")
    assert last_words(process) == "its worker process died"
