"""What the study knows of a trial, as plain data: the line of `show`, and how it is read from an Optuna trial."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from autodelta.candidate import Candidate
from autodelta.engine.report import Report
from autodelta.frozen import Frozen

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

BUDGET = "budget"  # why a trial stopped that had nothing against it, and why a search ended
INTERRUPTED = "interrupted"  # why a search ended
INNER = ("candidate", "cap", "began_at", "entered")  # fields of a trial that are not shown

State = Literal["running", "complete", "pruned", "failed", "infeasible"]


class Outcome(Frozen):
    """How a trial ended, and why where that needs saying."""

    state: Literal["complete", "pruned", "failed", "infeasible"]
    reason: str = ""
    traceback: str = ""
    no_room: bool = False  # nothing can be written where the run lies: the search ends, and no trial has failed
    predictions: tuple[str, ...] = ()  # where saved weights were scored: a label a row
    score: float | None = None  # of those predictions


class TrialRecord(Frozen):
    """One trial: its candidate, how far it came, and how it ended. Score: on validation, at ``step``."""

    number: int
    state: State
    candidate: Candidate | None  # None: it was infeasible before it was one
    methods: tuple[str, ...]
    parameters: int
    cap: int | None  # the most parameters that this trial was allowed
    score: float | None
    step: int
    device_seconds: float  # with those of the trial that it continues
    seed: int | None
    reason: str
    continues: int | None = None  # the stopped trial that this one went on with
    began_at: int = 0  # the step at which it did
    entered: int = 0  # when its first step was due, on the search's clock of steps
    lost: int = 0  # workers that died under it
    curve: tuple[Report, ...] = ()

    @property
    def held_seconds(self) -> float:
        """That a device was held for it; less than ``device_seconds`` where it went with others."""
        return self.curve[-1].held_seconds if self.curve else 0.0

    @property
    def counts(self) -> bool:
        """Whether it is a trial of its own, for budgets, repeats and grids.

        What goes on with another is none, nor what ended before it was trained; what was cut short before its first
        report gave nothing, and may be asked for again.
        """
        return self.seed is not None and self.continues is None and not (self.state == "pruned" and self.step == 0)

    @property
    def refused(self) -> bool:
        """Whether it never started, as what was left of the budget could not hold it."""
        return self.state == "pruned" and self.step == 0 and self.reason.startswith(f"{BUDGET}:")

    def as_json(self) -> dict[str, Any]:
        """The trial as `show --json` prints it."""
        curve = [{"step": point.step, "score": point.score} for point in self.curve]
        return {**self.model_dump(mode="json", exclude={*INNER, "curve"}), "curve": curve}


def record(trial: "FrozenTrial") -> TrialRecord:
    """Reads a trial of the study."""
    known = trial.user_attrs
    curve = tuple(Report.model_validate(point) for point in known.get("curve", ()))
    last = curve[-1] if curve else None
    return TrialRecord(
        number=trial.number,
        state=_state(trial),
        candidate=Candidate.model_validate_json(known["candidate"]) if "candidate" in known else None,
        methods=tuple(known.get("methods", ())),
        parameters=known.get("parameters", 0),
        cap=known.get("cap"),
        score=last.score if last else None,
        step=last.step if last else 0,
        device_seconds=last.device_seconds if last else 0.0,
        seed=known.get("seed"),
        reason=known.get("reason", ""),
        continues=known.get("continues"),
        began_at=known.get("began_at", 0),
        entered=known.get("entered", 0),
        lost=known.get("lost", 0),
        curve=curve,
    )


def carried_on(trials: Iterable[TrialRecord]) -> set[int | None]:
    """The numbers of trials whose curve another one has, too, since it goes on with them: a score counts once."""
    return {trial.continues for trial in trials if trial.curve}


def _state(trial: "FrozenTrial") -> State:
    if trial.state.name == "PRUNED":
        return "infeasible" if any(value > 0 for value in trial.constraints.values()) else "pruned"
    states: dict[str, State] = {"COMPLETE": "complete", "FAIL": "failed"}
    return states.get(trial.state.name, "running")
