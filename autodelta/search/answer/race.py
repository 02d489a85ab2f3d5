"""Which confirmation run comes next: a race that spends its runs where they can still change the answer.

What is needed most comes first, so that the race may end at any moment. First the winner is found: each run goes to the
finalist that is most likely the best, by what the search expects of it and by its fresh seeds, until the leader has
seven, with which its interval is no wider than four standard deviations. One that does not hold up at fresh seeds is so
left for the next, however few runs there are. Where several run at once, each gets as many as its chance calls for.
Then: LoRA as the plain baseline; three seeds, and then five, for all that are not significantly behind; the best single
method and full fine-tuning; at last sixteen seeds for the leader. A baseline is tried at each of its learning rates at
the first seed, and goes on with the one that validation prefers.

Sources: runs by the chance to be the best, Thompson 1933, Russo 2020 (Simple Bayesian algorithms for best-arm
identification); leaving who is behind by paired t tests, irace (Lopez-Ibanez et al. 2016).
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from autodelta.candidate import Candidate
from autodelta.search.answer.entrants import Entrant, Rival
from autodelta.search.answer.posterior import chances, highest
from autodelta.search.answer.results import Confirmed, failure, of, scores
from autodelta.search.answer.select import TELLING, worse

RIVALS: tuple[Rival, ...] = ("lora", "full")
FIRST, THEN, LEADERS = TELLING, 5, 7  # seeds
AT_MOST = 16  # seeds of the leader: from then on the width of a prediction is their own scatter
LEVEL = 0.95  # of leaving somebody behind, at each look; there are a few


@dataclass(frozen=True)
class Left:
    """What is left for confirmation runs, what a run takes of it, and which are under way."""

    seconds: float = math.inf  # of wall-clock, that each of the workers has
    device_seconds: float = math.inf  # that they have together; runs under way have been charged to their ends
    runs: float = math.inf  # runs under way have been counted
    running: Collection[tuple[str, int]] = ()  # names of entrants, and numbers of seeds
    seconds_of: Callable[[Candidate], float | None] = lambda candidate: None  # None: nobody knows; it is taken to fit


UNLIMITED = Left()
Chooser = Callable[[Sequence[Entrant], Sequence[Confirmed], Left], tuple[Entrant, int] | None]


def runs_allowed(trials: int, share: float) -> int:
    """How many confirmation runs a budget in trials alone comes to."""
    return max(3, math.ceil(round(trials * share / (1 - share), 9)))


def next_run(
    entrants: Sequence[Entrant],
    results: Sequence[Confirmed],
    left: Left = UNLIMITED,
) -> tuple[Entrant, int] | None:
    """The next run, an entrant and the number of a seed; None when nothing that would still help is foreseen to fit, or
    has to wait for runs under way."""
    if left.runs < 1:
        return None
    race = _Race(entrants, results, left)
    for entrant, seeds in race.wanted():
        seed = race.seed_for(entrant, seeds)
        if seed is not None and race.seconds(entrant) <= min(left.seconds, left.device_seconds):
            return entrant, seed
    return None


class _Race:
    """The state of a race, derived anew from the results at each question."""

    def __init__(
        self,
        entrants: Sequence[Entrant],
        results: Sequence[Confirmed],
        left: Left,
    ) -> None:
        self.results, self.running, self.seconds_of = results, left.running, left.seconds_of
        self.taken = {(run.entrant, run.seed_index) for run in results} | set(left.running)
        self.broken = {entrant.name for entrant in entrants if failure(results, entrant.name) is not None}
        self.rivals = {rival: [entrant for entrant in entrants if entrant.rival == rival] for rival in RIVALS}
        self.sound = [one for one in entrants if one.kind == "finalist" and one.name not in self.broken]
        self.leader = highest(self.sound, results)
        raced = [one.name for one in self.sound if scores(results, one.name)]
        behind = worse(self.leader.name, raced, results, level=LEVEL) if self.leader else set()
        self.ahead = [entrant for entrant in self.sound if entrant.name not in behind]

    def wanted(self) -> Iterator[tuple[Entrant, int]]:
        """Entrants with the number of seeds that each should have, the most needed first; nobody once every finalist
        broke down, as there is nothing to hold a baseline against."""
        if not self.sound:
            return
        yield from ((entrant, LEADERS) for entrant in self._likely())
        yield from self._rival("lora", FIRST)
        yield from self._rounds(self.ahead, FIRST)
        if all(len(scores(self.results, entrant.name)) >= FIRST for entrant in self.ahead):  # else who ties is open
            yield from self._rounds(self.ahead, THEN)
        singles = self._single()
        yield from self._rounds(singles, FIRST)
        yield from self._rival("full", FIRST)
        yield from self._rival("lora", THEN)
        yield from self._rounds(singles, THEN)
        yield from self._rival("full", THEN)
        if self.leader is not None and len(scores(self.results, self.leader.name)) >= LEADERS:
            yield self.leader, AT_MOST

    def _likely(self) -> list[Entrant]:
        """The finalists by their chance to be the best, each run under way taking of it; nobody once the leader has its
        seeds."""
        if self.leader is not None and self._runs(self.leader) >= LEADERS:
            return []
        share = {
            name: chance / (1 + sum(runner == name for runner, _ in self.running))
            for name, chance in chances(self.sound, self.results).items()
        }
        return sorted(self.sound, key=lambda entrant: -share[entrant.name])

    def _runs(self, entrant: Entrant) -> int:
        """That have ended or are under way."""
        return sum(name == entrant.name for name, _ in self.taken)

    def seed_for(self, entrant: Entrant, seeds: int) -> int | None:
        """The first seed that it lacks of so many; None if it has them, or broke down at one."""
        if entrant.name in self.broken:
            return None
        return next((seed for seed in range(seeds) if (entrant.name, seed) not in self.taken), None)

    def seconds(self, entrant: Entrant) -> float:
        """What a run of it will take: the dearest of its runs so far, else what is foreseen; 0 where nobody knows."""
        measured = [run.device_seconds for run in of(self.results, entrant.name)]
        return max(measured, default=0.0) or self.seconds_of(entrant.candidate) or 0.0

    def _rounds(self, entrants: Sequence[Entrant], seeds: int) -> Iterator[tuple[Entrant, int]]:
        for number in range(1, seeds + 1):
            yield from ((entrant, number) for entrant in entrants)

    def _rival(self, rival: Rival, seeds: int) -> Iterator[tuple[Entrant, int]]:
        """A baseline at each learning rate once, then the best of them; while one of them runs, nothing is chosen."""
        tried = self.rivals[rival]
        yield from ((entrant, 1) for entrant in tried)
        waiting = [e for e in tried if (e.name, 0) in self.taken and not of(self.results, e.name)]
        best = chosen(tried, self.results)
        if best is not None and not waiting:
            yield best, seeds

    def _single(self) -> list[Entrant]:
        """The best single method among the finalists, also where it was left behind; nobody if it leads."""
        raced = [one for one in self.sound if one.single and scores(self.results, one.name)]
        best = highest(raced, self.results)
        return [] if best is None or best == self.leader else [best]


def chosen(tried: Sequence[Entrant], results: Sequence[Confirmed]) -> Entrant | None:
    """Of one baseline at several learning rates, the one that validation prefers at the first seed."""
    found = {
        entrant.name: scores(results, entrant.name)[0]
        for entrant in tried
        if failure(results, entrant.name) is None and 0 in scores(results, entrant.name)
    }
    return max((entrant for entrant in tried if entrant.name in found), key=lambda e: found[e.name], default=None)
