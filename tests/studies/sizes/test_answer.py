"""What is answered from confirmation runs made by hand, and which of them come next."""

from collections.abc import Sequence

import pytest

from autodelta.candidate import Candidate
from autodelta.search.answer import Answer, Confirmed
from autodelta.search.answer.race import Left
from autodelta.search.run import Exported
from autodelta.studies.sizes.answer import Searched, SizesAnswer, conclude
from autodelta.studies.sizes.lines import lines
from autodelta.studies.sizes.matrix import Rounds
from tests.search import fakes
from tests.studies.sizes import sized

SMALL, LARGE = fakes.a_candidate(), sized.lora(4)


def confirmed(candidate: Candidate, *tests: float, flattered: float = 0.0) -> list[Confirmed]:
    return [
        Confirmed(
            entrant="by another name",
            candidate=candidate,
            seed_index=number,
            seed=number,
            validation=test + flattered,
            test=test,
        )
        for number, test in enumerate(tests)
    ]


def searched(rows: int, won: Candidate, runs: Sequence[Confirmed]) -> Searched:
    exported = Exported(
        name="x",
        candidate=won,
        parameters=10 if won == SMALL else 100,
        trial=0,
        seed=0,
        weights="",
        validation=0,
        test=0,
    )
    answer = Answer(task="t", metric="accuracy", rows={}, level=0.9, winner="x (trial 0)", standings=())
    return Searched(rows, str(rows), answer, exported, runs)


def concluded(*found: Searched) -> SizesAnswer:
    return conclude(found, task="t", metric="accuracy", finished=True)


def test_each_range_of_sizes_gets_the_winner_that_validation_prefers_there() -> None:
    near = [0.001, -0.001, 0.0]
    answer = concluded(
        searched(10, SMALL, confirmed(SMALL, *(0.6 + n for n in near)) + confirmed(LARGE, *(0.5 - n for n in near))),
        searched(100, SMALL, confirmed(SMALL, *(0.65 + n for n in near)) + confirmed(LARGE, *(0.6 - n for n in near))),
        searched(1000, LARGE, confirmed(SMALL, *(0.7 + n for n in near)) + confirmed(LARGE, *(0.8 - n for n in near))),
    )
    small, large = (winner.name for winner in answer.winners)
    assert (small, large) == ("bitfit (of 10 rows)", "lora (of 1,000 rows)")
    assert answer.winners[0].sizes == (10, 100)
    assert [(one.low, one.high, one.winner) for one in answer.ranges] == [(10, 100, small), (1000, 1000, large)]
    (crossing,) = answer.crossings
    assert crossing.rows == pytest.approx(10 ** (2 + 0.05 / 0.15))
    said = lines(answer)
    assert said[0] == f"with 10 to 100 rows of train: {small}, 10 parameters; test accuracy 0.600 to 0.650"
    assert said[1] == f"with 1,000 rows of train: {large}, 100 parameters; test accuracy 0.800"
    assert said[2].startswith(f"{large} overtakes {small} at about 220 rows (90% over seeds: 2")
    assert len(said) == 3


def test_test_scores_choose_nothing() -> None:
    """Validation flatters LoRA, test does not: it stays the choice, and the crossing says otherwise."""
    bits, near = confirmed(SMALL, 0.7, 0.71, 0.69), (0.6, 0.61, 0.59)
    answer = concluded(
        searched(10, SMALL, bits + confirmed(LARGE, *near, flattered=0.2)),
        searched(100, LARGE, bits + confirmed(LARGE, *near, flattered=0.2)),
    )
    assert {one.recommended for one in answer.sizes} == {"lora (of 100 rows)"}
    assert any("no crossover within 10 to 100 rows: bitfit (of 10 rows) stays ahead" in line for line in lines(answer))
    assert any(line.startswith("with 10 rows its own search found bitfit") for line in lines(answer))


