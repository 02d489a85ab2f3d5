"""What the study knows of a trial, as plain data: the line of `show`, and how it is read from an Optuna trial."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from autodelta.candidate import Candidate

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

State = Literal["running", "complete", "pruned", "failed", "infeasible"]


class Outcome(BaseModel):
    """How a trial ended, and why where that needs saying."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["complete", "pruned", "failed", "infeasible"]
    reason: str = ""
    traceback: str = ""


class TrialRecord(BaseModel):
    """One trial: its candidate, how far it came, and how it ended. Score: on validation, at ``step``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    state: State
    candidate: Candidate | None  # None: the search was killed while it asked
    methods: tuple[str, ...]
    parameters: int
    cap: int | None  # the most parameters that this trial was allowed
    score: float | None
    step: int
    device_seconds: float
    seed: int | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        """The trial as `show --json` prints it."""
        return self.model_dump(mode="json", exclude={"candidate", "cap"})


def record(trial: "FrozenTrial") -> TrialRecord:
    """Reads a trial of the study."""
    known = trial.user_attrs
    step, score = known.get("step", 0), known.get("score")
    if trial.intermediate_values:
        step = max(trial.intermediate_values)
        score = trial.intermediate_values[step]
    return TrialRecord(
        number=trial.number,
        state=_state(trial),
        candidate=Candidate.model_validate_json(known["candidate"]) if "candidate" in known else None,
        methods=tuple(known.get("methods", ())),
        parameters=known.get("parameters", 0),
        cap=known.get("cap"),
        score=score,
        step=step,
        device_seconds=known.get("device_seconds", 0.0),
        seed=known.get("seed"),
        reason=known.get("reason", ""),
    )


def _state(trial: "FrozenTrial") -> State:
    if trial.state.name == "PRUNED":
        return "infeasible" if any(value > 0 for value in trial.constraints.values()) else "pruned"
    states: dict[str, State] = {"COMPLETE": "complete", "FAIL": "failed"}
    return states.get(trial.state.name, "running")
