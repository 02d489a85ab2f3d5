"""A model knows no order of tokens, gets better with trials, comes back from disk, and says why it cannot."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from autodelta.errors import UserError
from autodelta.meta.fitting import fit
from autodelta.meta.model import Model
from autodelta.meta.on_task import ARMS
from autodelta.meta.problem import Configurations, Layout, NoTransfer, Points, Source, Sources, gathered
from autodelta.meta.saved import ABOUT, WEIGHTS, load, save
from autodelta.meta.training import Settings
from tests.meta.families import LAYOUT, pool, scores, source, sources

QUICK = Settings(steps=120, tasks=8, members=2, hidden=24, heads=8, embedding=4)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return fit(sources(), QUICK)


def _agreement(model: Model, shown: int, task: int) -> float:
    """How well the order of what is expected of an unseen task's configurations fits their scores."""
    found = pool()
    features = np.random.default_rng(task).uniform(-1, 1, 2)
    truth = scores(found, features, task)
    on = model.on(None)  # features told all there is to tell
    rows = np.random.default_rng(task).permutation(len(found))[:shown]
    if shown:
        on.observe(found, Points.of_ends(rows, truth[rows]))
    left = np.setdiff1d(np.arange(len(found)), rows)
    return float(np.corrcoef(on.predict(found)[0][left], truth[left])[0, 1])


def test_predictions_get_better_with_trials(model: Model) -> None:
    means = [np.mean([_agreement(model, shown, task) for task in range(50, 60)]) for shown in (0, 12)]
    assert means[1] > means[0] + 0.03


def test_features_help_before_the_first_trial(model: Model) -> None:
    found = pool()
    better = []
    for task in range(50, 62):
        features = np.random.default_rng(task).uniform(-1, 1, 2)
        truth = scores(found, features, task)
        told, untold = (
            np.corrcoef(model.on(known).predict(found)[0], truth)[0, 1]
            for known in ({"easy": features[0], "wide": features[1]}, None)
        )
        better.append(told - untold)
    assert np.mean(better) > 0.02


def test_the_order_of_tokens_and_their_padding_change_nothing(model: Model) -> None:
    found = pool()
    turned = gathered(
        LAYOUT,
        [
            (key, list(found.tokens[row][found.present[row]][::-1]), found.settings[row])
            for row, key in enumerate(found.keys)
        ],
    )
    padded = Configurations(
        found.keys,
        np.concatenate([found.tokens, np.full((len(found), 2, 3), 7.0)], axis=1),
        np.concatenate([found.present, np.zeros((len(found), 2), dtype=bool)], axis=1),
        found.settings,
    )
    means = [model.on({"easy": 0.3, "wide": -0.2}).predict(one)[0] for one in (found, turned, padded)]
    np.testing.assert_allclose(means[1], means[0], atol=1e-6)
    np.testing.assert_allclose(means[2], means[0], atol=1e-6)


def test_scores_in_other_units_are_ranked_alike(model: Model) -> None:
    found, rows = pool(), np.arange(12)
    truth = scores(found, np.array([0.5, 0.5]), 3)
    ranks = []
    for unit, shift in ((1.0, 0.0), (0.7, 0.1)):
        on = model.on({"easy": 0.5, "wide": 0.5})
        on.observe(found, Points.of_ends(rows, (unit * truth + shift)[rows]))
        ranks.append(on.predict(found)[0].argsort().argsort())
    assert np.corrcoef(*ranks)[0, 1] > 0.9


def test_the_first_point_of_a_curve_informs_its_end() -> None:
    torch.set_num_threads(1)
    model = fit(sources(12, curves=True), QUICK)
    found = pool()
    truth = scores(found, np.array([0.2, 0.2]), 5)
    row = int(truth.argmax())
    ends = []
    for early in (truth[row] - 0.09, truth[row] - 0.01):
        on = model.on(None)
        spread = on.predict(found)[1][row]
        on.observe(found, Points(np.array([row]), np.array([1 / 3]), np.array([early])))
        ends.append(on.predict(found)[0][row])
        assert on.predict(found)[1][row] < spread
    assert ends[1] > ends[0] + 0.02


def test_costs_are_learned_and_moved_by_what_a_trial_cost(model: Model) -> None:
    found = pool()
    on = model.on({"easy": 0.0, "wide": 0.0})
    costs = on.costs(found)
    assert np.corrcoef(costs[:, 0], found.settings[:, 0])[0, 1] > 0.8
    first = Points.of_ends([0, 1, 2], [0.6, 0.6, 0.6])
    on.observe(found, first, log_seconds=costs[:3, 0] + 2)
    moved = on.costs(found) - costs
    np.testing.assert_allclose(moved[:, 0], 2 * 3 / 4)  # three trials, and what the features say counts as one
    np.testing.assert_allclose(moved[:, 1], 0)


def test_a_cost_that_no_source_knows_is_not_known(tmp_path: Path) -> None:
    known = sources(8)
    tasks = tuple(dataclasses.replace(task, log_bytes=np.full(len(task.points), np.nan)) for task in known.tasks)
    save(fit(Sources(LAYOUT, known.configurations, tasks), QUICK.model_copy(update={"steps": 5})), tmp_path)
    costs = load(tmp_path).on(None).costs(pool())
    assert np.isfinite(costs[:, 0]).all()
    assert np.isnan(costs[:, 1]).all()


