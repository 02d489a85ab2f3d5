import json
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import t

from autodelta.search.answer import Answer, Confirmed, conclude, lines, to_test
from autodelta.search.answer.compare import Difference, Judge, against_entrant, against_fixed
from autodelta.search.answer.entrants import FULL
from autodelta.search.answer.entrants import LORA as LORA_Q_V
from autodelta.search.answer.posterior import seed_spread
from autodelta.search.answer.variance import Interval, pooled, prediction
from autodelta.search.answer.verdicts import SINGLE, no_combination, of_floors
from autodelta.tasks.floor import COUNTING, MAJORITY
from autodelta.tasks.metrics import score
from tests.search.answer.simulated import BITFIT, LORA, World, baseline, finalist

ENTRANTS = [
    finalist(0, BITFIT, searched=0.83, expected=0.81, expected_sd=0.01),
    *(finalist(n, LORA, BITFIT, searched=0.83, expected=0.81, expected_sd=0.01) for n in (1, 2, 3)),
    *(baseline("lora", number) for number in range(3)),
    *(baseline("full", number) for number in range(3)),
]
BASELINES = {f"lora {n}": 0.78 - 0.01 * n for n in range(3)} | {f"full {n}": 0.81 - 0.01 * n for n in range(3)}
NULL = {f"finalist {number}": 0.8 for number in range(4)} | BASELINES
ROWS = {"train": 2000, "validation": 300, "test": 400}


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    return float(np.mean(np.array(gold) == np.array(predicted)))


def answer(results: Sequence[Confirmed], **more: object) -> Answer:
    given = {"task": "dogs", "metric": "accuracy", "rows": ROWS, "score": accuracy, **more}
    return conclude(ENTRANTS, results, **given)  # type: ignore[arg-type]


def labelled(shares: dict[str, Sequence[float]], gold: Sequence[str]) -> list[Confirmed]:
    """Runs whose predictions on test are right in such shares of the rows, each run at rows of its own."""
    rng = np.random.default_rng(0)
    found = []
    for name, own in shares.items():
        for number, share in enumerate(own):
            right = rng.permutation(len(gold)) < share * len(gold)
            predictions = tuple(
                label if hit else ("no" if label == "yes" else "yes") for label, hit in zip(gold, right, strict=True)
            )
            found.append(
                Confirmed(
                    entrant=name,
                    candidate=next(entrant.candidate for entrant in ENTRANTS if entrant.name == name),
                    seed_index=number,
                    seed=number,
                    validation=share,
                    test=accuracy(gold, predictions),
                    predictions=predictions,
                )
            )
    return found


@pytest.mark.parametrize("correlation", [0.5, 0.95])
def test_a_combination_that_is_no_better_is_rarely_said_to_win(correlation: float) -> None:
    won = [
        "no combination beats one method"
        not in answer(World(NULL, seed=seed, correlation=correlation).race(ENTRANTS, runs=28)).verdicts
        for seed in range(60)
    ]
    assert np.mean(won) <= 0.09  # one-sided 5 %, and the chance of sixty worlds


def test_a_combination_that_is_better_is_said_to_win() -> None:
    worth = NULL | {"finalist 2": 0.84}
    found = [answer(World(worth, seed=seed).race(ENTRANTS, runs=28)) for seed in range(10)]
    assert sum("no combination beats one method" not in one.verdicts for one in found) >= 9
    assert all(one.winner == "finalist 2" for one in found)
    assert not any("full fine-tuning is better" in one.verdicts for one in found)


def test_a_single_method_that_wins_says_that_no_combination_does() -> None:
    found = answer(World(NULL | {"finalist 0": 0.85}, seed=1).race(ENTRANTS, runs=28))
    assert "no combination beats one method" in found.verdicts
    assert [one.against for one in found.differences] == ["LoRA r=8 on q,v", "full fine-tuning"]
    assert found.uncompared == {}


def test_a_baseline_that_is_better_is_said_to_be() -> None:
    found = answer(World(NULL | {"full 0": 0.9}, seed=1).race(ENTRANTS, runs=28))
    assert "full fine-tuning is better" in found.verdicts
    assert "LoRA r=8 on q,v is better" not in found.verdicts


