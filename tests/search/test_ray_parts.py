"""The parts of the Ray executor that need no cluster: desk, slots, folders sent to nodes, what loggers are told."""

import threading
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

from autodelta.search.executors.ray import cluster, shipping, tuning
from autodelta.search.executors.ray.cluster import Machines
from autodelta.search.executors.ray.desk import Desk
from autodelta.search.executors.ray.shared import RunFolder
from autodelta.search.executors.ray.shipping import Shipment
from autodelta.search.executors.ray.slots import DEATHS_AT_START, Opening, Slots

TRIAL_BYTES = 4096


class Scripted(Work):
    """Work with so many orders, that writes down what it is told."""

    def __init__(self, orders: int) -> None:
        super().__init__(None, Accounts(parse("9trials"), Ledger(None), emit=lambda event: None, confirm_share=0.0))
        self.left = list(range(orders))
        self.told: list[tuple[Any, ...]] = []

    def next(self, *, beside: int = 0, room: bool = True) -> Order | None:
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


def order(number: int) -> Order:
    assignment = Assignment(number=number, candidate=fakes.a_candidate(), seed=1, report_at=(10, 20, 40))
    return Order(assignment=assignment, folder=Path("/runs/first/trials") / str(number), silence=60.0)


def result(count: int, step: int | None = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"results": count, **more}
    if step is not None:
        report = Report(step=step, score=0.5, train_loss=1.0, device_seconds=0.1, done=step == 40)
        found["report"] = report.model_dump_json()
    return found


def test_a_worker_opens_before_it_is_given_an_order_and_each_result_is_heard_once() -> None:
    work, slots = Scripted(1), Slots(1)
    slots.begin()
    assert slots.next(work, "a") == Opening(0)
    assert work.left == [0]
    slots.end(work, "a", result(1, start_up=2.0, done=True))
    found = slots.next(work, "b")
    assert isinstance(found, Order)
    assert slots.hear(work, "b", result(1, 10)) is True
    assert slots.hear(work, "b", result(2, 20)) is False
    slots.end(work, "b", result(2, 20))  # Tune hands over the last result once more
    assert work.told == [("report", 0, 10), ("report", 0, 20), ("ended", 0, "pruned")]
    assert slots.next(work, "c") is None
    assert slots.done
    assert work.accounts.ledger.by_kind()[Spending.START_UP] == pytest.approx(2.0, abs=0.5)


def test_the_order_of_a_lost_worker_comes_back_and_is_done_by_another() -> None:
    work, slots = Scripted(1), Slots(2)
    slots.begin()
    slots.next(work, "a")
    slots.next(work, "b")
    slots.end(work, "a", result(1, start_up=0.1))
    assert isinstance(slots.next(work, "c"), Order)
    slots.end(work, "b", result(1, start_up=0.1))
    assert slots.next(work, "d") is None  # nothing to do for the second worker
    slots.lose(work, "c", "its worker process died")
    assert work.told == [("lost", 0, "its worker process died")]
    assert isinstance(slots.next(work, "e"), Opening)
    slots.end(work, "e", result(1, start_up=0.1))
    again = slots.next(work, "f")
    assert isinstance(again, Order)
    assert again.number == 0


def test_workers_that_die_while_they_open_lose_no_order_and_end_the_search_after_three() -> None:
    work, slots = Scripted(1), Slots(1)
    slots.begin()
    for _ in range(DEATHS_AT_START - 1):
        slots.next(work, "a")
        slots.lose(work, "a", "its worker process died")
    slots.next(work, "a")
    with pytest.raises(RuntimeError, match="die before they are ready"):
        slots.lose(work, "a", "its worker process died")
    assert work.told == []


def test_a_phase_with_nothing_to_do_opens_no_worker_beside_the_one_that_is_kept() -> None:
    work, slots = Scripted(2), Slots(2)
    slots.begin()
    for trial_id in ("a", "b"):
        assert isinstance(slots.next(work, trial_id), Opening)
    for trial_id in ("a", "b"):
        slots.end(work, trial_id, result(1, start_up=0.1))
    for trial_id in ("c", "d"):
        assert isinstance(slots.next(work, trial_id), Order)
    for trial_id in ("c", "d"):
        slots.end(work, trial_id, result(1, 40, outcome=Outcome(state="complete").model_dump_json()))
    assert [slots.next(work, "none") for _ in range(2)] == [None, None]
    assert slots.done
    slots.begin()
    assert [slots.next(Scripted(0), "none") for _ in range(2)] == [None, None]
    assert slots.done
    slots.begin()
    assert isinstance(slots.next(Scripted(1), "e"), Order)


def test_what_a_worker_could_not_open_is_the_searchs_error() -> None:
    for by_user, kind in ((True, UserError), (False, RuntimeError)):
        work, slots = Scripted(1), Slots(1)
        slots.begin()
        slots.next(work, "a")
        with pytest.raises(kind, match="unknown backbone"):
            slots.end(work, "a", result(1, broken="unknown backbone", by_user=by_user))


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
    config = tuning._config(order(3))
    assert len(cloudpickle.dumps(config)) < TRIAL_BYTES
    assert str(config["order"]) == "trials-3"
    assert (config["trial"], config["methods"], config["steps"]) == (3, "bitfit", 40)
    assert str(tuning._config(Opening(1))["order"]) == "worker-1"


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


def test_what_ray_says_of_a_lost_worker_is_told_in_a_few_words() -> None:
    class Trial:
        def __init__(self, error: str) -> None:
            self.error = error

        def get_error(self) -> Exception:
            return RuntimeError(self.error)

    node = "The actor died because its node has died. Node Id: 4a27"
    assert tuning._last_words(Trial(node)) == "the node of its worker died"
    process = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
    assert tuning._last_words(Trial(process)) == "its worker process died"
