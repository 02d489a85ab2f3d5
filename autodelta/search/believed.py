"""What the meta-learner makes of a search's trials: how good each candidate is, whatever luck its score had.

A score is one noisy look, and the best of many was picked by its luck, too. The model knows how noisy scores are, what
candidates like this one had, and what past tasks say of it; its posterior mean is the better choice
(docs/decisions/0027-what-a-search-hands-over.md). Choosing by a model's posterior where scores are noisy: Frazier 2018,
arXiv 1807.02811, section 4.2.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autodelta.errors import UserError
from autodelta.meta.problem import NoTransfer
from autodelta.search.answer.shrink import Belief
from autodelta.search.kept import scene
from autodelta.search.records import TrialRecord, carried_on
from autodelta.search.samplers import Scene, sampler
from autodelta.search.settings import Settings
from autodelta.space import Space

if TYPE_CHECKING:
    from autodelta.meta.model import Model
    from autodelta.meta.on_task import OnTask


def standing(model: "Model", known: Scene, trials: Sequence[TrialRecord]) -> "OnTask":
    """A model on a search's task with what its trials have shown."""
    from autodelta.search.samplers.meta import Shown, observed

    doubled = carried_on(trials)
    shown = [
        Shown(trial.candidate, min(1.0, trial.step / trial.candidate.training.steps), trial.score)
        for trial in trials
        if trial.candidate is not None
        and trial.score is not None
        and math.isfinite(trial.score)
        and trial.state != "failed"
        and trial.number not in doubled
    ]
    return observed(model, known, shown)


def believed(known: Scene, trials: Sequence[TrialRecord]) -> dict[str, Belief]:
    """Of every candidate that was trained to its end, by its key. Empty where the past does not foretell even its own
    tasks, or no trial has come to its end.

    Raises:
        NoTransfer, UserError: the scene has no model that fits.
    """
    from autodelta.meta.compositions import configurations
    from autodelta.search.transfer import fitted

    model = fitted(known)
    ended = [trial.candidate for trial in trials if trial.state == "complete" and trial.score is not None]
    tried = list(dict.fromkeys(one for one in ended if one is not None))
    if model.found.opening is None or not tried:
        return {}
    means, sds = standing(model, known, trials).predict(configurations(tried, known.space.shape))
    return {one.key: Belief(float(mean), float(sd)) for one, mean, sd in zip(tried, means, sds, strict=True)}


def of_search(settings: Settings, space: Space, run: Path, trials: Sequence[TrialRecord]) -> Mapping[str, Belief]:
    """The same of a search; empty where its sampler asks no past, too."""
    if not sampler(settings.sampler).transfers:
        return {}
    try:
        return believed(scene(settings, space, run), trials)
    except (NoTransfer, UserError):  # said when the search began
        return {}
