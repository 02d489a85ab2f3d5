"""The closed form is that of a Gaussian process with an offset and a scale, written out densely."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from autodelta.meta.posterior import GRID, JITTER, Level, Mixture, Posterior, joined
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


def test_improvement_and_quantiles_are_those_of_the_mixture() -> None:
    one = Mixture(np.zeros(1), np.array([[0.0, 1.0]]), np.array([[1.0, 2.0]]))
    other = Mixture(np.zeros(1), np.array([[3.0, 1.0]]), np.array([[0.5, 2.0]]))
    both = joined([one, other], np.log([3.0, 1.0]))
    rng = np.random.default_rng(0)
    drawn = np.where(rng.random(400_000) < 0.75, rng.normal(0, 1, 400_000), rng.normal(3, 0.5, 400_000))
    assert both.improvement(1.0)[0] == pytest.approx(np.maximum(drawn - 1, 0).mean(), abs=0.01)
    assert both.quantile(0.9)[0] == pytest.approx(np.quantile(drawn, 0.9), abs=0.02)
    assert both.mean[0] == pytest.approx(drawn.mean(), abs=0.01)
    assert both.sd[0] == pytest.approx(drawn.std(), abs=0.01)
    assert both.quantile(0.9)[1] == pytest.approx(norm.ppf(0.9, 1, 2))
    np.testing.assert_allclose(both.widened(2).sd, 2 * both.sd)


def test_the_squash_has_an_inverse_and_leaves_good_scores_alone() -> None:
    z = np.linspace(-6, 3, 50)
    np.testing.assert_allclose(spread(squash(z)), z, atol=1e-9)
    np.testing.assert_allclose(squash(z[z > 0]), z[z > 0])
    assert (np.diff(squash(z)) > 0).all()
    np.testing.assert_allclose(unseen(seen(z, 0.4, 0.2), 0.4, 0.2), z, atol=1e-9)


def test_squashed_scores_have_mean_0_and_spread_1_whatever_their_unit() -> None:
    scores = 0.8 - np.random.default_rng(0).exponential(0.1, 500)
    offset, scale = scale_of(scores)
    z = squash((scores - offset) / scale)
    assert (z.mean(), z.std()) == pytest.approx((0, 1), abs=1e-3)
    assert scale_of(100 * scores + 7) == pytest.approx((100 * offset + 7, 100 * scale), rel=1e-6)
