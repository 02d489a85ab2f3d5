"""Whether another trial is worth its cost: the gain in score that the meta-learner expects of the best next candidate.

Expected improvement (Mockus 1975) over the best score so far, under the model's posterior with all trials, widened as
held-out tasks showed it to need. It is of the score alone: a smaller candidate of the same score counts for nothing.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from autodelta.errors import UserError
from autodelta.meta.problem import NoTransfer
from autodelta.search.believed import standing
from autodelta.search.front import best
from autodelta.search.kept import scene
from autodelta.search.records import TrialRecord
from autodelta.search.samplers import Scene, sampler
from autodelta.search.seeds import Purpose, derived
from autodelta.search.settings import Settings
from autodelta.space import Space

LEAST = 8  # trials that were trained to their end before the model is believed in this
AROUND = 4  # of the best trials, whose neighbours are looked at
NEEDS = "--stop-when-worth-less needs a model of past tasks, which only the sampler 'meta' has"

Enough = Callable[[Sequence[TrialRecord]], str | None]  # why a search should start no more trials, if it should not


def check(threshold: float, asked: str | None) -> None:
    """Raises UserError where the rule cannot be had: a threshold that is none, or a sampler without a model."""
    if not 0 <= threshold < math.inf:
        raise UserError(f"--stop-when-worth-less is a gain in score, 0 or more (0: never stop so): {threshold}")
    if threshold and asked is not None and not sampler(asked).transfers:
        raise UserError(f"{NEEDS}, not {asked!r}; leave one of them out")


def rule(settings: Settings, space: Space, run: Path) -> Enough:
    """The rule of a search: silent where it was not asked for, or where there is no model."""
    threshold = settings.stop_when_worth_less
    if not threshold or not sampler(settings.sampler).transfers:
        return lambda trials: None
    known = scene(settings, space, run)

    def enough(trials: Sequence[TrialRecord]) -> str | None:
        try:
            gain = worth(known, trials, seed=derived(settings.seed, Purpose.SAMPLER, len(trials)))
        except (NoTransfer, UserError):  # said when the search began
            return None
        if gain >= threshold:
            return None
        return f"the best next trial is expected to gain {gain:.2g} in {settings.metric}, less than {threshold:g}"

    return enough


def worth(known: Scene, trials: Sequence[TrialRecord], *, seed: int) -> float:
    """The gain in score that is expected of the candidate that promises most, of those that were not tried; infinite
    while too few trials were trained to their end, and where the past does not foretell even its own tasks.

    Raises:
        NoTransfer, UserError: the scene has no model that fits.
    """
    from autodelta.meta.compositions import configurations
    from autodelta.meta.squash import seen, unseen
    from autodelta.search.samplers.meta import proposed
    from autodelta.search.transfer import fitted

    winner = best(trials)
    ended = [trial for trial in trials if trial.state == "complete" and trial.score is not None]
    if len(ended) < LEAST or winner is None or winner.score is None:
        return math.inf
    model = fitted(known)
    if model.found.opening is None:
        return math.inf
    on = standing(model, known, trials)
    first = sorted(ended, key=lambda trial: -(trial.score or 0.0))[:AROUND]
    around = [trial.candidate for trial in first if trial.candidate is not None]
    tried = {trial.candidate for trial in trials}
    drawn = proposed(known.space, model, around, number=None, rng=np.random.default_rng(seed))
    pool = [one for one in dict.fromkeys(drawn) if one not in tried]
    if not pool:
        return 0.0
    beliefs = on.beliefs(configurations(pool, known.space.shape)).widened(model.width(len(on)))
    bar = float(seen(np.array(winner.score), *on.level))
    gain = float(beliefs.improvement(bar).max())
    return float(unseen(np.array(bar + gain), *on.level)) - winner.score