def test_the_interval_of_a_difference_holds_the_truth() -> None:
    inside = []
    for seed in range(60):
        found = answer(World(NULL, seed=seed, correlation=0.0).race(ENTRANTS, runs=28))
        lora = next(one for one in found.differences if one.against.startswith("LoRA"))
        assert lora.over_seeds is not None
        rate = 0.8 - min((BASELINES[f"lora {n}"] for n in range(3)), key=lambda worth: abs(worth - lora.other))
        inside.append(lora.over_seeds.low <= rate <= lora.over_seeds.high)
    assert np.mean(inside) >= 0.85


def test_at_chance_nothing_beats_the_majority() -> None:
    rng = np.random.default_rng(3)
    gold = [str(label) for label in rng.choice(["yes", "no"], 300)]
    floors = {MAJORITY: ["yes"] * 300, COUNTING: [str(label) for label in rng.choice(["yes", "no"], 300)]}
    share = accuracy(gold, floors[MAJORITY])
    results = labelled({"finalist 1": [share, share + 0.02, share - 0.01], "finalist 0": [share] * 3}, gold)
    found = answer(results, gold=gold, floors=floors)
    assert {"nothing beats the majority class", "nothing beats TF-IDF + logistic regression"} <= set(found.verdicts)
    assert [one.against for one in found.floors] == [MAJORITY, COUNTING]
    assert "nothing beats the majority class" in lines(found)


def test_a_floor_is_beaten_at_half_of_what_the_interval_leaves_out() -> None:
    gold = ["yes", "no"] * 150
    results, always = labelled({"finalist 1": [0.53, 0.55, 0.56]}, gold), ["yes"] * 300
    judge = Judge(gold, accuracy)
    held = against_fixed(results, "finalist 1", always, name=MAJORITY, judge=judge, level=0.9)
    assert held is not None
    assert held.p_better is not None
    for share, beaten in ((1.01, True), (0.99, False)):
        level = 1 - 2 * share * held.p_better
        found = of_floors(results, ["finalist 1"], {MAJORITY: always}, judge=judge, level=level)
        assert found == (() if beaten else ("nothing beats the majority class",))


def test_what_learned_beats_the_majority_and_says_by_how_much() -> None:
    gold = ["yes", "no"] * 150
    results = labelled({"finalist 1": [0.8, 0.81, 0.82], "finalist 0": [0.7, 0.7, 0.69]}, gold)
    found = answer(results, gold=gold, floors={MAJORITY: ["yes"] * 300})
    assert "nothing beats the majority class" not in found.verdicts
    assert found.floors[0].mean == pytest.approx(0.31, abs=0.005)
    interval = found.floors[0].over_rows
    assert interval is not None
    assert 0.2 < interval.low < 0.27
    assert interval.width > found.floors[0].over_seeds.width  # type: ignore[union-attr]


def test_predictions_that_never_change_are_no_better_than_themselves() -> None:
    gold = ["yes", "no"] * 50
    always = [
        one.model_copy(update={"predictions": ("yes",) * 100, "test": 0.5, "validation": 0.5})
        for one in labelled({"finalist 1": [0.5] * 3}, gold)
    ]
    found = answer(always, gold=gold, floors={MAJORITY: ["yes"] * 100})
    assert "nothing beats the majority class" in found.verdicts
    assert found.next_seed is not None
    assert 0 < found.next_seed.width < 0.08  # three seeds that agree do not promise that a fourth will


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "matthews"])
def test_the_jackknife_finds_the_spread_over_rows_for_any_metric(metric: str) -> None:
    """Against many drawn test sets, for the paired difference of two models that err on partly the same rows."""

    def draw(rng: np.random.Generator) -> tuple[list[str], list[str], list[str]]:
        hard, gold = rng.random(300), rng.choice(["yes", "no"], 300, p=[0.7, 0.3])
        other = np.where(gold == "yes", "no", "yes")
        models = [np.where(hard + 0.1 * rng.standard_normal(300) < share, gold, other) for share in (0.85, 0.8)]
        return [*map(str, gold)], [*map(str, models[0])], [*map(str, models[1])]

    differences, found = [], []
    for seed in range(60):
        gold, first, second = draw(np.random.default_rng(seed))
        judge = Judge(gold, lambda a, b: score(metric, a, b), seed=seed)
        differences.append(judge.score(first) - judge.score(second))
        if seed < 6:
            found.append(judge.row_variance([first], [second]))
    assert np.sqrt(np.mean(found)) == pytest.approx(np.std(differences, ddof=1), rel=0.3)


