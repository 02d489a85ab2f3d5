"""What a fit finds out on tasks that its judges have not learned from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autodelta.meta.fitting import LEAST_JUDGED, OPENED, SURE, _best_opening, fit
from autodelta.meta.problem import Floats, Points, Source, Sources
from autodelta.meta.training import Settings
from tests.meta.families import LAYOUT, sources

TASKS = 16
LOW = np.full((TASKS, OPENED), 0.2)


def by(errors: float) -> Floats:
    """Regrets above ``LOW``, (tasks, trials), by so many standard errors of their mean over tasks."""
    spread = np.random.default_rng(0).standard_normal(TASKS)
    spread = (spread - spread.mean()) / spread.std() * 0.01
    return np.asarray(LOW + (spread + errors * 0.01 / np.sqrt(TASKS))[:, None])


@pytest.mark.parametrize("sure", [True, False])
def test_a_past_is_asked_where_it_is_surely_better_than_chance_on_its_own_tasks(sure: bool) -> None:
    chance = by(SURE * 1.02 if sure else SURE * 0.98)
    assert _best_opening({0: list(LOW), 1: list(LOW + 0.1)}, list(chance)) == (0 if sure else None)


@pytest.mark.parametrize("sure", [True, False])
def test_a_portfolio_opens_where_it_is_surely_better_than_the_network(sure: bool) -> None:
    network = by(SURE * 1.02 if sure else SURE * 0.98)
    assert _best_opening({0: list(network), 1: list(LOW), 2: list(LOW + 0.1)}, list(LOW + 1)) == (1 if sure else 0)


@pytest.mark.parametrize(("tried", "judged"), [(LEAST_JUDGED - 1, 0), (LEAST_JUDGED, 5)])
def test_a_task_with_few_configurations_judges_nothing(tried: int, judged: int) -> None:
    torch.set_num_threads(1)
    known = sources(8)
    few = tuple(_first(task, tried if number < 5 else 4) for number, task in enumerate(known.tasks))
    quick = Settings(steps=2, tasks=4, members=2, hidden=8, heads=4, embedding=4)
    assert fit(Sources(LAYOUT, known.configurations, few), quick).found.tasks == judged


def _first(task: Source, number: int) -> Source:
    """The task with so many of its trials."""
    points = Points.of_ends(task.points.rows[:number], task.points.scores[:number])
    return replace(task, points=points, log_seconds=task.log_seconds[:number], log_bytes=task.log_bytes[:number])
