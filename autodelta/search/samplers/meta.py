"""What past tasks teach, and more with every trial: the meta-learner as an Optuna sampler (``autodelta.meta``).

At each ask a pool is drawn (the portfolio of past winners, draws from the space, neighbours of the best trials), the
model is put on the task with all scores so far, those of stopped trials at their rung too, and its policy chooses. The
sampler keeps nothing between asks. It works in anybody's study whose objective begins with ``space.suggest(trial)``.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from autodelta.candidate import Candidate
from autodelta.errors import UserError
from autodelta.meta.problem import NoTransfer
from autodelta.search.samplers import Sampler, Scene
from autodelta.search.samplers.tpe import build as tpe
from autodelta.space import Infeasible

if TYPE_CHECKING:
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
        seed: of this ask's draws.

    Raises:
        NoTransfer: the past says nothing of this space or task; the reason is one line.
    """

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene, self._seed = scene, seed
        self._model = model(scene)
        self._chosen: dict[int, Mapping[str, Any]] = {}

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
        return self._chosen[trial.number][param_name]

    def after_trial(
        self, study: "Study", trial: "FrozenTrial", state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._chosen.pop(trial.number, None)

    def _choose(self, study: "Study", number: int) -> Candidate:
        from autodelta.meta.compositions import configurations
        from autodelta.meta.policies import ask

        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number != number]
        tried = {trial.number: candidate(self._scene, trial) for trial in trials}
        rng = np.random.default_rng(self._seed)
        sign = -1.0 if study.direction.name == "MINIMIZE" else 1.0
        on = observed(self._model, self._scene, trials, tried, sign=sign)
        best = sorted((t for t in trials if t.value is not None), key=lambda t: -sign * (t.value or 0.0))
        around = [one for trial in best[:BEST] if (one := tried[trial.number]) is not None]
        pool = list(dict.fromkeys(_pool(self._scene, self._model, around, number, rng)))
        had = set(tried.values())
        taken = np.array([one in had for one in pool])
        if taken.all():
            return self._scene.space.sample(rng, number=number)
        return pool[ask(POLICY, on, configurations(pool, self._scene.space.shape), taken, seed=self._seed).row]


def model(scene: Scene) -> "Model":
    """The fitted meta-learner of a scene, if it has something to say of its space and task.

    Raises:
        NoTransfer: there is none, or it does not fit.
        UserError: its files are broken.
    """
    from autodelta.meta.compositions import layout

    if scene.model is None:
        raise NoTransfer("no fitted meta-learner was named, and none ships with this version")
    found = _loaded(scene.model.absolute())
    found.on(None if scene.features is None else dict(scene.features), layout())
    return found


@cache
def _loaded(folder: Path) -> "Model":
    from autodelta.meta.saved import load

    return load(folder)


def observed(
    found: "Model",
    scene: Scene,
    trials: "Sequence[FrozenTrial]",
    tried: Mapping[int, Candidate | None],
    *,
    sign: float = 1.0,
) -> "OnTask":
    """The model on the task with the last score of every trial, those that were stopped or still run at their rung.

    A trial that has shown nothing stands where it is foreseen, so that workers spread out (Ginsbourger et al. 2010).
    """
    from autodelta.meta.compositions import configurations
    from autodelta.meta.problem import Points

    on = found.on(None if scene.features is None else dict(scene.features))
    candidates, rungs, scores, waiting = [], [], [], []
    for trial in trials:
        one, last = tried[trial.number], _last(trial)
        if one is not None and last is not None:
            candidates.append(one)
            rungs.append(1.0 if trial.state == TrialState.COMPLETE else min(1.0, last[0] / one.training.steps))
            scores.append(sign * last[1])
        elif one is not None and trial.state == TrialState.RUNNING:
            waiting.append(one)
    if candidates:
        rows = np.arange(len(candidates))
        on.observe(configurations(candidates, scene.space.shape), Points(rows, np.array(rungs), np.array(scores)))
    if candidates and waiting:
        asked = configurations(waiting, scene.space.shape)
        on.observe(asked, Points.of_ends(np.arange(len(waiting)), on.predict(asked)[0]))
    return on


def candidate(scene: Scene, trial: "FrozenTrial") -> Candidate | None:
    """What a trial of a study tried; None where its parameters are not those of the space."""
    written = trial.user_attrs.get("candidate")
    if written is not None:
        return _parsed(written)
    try:
        return scene.space.from_params(trial.params, cap=trial.user_attrs.get("cap"))
    except (UserError, Infeasible):
        return None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Candidate:
    return Candidate.model_validate_json(text)


def _pool(
    scene: Scene, found: "Model", around: Sequence[Candidate], number: int, rng: np.random.Generator
) -> Iterator[Candidate]:
    """Candidates that the trial of this number may try: all keep its cap."""
    space = scene.space
    inside = [one for one in around if space.contains(one)]
    near = (space.mutate(inside[turn % len(inside)], rng) for turn in range(NEIGHBOURS if inside else 0))
    for one in (*map(_parsed, found.portfolio.keys), *near):
        if space.contains(one) and space.keeps_cap(one, number=number):
            yield one
    for _ in range(DRAWS):
        yield space.sample(rng, number=number)


def _last(trial: "FrozenTrial") -> tuple[int, float] | None:
    """Step and score of a trial's last report; of one that ended without any, its value at the end."""
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return 0, trial.value
    if trial.state == TrialState.FAIL or not trial.intermediate_values:
        return None
    step = max(trial.intermediate_values)
    return step, trial.intermediate_values[step]


def _build(seed: int, scene: Scene) -> BaseSampler:
    """The sampler, or TPE where the past says nothing."""
    try:
        return MetaSampler(scene, seed)
    except NoTransfer:
        return tpe(seed)


SAMPLER = Sampler(
    help="what past tasks teach, corrected by the trials; tpe where they teach nothing", build=_build, transfers=True
)
