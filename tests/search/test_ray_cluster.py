"""Searches on a cluster of two nodes, both on this machine: driven from outside, and with a node that dies midway."""

import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autodelta.search import events
from autodelta.search.driver import search
from tests.search import fakes

ray = pytest.importorskip("ray")
Cluster = pytest.importorskip("ray.cluster_utils").Cluster

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
METRICS_SECONDS = 60.0
SYSTEM = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 5,
    "metrics_report_interval_ms": 1000,
}


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(port: int) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S", "120")  # a client's server may start slowly
        found = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "ray_client_server_port": port, "_system_config": SYSTEM},
        )
        found.add_node(num_cpus=1)
    yield found
    ray.shutdown()
    found.shutdown()


def test_a_search_from_outside_is_driven_in_the_cluster_and_told_here(
    tmp_path: Path, cluster: Any, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.util.client.worker.INITIAL_TIMEOUT_SEC", 30)  # the machine may be busy with other tests
    heard: list[events.Event] = []
    settings = fakes.settings(
        budget="3trials", sampler="random", task="smooth", executor="ray", address=f"ray://127.0.0.1:{port}"
    )
    try:
        run = search(settings, fakes.space(tmp_path), folder=tmp_path / "run", events=heard.append)
    finally:
        ray.shutdown()
    assert [trial.state for trial in run.trials] == ["complete"] * 3
    assert run.result is not None
    assert [type(event) for event in heard if isinstance(event, events.SearchStarted | events.SearchEnded)] == [
        events.SearchStarted,
        events.SearchEnded,
    ]
    assert sum(isinstance(event, events.TrialEnded) for event in heard) == 3


def test_a_trial_goes_on_elsewhere_when_its_node_dies(tmp_path: Path, cluster: Any) -> None:
    heard: list[events.Event] = []

    def listen(event: events.Event) -> None:
        heard.append(event)
        reports = sum(isinstance(one, events.TrialReported) for one in heard)
        if reports == 4 and cluster.worker_nodes:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    settings = fakes.settings(
        budget="5trials", sampler="random", task="smooth:2", workers=2, executor="ray", address=cluster.address
    )
    run = search(settings, fakes.space(tmp_path), folder=tmp_path / "run", events=listen)
    assert not cluster.worker_nodes
    assert [trial.state for trial in run.trials] == ["complete"] * 5
    assert run.result is not None
    lost = [trial for trial in run.trials if trial.lost]
    assert len(lost) == 1
    said = [str(event) for event in heard if "it goes on from its last rung" in str(event)]
    assert len(said) == 1
    assert re.match(f"trial {lost[0].number}: (the node of its worker|its worker process) died", said[0])
    steps = [(event.number, event.step) for event in heard if isinstance(event, events.TrialReported)]
    assert len(steps) == len(set(steps))  # what the checkpoint held was not trained again
    _check_metrics()


def _check_metrics() -> None:
    """Ray exports what the dashboard's charts show, under the run's name."""
    node = next(node for node in ray.nodes() if node["Alive"])
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    wanted = ("autodelta_trials_ended", "autodelta_best_score", "autodelta_budget_spent")
    until = time.monotonic() + METRICS_SECONDS
    lines: list[str] = []
    while time.monotonic() < until:
        with urllib.request.urlopen(url, timeout=METRICS_SECONDS) as answer:
            lines = [line for line in answer.read().decode().splitlines() if "autodelta_" in line]
        if all(any(name in line and 'run="run"' in line for line in lines) for name in wanted):
            break
        time.sleep(1)
    else:
        raise AssertionError(f"no metrics of the search at {url}: {lines}")
    assert any("autodelta_trials_ended" in line and 'state="complete"' in line for line in lines)
