"""Policies name each configuration once, do as their name says, and stop believing a past that misleads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autodelta.errors import UserError
from autodelta.meta import policies
from autodelta.meta.fitting import fit
from autodelta.meta.level import GRID
from autodelta.meta.model import Model
from autodelta.meta.on_task import OnTask
from autodelta.meta.policies import BENEFIT, POLICIES, ask
from autodelta.meta.portfolio import greedy, normalised, of_nearest
from autodelta.meta.problem import Configurations, Floats, NoTransfer, Points
from autodelta.meta.training import Settings
from autodelta.meta.weighed import HOLDS, STORIES
from tests.meta.families import pool, scores, sources

QUICK = Settings(steps=120, tasks=8, members=2, hidden=24, heads=8, embedding=4)
FEATURES = np.array([0.5, -0.5])


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return fit(sources(), QUICK)


@pytest.fixture(scope="module")
def misled() -> Model:
    """A model of tasks on which everything is the other way round, at the same level."""
    torch.set_num_threads(1)
    return fit(sources(turn=-1.0), QUICK)


def _searched(model: Model, policy: str, trials: int, truth: Floats) -> tuple[list[int], OnTask]:
    found = pool()
    on, taken, rows = model.on(FEATURES), np.zeros(len(found), dtype=bool), []
    for number in range(trials):
        row = ask(policy, on, found, taken, seed=number).row
        taken[row] = True
        rows.append(row)
        on.observe(found, Points.of_ends([row], [truth[row]]))
    return rows, on


@pytest.mark.parametrize("policy", POLICIES)
def test_no_configuration_is_named_twice_and_all_are_named_in_the_end(model: Model, policy: str) -> None:
    found = pool()
    rows, on = _searched(model, policy, len(found), scores(found, FEATURES))
    assert sorted(rows) == list(range(len(found)))
    with pytest.raises(IndexError):
        ask(policy, on, found, np.ones(len(found), dtype=bool))


@pytest.mark.parametrize("policy", ["shared", "hypernetwork", "portfolio", "meta"])
def test_the_past_finds_the_best_sooner_than_chance(model: Model, policy: str) -> None:
    truth = scores(pool(), FEATURES)
    rows, _ = _searched(model, policy, 6, truth)
    assert truth[rows].max() > np.quantile(truth, 0.95)


def test_trust_goes_to_no_transfer_where_the_past_misleads_and_stays_where_it_does_not(
    model: Model, misled: Model
) -> None:
    truth = scores(pool(), FEATURES)
    _, clean = _searched(model, "hypernetwork", 12, truth)
    _, wrong = _searched(misled, "plain", 12, truth - 1.2)  # its level is that of the sources
    assert clean.trust()["plain"] < 0.2
    assert wrong.trust()["plain"] > 0.8


def test_the_story_of_a_past_that_holds_is_believed_where_it_holds_and_not_where_it_misleads(
    model: Model, misled: Model
) -> None:
    truth = scores(pool(), FEATURES)
    shown = np.arange(0, 40, 4)
    shares = []
    for past, level in ((model, 0.0), (misled, -1.2)):
        on = past.on(FEATURES)
        on.observe(pool(), Points.of_ends(shown, truth[shown] + level))
        shares.append(on.stories())
        alone = past.on(FEATURES)  # to which the weighed arm was never put
        alone.observe(pool(), Points.of_ends(shown, truth[shown] + level))
        np.testing.assert_allclose(alone.beliefs(pool(), "plain").mean, on.beliefs(pool(), "plain").mean)
    assert shares[0][STORIES.index(HOLDS)] > 0.2
    assert shares[1][STORIES.index(HOLDS)] < 0.05
    assert sum(shares[1]) == pytest.approx(1)


def test_a_trial_is_chosen_by_its_ranks_under_the_stories_each_counting_as_far_as_it_is_believed(model: Model) -> None:
    taken, shown = np.isin(np.arange(40), [1, 2]), np.arange(0, 40, 4)
    on = model.on(FEATURES)
    on.observe(pool(), Points.of_ends(shown, np.random.default_rng(1).normal(size=len(shown)) * 0.1))
    np.testing.assert_array_equal(on.wanted_if(0, pool()), on.wanted(pool(), "plain"))
    believed = np.array([1.0, 1.0, BENEFIT]) * on.stories()
    wanted = (on.wanted(pool(), "plain"), on.wanted_if(1, pool()), on.wanted(pool(), "past"))
    left = np.flatnonzero(~taken)
    votes = np.zeros(40)
    for wants, share in zip(wanted, believed / believed.sum(), strict=True):
        for rank, row in enumerate(sorted(left, key=lambda row, wants=wants: -wants[row])):
            votes[row] += share / (rank + 1)
    found = [ask("meta", on, pool(), taken, seed=seed) for seed in range(5)]
    assert {choice.row for choice in found} == {int(np.argmax(votes))}


def test_what_a_story_wants_alike_shares_a_rank_so_that_the_others_decide(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    none, shown = np.zeros(40, dtype=bool), np.arange(0, 40, 4)
    on = model.on(FEATURES)
    on.observe(pool(), Points.of_ends(shown, np.zeros(len(shown))))
    alike = np.where(np.arange(40) < 5, -1.0, 0.0)
    monkeypatch.setattr(on, "stories", lambda: [BENEFIT, 0.0, 1.0])
    monkeypatch.setattr(on, "wanted_if", lambda story, pool: alike)
    monkeypatch.setattr(on, "wanted", lambda pool, arm: -np.abs(np.arange(40.0) - 2) - 9 * (np.arange(40) == 5))
    assert ask("meta", on, pool(), none).row == 6  # of those that the first story wants, what the past wants most


def test_a_story_that_alone_is_believed_chooses_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    none, shown = np.zeros(40, dtype=bool), np.arange(0, 40, 4)
    on = model.on(FEATURES)
    on.observe(pool(), Points.of_ends(shown, np.random.default_rng(1).normal(size=len(shown)) * 0.1))
    for share in (1.0, 0.67):
        monkeypatch.setattr(on, "stories", lambda share=share: [share, 1 - share, 0.0])
        found = ask("meta", on, pool(), none)
        assert found.row == ask("plain", on, pool(), none).row
        assert found.reason == f"expected improvement, a past that says nothing at {share:.0%}"
        monkeypatch.setattr(policies, "MAJORITY", 1.0)  # all are asked
        assert ask("meta", on, pool(), none) == found
        monkeypatch.undo()


@pytest.mark.parametrize("every", [2, 8])
def test_the_past_has_the_benefit_of_the_doubt_and_is_taken_at_its_word(
    model: Model, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    none, shown = np.zeros(40, dtype=bool), np.arange(0, 40, every)
    on = model.on(FEATURES)
    on.observe(pool(), Points.of_ends(shown, np.random.default_rng(1).normal(size=len(shown)) * 0.1))
    monkeypatch.setattr(on, "stories", lambda: [0.5, 0.0, 0.5])
    found = ask("meta", on, pool(), none)
    assert found.row == ask("unguarded", on, pool(), none).row
    assert found.reason == f"expected improvement, {HOLDS.name} at {BENEFIT / (BENEFIT + 1):.0%}"


@pytest.mark.parametrize("opening", [1, 3])
def test_a_portfolio_that_wins_on_the_sources_has_as_many_of_the_first_trials_as_it_wins(
    model: Model, opening: int
) -> None:
    opened = replace(model, found=model.found.model_copy(update={"opening": opening}))
    truth = scores(pool(), FEATURES)
    rows, _ = _searched(opened, "unguarded", 5, truth)
    assert rows[:opening] == _searched(model, "portfolio", opening, truth)[0]
    on, taken = model.on(FEATURES), np.isin(np.arange(40), rows[:opening])
    on.observe(pool(), Points.of_ends(rows[:opening], truth[rows[:opening]]))
    assert rows[opening] == int(np.argmax(np.where(taken, -np.inf, on.wanted(pool(), "past"))))


def test_what_past_tasks_foretell_is_both_arms_by_their_evidence(model: Model) -> None:
    on = model.on(FEATURES)
    for shown in ([], [3, 8, 21]):
        if shown:
            on.observe(pool(), Points.of_ends(shown, scores(pool(), FEATURES)[shown]))
        trust = on.trust()
        arms = ("hypernetwork", "shared")
        share = trust["hypernetwork"] / (trust["hypernetwork"] + trust["shared"])
        each = [on.beliefs(pool(), arm).mean for arm in arms]
        np.testing.assert_allclose(on.beliefs(pool(), "past").mean, share * each[0] + (1 - share) * each[1])
    unknown = model.on(None)
    np.testing.assert_array_equal(unknown.beliefs(pool(), "past").mean, unknown.beliefs(pool(), "shared").mean)


def test_a_past_that_is_turned_about_leads_to_the_best_once_it_is_found_out(misled: Model) -> None:
    truth = scores(pool(), FEATURES)
    assert truth[_searched(misled, "meta", 1, truth - 1.2)[0][0]] < np.quantile(truth, 0.5)
    assert max(truth[_searched(misled, "meta", 5, truth - 1.2)[0]]) > np.quantile(truth, 0.9)


def test_the_past_chooses_until_scores_can_rank_and_the_reason_then_names_its_story(model: Model) -> None:
    truth = scores(pool(), FEATURES)
    for trials in (0, 1):
        _, on = _searched(model, "meta", trials, truth)
        none = np.zeros(40, dtype=bool)
        assert ask("meta", on, pool(), none, seed=5) == ask("unguarded", on, pool(), none, seed=5)
    _, on = _searched(model, "meta", 2, truth)
    assert ", a past " in ask("meta", on, pool(), np.zeros(40, dtype=bool)).reason


def test_a_past_that_does_not_foretell_its_own_tasks_is_not_asked() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    found = sources()
    mixed = [
        replace(task, points=replace(task.points, scores=rng.permutation(task.points.scores))) for task in found.tasks
    ]
    model = fit(replace(found, tasks=tuple(mixed)), QUICK)
    assert model.found.opening is None
    truth = scores(pool(), FEATURES)
    assert _searched(model, "meta", 8, truth)[0] == _searched(model, "plain", 8, truth)[0]


def test_an_arm_that_has_no_say_can_be_asked_all_the_same(model: Model) -> None:
    found = pool()
    on = model.on(None, arms=("plain",))
    on.observe(found, Points.of_ends([0, 1, 2], [0.5, 0.6, 0.7]))
    assert len(on.beliefs(found, "shared").means) == len(GRID) * model.members  # its own


def test_the_same_question_has_the_same_answer(model: Model) -> None:
    truth = scores(pool(), FEATURES)
    assert _searched(model, "meta", 8, truth)[0] == _searched(model, "meta", 8, truth)[0]


def test_policies_work_on_a_pool_that_no_source_knows(model: Model) -> None:
    other = pool(30, seed=9)
    renamed = Configurations(tuple(f"x{key}" for key in other.keys), other.tokens, other.present, other.settings)
    on = model.on(FEATURES)
    for policy in POLICIES:
        assert 0 <= ask(policy, on, renamed, np.zeros(30, dtype=bool)).row < 30


def test_unknown_policies_and_missing_features_are_said_clearly(model: Model) -> None:
    taken = np.zeros(40, dtype=bool)
    with pytest.raises(UserError, match="did you mean 'meta'"):
        ask("mete", model.on(None), pool(), taken)
    with pytest.raises(NoTransfer, match="lacks features"):
        ask("hypernetwork", model.on(None), pool(), taken)
    assert ask("meta", model.on(None), pool(), taken).row >= 0


def test_a_portfolio_begins_with_the_best_on_the_mean_and_then_covers_what_that_one_misses() -> None:
    found = sources()
    scored = normalised(found)
    order = greedy(found, 5)
    assert order[0] == scored.mean(axis=0).argmax()
    best = scored[:, order[0]]
    gain = np.maximum(scored, best[:, None]).mean(axis=0)
    gain[order[0]] = -1
    assert order[1] == gain.argmax()
    assert len(set(order)) == 5


def test_the_nearest_tasks_best_comes_first() -> None:
    found = sources()
    order = of_nearest(found, found.tasks[3].features, 10)
    own = normalised(found)[3]
    assert own[order[0]] > np.quantile(own, 0.9)
    with pytest.raises(NoTransfer):
        of_nearest(found, np.array([np.nan, 0.0]), 3)
    ten = [replace(task, points=Points.of_ends(np.arange(10), task.points.scores[:10])) for task in found.tasks]
    order = of_nearest(replace(found, tasks=tuple(ten)), found.tasks[3].features, 40)
    assert sorted(order) == list(range(10))  # the others have no score that could rank them


def test_where_time_is_short_a_trial_counts_by_the_second(model: Model) -> None:
    found, truth = pool(), scores(pool(), FEATURES)
    each, second = (model.on(FEATURES, per_second=per_second) for per_second in (False, True))
    np.testing.assert_array_equal(second.wanted(found), each.wanted(found))  # nothing to improve on yet
    for on in (each, second):
        on.observe(found, Points.of_ends([0, 1, 2], truth[:3]))
    log_seconds = each.costs(found)[:, 0]
    assert np.ptp(log_seconds) > 0.5
    np.testing.assert_allclose(each.wanted(found) - second.wanted(found), log_seconds)
    np.testing.assert_allclose(each.wanted_if(0, found) - second.wanted_if(0, found), log_seconds)


def test_where_no_source_knows_seconds_a_trial_counts_as_one() -> None:
    known = sources()
    unknown = np.full(len(known.tasks[0].points), np.nan)
    tasks = tuple(replace(task, log_seconds=unknown) for task in known.tasks)
    blind = fit(replace(known, tasks=tasks), QUICK)
    found, truth = pool(), scores(pool(), FEATURES)
    each, second = (blind.on(FEATURES, per_second=per_second) for per_second in (False, True))
    for on in (each, second):
        on.observe(found, Points.of_ends([0, 1], truth[:2]))
    np.testing.assert_array_equal(second.wanted(found), each.wanted(found))
