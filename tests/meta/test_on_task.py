"""The model on one task: its level, trials on their way, and trials that are awaited."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autodelta.meta import on_task
from autodelta.meta.fitting import fit
from autodelta.meta.model import Model
from autodelta.meta.on_task import _agreement
from autodelta.meta.plain import RISE, Along, rise
from autodelta.meta.problem import Points
from autodelta.meta.squash import seen
from autodelta.meta.training import Settings
from tests.meta.families import pool, scores, sources

QUICK = Settings(steps=120, tasks=8, members=2, hidden=24, heads=8, embedding=4)
FEATURES = np.array([0.5, -0.5])
EARLY = 0.112  # the first rung of a search, as a share of the steps


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return fit(sources(), QUICK)


@pytest.mark.parametrize("below", [0.0, 0.2, 0.4])  # up to two and a half deviations of what was foretold
def test_a_task_whose_scores_lie_far_below_what_was_foretold_finds_its_level(model: Model, below: float) -> None:
    unsure = replace(model, levels=model.levels._replace(error=np.array([0.16, 0.6])))
    found, truth = pool(), scores(pool(), FEATURES) - below
    on = unsure.on(FEATURES)
    shown = np.arange(0, 40, 4)
    on.observe(found, Points.of_ends(shown, truth[shown]))
    low, high = on.interval(found)
    assert truth.min() < on.level[0] < truth.max()
    assert np.mean(high - low) < 2 * np.ptp(truth)
    assert np.mean((low <= truth) & (truth <= high)) > 0.8


def test_the_level_is_inferred_from_what_was_foretold_unless_scores_lie_far_below(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def level(below: float) -> tuple[float, float]:
        on, shown = model.on(FEATURES), np.arange(0, 40, 4)
        on.observe(pool(), Points.of_ends(shown, scores(pool(), FEATURES)[shown] - below))
        return on.level

    near, far = level(0.0), level(0.4)
    monkeypatch.setattr(on_task, "FAR", np.inf)
    assert level(0.0) == near
    assert level(0.4) != far


def test_the_scores_own_level_and_the_level_as_told_wait_for_four_scores(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(scored: int, below: float) -> tuple[float, float]:
        """Offset of the level, and mean width of intervals."""
        on, shown = model.on(FEATURES), np.arange(scored)
        on.observe(pool(), Points.of_ends(shown, scores(pool(), FEATURES)[shown] - below))
        low, high = on.interval(pool())
        return on.level[0], float(np.mean(high - low))

    as_it_is = {scored: (told(scored, 0.4)[0], told(scored, 0.0)[1]) for scored in (3, 4)}
    monkeypatch.setattr(on_task, "LEVEL_KNOWN", 3)
    sooner = {scored: (told(scored, 0.4)[0], told(scored, 0.0)[1]) for scored in (3, 4)}
    assert sooner[4] == as_it_is[4]
    assert sooner[3][0] < as_it_is[3][0]
    assert sooner[3][1] < as_it_is[3][1]


def test_without_transfer_improvement_is_by_half_a_scale(model: Model) -> None:
    found, truth = pool(), scores(pool(), FEATURES)
    on, shown = model.on(FEATURES), np.arange(0, 40, 4)
    on.observe(found, Points.of_ends(shown, truth[shown]))
    best, scale = float(seen(truth[shown], *on.level).max()), on.level[1]
    for arm, margin in (("plain", 0.5 * scale), ("shared", 0.0), ("past", 0.0)):
        expected = on.beliefs(found, arm).improvement(best + margin)  # type: ignore[arg-type]
        np.testing.assert_allclose(np.exp(on.wanted(found, arm)), expected, atol=1e-12)  # type: ignore[arg-type]


def test_at_their_ends_trials_are_alike_as_configurations_are() -> None:
    ends = np.zeros(3)
    share, lag = Along.of(ends, ends)
    assert (share == 1).all()
    assert (lag == 0).all()
    assert (rise(ends) == 0).all()


def test_the_covariance_along_trials_has_a_factor() -> None:
    logs = np.log(np.random.default_rng(0).uniform(0.02, 1, 40))
    share, lag = Along.of(logs, logs)
    assert np.linalg.eigvalsh(share + lag).min() > -1e-9


def test_without_transfer_a_trial_that_was_stopped_early_is_no_bad_one(model: Model) -> None:
    found, truth = pool(), scores(pool(), FEATURES)
    scale = float(truth.std())
    ended, stopped = np.arange(0, 40, 4), np.arange(1, 40, 4)
    on, early = model.on(None, arms=("plain",)), model.on(None, arms=("plain",))
    on.observe(found, Points.of_ends(ended, truth[ended]))
    rungs = np.concatenate([np.ones(len(ended)), np.full(len(stopped), EARLY)])
    so_far = np.full(len(stopped), truth.mean() - RISE * (1 - EARLY) * scale)
    early.observe(found, Points(np.concatenate([ended, stopped]), rungs, np.concatenate([truth[ended], so_far])))
    moved = early.predict(found)[0][stopped] - on.predict(found)[0][stopped]
    assert np.abs(moved).mean() < 0.15 * scale


def test_a_past_is_not_believed_for_knowing_that_scores_rise() -> None:
    """Scores that have nothing to do with the configurations: the past knows but which of them are early ones."""
    torch.set_num_threads(1)
    model = fit(sources(12, curves=True), QUICK)
    beliefs = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rungs = np.where(np.arange(20) < 3, 1.0, 1 / 3)
        on = model.on(FEATURES)
        on.observe(
            pool(), Points(rng.permutation(40)[:20], rungs, 0.6 + 0.05 * rng.normal(size=20) - 0.05 * (rungs < 1))
        )
        beliefs.append(on.stories())
    nothing, _, holds = np.mean(beliefs, axis=0)
    assert nothing > 2 * holds


def test_how_a_past_ranks_is_asked_of_points_at_one_rung_alone() -> None:
    scores, expected = np.array([0.1, 0.2, 0.5, 0.6]), np.array([0.2, 0.1, 0.6, 0.5])  # right between the rungs alone
    rungs = np.array([0.1, 0.1, 1.0, 1.0])
    assert _agreement(expected, scores, rungs) == pytest.approx(-2 / np.sqrt(2))
    assert _agreement(expected, scores, np.ones(4)) == pytest.approx(2 / np.sqrt(4 * 3 * 13 / 18))
    assert _agreement(expected, scores, np.array([0.1, 0.2, 0.3, 1.0])) == 0


def test_awaited_trials_keep_others_away_and_say_nothing_of_the_past(model: Model) -> None:
    found, truth = pool(), scores(pool(), FEATURES)
    shown = np.arange(0, 12)
    alone, waiting = model.on(FEATURES), model.on(FEATURES)
    for on in (alone, waiting):
        on.observe(found, Points.of_ends(shown, truth[shown]))
    first = int(np.argmax(np.where(np.isin(np.arange(40), shown), -np.inf, alone.wanted(found, "past"))))
    waiting.expect(found.take([first]))
    assert (len(waiting), waiting.begun) == (12, 13)
    assert waiting.stories() == pytest.approx(alone.stories())
    assert waiting.trust() == pytest.approx(alone.trust())
    assert waiting.level == pytest.approx(alone.level)
    np.testing.assert_allclose(waiting.predict(found)[0], alone.predict(found)[0])
    for arm in ("past", "plain"):
        assert waiting.wanted(found, arm)[first] < alone.wanted(found, arm)[first]  # type: ignore[arg-type]
    assert waiting.wanted_if(0, found)[first] < alone.wanted_if(0, found)[first]