def test_few_rows_of_test_make_few_groups_and_the_interval_is_as_wide_as_these_ask_for() -> None:
    gold = ["yes", "no"] * 5
    runs = labelled({"finalist 1": [0.7] * 3}, gold)
    judge, always = Judge(gold, accuracy), ("yes",) * 10
    found = against_fixed(runs, "finalist 1", always, name="majority", judge=judge, level=0.9)
    assert found is not None
    assert found.over_rows is not None
    error = judge.row_variance([run.predictions for run in runs if run.predictions], [always]) ** 0.5
    assert found.over_rows.width == pytest.approx(2 * 1.8331 * error, rel=1e-3)  # Student's t of 9 degrees of freedom


def test_the_interval_over_rows_too_is_no_narrower_than_that_over_seeds_alone() -> None:
    """Two seeds say so little of their spread that this alone reaches further than together with what rows add."""
    gold, always = ["yes", "no"] * 1500, ("yes",) * 3000
    runs = labelled({"finalist 1": [0.6, 0.7]}, gold)
    found = against_fixed(runs, "finalist 1", always, name="majority", judge=Judge(gold, accuracy), level=0.9)
    assert found is not None
    assert found.over_seeds is not None
    assert found.interval == found.over_seeds
    spread = seed_spread(runs, "finalist 1", split="test")
    assert found.p_better == pytest.approx(1 - t.cdf(0.15 / (spread.sd / 2**0.5), spread.dof))


def test_two_seeds_of_one_candidate_are_helped_by_what_was_recorded_and_five_hardly_so() -> None:
    gold = ["yes", "no"] * 500
    two = answer(labelled({"finalist 1": [0.69, 0.85]}, gold), gold=gold, floors={MAJORITY: ["yes"] * 1000})
    assert two.next_seed is not None
    assert 0.5 < two.next_seed.low < 0.69 < 0.85 < two.next_seed.high
    assert "nothing beats the majority class" not in two.verdicts
    scores = [0.6, 0.61, 0.62, 0.63, 0.64]
    five = answer(labelled({"finalist 1": scores}, gold), gold=gold)
    own = prediction(scores, pooled([scores]), level=0.9)
    assert five.next_seed is not None
    assert own is not None
    assert five.next_seed.width == pytest.approx(own.width, rel=0.1)


def test_the_spread_that_is_stated_is_that_of_the_winners_seeds() -> None:
    gold = ["yes", "no"] * 500
    found = answer(labelled({"finalist 1": [0.80, 0.81, 0.84], "finalist 2": [0.3, 0.7]}, gold), gold=gold)
    assert found.seed_sd == pytest.approx(np.std([0.80, 0.81, 0.84], ddof=1))
    assert ", 3 seeds, s.d. 0.021; another seed" in lines(found)[0]


def test_rows_that_lie_in_order_are_left_out_as_if_drawn() -> None:
    gold, never = ["yes"] * 400, ["no"] * 400
    judge = Judge(gold, accuracy)
    half = ["yes"] * 200 + ["no"] * 200  # right in the first half of the rows alone
    assert judge.row_variance([half], [never]) == pytest.approx(0.25 / 400, rel=0.4)


def test_what_the_winner_is_held_against_has_its_score_at_the_seeds_of_both() -> None:
    gold = ["yes", "no"] * 50
    results = labelled({"finalist 1": [0.8, 0.82], "full 0": [0.7, 0.72, 0.2]}, gold)
    found = against_entrant(results, "finalist 1", "full 0", name="full", judge=Judge(gold, accuracy), level=0.9)
    assert found is not None
    assert (found.mean, found.other, found.seeds) == (pytest.approx(0.1), pytest.approx(0.71), 2)


