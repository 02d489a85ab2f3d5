"""Several workers on this machine, a process each. A process that dies takes one trial with it, and is replaced."""

import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self, TypeVar

from autodelta.candidate import Candidate
from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.search.attempt import Order
from autodelta.search.executors.messages import Broken, Ready, Score, Scored
from autodelta.search.ledger import Spending
from autodelta.search.records import Outcome
from autodelta.search.run import LOG_FILE
from autodelta.search.session import Session

TICK_SECONDS = 0.2
DEATHS_AT_START = 3  # in a row; then there is something wrong that no replacement mends
GOODBYE_SECONDS = 5.0

_M = TypeVar("_M")


class _Child:
    """A worker's process, and what it is doing."""

    def __init__(self, slot: int, spec: WorkerSpec, log: Path) -> None:
        self.slot = slot
        self.order: Order | None = None
        self.ready = False
        ours, theirs = socket.socketpair()
        with log.open("ab") as output, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "autodelta.search.executors.child", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.connection: Connection[Any, Any] = Connection(ours.detach())
        self.connection.send(spec)

    def end(self) -> None:
        """Hangs up, and ends the process if that is not enough."""
        self.connection.close()
        self.process.terminate()
        try:
            self.process.wait(GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """How the process died."""
        code = self.process.wait()
        if code >= 0:
            return f"its worker process died (exit code {code})"
        memory = ", perhaps for want of memory" if code == -signal.SIGKILL else ""
        return f"its worker process was ended by {signal.Signals(-code).name}{memory}"


def _environment() -> dict[str, str]:
    """One thread a process, as the processes share the cores; modules are found where this process finds them."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Processes:
    """Trains as many trials at once as there are workers."""

    def __init__(self, spec: WorkerSpec, *, workers: int) -> None:
        self._spec = spec
        self._workers = workers
        self._children: dict[int, _Child] = {}
        self._deaths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for child in self._children.values():
            child.end()
        self._children.clear()

    def run(self, session: Session) -> None:
        """Runs trials until the session has no more; the last process is kept for what comes after."""
        for slot in range(self._workers):
            self._start(session, slot)
        while any(child.order is not None or not child.ready for child in self._children.values()):
            self._listen(session)
            if session.overdue:
                self._end_overdue(session)

    def score(self, session: Session, candidate: Candidate, weights: Path, split: str) -> float:
        """Scores saved weights on a split."""
        if not self._children:
            self._start(session, 0)
        child = next(iter(self._children.values()))
        if not child.ready:
            self._expect(child, Ready)
        session.holds(child.slot, Spending.TEST)
        child.connection.send(Score(candidate=candidate, weights=weights, split=split))
        score = self._expect(child, Scored).score
        self._release(session, child)
        return score

    def _start(self, session: Session, slot: int) -> None:
        session.holds(slot, Spending.START_UP)
        self._children[slot] = _Child(slot, self._placed(slot), session.folder / LOG_FILE)

    def _placed(self, slot: int) -> WorkerSpec:
        """The worker's own device: ``cuda`` becomes one GPU after the other."""
        if self._spec.device != "cuda":
            return self._spec
        import torch

        return self._spec.model_copy(update={"device": f"cuda:{slot % torch.cuda.device_count()}"})

    def _listen(self, session: Session) -> None:
        by_connection = {child.connection: child for child in self._children.values()}
        for connection in wait(list(by_connection), TICK_SECONDS):
            child = by_connection[connection]  # type: ignore[index]
            try:
                message = child.connection.recv()
            except (EOFError, OSError):
                self._replace(session, child)
            else:
                self._answer(session, child, message)
        session.tick()

    def _answer(self, session: Session, child: _Child, message: Any) -> None:
        if isinstance(message, Report) and child.order is not None:
            self._send(child, session.report(child.order.number, message))
        elif isinstance(message, Outcome) and child.order is not None:
            number, child.order = child.order.number, None
            session.holds(child.slot, Spending.IDLE)
            session.ended(number, message)
            self._give_work(session, child)
        elif isinstance(message, Ready):
            child.ready, self._deaths = True, 0
            session.holds(child.slot, Spending.IDLE)
            self._give_work(session, child)
        else:
            raise _trouble(message)

    def _give_work(self, session: Session, child: _Child) -> None:
        order = session.next()
        if order is not None:
            child.order = order
            session.holds(child.slot, Spending.TRIAL, trial=order.number)
            self._send(child, order)
        elif len(self._children) > 1:
            self._release(session, child)

    def _release(self, session: Session, child: _Child) -> None:
        session.releases(child.slot)
        del self._children[child.slot]
        child.end()

    def _send(self, child: _Child, message: Any) -> None:
        try:
            child.connection.send(message)
        except OSError:
            return  # it died; the next look at its connection finds that out

    def _replace(self, session: Session, child: _Child) -> None:
        """The process is gone: its trial has failed, and another process takes its place."""
        words = child.last_words()
        child.connection.close()
        if not child.ready:
            self._deaths += 1
            if self._deaths >= DEATHS_AT_START:
                raise RuntimeError(
                    f"worker processes die before they are ready ({words}); see {session.folder / LOG_FILE}"
                )
        if child.order is not None:
            session.ended(child.order.number, Outcome(state="failed", reason=words))
        self._start(session, child.slot)

    def _end_overdue(self, session: Session) -> None:
        for child in list(self._children.values()):
            child.end()
            session.releases(child.slot)
            if child.order is not None:
                session.ended(child.order.number, Outcome(state="pruned"))
        self._children.clear()

    def _expect(self, child: _Child, kind: type[_M]) -> _M:
        try:
            message = child.connection.recv()
        except (EOFError, OSError):
            raise RuntimeError(child.last_words()) from None
        if not isinstance(message, kind):
            raise _trouble(message)
        child.ready = True
        return message


def _trouble(message: Any) -> Exception:
    """What a worker's complaint means to the parent."""
    if isinstance(message, Broken):
        return UserError(message.text) if message.by_user else RuntimeError(f"a worker failed:\n{message.traceback}")
    return RuntimeError(f"a worker said something unexpected: {message!r}")
