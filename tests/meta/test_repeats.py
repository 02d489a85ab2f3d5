"""Tasks whose trials differ by their seeds alone teach little, and how noisy a score is, is known from repeats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autodelta.meta.fitting import fit
from autodelta.meta.plain import NOISE
from autodelta.meta.problem import Points, Source, Sources
from autodelta.meta.repeats import LEAST, lessons, noise_of_a_score, noise_shares
from autodelta.meta.saved import load, save
from autodelta.meta.training import Settings
from tests.meta.families import LAYOUT, pool, scores, source, sources

QUICK = Settings(steps=120, tasks=8, members=2, hidden=24, heads=8, embedding=4)
FEATURES = np.array([0.5, -0.5])


def _repeated(share: float, *, seeds: int = 3, number: int = 400, seed: int = 0) -> Source:
    """A task on so many configurations, each with several seeds, that have this share in the variance of its scores."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(number), seeds)
    own = np.sqrt(1 - share) * rng.normal(size=number)
    found = own[rows] + np.sqrt(share) * rng.normal(size=len(rows))
    return Source(f"task{seed}", f"family{seed}", FEATURES, Points.of_ends(rows, found))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_the_share_of_noise_is_found_from_repeats(share: float) -> None:
    found = noise_shares([_repeated(share)])
    assert found is not None
    assert found[0] == pytest.approx(share, rel=0.15)
    assert noise_of_a_score([_repeated(share)]) == pytest.approx(np.sqrt(share), rel=0.1)


def test_a_few_repeats_are_drawn_to_what_other_tasks_show() -> None:
    few = _repeated(0.5, seeds=2, number=6, seed=1)
    found = noise_shares([few, *(_repeated(0.1, seed=n) for n in range(2, 6))])
    assert found is not None
    alone = noise_shares([few])
    assert alone is not None
    assert 0.1 < found[0] < alone[0]


def test_points_on_the_way_are_no_repeats() -> None:
    task = source(pool(), 0, curves=True)
    assert noise_shares([task]) is None
    assert noise_of_a_score([task]) is None
    assert lessons([task, source(pool(), 1)]).tolist() == [1.0, 1.0]


def test_tasks_count_by_what_is_no_noise_and_none_for_nothing() -> None:
    found = lessons([_repeated(0.1, seed=1), _repeated(0.6, seed=2), _repeated(1.0, seed=3)])
    assert found.mean() == pytest.approx(1.0)
    assert found[0] / found[1] == pytest.approx(0.9 / 0.4, rel=0.15)
    assert found[0] / found[2] == pytest.approx(0.9 / LEAST, rel=0.3)


def _noise(number: int) -> Source:
    """A task of the pool whose scores are noise throughout, two seeds of each configuration."""
    rows = np.tile(np.arange(40), 2)
    return Source(
        f"noise{number}",
        f"noise{number}",
        np.random.default_rng(number).uniform(-1, 1, 2),
        Points.of_ends(rows, 0.5 + 0.02 * np.random.default_rng(number).normal(size=80)),
    )


def test_tasks_of_noise_do_not_drown_what_the_others_teach() -> None:
    torch.set_num_threads(1)
    known = sources(12)
    twice = tuple(
        replace(
            task,
            points=Points(*(np.tile(part, 2) for part in (task.points.rows, task.points.rungs, task.points.scores))),
            log_seconds=np.empty(0),
            log_bytes=np.empty(0),
        )
        for task in known.tasks
    )
    noisy = tuple(_noise(number) for number in range(12))
    told = fit(Sources(LAYOUT, pool(), twice + noisy), QUICK)
    # the same trials, each under a name of its own: nothing is repeated, so that all tasks count alike
    blind_rows = pool().take(np.tile(np.arange(40), 2))
    blind = fit(
        Sources(
            LAYOUT,
            replace(blind_rows, keys=tuple(f"{key}-{n // 40}" for n, key in enumerate(blind_rows.keys))),
            tuple(replace(task, points=replace(task.points, rows=np.arange(80))) for task in twice + noisy),
        ),
        QUICK,
    )

    def foretold(number: int) -> list[float]:
        features = np.random.default_rng(number).uniform(-1, 1, 2)
        truth = scores(pool(), features, number)
        return [
            float(np.corrcoef(model.on(features).beliefs(pool(), "past").mean, truth)[0, 1]) for model in (told, blind)
        ]

    found = np.mean([foretold(number) for number in range(2000, 2012)], axis=0)
    assert found[0] > found[1] > 0.3


def test_the_process_without_transfer_has_the_noise_that_repeats_show(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    assert fit(sources(), QUICK).plain.noise == NOISE
    tasks = tuple(_noise(number) for number in range(8))
    model = fit(Sources(LAYOUT, pool(), tasks), QUICK)
    assert model.plain.noise == noise_of_a_score(tasks)
    save(model, tmp_path)
    assert load(tmp_path).plain.noise == model.plain.noise
