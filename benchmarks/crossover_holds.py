"""Whether the interval around a crossover holds the true one, by ways of drawing it; simulated curves, seconds.

    python benchmarks/crossover_holds.py

Two compositions at three train sizes, 100, 500 and 2,500 rows, with straight true differences over log rows that cross
at a random place between the ends. Seeds scatter normally, more at few rows (1.5 times) than at many; pairs of runs at
a seed share nothing. For each way: how often the 90 % interval holds the true place, and its median width in decades,
among simulated studies in which a crossing was seen. Ways: what ``autodelta.studies.sizes.crossing`` does (Student's t
around the mean, spreads moderated), and the seeds themselves drawn again, singly or as pairs.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autodelta.candidate import Candidate
from autodelta.search.answer import Confirmed
from autodelta.studies.sizes.crossing import crossings, differences, places

RESULTS = Path(__file__).parent / "results"
ROWS, SCATTER = (100, 500, 2500), (1.5, 1.2, 1.0)
X = np.log(np.array(ROWS, dtype=float))
SIMULATED, DRAWS = 500, 500
SLOPES = (0.02, 0.05)  # of the difference over the whole span
SEED_SD = 0.01
CANDIDATE = Candidate.model_validate(
    {
        "deltas": [{"method": "bitfit", "roles": ["encoder.self_attn.q"], "learning_rate": 0.001}],
        "training": {"steps": 40, "batch_size": 8},
    }
)

Scores = np.ndarray[tuple[int, ...], np.dtype[np.float64]]  # (2, sizes, seeds)
Ends = tuple[float, float]  # in log rows


class Seen(NamedTuple):
    """The intervals of one simulated study."""

    truth: float
    ends: dict[str, Ends]


def confirmed(scores: Scores, size: int) -> list[Confirmed]:
    return [
        Confirmed(entrant=name, candidate=CANDIDATE, seed_index=seed, seed=seed, validation=score, test=score)
        for name, runs in zip("AB", scores[:, size], strict=True)
        for seed, score in enumerate(runs)
    ]


def ours(scores: Scores, place: float, rng: np.random.Generator) -> Ends:
    runs = {rows: confirmed(scores, number) for number, rows in enumerate(ROWS)}
    found = crossings("A", "B", differences(runs, "A", "B"), seed=int(rng.integers(2**31)))
    nearest = min(found, key=lambda one: abs(math.log(one.rows or math.inf) - place))
    low = -math.inf if nearest.low is None else math.log(nearest.low)
    return low, math.inf if nearest.high is None else math.log(nearest.high)


def drawn_again(scores: Scores, place: float, rng: np.random.Generator, *, paired: bool) -> Ends:
    _, sizes, seeds = scores.shape
    sign = next(way for where, way in places(X, _means(scores)) if where == place)
    found = []
    for _ in range(DRAWS):
        picked = rng.integers(seeds, size=(2, sizes, seeds))
        if paired:
            picked[1] = picked[0]
        again = _means(np.take_along_axis(scores, picked, axis=2))
        same = [where for where, way in places(X, again) if way == sign]
        beyond = -math.inf if again[-1] * sign > 0 else math.inf
        found.append(min(same, key=lambda where: abs(where - place)) if same else beyond)
    low, high = np.quantile(found, [0.05, 0.95], method="inverted_cdf")
    return float(low), float(high)


def _means(scores: Scores) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return (scores[0] - scores[1]).mean(axis=1)


WAYS: dict[str, Callable[[Scores, float, np.random.Generator], Ends]] = {
    "Student's t, moderated (ours)": ours,
    "seeds drawn again": lambda scores, place, rng: drawn_again(scores, place, rng, paired=False),
    "pairs of seeds drawn again": lambda scores, place, rng: drawn_again(scores, place, rng, paired=True),
}


def simulated(slope: float, seeds: int, rng: np.random.Generator) -> Seen | None:
    """One study; None where no crossing was seen."""
    truth = rng.uniform(X[0] + 0.15 * (X[-1] - X[0]), X[-1] - 0.15 * (X[-1] - X[0]))
    difference = -slope * (X - truth) / (X[-1] - X[0])
    noise = SEED_SD * np.array(SCATTER)[:, None] * rng.standard_normal((2, len(ROWS), seeds))
    scores = noise + np.stack([difference, np.zeros(len(ROWS))])[:, :, None]
    found = places(X, _means(scores))
    if not found:
        return None
    place = min((where for where, _ in found), key=lambda where: abs(where - truth))
    return Seen(truth, {name: way(scores, place, rng) for name, way in WAYS.items()})


def main() -> None:
    lines = [
        "| seeds | lead at the ends, s.d. of a seed | way | holds | median width, decades |",
        "|---|---|---|---|---|",
    ]
    for seeds in (3, 5):
        for slope in SLOPES:
            rng = np.random.default_rng([seeds, round(1000 * slope)])
            found = [one for one in (simulated(slope, seeds, rng) for _ in range(SIMULATED)) if one is not None]
            for way in WAYS:
                holds = np.mean([one.ends[way][0] <= one.truth <= one.ends[way][1] for one in found])
                span = [np.diff(np.clip(one.ends[way], X[0], X[-1]))[0] / math.log(10) for one in found]
                lines.append(f"| {seeds} | {slope / 2 / SEED_SD:.1f} | {way} | {holds:.3f} | {np.median(span):.2f} |")
    text = "\n".join(lines) + "\n"
    (RESULTS / "crossover_holds.md").write_text(
        f"Of `benchmarks/crossover_holds.py`: {SIMULATED} simulated studies a row, 90 % intervals.\n\n{text}"
    )
    print(text)


if __name__ == "__main__":
    main()
