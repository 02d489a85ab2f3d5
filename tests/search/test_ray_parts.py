"""The parts of the Ray executor that need no cluster: desk, folders sent to nodes, what loggers are told."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autodelta.engine.assignment import WorkerSpec
from autodelta.errors import UserError
from autodelta.files import CACHE
from autodelta.search import loggers, placement
from autodelta.search.driver import TooSmall, search, take_up
from autodelta.search.run import Run, create
from autodelta.search.work import FIRST_SILENCE, Work

pytest.importorskip("ray")

from ray import cloudpickle
from ray.exceptions import RayTaskError, WorkerCrashedError

from autodelta.search.executors.messages import Broken
from autodelta.search.executors.ray import client, cluster, engine, shipping, tuning
from autodelta.search.executors.ray.cluster import Machines
from autodelta.search.executors.ray.desk import Desk
from autodelta.search.executors.ray.engines import last_words
from autodelta.search.executors.ray.seat import Sealed, beside_its_engine
from autodelta.search.executors.ray.shared import RunFolder
from autodelta.search.executors.ray.shipping import Shipment
from tests.search import fakes
from tests.search.ray_fakes import Scripted, order

TRIAL_BYTES = 4096


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
    assert gpus.workers("cuda", gpus_per_worker=0.4) == 4  # the two fifths that are left lie on two GPUs
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


def test_a_cluster_says_where_shares_do_not_add_up_to_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": 2.0})
    assert cluster.shortage(4, {"CPU": 1, "GPU": 0.4}) is None
    assert cluster.shortage(5, {"CPU": 1, "GPU": 0.4}) == (
        "the cluster has room for 4 of 5 workers now; the others start when there is more"
    )


def test_workers_that_share_gpus_here_have_each_a_share_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement.devices, "chosen", lambda asked: "cuda")
    monkeypatch.setattr(placement.devices, "workers", lambda device: 2)
    found = placement.place(executor="local", workers=None, device=None, gpus_per_worker=0.4)
    assert (found.device, found.workers) == ("cuda", 4)


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


class FakeRay:
    """Connects to anything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: str | None = None
        self.calls: list[str] = []
        for name in ("init", "shutdown", "is_initialized", "get_runtime_context"):
            monkeypatch.setattr(cluster.ray, name, getattr(self, name))
        monkeypatch.setattr(cluster, "_own", None)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def init(self, address: str, **how: object) -> SimpleNamespace:
        assert self.at is None
        self.at = address
        self.calls.append(address)
        return SimpleNamespace(dashboard_url=None)

    def shutdown(self) -> None:
        self.at = None
        self.calls.append("shutdown")

    def is_initialized(self) -> bool:
        return self.at is not None

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(gcs_address=self.at, get_job_id=lambda: "01000000")


def test_a_search_runs_on_the_cluster_that_it_names_whatever_the_one_before_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = FakeRay(monkeypatch)
    for address in ("a:1", "a:1", "b:1", "ray://c:1"):
        assert not cluster.connect(address).started
        assert ray.at == address
    assert cluster.connect(None).started
    assert ray.at == "local"
    assert ray.calls == ["a:1", "shutdown", "b:1", "shutdown", "ray://c:1", "shutdown", "local"]


def test_a_connection_of_the_users_own_is_used_and_never_left(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(monkeypatch)
    cluster.connect("a:1")
    ray.shutdown()
    ray.init("b:1")
    for address in (None, "auto", "b:1"):
        assert not cluster.connect(address).started
    for address in ("a:1", "ray://b:10001"):
        with pytest.raises(UserError, match=f"Ray is connected to 'b:1' already, not to '{address}'"):
            cluster.connect(address)
    monkeypatch.setenv("RAY_ADDRESS", "head:1")  # a name of b
    assert not cluster.connect(None).started
    assert ray.calls == ["a:1", "shutdown", "b:1"]


class _Gone:
    """A queue, and a remote function, of a cluster that is there no more."""

    def __init__(self, *words: object, **more: object) -> None: ...

    def __call__(self, *words: object) -> "_Gone":
        return self

    def remote(self, *words: object) -> None: ...

    def shutdown(self) -> None:
        raise ConnectionError("the client is not connected")


@pytest.mark.parametrize("error", [WorkerCrashedError(), ConnectionError("the client is not connected")], ids=str)
def test_a_driver_that_is_lost_in_the_cluster_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def lost(*words: object) -> None:
        raise error

    monkeypatch.setattr(client.cluster, "connect", lambda address: cluster.Connection(started=False))
    monkeypatch.setattr(client, "Queue", _Gone)
    monkeypatch.setattr(client.ray, "remote", _Gone)
    monkeypatch.setattr(client, "_pass_on", lost)
    run = create(tmp_path / "run", fakes.settings())
    with pytest.raises(UserError, match=r"the cluster at 'ray://there:10001' was lost: .*--resume \S+run$"):
        client.take_up_there(run, "ray://there:10001", events=lambda event: None)


def test_a_budget_that_is_too_small_in_the_cluster_leaves_nothing_as_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, space = fakes.settings(task="smooth:9", budget="1s"), fakes.space(tmp_path)
    clock, trials = fakes.Clock(), []
    monkeypatch.setattr(fakes.time, "sleep", clock.sleep)

    def there(*words: object) -> None:
        run = Run(tmp_path / "run", settings)
        try:
            take_up(run, space, clock=clock)
        except UserError as error:
            trials.extend(run.trials)
            raise RayTaskError("_take_up", "a traceback", error).as_instanceof_cause() from None

    monkeypatch.setattr(client.cluster, "connect", lambda address: cluster.Connection(started=False))
    monkeypatch.setattr(client, "Queue", _Gone)
    monkeypatch.setattr(client.ray, "remote", _Gone)
    monkeypatch.setattr(client, "_pass_on", there)
    elsewhere = settings.model_copy(update={"executor": "ray", "address": "ray://there:10001"})
    with pytest.raises(TooSmall, match=r"^the budget '1s' is too small for one trial"):
        search(elsewhere, space, folder=tmp_path / "run")
    assert [trial.state for trial in trials] == ["pruned"]
    assert not (tmp_path / "run").exists()


def test_an_engine_that_hangs_while_it_opens_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[float | str] = []
    clock = SimpleNamespace(
        dump_traceback_later=lambda seconds, **how: watched.append(seconds),
        cancel_dump_traceback_later=lambda: watched.append("over"),
    )
    monkeypatch.setattr(engine, "faulthandler", clock)
    opening = object.__new__(engine.Engine)  # without Ray, and in this thread
    opening._counter = engine.Counter()
    seen: Any = SimpleNamespace(check=lambda: watched.append("begun"))
    opening._office = engine.Office(fakes.settings(backbone="unknown").worker, seen)
    opening._serve()
    assert isinstance(opening.told(), Broken)
    assert watched == ["begun", FIRST_SILENCE, "over"]


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
