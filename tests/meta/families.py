"""A synthetic family of tasks in memory, for tests: scores follow from configurations and from what features tell."""

import numpy as np

from autodelta.meta.problem import Configurations, Floats, Layout, Points, Source, Sources, gathered

LAYOUT = Layout(("a", "b"), ("size",), ("rate",), ("easy", "wide"))


def pool(number: int = 40, seed: int = 0) -> Configurations:
    """Sets of one or two tokens."""
    rng = np.random.default_rng(seed)

    def token() -> Floats:
        kind = rng.integers(2)
        return np.array([kind == 0, kind == 1, rng.uniform(-1, 1)], dtype=np.float64)

    rows = [(f"c{n}", [token() for _ in range(rng.integers(1, 3))], rng.uniform(-1, 1, 1)) for n in range(number)]
    return gathered(LAYOUT, rows)


def scores(configurations: Configurations, features: Floats, seed: int = 0) -> Floats:
    """The best size and rate depend on the features; kind `a` is better than `b`."""
    tokens = configurations.tokens * configurations.present[:, :, None]
    size, rate = tokens[:, :, 2].sum(axis=1), configurations.settings[:, 0]
    good = tokens[:, :, 0].sum(axis=1) - 0.7 * tokens[:, :, 1].sum(axis=1)
    found = good + features[0] * size - (rate - 0.7 * features[1]) ** 2
    noise = np.random.default_rng(seed).normal(size=len(found))
    return np.asarray(0.6 + 0.05 * found + 0.002 * noise)


def source(configurations: Configurations, number: int, *, curves: bool = False, turn: float = 1.0) -> Source:
    """One task; with curves, each trial also has a score at a third of its steps, which its end follows from."""
    features = np.random.default_rng(1000 + number).uniform(-1, 1, 2)
    ends = turn * scores(configurations, features, number)
    rows = np.arange(len(ends))
    points = Points.of_ends(rows, ends)
    if curves:
        early = ends - 0.05
        rungs = np.repeat([1 / 3, 1.0], len(rows))
        points = Points(np.tile(rows, 2), rungs, np.concatenate([early, ends]))
    seconds = np.log(10.0) + configurations.settings[np.asarray(points.rows), 0]
    return Source(f"task{number}", f"family{number // 2}", features, points, seconds, seconds + 3)


def sources(number: int = 16, *, curves: bool = False, turn: float = 1.0) -> Sources:
    """Many such tasks, two of each family."""
    configurations = pool()
    tasks = tuple(source(configurations, n, curves=curves, turn=turn) for n in range(number))
    return Sources(LAYOUT, configurations, tasks)
