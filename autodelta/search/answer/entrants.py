"""Who is confirmed: the finalists that the search's trials name, and the plain baselines that they are held against."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.spec import spec
from autodelta.frozen import Frozen
from autodelta.search.answer.shrink import Belief, Shrunken, shrunken
from autodelta.search.front import front
from autodelta.search.records import TrialRecord
from autodelta.shape import BackboneShape
from autodelta.space import Space

MOST = 4
RATES = 3  # learning rates at which a baseline is tried
RANK, ALPHA = 8, 16.0
USUAL_RATES = {"lora": (1.5e-3, 3e-3, 7e-3), "full": (3e-4, 1e-3, 3e-3)}  # where the space has none for the method
LORA, FULL = "LoRA r=8 on q,v", "full fine-tuning"

Rival = Literal["lora", "full"]


class Entrant(Frozen):
    """A candidate that is to be confirmed, and what is expected of it before."""

    name: str
    kind: Literal["finalist", "baseline"]
    candidate: Candidate
    parameters: int
    trial: int | None = None  # of the search
    rival: Rival | None = None  # the baseline that it is, at one of several learning rates
    searched: float | None = None  # the search's own validation score
    expected: float | None = None  # the score on the mean over seeds, the luck of the search aside
    expected_sd: float = 0.0

    @property
    def single(self) -> bool:
        """Whether it is one method alone; full fine-tuning is no delta tuning, and not counted."""
        return len(self.candidate.methods) == 1 and self.candidate.methods != ("full",)

    @property
    def combination(self) -> bool:
        return len(self.candidate.methods) > 1


def finalists(
    trials: Sequence[TrialRecord],
    *,
    rows: int,
    metric: str,
    believed: Mapping[str, Belief] | None = None,
    most: int = MOST,
) -> tuple[Entrant, ...]:
    """The trials worth confirming, the one needed most first.

    The best by expected score; the best single method and the best combination, of which it is one; the smallest of
    the front that may be as good; then what else stands on the front, and what else scored high.

    Args:
        rows: of validation, whose number says how noisy a score is.
        believed: what a meta-learner makes of each candidate, by its key; then this is its expected score.
    """
    ranked = shrunken(trials, rows=rows, metric=metric, believed=believed)
    if not ranked:
        return ()
    best = ranked[0]
    on_front = _front(ranked)
    singles = [one for one in ranked if len(one.trial.methods) == 1 and one.trial.methods != ("full",)]
    combinations = [one for one in ranked if len(one.trial.methods) > 1]
    close = [one for one in on_front if one.expected >= best.expected - 2 * best.sd]
    order = [best, *singles[:1], *combinations[:1], *close[:1], *reversed(on_front), *ranked]
    chosen = list(dict.fromkeys(one.trial.number for one in order))[:most]
    by_number = {one.trial.number: one for one in ranked}
    return tuple(_entrant(by_number[number]) for number in chosen)


def baselines(space: Space) -> tuple[Entrant, ...]:
    """LoRA of rank 8 on every attention's q and v, and full fine-tuning, each at a few learning rates.

    They train as long and on as large batches as the space lets anything train, on a linear schedule without decay.
    """
    shape, plan = space.shape, longest(space)
    kinds = shape.kinds()
    found = []
    for rival, name in (("lora", LORA), ("full", FULL)):
        usual, parts = spec(rival).usual, spec(rival).parts
        roles = tuple(role for role in kinds if (role in usual if rival == "lora" else role.split(".", 1)[1] in parts))
        config = {"rank": _rank(roles, shape), "alpha": ALPHA} if rival == "lora" else {}
        for rate in rates(space, rival):
            delta = Delta.model_validate({"method": rival, "roles": roles, "config": config, "learning_rate": rate})
            candidate = Candidate(deltas=(delta,), training=plan)
            found.append(
                Entrant(
                    name=f"{name}, learning rate {rate}",
                    kind="baseline",
                    candidate=candidate,
                    parameters=candidate.count_parameters(shape),
                    rival="lora" if rival == "lora" else "full",
                )
            )
    return tuple(found)


def longest(space: Space) -> Training:
    """The most steps and the largest batches that a space has, else the plain settings."""
    largest = {}
    for field in ("steps", "batch_size"):
        bounds = space.settings.genes[f"training.{field}"].bounds()
        assert bounds is not None  # the settings are numbers
        largest[field] = int(bounds[1])
    return Training.model_validate(largest)


def rates(space: Space, method: str) -> tuple[float, ...]:
    """Learning rates at which to try a method, the middle one first: spread over what the space has for it."""
    gene = space.genes.get(f"{method}.learning_rate")
    bounds = None if gene is None else gene.bounds()
    if gene is None or bounds is None:
        found: Sequence[float] = USUAL_RATES[method]
    elif (listed := gene.listed()) is not None and len(listed) <= RATES:
        found = sorted(float(value) for value in listed if isinstance(value, int | float))
    else:
        places = (np.arange(RATES) + 0.5) / RATES  # a sixth, a half, five sixths of the range
        low, high = np.log(bounds)
        found = [float(f"{np.exp(low + place * (high - low)):.3g}") for place in places]
    middle = found[len(found) // 2]
    return (middle, *(rate for rate in found if rate != middle))


def _rank(roles: Iterable[str], shape: BackboneShape) -> int:
    """Rank 8, or the largest that the narrowest weight of a tiny backbone allows."""
    wanted = set(roles)
    return min(RANK, *(min(shape.weight_shape(site)) for site in shape.sites() if site.role in wanted))


def _front(ranked: Sequence[Shrunken]) -> list[Shrunken]:
    """The front over expected score and parameters, from the smallest."""
    by_number = {one.trial.number: one for one in ranked}
    expected = [one.trial.model_copy(update={"score": one.expected}) for one in ranked]
    return [by_number[trial.number] for trial in front(expected)]


def _entrant(one: Shrunken) -> Entrant:
    assert one.trial.candidate is not None
    return Entrant(
        name=f"{' + '.join(one.trial.methods)} (trial {one.trial.number})",
        kind="finalist",
        candidate=one.trial.candidate,
        parameters=one.trial.parameters,
        trial=one.trial.number,
        searched=one.seen,
        expected=one.expected,
        expected_sd=one.sd,
    )
