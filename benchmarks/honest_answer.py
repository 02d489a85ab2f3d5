"""How often what an answer states is true, in simulated searches: ``PYTHONPATH=. python benchmarks/honest_answer.py``.

Worlds of known worth, as the tests have them (seeds scatter by one point): whether the prediction interval holds fresh
seeds, the tie set the best finalist, what winner and export give up, how often a combination that is no better is said
to win; and whether the intervals of pairs of methods hold the truth. Written to
``benchmarks/results/honest_answer.md``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from autodelta.search.answer import Entrant, conclude
from autodelta.search.answer.posterior import seed_spread
from autodelta.search.answer.select import LEVEL, choose, gap
from autodelta.search.interactions import pairs
from tests.search.answer.simulated import BITFIT, LORA, World, baseline, finalist
from tests.search.test_interactions import draw, score, worth

RESULT = Path(__file__).parent / "results" / "honest_answer.md"
BASELINES = [baseline(rival, number) for rival in ("lora", "full") for number in range(3)]
WORTH = {"lora 0": 0.78, "lora 1": 0.77, "lora 2": 0.76, "full 0": 0.81, "full 1": 0.80, "full 2": 0.79}
LIKE = ((BITFIT,),) * 4
MIXED = ((BITFIT,), *((LORA, BITFIT),) * 3)
FRESH = range(100, 120)
SD, EXPECTED_SD = 0.01, 0.01  # between seeds; of what a search expects, apart from the luck of its one seed


class Setting(NamedTuple):
    """How far apart finalists are, how unlike they scatter (s.d. of the log), and how luck carries over to test."""

    name: str
    apart: float
    unlike: float
    correlation: float = 0.5
    lucky: float = 0.0  # by how much the first finalist, expected to be the best, is expected to be better than it is


SETTINGS = (
    Setting("equal finalists", 0.0, 0.0),
    Setting("0.4 points apart", 0.004, 0.0),
    Setting("0.4 points apart, seeds scatter unlike", 0.004, 0.5),
    Setting("the same, as unlike as on recorded trials", 0.004, 1.0),
    Setting("equal finalists, luck carries over", 0.0, 0.0, correlation=0.9),
    Setting("2 points apart, the one that seems best is the worst", 0.02, 0.5, lucky=0.08),
)


class Drawn(NamedTuple):
    """A world, and who is confirmed in it, as a search would expect them to be, the best first."""

    world: World
    entrants: list[Entrant]


def draw_world(setting: Setting, deltas: Sequence[tuple[dict[str, object], ...]], seed: int) -> Drawn:
    """One draw. What a search expects of a finalist rests on one seed of it."""
    rng = np.random.default_rng([9, seed])
    names = [*(f"finalist {number}" for number in range(len(deltas))), *WORTH]
    sds = {name: SD * float(np.exp(rng.normal(0, setting.unlike))) for name in names}
    own = {name: 0.8 - setting.apart * (3 - number) for number, name in enumerate(names[: len(deltas)])}
    raced = []
    for number, (name, true) in enumerate(own.items()):
        luck = rng.normal(0, np.hypot(EXPECTED_SD, sds[name])) + (0 if number else setting.lucky)
        raced.append(finalist(number, *deltas[number], expected=true + luck, expected_sd=EXPECTED_SD))
    raced.sort(key=lambda one: -(one.expected or 0.0))
    return Drawn(World(own | WORTH, seed=seed, sds=sds, correlation=setting.correlation), [*raced, *BASELINES])


def answer_row(setting: Setting, runs: int, worlds: int) -> list[str]:
    """Coverage of the prediction interval, its median width in s.d., coverage of the winner's differences to all others
    and of the tie set; points given up by winner and export."""
    inside, held, lost, exported, widths, apart = [], [], [], [], [], []
    for seed in range(worlds):
        drawn, entrants = draw_world(setting, LIKE, seed)
        results = drawn.race(entrants, runs=runs)
        choice = choose(entrants, results)
        found = conclude(entrants, results, task="", metric="accuracy", rows={}, score=lambda gold, predicted: 0.0)
        assert choice is not None
        best = max((f"finalist {number}" for number in range(4)), key=lambda name: drawn.worth[name])
        winner = next(entrant for entrant in entrants if entrant.name == choice.winner)
        if found.next_seed is not None:  # of one seed each nothing is said
            fresh = [drawn.run(winner, number).test or 0.0 for number in FRESH]
            inside += [found.next_seed.low <= one <= found.next_seed.high for one in fresh]
            widths.append(found.next_seed.width / seed_spread(results, winner.name, split="test").sd)
        gaps = {one.name: gap(results, winner.name, one.name, split="test") for one in entrants if one != winner}
        known = {name: one.interval(LEVEL) for name, one in gaps.items() if one is not None}
        truths = {name: drawn.worth[winner.name] - drawn.worth[name] for name in known}
        apart += [one.low <= truths[name] <= one.high for name, one in known.items() if one is not None]
        held.append(best in choice.tied)
        lost.append(drawn.worth[best] - drawn.worth[choice.winner])
        exported.append(drawn.worth[best] - drawn.worth[choice.export])
    return [
        setting.name,
        str(runs),
        f"{np.mean(inside):.3f}",
        f"{np.median(widths):.2f}",
        f"{np.mean(apart):.3f}" if apart else "-",
        f"{np.mean(held):.3f}",
        f"{100 * np.mean(lost):.2f}",
        f"{100 * np.mean(exported):.2f}",
    ]


def false_wins(correlation: float, worlds: int) -> float:
    """The share of worlds without any difference among finalists in which a combination is said to win."""
    setting = Setting("", 0.0, 0.0, correlation=correlation)
    won = 0
    for seed in range(worlds):
        drawn, entrants = draw_world(setting, MIXED, seed)
        results = drawn.race(entrants, runs=30)
        found = conclude(entrants, results, task="", metric="accuracy", rows={}, score=lambda gold, predicted: 0.0)
        won += "no combination beats one method" not in found.verdicts
    return won / worlds


def pair_rows(trials: int, worlds: int) -> list[list[str]]:
    """How often each pair's interval holds its true gain."""
    inside: dict[tuple[str, str], list[bool]] = {}
    for seed in range(worlds):
        found, rng = draw(trials, seed=seed), np.random.default_rng(seed)
        for pair in pairs(found, [score(one, rng) for one in found], seed=seed):
            truth = worth(pair.methods) - max(worth((method,)) for method in pair.methods)
            if pair.gain is not None:
                inside.setdefault(pair.methods, []).append(pair.gain.low <= truth <= pair.gain.high)
    return [[" + ".join(names), str(trials), f"{np.mean(held):.2f}"] for names, held in sorted(inside.items())]