def test_trust_sums_to_1_and_no_features_leave_two_arms(model: Model) -> None:
    assert set(model.on({"easy": 0.0, "wide": 0.0}).trust()) == set(ARMS)
    trust = model.on(None).trust()
    assert set(trust) == set(ARMS[1:])
    assert sum(trust.values()) == pytest.approx(1)


def test_cross_validation_has_seen_every_task_and_every_opening(model: Model) -> None:
    assert model.found.tasks == 16
    assert set(model.found.regrets) == {"0", "1", "2", "3", "chance"}
    assert model.found.opening in (0, 1, 2, 3)
    assert all(width > 0 for width in model.found.widths.values())
    low, high = model.on(None).interval(pool())
    assert (low < high).all()


def test_intervals_before_any_trial_are_about_as_wide_as_tasks_lie_apart(model: Model) -> None:
    found, inside = pool(), []
    everywhere = np.concatenate([scores(found, np.random.default_rng(n).uniform(-1, 1, 2), n) for n in range(100, 120)])
    for number in range(100, 120):
        features = np.random.default_rng(number).uniform(-1, 1, 2)
        truth = scores(found, features, number)
        low, high = model.on(features).interval(found)
        inside.append(((low <= truth) & (truth <= high)).mean())
        assert (high - low).mean() < np.ptp(everywhere)
        expected, _ = model.on(features).predict(found)
        above = model.on(features).chance_above(found, float(np.median(expected)))
        assert np.corrcoef(above, expected)[0, 1] > 0.8
    assert np.mean(inside) > 0.75


def test_judges_hold_nothing_against_tasks_whose_features_they_have_not_seen() -> None:
    """Many features that say nothing, few tasks: with one scale for all, judges expected the worst to be the best."""
    names = tuple(f"noise{number}" for number in range(40))
    rng, found = np.random.default_rng(0), pool()
    tasks = tuple(
        Source(
            f"task{n}", f"family{n}", rng.normal(size=40), Points.of_ends(np.arange(40), scores(found, np.zeros(2), n))
        )
        for n in range(8)
    )
    judged = fit(Sources(dataclasses.replace(LAYOUT, features=names), found, tasks), QUICK).found
    assert judged.opening is not None
    assert judged.regrets["0"][0] < 0.3 * judged.regrets["chance"][0]


def test_a_model_comes_back_from_disk_as_it_was(model: Model, tmp_path: Path) -> None:
    save(model, tmp_path)
    back = load(tmp_path)
    assert back.found == model.found
    assert back.portfolio.keys == model.portfolio.keys
    for one, other in zip(*(m.on({"easy": 0.1, "wide": 0.9}).predict(pool()) for m in (model, back)), strict=True):
        np.testing.assert_array_equal(one, other)


def _truncated(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:200])


def _no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _other_version(folder: Path) -> None:
    _edit(folder, version=99)


def _other_format(folder: Path) -> None:
    _edit(folder, format="bert")


def _other_fit(folder: Path) -> None:
    _edit(folder, fingerprint="1")


def _odd_settings(folder: Path) -> None:
    _edit(folder, settings={"steps": -1})


def _no_json(folder: Path) -> None:
    (folder / ABOUT).write_text('{"format')


def _edit(folder: Path, **changes: object) -> None:
    (folder / ABOUT).write_text(json.dumps({**json.loads((folder / ABOUT).read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncated, "no readable weights"),
        (_no_weights, "no readable weights"),
        (_other_version, "a model of version 99"),
        (_other_format, "no model of autodelta"),
        (_other_fit, "not of the same fit"),
        (_odd_settings, "settings.steps"),
        (_no_json, "no JSON"),
    ],
)
def test_a_broken_or_foreign_file_is_one_line(
    model: Model, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    save(model, tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError) as caught:
        load(tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model in"):
        load(tmp_path / "nowhere")


def test_missing_features_and_another_space_are_said_clearly(model: Model) -> None:
    with pytest.raises(NoTransfer, match="no feature 'wide'"):
        model.on({"easy": 1.0})
    with pytest.raises(NoTransfer, match="another space: kinds differ in 'c'"):
        model.on(None, Layout(("a", "b", "c"), ("size",), ("rate",), ("easy", "wide")))


def test_too_few_tasks_or_tasks_that_say_nothing_are_said_clearly() -> None:
    found = pool()
    flat = [Source(f"t{n}", "f", np.zeros(2), Points.of_ends(range(9), [0.5] * 9)) for n in range(9)]
    with pytest.raises(NoTransfer, match="0 of 9 recorded tasks"):
        fit(Sources(LAYOUT, found, tuple(flat)), QUICK)
    with pytest.raises(NoTransfer, match="3 of 3 recorded tasks"):
        fit(Sources(LAYOUT, found, tuple(source(found, n) for n in range(3))), QUICK)
    with pytest.raises(NoTransfer, match="0 of 0 recorded tasks"):
        fit(Sources(LAYOUT, found, ()), QUICK)


def test_a_score_that_is_no_number_is_refused(model: Model) -> None:
    with pytest.raises(ValueError, match="finite"):
        model.on(None).observe(pool(), Points.of_ends([0], [float("nan")]))
