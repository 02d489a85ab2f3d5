"""The study, which is the truth about a search: what was asked, reported and told.

The search works on an Optuna study in memory; the same trials lie in one SQLite file, so that a search can be killed at
any moment and taken up again. One direction, the validation score; the front over parameters is computed from all
trials. (With `nsga2` two directions, and then Optuna keeps no intermediate values.)
"""

import math
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from autodelta.candidate import Candidate, Training
from autodelta.engine.assignment import Assignment
from autodelta.engine.report import Report
from autodelta.errors import UserError, first_problem
from autodelta.files import write_text
from autodelta.search.ends import by_promise
from autodelta.search.given import GivenParameters
from autodelta.search.grid import Plan, ahead, grid
from autodelta.search.pruning import Halving, Standings, reports, rungs
from autodelta.search.records import BUDGET, Outcome, TrialRecord, record
from autodelta.search.samplers import Sampler, Scene
from autodelta.search.seeds import Purpose, derived
from autodelta.search.storage import FILE, Disk
from autodelta.search.storage import read as read_trials
from autodelta.space import Infeasible, Space

TRACEBACK = "traceback.txt"
REJECTIONS_IN_A_ROW = 1000
PASSED = "passed"  # attribute of a trial: the last step at which it was let go on


class Study:
    """Asks for candidates and is told what became of them; what was told is on disk when the call returns.

    ``folder`` None keeps everything in memory. ``plan`` names the candidates instead of the sampler; those in ``first``
    go before all others. ``scene`` is what the sampler may know beside the trials. ``can_continue`` says whether a
    stopped trial left a checkpoint from which it can go on. ``levels``: rungs, where they are not those of the space.
    """

    def __init__(
        self,
        folder: Path | None,
        space: Space,
        *,
        sampler: Sampler,
        seed: int,
        repeats: int = 1,
        pruner: BasePruner | None = None,
        plan: Plan | None = None,
        first: Sequence[Candidate] = (),
        scene: Scene | None = None,
        can_continue: Callable[[int], bool] = lambda number: False,
        levels: Sequence[int] | None = None,
    ) -> None:
        self._folder = folder
        self._space = space
        self._sampler = sampler
        self._scene = scene or Scene(space)
        self._seed = seed
        self._pruner = pruner
        self.levels = rungs(space.settings.most_steps) if levels is None else levels
        self._can_continue = can_continue
        self.on_rejected: Callable[[TrialRecord], None] = lambda trial: None
        self._plan = plan or (grid(space, repeats, self.trials) if sampler.build is None else None)
        self._first = ahead(space, first, self.trials)
        directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE][: 1 + sampler.two_directions]
        self._disk = Disk(folder, directions) if folder is not None else None
        self._study = optuna.create_study(directions=directions)
        self._finished: dict[int, TrialRecord] = {}
        self._known: list[TrialRecord] | None = None  # all trials, as long as none of them changes
        self._running: dict[int, optuna.Trial] = {}
        if self._disk is not None:
            self._study.add_trials(self._disk.found)
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self._running[trial.number] = optuna.Trial(self._study, trial._trial_id)

    # --- ask ---------------------------------------------------------------------------------------------------

    def ask(
        self,
        *,
        only_continue: bool = False,
        fits: Callable[[TrialRecord], bool] = lambda trial: True,
        plan_fits: Callable[[Training], bool] = lambda plan: True,
    ) -> Assignment | None:
        """The next trial; None when there is nothing left to try. ``only_continue``: no new candidate.

        A stopped trial that would not be stopped any more, or that only the budget stopped, goes first, as a
        new trial that names it, if the rest of it ``fits`` the budget. After a candidate of the sampler's that was too
        long for the budget comes the same with as many steps as do fit (``plan_fits``), if the space has so few.
        Candidates that break a constraint end here, as infeasible trials that were never trained.

        Raises:
            UserError: nothing but infeasible candidates came out of the space.
        """
        stopped = self._worth_going_on(fits)
        if stopped is not None:
            return self._go_on_with(stopped)
        for _ in range(0 if only_continue else REJECTIONS_IN_A_ROW):
            number = len(self.trials())
            seed = derived(self._seed, Purpose.SAMPLER, number)
            planned = self._first(self._study, seed)
            if planned is None and self._plan is not None:
                planned = self._plan(self._study, seed)
            if self._plan is not None and planned is None:
                return None
            planned = planned or self._shortened(plan_fits)
            trial = self._new_trial(planned, seed)
            try:
                return self._assign(trial, self._space.suggest(trial))
            except Infeasible as error:
                self._reject(trial, error)
        if only_continue or any(trial.state == "complete" for trial in self.trials()):
            return None  # what was found is worth an answer
        raise UserError(f"{REJECTIONS_IN_A_ROW} candidates in a row broke a constraint of the space; loosen it")

    @property
    def fewest_steps(self) -> int | None:
        """Of all that the sampler may ask for; None where a plan names the candidates, as they are."""
        return self._space.settings.fewest_steps if self._plan is None else None

    def assignment(self, number: int) -> Assignment:
        """What a trial that was asked for is to do, as it was told then."""
        trial = self.trial(number)
        assert trial.candidate is not None
        assert trial.seed is not None
        steps = reports(trial.candidate.training.steps, self.levels)
        return Assignment(
            number=number,
            candidate=trial.candidate,
            seed=trial.seed,
            report_at=steps,
            limits=self._space.limits,
            entered=trial.entered,
            alone=trial.lost > 0,
        )

    @property
    def running(self) -> tuple[int, ...]:
        """The trials that were asked for and not told, those of a killed search too."""
        return tuple(sorted(self._running))

    # --- report and tell ---------------------------------------------------------------------------------------

    def report(self, number: int, report: Report) -> bool:
        """Notes a report; whether the pruner lets the trial go on (no one with a score that is NaN or infinite does).

        A report that is known already, as a trial gives it that goes on from a checkpoint, changes nothing; what it was
        let pass before is not judged anew by what others have reported since.
        """
        if not math.isfinite(report.score):
            return False
        trial, known = self._running[number], self.trial(number)
        if report.step > known.step:
            curve = [point.model_dump(mode="json") for point in (*known.curve, report)]
            there = self._frozen(number).intermediate_values  # a value that a kill parted from its curve stays
            if not self._sampler.two_directions and report.step not in there:
                trial.report(report.score, report.step)
                self._on_disk(lambda disk: disk.value(number, report.step, report.score))
            self._set(trial, curve=curve)
        passed = self._frozen(number).user_attrs.get(PASSED, known.began_at)
        if report.done or self._pruner is None or report.step <= passed:
            return True
        goes_on = not self._pruner.prune(self._study, self._frozen(number))
        if goes_on:
            self._set(trial, **{PASSED: report.step})
        return goes_on

    def lose(self, number: int) -> int:
        """Notes that a trial's worker died; how many have."""
        lost = self.trial(number).lost + 1
        self._set(self._running[number], lost=lost)
        return lost

    def tell(self, number: int, outcome: Outcome) -> TrialRecord:
        """Ends a trial. Telling one that has ended changes nothing."""
        trial = self._running.pop(number, None)
        if trial is None:
            return self.trial(number)
        if outcome.reason != self.trial(number).reason:  # perhaps of an end that a crash kept from being told
            self._set(trial, reason=outcome.reason)
        if outcome.traceback and self._folder is not None:
            folder = trial_folder(self._folder, number)
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / TRACEBACK, outcome.traceback)
        if outcome.state == "infeasible":
            trial.set_constraint("feasible", 1.0)
        self._finish(number, outcome)
        self._known = None
        self._on_disk(lambda disk: disk.end(self._frozen(number)))
        return self.trial(number)

    def close(self) -> None:
        """Leaves the file for good."""
        self._on_disk(lambda disk: disk.close())

    # --- look --------------------------------------------------------------------------------------------------

    def trials(self) -> list[TrialRecord]:
        """Every trial, in the order of their numbers."""
        if self._known is None:
            self._known = [self._record(trial) for trial in self._study.get_trials(deepcopy=False)]
        return list(self._known)

    def trial(self, number: int) -> TrialRecord:
        return self.trials()[number]

    # --- inside ------------------------------------------------------------------------------------------------

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        """A finished trial never changes again, so it is read once."""
        if trial.number in self._finished:
            return self._finished[trial.number]
        found = record(trial)
        if trial.state.is_finished():
            self._finished[trial.number] = found
        return found

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _clock(self) -> int:
        """Steps of the trials that one worker trains at a time, as far as they are known: where the last report was."""
        return max((trial.entered + trial.step for trial in self.trials()), default=0)

    def _worth_going_on(self, fits: Callable[[TrialRecord], bool]) -> TrialRecord | None:
        """A stopped trial that can go on and should: cut short, or among the best of its rung by now. Of several, the
        one whose end promises most where the sampler's model can foretell that, else the first."""
        gone_on = {trial.continues for trial in self.trials()}
        halving = self._pruner if isinstance(self._pruner, Halving) else None
        everyone = self._study.get_trials(deepcopy=False)
        standing = None if halving is None else Standings(halving, everyone)
        found = []
        for trial in self.trials():
            if trial.state != "pruned" or trial.step == 0 or trial.number in gone_on:
                continue
            if not self._can_continue(trial.number):
                continue
            rung = halving.rung_at(trial.step) if halving else None
            better = rung is not None and standing is not None and standing.passes(everyone[trial.number], rung)
            if better or trial.reason == BUDGET:
                found.append(trial)
        if len(found) > 1 and self._sampler.transfers:
            found = by_promise(self._scene, self.trials(), found)
        return next(filter(fits, found), None)

    def _shortened(self, fits: Callable[[Training], bool]) -> Candidate | None:
        """The last candidate with fewer steps, if it was too long for the budget and still is."""
        trials = self.trials()
        if not trials or not trials[-1].refused or trials[-1].candidate is None or fits(trials[-1].candidate.training):
            return None
        long, tried = trials[-1].candidate, {trial.candidate for trial in trials if trial.counts}
        shorter = (long.model_copy(update={"training": plan}) for plan in self._space.settings.shorter(long.training))
        return next((one for one in shorter if one not in tried and fits(one.training)), None)

    def _go_on_with(self, stopped: TrialRecord) -> Assignment:
        before = self._frozen(stopped.number)
        self._study.sampler = GivenParameters(before.params)
        trial = self._study.ask()
        for key in ("cap", "candidate", "methods", "parameters", "seed"):
            trial.set_user_attr(key, before.user_attrs[key])
        trial.set_user_attr("continues", stopped.number)
        trial.set_user_attr("began_at", stopped.step)
        trial.set_user_attr("entered", self._clock() - stopped.step)
        self._space.suggest(trial)
        self._started(trial)
        for point in stopped.curve:
            self.report(trial.number, point)
        return self.assignment(trial.number)

    def _new_trial(self, planned: Candidate | None, seed: int) -> optuna.Trial:
        if planned is not None:
            self._study.sampler = GivenParameters(self._space.to_params(planned))
        elif self._sampler.build is not None:
            self._study.sampler = self._sampler.build(seed, self._scene)
        trial = self._study.ask()
        self._known = None
        if planned is not None:
            trial.set_user_attr("cap", None)  # a planned candidate keeps its sizes
        return trial

    def _assign(self, trial: optuna.Trial, candidate: Candidate) -> Assignment:
        attributes = {
            "candidate": candidate.model_dump_json(),
            "methods": list(candidate.methods),
            "parameters": candidate.count_parameters(self._space.shape),
            "seed": self._training_seed(trial.number),
            "entered": self._clock(),
        }
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        self._started(trial)
        return self.assignment(trial.number)

    def _started(self, trial: optuna.Trial) -> None:
        """On disk first: what could not be written there has not started, and is not told when the search ends."""
        self._known = None
        self._on_disk(lambda disk: disk.start(self._frozen(trial.number)))
        self._running[trial.number] = trial

    def _training_seed(self, number: int) -> int:
        """The first that no trial has had: at a seed that all shared, luck would be taken for what its candidates have
        in common (docs/decisions/0028-a-seed-for-each-trial.md). That of one cut short before its first report is free
        again."""
        had = {t.seed for t in self.trials() if t.counts and t.number != number}
        return next(seed for seed in (derived(self._seed, Purpose.TRAINING, n) for n in count()) if seed not in had)

    def _reject(self, trial: optuna.Trial, error: Infeasible) -> None:
        """Written once it has ended: what is left running is taken up again, and there is nothing to train in it."""
        trial.set_user_attr("parameters", error.parameters)
        trial.set_user_attr("reason", str(error))
        trial.set_constraint("feasible", 1.0)
        self._study.tell(trial, state=TrialState.PRUNED)
        self._known = None
        self._on_disk(lambda disk: disk.start(self._frozen(trial.number)))
        self.on_rejected(self.trial(trial.number))

    def _finish(self, number: int, outcome: Outcome) -> None:
        known = self.trial(number)
        if outcome.state == "complete":
            if known.score is None:
                raise ValueError(f"trial {number} cannot be complete: it has reported no score")
            values = [known.score, float(known.parameters)] if self._sampler.two_directions else [known.score]
            self._study.tell(number, values)
            return
        self._study.tell(number, state=TrialState.FAIL if outcome.state == "failed" else TrialState.PRUNED)

    def _set(self, trial: optuna.Trial, **attributes: Any) -> None:
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
            self._on_disk(lambda disk, key=key, value=value: disk.attribute(trial.number, key, value))  # type: ignore[misc]
        self._known = None

    def _on_disk(self, write: Callable[[Disk], None]) -> None:
        if self._disk is not None:
            write(self._disk)


def trial_folder(run_folder: Path, number: int) -> Path:
    """Where a trial keeps its files."""
    return run_folder / "trials" / str(number)


def load_trials(run_folder: Path) -> list[TrialRecord]:
    """Every trial of a run's study, which is only read.

    Raises:
        UserError: the study is damaged, or a trial was written by a version that has other candidates.
    """
    found = []
    for trial in read_trials(run_folder):
        try:
            found.append(record(trial))
        except ValidationError as error:
            raise UserError(
                f"the study {run_folder / FILE} cannot be read: trial {trial.number}: {first_problem(error)}; "
                "nothing was changed"
            ) from error
    return found
