"""A search that kills itself at a named point, and what must hold of it however often that happens.

As a script: ``python -m tests.search.killing FOLDER EXECUTOR POINT`` takes a search with fake workers up (or begins it)
and sends its driver SIGKILL when it comes to POINT, ``name:n`` for the n-th time, or ``after:seconds``. The workers of
``EXECUTOR-packed`` train several trials at a time.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autodelta.files import Lines
from autodelta.search import confirmation, driver
from autodelta.search.run import LEDGER_FILE, Run, create
from autodelta.search.storage import Disk
from tests.search import fakes

TRIALS = 48
NEVER = "never:1"
# Early ones first, as one search lives through all of them; what is killed in a worker is killed by `fakes`.
POINTS = (
    "asking:1", "asked:1", "asked:2", "reported:1", "checkpoint:1", "telling:1", "told:1", "ledger:1", "after:0.7",
    "checkpoint:2", "asking:2", "reported:4", "telling:2", "weights:1", "told:3", "after:1.1", "ledger:2",
    "confirming:1", "confirming:2", "confirmed:1", "after:0.4", "confirmed:2", "testing:1", "testing:2", "answering:1",
)  # fmt: skip


def settings(executor: str) -> Any:
    """The search that is killed."""
    plain = {"local": ("local", 1), "processes": ("local", 2), "ray": ("ray", 2)}
    executor, _, packed = executor.partition("-")
    kind, workers = plain[executor]
    return fakes.settings(
        budget=f"{TRIALS}trials",
        pruner="asha",
        executor=kind,
        workers=workers,
        packed=bool(packed),
        task="smooth:0.05",
        seed=5,
    )


def main(folder: Path, executor: str, point: str) -> None:
    """Takes the search up and kills it at the point."""
    name, _, number = point.partition(":")
    os.environ["KILL_AT"], os.environ["KILL_PID"] = point, str(os.getpid())
    if name == "after":
        threading.Timer(float(number), lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    elif name in PATCHES:
        PATCHES[name](_fuse(int(number)))
    asked = settings(executor)
    run = Run(folder, asked) if folder.exists() else create(folder, asked)
    driver.take_up(run, fakes.space(folder.parent))


def _fuse(times: int) -> Callable[[], None]:
    """Kills this process when it is called so many times."""
    left = [times]

    def burn() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return burn


def _around(owner: Any, name: str, burn: Callable[[], None], *, before: bool) -> None:
    plain = getattr(owner, name)

    def patched(*args: Any, **kwargs: Any) -> Any:
        if before:
            burn()
        found = plain(*args, **kwargs)
        if not before:
            burn()
        return found

    setattr(owner, name, patched)


def _torn_ledger(burn: Callable[[], None]) -> None:
    plain = Lines.append

    def patched(lines: Lines, *rows: dict[str, Any]) -> None:
        if lines.path.name == LEDGER_FILE:
            with lines.path.open("a") as file:
                file.write('{"at": 1, "kind": "trai')
            burn()
            with lines.path.open("rb+") as file:
                file.truncate(lines.path.stat().st_size - len('{"at": 1, "kind": "trai'))
        plain(lines, *rows)

    Lines.append = patched  # type: ignore[method-assign]


PATCHES: dict[str, Callable[[Callable[[], None]], None]] = {
    "asking": lambda burn: _around(Disk, "start", burn, before=True),
    "asked": lambda burn: _around(Disk, "start", burn, before=False),
    "reported": lambda burn: _around(Disk, "value", burn, before=False),
    "telling": lambda burn: _around(Disk, "end", burn, before=True),
    "told": lambda burn: _around(Disk, "end", burn, before=False),
    "ledger": _torn_ledger,
    "confirming": lambda burn: _around(confirmation.Confirmation, "report", burn, before=True),
    "confirmed": lambda burn: _around(confirmation.Results, "add", burn, before=False),
    "testing": lambda burn: _around(confirmation.Testing, "ended", burn, before=True),
    "answering": lambda burn: _around(driver, "write_json", burn, before=True),
}


def storm(folder: Path, executor: str, points: Sequence[str]) -> dict[str, int]:
    """Kills one search at each of the points and lets it end; how often it was killed, and what came to pass.

    Raises:
        AssertionError: something was lost, done twice, or left running.
    """
    killed, seconds = Counter[str](), 0.0
    finished: dict[int, tuple[str, float | None]] = {}
    for point in (*points, NEVER):
        began = time.monotonic()
        code = _child(folder, executor, point)
        seconds += time.monotonic() - began
        killed[point] += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL), f"{point}: exit code {code}"
        if folder.exists():
            finished = _nothing_lost(Run(folder, settings(executor)), finished)
        if code == 0:
            break
    _ended_well(Run(folder, settings(executor)), seconds, workers=settings(executor).workers)
    return dict(killed)


def _child(folder: Path, executor: str, point: str) -> int:
    words = [sys.executable, "-m", "tests.search.killing", str(folder), executor, point]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    done = subprocess.run(words, check=False, text=True, **quiet)  # type: ignore[call-overload]
    if done.returncode > 0:
        print(done.stderr[-3000:])
    return int(done.returncode)


def _nothing_lost(run: Run, before: dict[int, tuple[str, float | None]]) -> dict[int, tuple[str, float | None]]:
    """What has ended stays as it was; the trials that have ended by now."""
    ended = {trial.number: (trial.state, trial.score) for trial in run.trials if trial.state != "running"}
    assert before.items() <= ended.items()
    return ended


def _ended_well(run: Run, seconds: float, *, workers: int) -> None:
    trials = run.trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert {trial.state for trial in trials} <= {"complete", "pruned"}
    assert sum(trial.continues is None for trial in trials) == TRIALS
    assert all(trial.reason.startswith("not among") for trial in trials if trial.state == "pruned")
    rows = Lines(run.path / confirmation.FILE).read()
    runs = [(row["entrant"], row["seed_index"], row["test"] is not None) for row in rows]
    assert max(Counter(runs).values()) == 1  # none trained or scored twice
    assert run.budget["spent"]["device_seconds"] <= 1.02 * workers * seconds
    assert run.result is not None
    assert run.result.exported is not None
    assert not list(run.path.rglob("*.tmp"))


def story(run: Run) -> Any:
    """All that a search decided and found, without its times."""
    trials = [(t.number, t.candidate, t.seed, t.state, t.score, t.step, t.continues) for t in run.trials]
    return trials, run.result and (run.result.answer, run.result.exported)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
