"""The closed form is that of a Gaussian process with an offset and a scale, written out densely."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from autodelta.meta.level import GRID, Level
from autodelta.meta.posterior import JITTER, Mixture, Posterior, joined
from autodelta.meta.regression import levels_by_features
from autodelta.meta.squash import scale_of, seen, spread, squash, unseen

LEVEL = Level(offset=0.6, offset_sd=0.1, log_scale=np.log(0.05), log_scale_sd=0.5)


def _drawn(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(number, 5))
    return rng.normal(size=number), basis @ basis.T + 0.3 * np.eye(number)


def test_the_posterior_is_the_dense_gaussian_process_in_float64() -> None:
    mean, kernel = _drawn(12)
    at, new = slice(0, 7), slice(7, 12)
    scores = np.random.default_rng(1).normal(0.6, 0.05, 7)
    posterior = Posterior(mean[at], kernel[at, at], LEVEL)
    posterior.tell(scores)
    found = posterior.predict(mean[new], kernel[new, at], np.diag(kernel)[new])
    logs, means, variances = [], [], []
    for step in GRID:
        c = np.exp(LEVEL.log_scale + LEVEL.log_scale_sd * step)
        whole = c**2 * (kernel + LEVEL.relative**2)
        seen_part = whole[at, at] + c**2 * JITTER * np.eye(7)
        expected = LEVEL.offset + c * mean
        gain = whole[new, at] @ np.linalg.inv(seen_part)
        means.append(expected[new] + gain @ (scores - expected[at]))
        variances.append(np.diag(whole[new, new] - gain @ whole[at, new]))
        logs.append(-0.5 * step**2 + multivariate_normal.logpdf(scores, expected[at], seen_part))
    prior = logsumexp(-0.5 * GRID**2)
    assert posterior.log_evidence == pytest.approx(logsumexp(logs) - prior, abs=1e-9)
    np.testing.assert_allclose(found.log_weights, logs - logsumexp(logs), atol=1e-9)
    np.testing.assert_allclose(found.means, means, atol=1e-10)
    np.testing.assert_allclose(found.sds, np.sqrt(variances), atol=1e-10)


def test_offset_and_scale_of_a_task_are_found_from_its_scores() -> None:
    mean, kernel = _drawn(60)
    z = np.random.default_rng(2).multivariate_normal(mean, kernel)
    posterior = Posterior(mean, kernel + 0.01 * np.eye(60), LEVEL)
    posterior.tell(0.7 + 0.09 * z)
    offset, scale = posterior.level()
    assert offset == pytest.approx(0.7, abs=0.05)
    assert scale == pytest.approx(0.09, rel=0.25)


def test_without_scores_it_is_the_prior() -> None:
    mean, kernel = _drawn(4)
    found = Posterior(np.empty(0), np.empty((0, 0)), LEVEL).predict(mean, np.empty((4, 0)), np.diag(kernel))
    weights, scales = np.exp(found.log_weights), np.exp(LEVEL.log_scale + LEVEL.log_scale_sd * GRID)
    np.testing.assert_allclose(found.mean, LEVEL.offset + (weights @ scales) * mean)


def test_improvement_and_spread_are_those_of_the_mixture() -> None:
    one = Mixture(np.zeros(1), np.array([[0.0, 1.0]]), np.array([[1.0, 2.0]]))
    other = Mixture(np.zeros(1), np.array([[3.0, 1.0]]), np.array([[0.5, 2.0]]))
    both = joined([one, other], np.log([3.0, 1.0]))
    rng = np.random.default_rng(0)
    drawn = np.where(rng.random(400_000) < 0.75, rng.normal(0, 1, 400_000), rng.normal(3, 0.5, 400_000))
    assert both.improvement(1.0)[0] == pytest.approx(np.maximum(drawn - 1, 0).mean(), abs=0.01)
    assert both.mean[0] == pytest.approx(drawn.mean(), abs=0.01)
    assert both.sd[0] == pytest.approx(drawn.std(), abs=0.01)
    np.testing.assert_allclose(both.widened(2).sd, 2 * both.sd)


def test_the_squash_has_an_inverse_and_leaves_good_scores_alone() -> None:
    z = np.linspace(-6, 3, 50)
    np.testing.assert_allclose(spread(squash(z)), z, atol=1e-9)
    np.testing.assert_allclose(squash(z[z > 0]), z[z > 0])
    assert (np.diff(squash(z)) > 0).all()
    np.testing.assert_allclose(unseen(seen(z, 0.4, 0.2), 0.4, 0.2), z, atol=1e-9)


def test_a_task_on_which_nearly_all_scores_are_equal_keeps_a_scale() -> None:
    scores = np.array([0.3] + [0.5] * 149)
    offset, scale = scale_of(scores)
    assert offset == pytest.approx(0.5, abs=0.01)
    assert scale >= 0.01 * scores.std()
    level = Level(offset=0.5, offset_sd=0.1, log_scale=float(np.log(scale)), log_scale_sd=0.1)
    Posterior(np.zeros(150), 1.01 * np.eye(150), level)  # whose covariance still has a factor


def test_squashed_scores_have_mean_0_and_spread_1_whatever_their_unit() -> None:
    scores = 0.8 - np.random.default_rng(0).exponential(0.1, 500)
    offset, scale = scale_of(scores)
    z = squash((scores - offset) / scale)
    assert (z.mean(), z.std()) == pytest.approx((0, 1), abs=1e-3)
    assert scale_of(100 * scores + 7) == pytest.approx((100 * offset + 7, 100 * scale), rel=1e-6)


@pytest.mark.parametrize("shown", [0, 7])
def test_beliefs_about_scores_themselves_are_those_of_drawn_levels_and_processes(shown: int) -> None:
    mean, kernel = _drawn(9)
    at, new = slice(0, shown), slice(7, 9)
    scores = np.random.default_rng(1).normal(0.6, 0.05, shown)
    posterior = Posterior(mean[at], kernel[at, at], LEVEL)
    posterior.tell(scores)
    found = posterior.of_scores(mean[new], kernel[new, at], np.diag(kernel)[new])
    rng = np.random.default_rng(2)
    drawn = []
    weights = np.exp(posterior.predict(mean[new], kernel[new, at], np.diag(kernel)[new]).log_weights)
    for step, number in zip(GRID, rng.multinomial(400_000, weights), strict=True):
        c = np.exp(LEVEL.log_scale + LEVEL.log_scale_sd * step)
        # offset and c z of the new ones, given the scores: a joint normal, written out
        prior = np.block([[np.array([[LEVEL.offset_sd**2]]), np.zeros((1, 2))], [np.zeros((2, 1)), _two(kernel, c)]])
        prior *= np.array([[(c * LEVEL.relative / LEVEL.offset_sd) ** 2, 1, 1], [1, 1, 1], [1, 1, 1]])
        cross = np.concatenate([np.full((1, shown), (c * LEVEL.relative) ** 2), c**2 * kernel[new, at]])
        seen_part = c**2 * (kernel[at, at] + LEVEL.relative**2 + JITTER * np.eye(shown))
        gain = cross @ np.linalg.inv(seen_part)
        expected = np.array([LEVEL.offset, *(c * mean[new])]) + gain @ (scores - LEVEL.offset - c * mean[at])
        offset, *z = rng.multivariate_normal(expected, prior - gain @ cross.T, number).T
        drawn.append(offset[:, None] + c * spread(np.stack(z, axis=1) / c))
    alone = np.concatenate(drawn)
    for level in (0.05, 0.5, 0.95):
        expected_quantile = np.quantile(alone, level, axis=0)
        np.testing.assert_allclose(found.below(expected_quantile), level, atol=0.012)
        np.testing.assert_allclose(found.below(found.quantile(level)), level, atol=1e-6)
        np.testing.assert_allclose(found.without_light_parts().below(expected_quantile), level, atol=0.012)


def _two(kernel: np.ndarray, scale: float) -> np.ndarray:
    return scale**2 * kernel[7:9, 7:9]


def test_a_level_is_foretold_by_features_as_well_as_families_left_out_allow() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 5))
    noise = rng.normal(0, 0.02, 60)
    levels = np.stack([0.6 + 0.1 * features[:, 0] + noise, rng.normal(-3, 0.5, 60)], axis=1)
    families = tuple(str(number // 2) for number in range(60))
    found = levels_by_features(levels, features, families)
    assert found.error[0] == pytest.approx(0.02, rel=0.5)
    assert found.level(np.array([2.0, 0, 0, 0, 0])).offset == pytest.approx(0.8, abs=0.03)
    assert found.level(np.array([2.0, 0, 0, 0, 0])).log_scale == pytest.approx(levels[:, 1].mean(), abs=0.2)
    assert found.error[1] == pytest.approx(levels[:, 1].std(), rel=0.15)
    anyone = found.level(None)
    assert (anyone.offset, anyone.offset_sd) == pytest.approx((levels[:, 0].mean(), levels[:, 0].std()))


def test_features_that_only_name_the_family_foretell_no_level() -> None:
    rng = np.random.default_rng(0)
    family = np.arange(60) // 6
    features = np.eye(10)[family]
    levels = np.stack([rng.normal(size=10)[family], rng.normal(size=10)[family]], axis=1)
    found = levels_by_features(levels, features, tuple(map(str, family)))
    assert (found.error >= 0.97 * found.sd).all()
    assert found.level(features[0]).offset == pytest.approx(found.level(None).offset, abs=0.1)


def test_one_family_or_no_features_leave_the_mean_over_tasks() -> None:
    levels = np.random.default_rng(0).normal(size=(8, 2))
    for features, families in ((np.zeros((8, 0)), tuple("abcdefgh")), (np.ones((8, 3)), ("one",) * 8)):
        found = levels_by_features(levels, features, families)
        assert found.level(features[0]) == found.level(None)


def test_points_that_wait_narrow_what_is_foretold_and_tell_nothing() -> None:
    mean, kernel = _drawn(12)
    at, new, both = slice(0, 7), slice(10, 12), slice(0, 10)
    scores = np.random.default_rng(1).normal(0.6, 0.05, 7)
    without = Posterior(mean[at], kernel[at, at], LEVEL)
    without.tell(scores)
    waiting = Posterior(mean[both], kernel[both, both], LEVEL, waiting=3)
    waiting.tell(scores)
    one = without.predict(mean[new], kernel[new, at], np.diag(kernel)[new])
    other = waiting.predict(mean[new], kernel[new, both], np.diag(kernel)[new])
    assert waiting.log_evidence == pytest.approx(without.log_evidence, abs=1e-10)
    assert waiting.level() == pytest.approx(without.level(), abs=1e-10)
    np.testing.assert_allclose(other.log_weights, one.log_weights, atol=1e-10)
    np.testing.assert_allclose(other.means, one.means, atol=1e-10)
    told = Posterior(mean[both], kernel[both, both], LEVEL)  # how sure it is does not hang on what scores are
    np.testing.assert_allclose(other.sds, told.predict(mean[new], kernel[new, both], np.diag(kernel)[new]).sds)
    assert (other.sds < one.sds - 1e-6).all()
    asked = (mean[new], kernel[new, at], np.diag(kernel)[new]), (mean[new], kernel[new, both], np.diag(kernel)[new])
    for left, right in zip(without.of_scores(*asked[0]), waiting.of_scores(*asked[1]), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-10)