def table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def main(worlds: Annotated[int, typer.Option(min=10)] = 150) -> None:
    columns = (
        "world",
        "runs",
        "fresh seeds inside 90 %",
        "median width, in s.d.",
        "differences inside 90 %",
        "best in tie set",
    )
    columns += ("winner gives up, points", "export gives up, points")
    answers = [answer_row(setting, runs, worlds) for runs in (3, 6, 12, 25, 40, 60) for setting in SETTINGS]
    wins = [[f"{correlation:g}", f"{false_wins(correlation, worlds):.3f}"] for correlation in (0.5, 0.95)]
    gains = [row for trials in (80, 200) for row in pair_rows(trials, max(10, worlds // 4))]
    text = "\n\n".join(
        [
            f"By `PYTHONPATH=. python benchmarks/honest_answer.py`: {worlds} simulated searches a line, "
            f"{max(10, worlds // 4)} for pairs.",
            table(columns, answers),
            "Equal finalists: how often a combination is said to win.",
            table(("correlation of luck on validation and test", "share"), wins),
            "Pairs of methods: how often the 90 % interval holds the true gain.",
            table(("pair", "trials", "share"), gains),
        ]
    )
    RESULT.write_text(text + "\n", encoding="utf8")
    print(text)


if __name__ == "__main__":
    typer.run(main)
