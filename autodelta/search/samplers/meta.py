"""What past tasks teach, and more with every trial: the meta-learner as an Optuna sampler (``autodelta.meta``).

At each ask a pool is drawn (the portfolio of past winners, draws from the space, neighbours of the best trials), the
model is put on the task with all scores so far, those of stopped trials at their rung too, and its policy chooses. The
sampler keeps nothing between asks but the seed of the next. It works in anybody's study whose objective begins with
``space.suggest(trial)``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState

from autodelta.candidate import Candidate
from autodelta.errors import UserError
from autodelta.meta.problem import NoTransfer
from autodelta.search.samplers import PoolEntry, Rank, Sampler, Scene
from autodelta.search.samplers.tpe import build as tpe
from autodelta.search.transfer import fitted
from autodelta.space import Infeasible, Space

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from autodelta.meta.model import Model
    from autodelta.meta.on_task import OnTask

DRAWS, NEIGHBOURS, BEST = 128, 32, 4  # of the pool: draws from the space, and neighbours of the best trials
POLICY = "meta"


class MetaSampler(BaseSampler):
    """Chooses compositions by what past tasks and the trials so far say.

    Args:
        scene: the space, the task's features, and where the fitted meta-learner lies.
        seed: of the draws of the first ask; each later one draws the seed of the next.

    Raises:
        NoTransfer: the past says nothing of this space or task; the reason is one line.
        UserError: the model's files are broken.
    """

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene, self._seed = scene, seed
        self._model = fitted(scene)
        self._chosen: dict[int, Mapping[str, Any]] = {}
        self._others = RandomSampler(seed)  # for what is no part of the choice: parameters of the objective, say

    def infer_relative_search_space(self, study: "Study", trial: "FrozenTrial") -> "dict[str, BaseDistribution]":
        """Chooses the candidate; its parameters are then given one by one, as the space asks for them."""
        candidate = self._choose(study, trial.number)
        self._chosen[trial.number] = self._scene.space.to_params(candidate)
        return {}

    def sample_relative(
        self, study: "Study", trial: "FrozenTrial", search_space: "dict[str, BaseDistribution]"
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: "Study", trial: "FrozenTrial", param_name: str, param_distribution: "BaseDistribution"
    ) -> Any:
        chosen = self._chosen[trial.number]
        if param_name in chosen:
            return chosen[param_name]
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: "Study", trial: "FrozenTrial", state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._chosen.pop(trial.number, None)

    def best_trial(self, study: "Study") -> "FrozenTrial | None":
        """The completed trial whose candidate is best by all that is known, its luck aside; ``study.best_trial`` is the
        one of the best value. None: there is none yet. Where the past does not foretell even its own tasks, and of
        several of one candidate, the best value says it.
        """
        from autodelta.meta.compositions import configurations
        from autodelta.meta.policies import handed_over

        trials = study.get_trials(deepcopy=False)
        tried = {trial.number: candidate(self._scene, trial) for trial in trials}
        complete = sorted(
            (trial for trial in trials if trial.state == TrialState.COMPLETE),
            key=lambda trial: -_sign(study) * (trial.value or 0.0),
        )
        ended = [(trial, one) for trial in complete if (one := tried[trial.number]) is not None]
        if not ended:
            return None
        on = _standing(self._model, self._scene, study, tried)
        row = handed_over(POLICY, on, configurations([one for _, one in ended], self._scene.space.shape))
        return ended[row or 0][0]

    def _choose(self, study: "Study", number: int) -> Candidate:
        from autodelta.meta.compositions import configurations
        from autodelta.meta.policies import ask

        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number != number]
        tried = {trial.number: candidate(self._scene, trial) for trial in trials}
        seed = self._seed
        rng = np.random.default_rng(seed)
        self._seed = int(np.random.default_rng([seed, number]).integers(2**31))  # else every ask had the same pool
        sign = _sign(study)
        on = _standing(self._model, self._scene, study, tried)
        best = sorted((t for t in trials if t.value is not None), key=lambda t: -sign * (t.value or 0.0))
        around = [one for trial in best[:BEST] if (one := tried[trial.number]) is not None]
        pool = list(dict.fromkeys(proposed(self._scene.space, self._model, around, number=number, rng=rng)))
        had = set(tried.values())
        taken = np.array([one in had for one in pool])
        if taken.all():
            return self._scene.space.sample(rng, number=number)
        return pool[ask(POLICY, on, configurations(pool, self._scene.space.shape), taken, seed=seed).row]


def ranked(policy: str, scene: Scene) -> Rank:
    """How a pool of recorded candidates is ranked by a policy of ``autodelta.meta.policies``: its choice before all.

    Raises:
        NoTransfer, UserError: as ``MetaSampler``.
    """
    from autodelta.meta.compositions import configurations
    from autodelta.meta.policies import ask

    model = fitted(scene)

    def rank(study: "Study", pool: Sequence[PoolEntry], seed: int) -> "NDArray[np.float64]":
        tried = {trial.number: candidate(scene, trial) for trial in study.get_trials(deepcopy=False)}
        left = configurations(
            (entry.candidate or scene.space.from_params(entry.params) for entry in pool), scene.space.shape
        )
        on = _standing(model, scene, study, tried)
        found = np.zeros(len(pool))
        found[ask(policy, on, left, np.zeros(len(pool), dtype=bool), seed=seed).row] = 1.0
        return found

    return rank


def _sign(study: "Study") -> float:
    return -1.0 if study.direction.name == "MINIMIZE" else 1.0


def _standing(found: "Model", scene: Scene, study: "Study", tried: Mapping[int, Candidate | None]) -> "OnTask":
    """The model on the task with what those trials of a study have shown that ``tried`` names."""
    sign = _sign(study)
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number in tried]
    gone_on = {trial.user_attrs.get("continues") for trial in trials if trial.user_attrs.get("curve")}
    trials = [trial for trial in trials if trial.number not in gone_on]  # whose curve another one has, too
    shown = [_shown(trial, tried[trial.number], sign=sign) for trial in trials]
    return observed(found, scene, [one for one in shown if one is not None])


class Shown(NamedTuple):
    """What a trial has shown so far, or that it runs."""

    candidate: Candidate
    share: float  # of its steps done; 1: it has ended
    score: float | None  # higher is better; None: it runs and has shown nothing
    log_seconds: float = math.nan  # of the whole trial


def observed(found: "Model", scene: Scene, shown: "Sequence[Shown]") -> "OnTask":
    """The model on the task with the last score of every trial, those that were stopped or still run at their rung;
    trials that have shown nothing are awaited, so that workers spread out."""
    from autodelta.meta.compositions import configurations
    from autodelta.meta.problem import Points

    on = found.on(scene.features, per_second=scene.per_second)
    scored = [(one, one.score) for one in shown if one.score is not None]
    waiting = [one.candidate for one in shown if one.score is None]
    if scored:
        tried = configurations([one.candidate for one, _ in scored], scene.space.shape)
        shares, scores = np.array([one.share for one, _ in scored]), np.array([score for _, score in scored])
        seconds = np.array([one.log_seconds for one, _ in scored])
        on.observe(tried, Points(np.arange(len(scored)), shares, scores), log_seconds=seconds)
    if waiting:
        on.expect(configurations(waiting, scene.space.shape))
    return on


def _shown(trial: "FrozenTrial", one: Candidate | None, *, sign: float) -> Shown | None:
    """A trial of a study; None where it tells nothing."""
    if one is None:
        return None
    last = _last(trial)
    if last is not None:
        ended = trial.state == TrialState.COMPLETE
        share = 1.0 if ended else min(1.0, max(1, last[0]) / one.training.steps)
        return Shown(one, share, sign * last[1], _log_seconds(trial) if ended else math.nan)
    return Shown(one, 0.0, None) if trial.state == TrialState.RUNNING else None


def _log_seconds(trial: "FrozenTrial") -> float:
    curve = trial.user_attrs.get("curve")
    seconds = curve[-1]["device_seconds"] if curve else 0.0
    return math.log(seconds) if seconds > 0 else math.nan


def candidate(scene: Scene, trial: "FrozenTrial") -> Candidate | None:
    """What a trial of a study tried; None where its parameters are not those of the space.

    Parameters beside these are the objective's own.
    """
    written = trial.user_attrs.get("candidate")
    if written is not None:
        return _parsed(written)
    ours = {*scene.space.methods, *scene.space.genes}
    params = {name: value for name, value in trial.params.items() if name in ours}
    try:
        return scene.space.from_params(params, cap=trial.user_attrs.get("cap"))
    except (UserError, Infeasible):
        return None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Candidate:
    return Candidate.model_validate_json(text)


def proposed(
    space: Space, found: "Model", around: Sequence[Candidate], *, number: int | None, rng: np.random.Generator
) -> Iterator[Candidate]:
    """Candidates that the trial of this number may try, or any trial: past winners, neighbours of the best ones so far,
    draws from the space; all keep its cap."""
    near = neighbours(space, [one for one in around if space.contains(one)], NEIGHBOURS, rng)
    for one in (*_inside(space, found.portfolio.keys), *near):
        if number is None or space.keeps_cap(one, number=number):
            yield one
    for _ in range(DRAWS):
        yield space.sample(rng, number=number)


def neighbours(space: Space, around: Sequence[Candidate], number: int, rng: np.random.Generator) -> Iterator[Candidate]:
    """So many neighbours, of each candidate in turn; fewer where some have none that keeps the constraints."""
    left = list(around)
    for turn in range(number):
        if not left:
            return
        at = turn % len(left)
        try:
            yield space.mutate(left[at], rng)
        except UserError:
            left.pop(at)


@lru_cache(maxsize=16)
def _inside(space: Space, keys: tuple[str, ...]) -> tuple[Candidate, ...]:
    """Those of a portfolio that the space holds; the same at every ask of a search."""
    return tuple(one for key in keys if space.contains(one := _parsed(key)))


def winners(found: "Model") -> list[Candidate]:
    """The model's portfolio, the best first."""
    return [_parsed(key) for key in found.portfolio.keys]


def _last(trial: "FrozenTrial") -> tuple[int, float] | None:
    """Step and score of a trial's last report; of one that ended without any, its value at the end."""
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return 0, trial.value
    if trial.state == TrialState.FAIL or not trial.intermediate_values:
        return None
    told = {step: score for step, score in trial.intermediate_values.items() if math.isfinite(score)}
    return max(told.items()) if told else None


def _build(seed: int, scene: Scene) -> BaseSampler:
    """The sampler, or TPE where the past says nothing."""
    try:
        return MetaSampler(scene, seed)
    except (NoTransfer, UserError):  # said when the search began
        return tpe(seed)


SAMPLER = Sampler(
    help="what past tasks teach, corrected by the trials; tpe where they teach nothing", build=_build, transfers=True
)