@pytest.mark.parametrize(
    ("to_lora", "to_single", "none"),
    [(0.02, 0.02, False), (0.02, 0.0, True), (0.0, 0.02, True), (0.0, 0.0, True), (None, 0.02, False)],
)
def test_a_combination_wins_where_it_beats_every_single_method_that_it_was_held_against(
    to_lora: float | None, to_single: float, none: bool
) -> None:
    leads = {LORA_Q_V: to_lora, f"{SINGLE}, finalist 0": to_single, FULL: 0.0}
    held = [
        Difference(
            against=name, mean=lead, other=0.8, seeds=3,
            over_seeds=Interval(low=lead - 0.01, high=lead + 0.01), over_rows=None, p_better=0.5,
        )
        for name, lead in leads.items() if lead is not None
    ]  # fmt: skip
    assert no_combination(ENTRANTS[1], ENTRANTS, held) is none


def test_fewer_rows_of_validation_leave_more_regret() -> None:
    results = World(NULL, seed=2).race(ENTRANTS, runs=8)
    many, few = (answer(results, rows={**ROWS, "validation": rows}).expected_regret for rows in (30_000, 30))
    assert many is not None
    assert few is not None
    assert few > 1.1 * many


def test_a_test_split_of_one_row_has_an_answer() -> None:
    judge = Judge(["yes"], lambda gold, predicted: score("accuracy", gold, predicted))
    assert judge.row_variance([("yes",)], [("no",), ("yes",)]) == 0


def test_finalists_and_the_chosen_baselines_are_scored_on_test() -> None:
    results = World(NULL, seed=2).race(ENTRANTS, runs=28)
    untested = [run.model_copy(update={"test": None}) for run in results]
    wanted = to_test(ENTRANTS, untested)
    scored = [
        run if (run.entrant, run.seed_index) in wanted else dry for run, dry in zip(results, untested, strict=True)
    ]
    found = answer(scored)
    assert len(set(wanted)) == len(wanted)
    assert {name for name, _ in wanted if name.startswith("lora")} == {"lora 0"}
    assert len(found.differences) == 3 - (found.winner == "finalist 0")
    assert found.next_seed == answer(results).next_seed
    broken = Confirmed(entrant="finalist 0", candidate=ENTRANTS[0].candidate, seed_index=9, seed=9, validation=None)
    assert ("finalist 0", 9) not in to_test(ENTRANTS, [broken])


def test_an_answer_is_json_and_back() -> None:
    found = answer(World(NULL, seed=2).race(ENTRANTS, runs=28))
    text = found.model_dump_json()
    assert Answer.model_validate_json(text) == found
    assert json.loads(text)["winner"] == found.winner


def test_sentences_state_seeds_spread_ties_export_and_comparisons() -> None:
    found = answer(World(NULL | {"finalist 2": 0.81}, seed=3).race(ENTRANTS, runs=28))
    assert found.winner == "finalist 2"
    said = "\n".join(lines(found))
    winner = found.standing(found.winner or "")
    assert said.startswith(f"{winner.name}, {winner.parameters:,} parameters: test accuracy {winner.test:.3f}, 7 seeds")
    assert "another seed will lie in 0." in said
    assert "tied with it within noise: " in said
    assert f"the smallest is {found.export}" in said
    assert "against LoRA r=8 on q,v (0." in said
    assert "expected regret" in said


@pytest.mark.parametrize(
    ("metric", "worth", "least"), [("accuracy", 0.995, 0), ("accuracy", 0.005, 0), ("matthews", -0.995, -1)]
)
def test_no_seed_is_said_to_lie_beyond_what_the_metric_can_be(metric: str, worth: float, least: int) -> None:
    world = World(dict.fromkeys(NULL, worth), seed=3, sd=0.004, shared_sd=0)
    found = answer([world.run(ENTRANTS[0], seed) for seed in range(3)], metric=metric).next_seed
    assert found is not None
    assert least <= found.low < found.high <= 1


