"""Which configuration of a pool to try next, by name: from chance to `meta`, each from what was observed alone.

A choice is a pure question: the model on the task with its trials so far, the pool, and the rows that are taken.
Nothing is kept between choices, so that a search that is taken up again asks what it would have asked."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import rankdata

from autodelta.errors import one_of
from autodelta.meta.on_task import OnTask
from autodelta.meta.problem import Configurations, Flags, Floats, NoTransfer
from autodelta.meta.standing import Arm
from autodelta.meta.weighed import HOLDS, STORIES

UNTESTED = 2  # trials that the past alone chooses: with fewer scores, nothing can be said of how it ranks
BENEFIT = 4.0  # the odds that a past that holds has beforehand, to one of each other story
MAJORITY = 2 / 3  # a story with more is not outvoted: its second has at most half of that, and all others what is left
PLAIN_START = 3  # random trials before a plain process has something to say


class Choice(NamedTuple):
    """A row of the pool, and why."""

    row: int
    reason: str


# Whose beliefs say which of what was tried a policy hands over; of one that is not named, the best score does.
BELIEVED: Mapping[str, Arm | Literal["past"] | None] = {
    "shared": "shared",
    "hypernetwork": "hypernetwork",
    "unguarded": "past",
    "meta": None,
}

Policy = Callable[[OnTask, Configurations, Flags, np.random.Generator], Choice]


def ask(name: str, on: OnTask, pool: Configurations, taken: Flags, *, seed: int = 0) -> Choice:
    """The next choice of a policy.

    Args:
        name: of the policy.
        on: the model on the task, with what was observed.
        pool: what may be chosen.
        taken: (N,) what may not be chosen again.
        seed: of this choice.

    Raises:
        UserError: no policy has that name.
        NoTransfer: the policy needs features that the task does not have.
        IndexError: nothing is left.
    """
    if name not in POLICIES:
        raise one_of("policy", name, POLICIES)
    if taken.all():
        raise IndexError("every configuration of the pool is taken")
    return POLICIES[name](on, pool, taken, np.random.default_rng(seed))


def handed_over(name: str, on: OnTask, tried: Configurations) -> int | None:
    """The row of what one of ``BELIEVED`` hands over, of configurations with a score: that of the highest expected mean
    over seeds. None: the past does not foretell even its own tasks, and the best score says it."""
    if on.model.found.opening is None:
        return None
    return int(np.argmax(on.beliefs(tried, BELIEVED[name]).mean))


def at_random(on: OnTask, pool: Configurations, taken: Flags, rng: np.random.Generator) -> Choice:
    """One of those that are left."""
    return Choice(int(rng.choice(np.flatnonzero(~taken))), "at random")


def of_portfolio(on: OnTask, pool: Configurations, taken: Flags, rng: np.random.Generator) -> Choice:
    """The first of the portfolio that is left; when it has run out, what the shared prior wants."""
    rows = {key: row for row, key in enumerate(pool.keys)}
    for place, key in enumerate(on.model.portfolio.keys):
        if key in rows and not taken[rows[key]]:
            return Choice(rows[key], f"number {place + 1} of the portfolio of past winners")
    return shared(on, pool, taken, rng)


def plain(on: OnTask, pool: Configurations, taken: Flags, rng: np.random.Generator) -> Choice:
    """What a Gaussian process without transfer wants; the first ones at random."""
    if len(on) < PLAIN_START:
        return at_random(on, pool, taken, rng)
    return Choice(_most(on.wanted(pool, "plain"), taken, rng), "expected improvement without transfer")


def shared(on: OnTask, pool: Configurations, taken: Flags, rng: np.random.Generator) -> Choice:
    """What the shared prior wants."""
    return Choice(_most(on.wanted(pool, "shared"), taken, rng), "expected improvement under the shared prior")


def hypernetwork(on: OnTask, pool: Configurations, taken: Flags, rng: np.random.Generator) -> Choice:
    """What the hypernetwork wants."""
    if "hypernetwork" not in on.arms:
        raise NoTransfer("the task lacks features")
    return Choice(_most(on.wanted(pool, "hypernetwork"), taken, rng), "expected improvement under the task's prior")


def meta(on: OnTask, pool: Configurations, taken: Flags, rng: np.random.Generator) -> Choice:
    """What the past wants at first; then what ranks high by expected improvement under the stories of it, each counting
    as far as it is believed: the sum of shares over ranks (as the reciprocal rank fusion of Cormack et al. 2009,
    doi:10.1145/1571941.1572114, without its constant).

    That the past holds is likelier beforehand, and is taken at its word: what the network wants, its own covariance
    included. A past that does not foretell even its own tasks is not asked.
    """
    if on.model.found.opening is None:
        return plain(on, pool, taken, rng)
    if on.begun < max(UNTESTED, on.model.found.opening):
        return unguarded(on, pool, taken, rng)
    odds = np.array([BENEFIT if story == HOLDS else 1.0 for story in STORIES])
    shares = odds * on.stories() / (odds @ on.stories())
    asked = [story for story, share in enumerate(shares) if share > MAJORITY] or list(range(len(STORIES)))
    wanted = [on.wanted(pool, "past") if STORIES[story] == HOLDS else on.wanted_if(story, pool) for story in asked]
    ranks = rankdata(np.where(taken, np.inf, -np.array(wanted)), method="min", axis=1)
    votes = shares[asked, None] / ranks
    row = _most(votes.sum(axis=0), taken, rng)
    most = asked[int(np.argmax(votes[:, row]))]
    return Choice(row, f"expected improvement, {STORIES[most].name} at {shares[most]:.0%}")


def unguarded(on: OnTask, pool: Configurations, taken: Flags, rng: np.random.Generator) -> Choice:
    """As `meta`, but the past is never doubted."""
    if on.begun < (on.model.found.opening or 0):
        return of_portfolio(on, pool, taken, rng)
    return Choice(_most(on.wanted(pool, "past"), taken, rng), "expected improvement as past tasks foretell it")


def _most(wanted: Floats, taken: Flags, rng: np.random.Generator) -> int:
    """The row that is wanted most of those that are left; equals are drawn from."""
    order = rng.permutation(len(wanted))
    left = np.where(taken, -np.inf, wanted)[order]
    return int(order[np.argmax(left)])


POLICIES: Mapping[str, Policy] = {
    "random": at_random,
    "portfolio": of_portfolio,
    "plain": plain,
    "shared": shared,
    "hypernetwork": hypernetwork,
    "unguarded": unguarded,
    "meta": meta,
}