def test_of_winners_that_tie_the_smallest_is_recommended() -> None:
    runs = confirmed(SMALL, 0.70, 0.72, 0.68) + confirmed(LARGE, 0.69, 0.73, 0.70)
    answer = concluded(searched(10, LARGE, runs), searched(100, SMALL, runs))
    assert {one.recommended for one in answer.sizes} == {"bitfit (of 100 rows)"}
    assert answer.sizes[0].tied == ("bitfit (of 100 rows)", "lora (of 10 rows)")


def test_one_winner_everywhere_has_nothing_to_cross() -> None:
    runs = confirmed(SMALL, 0.7, 0.72, 0.68)
    answer = concluded(searched(10, SMALL, runs), searched(100, SMALL, runs))
    assert lines(answer)[1] == "one composition wins at every train size that was searched: there is nothing to cross"


def test_winners_that_were_not_trained_at_two_sizes_together_are_not_compared() -> None:
    answer = concluded(
        searched(10, SMALL, confirmed(SMALL, 0.7, 0.72)), searched(100, LARGE, confirmed(LARGE, 0.8, 0.82))
    )
    assert answer.crossings == ()
    assert [one.recommended for one in answer.sizes] == ["bitfit (of 10 rows)", "lora (of 100 rows)"]
    assert any("which the budget did not allow" in line for line in lines(answer))


def test_a_winner_that_broke_down_is_said_to_have_done_so_not_to_be_worse_or_unaffordable() -> None:
    down = confirmed(SMALL, 0.9)[0].model_copy(
        update={"seed_index": 3, "validation": None, "test": None, "reason": "a loss of nan"}
    )
    few, many = confirmed(SMALL, 0.7, 0.72, 0.68), confirmed(LARGE, 0.5, 0.52, 0.48)
    answer = concluded(searched(10, SMALL, [*few, down, *many]), searched(100, LARGE, many))
    small, large = (winner.name for winner in answer.winners)
    assert [one.recommended for one in answer.sizes] == [large, large]
    said = lines(answer)
    assert f"with 10 rows its own search found {small}; trained again beside {large}, it broke down" in said
    assert f"{small} and {large}: not scored together at two train sizes, as one of them broke down" in said
    assert f"{small} broke down with 10 rows: a loss of nan" in said


def test_missing_runs_come_seed_by_seed_and_one_that_broke_down_is_left() -> None:
    from autodelta.search.answer import Entrant

    entrants = [
        Entrant(name=name, kind="finalist", candidate=candidate, parameters=1)
        for name, candidate in (("a", SMALL), ("b", LARGE))
    ]
    known = [run.model_copy(update={"entrant": "a"}) for run in confirmed(SMALL, 0.7, 0.7)]
    rounds, done = Rounds(known, seeds=3), []
    order = []
    while (found := rounds(entrants, done)) is not None:
        order.append((found[0].name, found[1]))
        run = confirmed(found[0].candidate, 0.5)[0]
        done.append(run.model_copy(update={"entrant": found[0].name, "seed_index": found[1]}))
    assert order == [("b", 0), ("b", 1), ("a", 2), ("b", 2)]
    assert rounds(entrants, [], Left(seconds=1.0, seconds_of=lambda candidate: 2.0)) is None
    broken = confirmed(LARGE, 0.5)[0].model_copy(update={"entrant": "b", "validation": None, "test": None})
    assert rounds(entrants, [broken]) == (entrants[0], 2)


def test_of_one_seed_trained_twice_the_run_that_was_scored_on_test_counts() -> None:
    """As where a search had no time to score what it had confirmed."""
    scored = confirmed(SMALL, 0.7)
    waiting = [scored[0].model_copy(update={"test": None, "validation": 0.2})]
    for runs in (scored + waiting, waiting + scored):
        cell = concluded(searched(10, SMALL, runs)).cells[0]
        assert cell.test is not None
        assert cell.validation is not None
        assert (cell.test.mean, cell.validation.mean, cell.test.seeds) == (0.7, 0.7, 1)