@pytest.mark.parametrize(
    ("others", "said"), [(1, "one other finalist does not tie with it"), (2, "none of 2 other finalists ties with it")]
)
def test_how_many_do_not_tie_is_said_in_plain_english(others: int, said: str) -> None:
    world = World(NULL | {"finalist 0": 0.9}, seed=3)
    runs = [world.run(entrant, seed) for entrant in ENTRANTS[: 1 + others] for seed in range(3)]
    assert f"{said} (90%); the winner is exported" in lines(answer(runs))


def test_a_finalist_of_one_seed_is_not_said_to_be_told_apart() -> None:
    world = World(NULL | {"finalist 0": 0.9}, seed=3)
    runs = [world.run(ENTRANTS[0], seed) for seed in range(5)] + [world.run(ENTRANTS[1], 0)]
    assert "finalist 1, left before 3 seeds, cannot be said to tie; the winner is exported" in lines(answer(runs))
    more = [world.run(ENTRANTS[2], seed) for seed in range(3)]
    assert (
        "one other finalist does not tie with it (90%); finalist 1, left before 3 seeds, cannot be said to tie; the "
        "winner is exported"
    ) in lines(answer([*runs, *more]))


@pytest.mark.parametrize("seeds", [0, 1])
def test_a_finalist_that_broke_down_is_not_said_to_be_told_apart(seeds: int) -> None:
    world = World(NULL | {"finalist 0": 0.9}, seed=3)
    runs = [world.run(ENTRANTS[0], seed) for seed in range(5)] + [world.run(ENTRANTS[1], seed) for seed in range(seeds)]
    broken = world.run(ENTRANTS[1], seeds).model_copy(
        update={"validation": None, "test": None, "reason": "a loss of nan"}
    )
    said = lines(answer([*runs, broken]))
    assert "finalist 1 broke down when trained again: a loss of nan" in said
    assert "no other finalist was confirmed: the budget did not allow it" in said
    two = conclude(ENTRANTS[:2], [*runs, broken], task="dogs", metric="accuracy", rows=ROWS, score=accuracy)
    assert "no other finalist came to its end when trained again" in lines(two)
    one = conclude(ENTRANTS[:1], runs[:5], task="dogs", metric="accuracy", rows=ROWS, score=accuracy)
    assert "there was no other finalist: no other candidate came to its end" in lines(one)


def test_without_budget_for_it_a_comparison_is_said_to_be_missing() -> None:
    found = answer([World(NULL, seed=2).run(ENTRANTS[0], seed) for seed in range(4)])
    said = lines(found)
    assert "not compared with full fine-tuning: the budget did not allow it" in said
    assert "no other finalist was confirmed: the budget did not allow it" in said
    assert "no combination beats one method" in found.verdicts  # the only one raced is itself one method


def test_a_baseline_that_broke_down_says_why() -> None:
    results = World(NULL, seed=2).race(ENTRANTS[:7], runs=20)
    broken = [
        Confirmed(
            entrant=f"full {n}",
            candidate=ENTRANTS[7].candidate,
            seed_index=0,
            seed=0,
            validation=None,
            reason="out of memory",
        )
        for n in range(3)
    ]
    found = answer([*results, *broken])
    assert found.uncompared == {"full fine-tuning": "out of memory"}
    assert "not compared with full fine-tuning: out of memory" in lines(found)


def test_without_confirmation_the_best_trial_is_named_with_what_is_expected_of_it() -> None:
    found = answer([])
    assert (found.winner, found.export, found.verdicts) == ("finalist 0", "finalist 0", ("not confirmed",))
    assert lines(found) == [
        "finalist 0, 100 parameters: validation accuracy 0.830 at one seed, expected at other seeds about 0.810; "
        "not confirmed over seeds, and test was not touched"
    ]
    alone = finalist(0, BITFIT, searched=0.83, expected=0.83, expected_sd=0.01)
    assert lines(conclude([alone], [], task="dogs", metric="accuracy", rows=ROWS, score=accuracy)) == [
        "finalist 0, 100 parameters: validation accuracy 0.830 at one seed; not confirmed over seeds, and test was not "
        "touched"
    ]
    nothing = conclude([], [], task="dogs", metric="accuracy", rows=ROWS, score=accuracy)
    assert lines(nothing) == ["no trial came to its end: there is nothing to recommend"]
    assert nothing.verdicts == ()
