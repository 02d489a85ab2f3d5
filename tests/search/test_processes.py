import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from autodelta.errors import UserError
from autodelta.search import events
from autodelta.search.driver import search
from autodelta.search.executors import processes
from autodelta.search.executors.processes import Processes
from tests.search import fakes


def test_two_processes_survive_trials_that_kill_them(tmp_path: Path) -> None:
    """One search with all kinds of trouble, as every process takes seconds to start."""
    heard: list[events.Event] = []
    settings = fakes.settings(budget="12trials", task="trouble", workers=2, sampler="random", seed=1)
    run = search(settings, fakes.space(tmp_path), folder=tmp_path / "run", events=heard.append)
    assert len(run.trials) == 12
    by_methods = {trial.methods: trial for trial in run.trials}
    assert by_methods["lora", "prompt"].state == "failed"
    assert by_methods["lora", "prompt"].reason == "its worker process died (exit code 9)"
    assert by_methods["prompt",].state == "infeasible"
    assert by_methods["lora",].state == "failed"
    assert by_methods["bitfit",].state == "complete"
    assert by_methods["lora", "prompt"].lost == 2  # tried once more
    assert run.result is not None
    assert run.result.exported is not None
    assert sum(isinstance(event, events.TrialEnded) for event in heard) == 12
    assert run.budget["by_kind"]["start-up"] > 0


def test_no_process_starts_for_a_phase_in_which_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(Processes, "_start", lambda executor, work, slot: started.append(slot))
    workers: Any = Processes(fakes.settings().worker, workers=3)
    workers._children[0] = SimpleNamespace(slot=0, orders=[], waits=False)  # kept from the phase before
    nothing: Any = SimpleNamespace(holds=lambda *what: None, releases=lambda slot: None, next=lambda **how: None)
    workers.run(nothing)
    assert started == []


def test_processes_that_cannot_start_end_the_search(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="die before they are ready"):
        search(fakes.settings(workers=2, backbone="dies"), fakes.space(tmp_path), folder=tmp_path / "run")


def test_a_process_that_hangs_at_its_start_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_SILENCE", 0.1)
    monkeypatch.setattr(processes, "DEATHS_AT_START", 1)
    with pytest.raises(
        RuntimeError, match=r"die before they are ready \(its worker was silent for \d s, so it was ended"
    ):
        search(fakes.settings(workers=2, backbone="hangs"), fakes.space(tmp_path), folder=tmp_path / "run")


def test_a_users_mistake_in_a_process_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown backbone"):
        search(fakes.settings(workers=2, backbone="unknown"), fakes.space(tmp_path), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


KILLED = """
import os, pathlib, signal, sys
from autodelta.search.executors.processes import _Child
from tests.search import fakes

child = _Child(0, fakes.FakeSpec(backbone="hangs", task="smooth"), pathlib.Path(sys.argv[1]))
print(child.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_ends_with_the_search_that_was_killed(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    words = [sys.executable, "-c", KILLED, str(tmp_path / "log")]
    killed = subprocess.run(words, check=False, cwd=root, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    pid, until = int(killed.stdout), time.monotonic() + 60
    while _lives(pid) and time.monotonic() < until:
        time.sleep(0.1)
    if _lives(pid):
        os.kill(pid, signal.SIGKILL)
        raise AssertionError("it waits for ever, and holds its device")


def _lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_processes_end_with_an_interrupt(tmp_path: Path) -> None:
    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.TrialReported):
            raise KeyboardInterrupt

    run = search(
        fakes.settings(workers=2, task="smooth:4"),
        fakes.space(tmp_path),
        folder=tmp_path / "run",
        events=interrupt,
    )
    assert {(trial.state, trial.reason) for trial in run.trials} == {("running", "")}
