"""The study, which is the truth about a search: what was asked, reported and told. It lives in one SQLite file.

One direction, the validation score; the front over parameters is computed from all trials. (With `nsga2` two
directions, and then Optuna keeps no intermediate values, so they stay attributes.) Only the driver writes.
"""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import TrialState

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.files import write_text
from autodelta.search.given import GivenParameters
from autodelta.search.records import Outcome, TrialRecord, record
from autodelta.search.samplers import Sampler
from autodelta.search.seeds import Purpose, derived
from autodelta.search.storage import close, quiet, readable, sync, writable
from autodelta.space import Infeasible, Space

NAME = "autodelta"
TRACEBACK = "traceback.txt"
REJECTIONS_IN_A_ROW = 1000


class Study:
    """Asks for candidates and is told what became of them; what was told is on disk when the call returns."""

    def __init__(
        self,
        folder: Path,
        space: Space,
        *,
        sampler: Sampler,
        seed: int,
        repeats: int = 1,
    ) -> None:
        self._folder = folder
        self._space = space
        self._sampler = sampler
        self._seed = seed
        self.on_rejected: Callable[[TrialRecord], None] = lambda trial: None
        self._repeats = repeats
        self._grid = tuple(dict.fromkeys(space.grid())) if sampler.build is None else ()
        both: list[Literal["maximize", "minimize"]] = ["maximize", "minimize"]
        self._storage = writable(folder)
        self._study = optuna.create_study(
            study_name=NAME,
            storage=self._storage,
            directions=both[: 1 + sampler.two_directions],
            load_if_exists=True,
        )
        self._finished: dict[int, TrialRecord] = {}
        self._known: list[TrialRecord] | None = None  # all trials, as long as none of them changes
        self._running: dict[int, optuna.Trial] = {}

    def ask(self) -> Assignment | None:
        """The next trial; None when the sampler has nothing left to try.

        Candidates that break a constraint end here, as infeasible trials that were never trained.

        Raises:
            UserError: nothing but infeasible candidates came out of the space.
        """
        for _ in range(REJECTIONS_IN_A_ROW):
            planned = self._next_cell() if self._sampler.build is None else None
            if self._sampler.build is None and planned is None:
                return None
            trial = self._new_trial(planned)
            try:
                return self._assign(trial, self._space.suggest(trial))
            except Infeasible as error:
                self._reject(trial, error)
        raise UserError(f"{REJECTIONS_IN_A_ROW} candidates in a row broke a constraint of the space; loosen it")

    def report(self, number: int, report: Report) -> bool:
        """Notes a report; whether the trial may go on (not with a score that is NaN or infinite)."""
        if not math.isfinite(report.score):
            return False
        trial = self._running[number]
        if self._sampler.two_directions:
            trial.set_user_attr("step", report.step)
            trial.set_user_attr("score", report.score)
        else:
            trial.report(report.score, report.step)
        trial.set_user_attr("device_seconds", round(report.device_seconds, 6))
        self._known = None
        return True

    def tell(self, number: int, outcome: Outcome) -> TrialRecord:
        """Ends a trial. Telling one that has ended changes nothing."""
        trial = self._running.pop(number, None)
        if trial is None:
            return self.trial(number)
        if outcome.reason:
            trial.set_user_attr("reason", outcome.reason)
        if outcome.traceback:
            folder = trial_folder(self._folder, number)
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / TRACEBACK, outcome.traceback)
        if outcome.state == "infeasible":
            trial.set_constraint("feasible", 1.0)
        self._finish(number, outcome)
        self._known = None
        sync(self._storage)
        return self.trial(number)

    def reconcile(self, reason: str) -> list[TrialRecord]:
        """Ends every trial that is still RUNNING, ours or left by a killed search, as pruned for that reason."""
        ended = []
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
            self._running[trial.number] = optuna.Trial(self._study, trial._trial_id)
            ended.append(self.tell(trial.number, Outcome(state="pruned", reason=reason)))
        return ended

    def close(self) -> None:
        """Leaves the file for good."""
        close(self._storage, self._folder)

    def trials(self) -> list[TrialRecord]:
        """Every trial, in the order of their numbers."""
        if self._known is None:
            self._known = [self._record(trial) for trial in self._study.get_trials(deepcopy=False)]
        return list(self._known)

    def trial(self, number: int) -> TrialRecord:
        return self.trials()[number]

    def _record(self, trial: optuna.trial.FrozenTrial) -> TrialRecord:
        """A finished trial never changes again, so it is read once."""
        if trial.number in self._finished:
            return self._finished[trial.number]
        found = record(trial)
        if trial.state.is_finished():
            self._finished[trial.number] = found
        return found

    def _new_trial(self, planned: Candidate | None) -> optuna.Trial:
        number = len(self.trials())
        if self._sampler.build is not None:
            self._study.sampler = self._sampler.build(derived(self._seed, Purpose.SAMPLER, number))
        elif planned is not None:
            self._study.sampler = GivenParameters(self._space.to_params(planned))
        trial = self._study.ask()
        self._known = None
        if trial.number != number:
            raise RuntimeError(f"another process writes to this study: expected trial {number}, got {trial.number}")
        if planned is not None:
            trial.set_user_attr("cap", None)  # a cell of the grid keeps its sizes
        self._running[number] = trial
        return trial

    def _assign(self, trial: optuna.Trial, candidate: Candidate) -> Assignment:
        seed = self._training_seed(candidate, trial.number)
        _set(
            trial,
            candidate=candidate.model_dump_json(),
            methods=list(candidate.methods),
            parameters=candidate.count_parameters(self._space.shape),
            seed=seed,
        )
        self._known = None
        return Assignment(number=trial.number, candidate=candidate, seed=seed)

    def _training_seed(self, candidate: Candidate, number: int) -> int:
        """All candidates train at one seed, so that they differ by nothing else; the n-th repeat of one at the n-th
        seed, so that no (candidate, seed) is trained twice."""
        repeats = sum(t.candidate == candidate for t in self.trials() if t.number != number)
        return derived(self._seed, Purpose.TRAINING, repeats)

    def _next_cell(self) -> Candidate | None:
        """The grid's first candidate among those asked least often; None when all have their repeats."""
        asked = Counter(trial.candidate for trial in self.trials())
        for repeat in range(self._repeats):
            for candidate in self._grid:
                if asked[candidate] <= repeat:
                    return candidate
        return None

    def _reject(self, trial: optuna.Trial, error: Infeasible) -> None:
        trial.set_user_attr("parameters", error.parameters)
        self.on_rejected(self.tell(trial.number, Outcome(state="infeasible", reason=str(error))))

    def _finish(self, number: int, outcome: Outcome) -> None:
        known = self.trial(number)
        if outcome.state == "complete":
            if known.score is None:
                raise ValueError(f"trial {number} cannot be complete: it has reported no score")
            values = [known.score, float(known.parameters)] if self._sampler.two_directions else [known.score]
            self._study.tell(number, values, skip_if_finished=True)
            return
        state = TrialState.FAIL if outcome.state == "failed" else TrialState.PRUNED
        self._study.tell(number, state=state, skip_if_finished=True)


def _set(trial: optuna.Trial, **attributes: Any) -> None:
    for name, value in attributes.items():
        trial.set_user_attr(name, value)


def trial_folder(run_folder: Path, number: int) -> Path:
    """Where a trial keeps its files."""
    return run_folder / "trials" / str(number)


def load_trials(run_folder: Path) -> list[TrialRecord]:
    """Every trial of a run's study, which is only read."""
    with quiet():
        opened = readable(run_folder)
        try:
            study = optuna.load_study(study_name=NAME, storage=opened)
            return [record(trial) for trial in study.get_trials(deepcopy=False)]
        finally:
            opened.remove_session()
            opened.engine.dispose()
