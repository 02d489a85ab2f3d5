"""A search through train sizes: the sizes, the shares, the crossings, whole studies with fake workers, the command."""

import itertools
import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import autodelta
from autodelta.candidate import Candidate
from autodelta.cli import app
from autodelta.errors import UserError
from autodelta.report import sizes as tables
from autodelta.search import driver, events, open_run
from autodelta.search.answer import Answer, Confirmed
from autodelta.search.budget import parse
from autodelta.search.confirmation import Results
from autodelta.search.run import Exported
from autodelta.studies.sizes import SizeStudy, is_study, open_sizes
from autodelta.studies.sizes.answer import Searched, SizesAnswer, conclude
from autodelta.studies.sizes.asked import limited, ordered, read_sizes, shares
from autodelta.studies.sizes.crossing import Difference, crossings, places
from autodelta.studies.sizes.lines import lines
from autodelta.studies.sizes.matrix import SEEDS, Rounds
from tests.search import fakes
from tests.small import save_backbone, save_task
from tests.studies import sized
from tests.studies.sized import TRAIN_ROWS

# --- sizes and shares ------------------------------------------------------------------------------------------------


def test_sizes_come_in_order_and_the_whole_of_train_is_its_rows() -> None:
    assert ordered(read_sizes("100, all,10"), sized.task()) == (10, 100, TRAIN_ROWS)
    assert ordered((TRAIN_ROWS, 2), sized.task()) == (2, TRAIN_ROWS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("100,many", "a whole number of rows, or all: 'many'"),
        ("1e3,all", "a whole number of rows, or all: '1e3'"),
        ("-5,all", "a whole number of rows, or all: '-5'"),
        ("100,,all", "a whole number of rows, or all: ''"),
        ("1,all", "must be at least 2: 1; choose from 2 to 400, or all"),
        ("100,100", "every train size stands once: 100"),
        ("400,all", "every train size stands once: 400 and all are both 400 rows"),
        ("100,401", "fake has 400 rows of train: 401; choose from 2 to 400, or all"),
        ("all", "needs two or more: all"),
    ],
)
def test_a_size_that_cannot_be_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ordered(read_sizes(text), sized.task())


def test_every_size_must_show_each_label() -> None:
    task = sized.task(labels=("a", "b", "c", "d"))
    assert ordered((4, 50), task) == (4, 50)
    with pytest.raises(UserError, match="must show each of its 4 labels once: 3; choose from 4 to 400, or all"):
        ordered((3, 50), task)


def test_a_larger_size_holds_the_rows_of_a_smaller_one() -> None:
    task = sized.task(labels=("a", "b", "c"))
    drawn = [set(limited(task, rows).rows["train"]) for rows in (3, 10, 11, 150, TRAIN_ROWS)]
    assert [len(rows) for rows in drawn] == [3, 10, 11, 150, TRAIN_ROWS]
    assert all(small < large for small, large in itertools.pairwise(drawn))


@pytest.mark.parametrize(
    ("budget", "confirm_share", "each"),
    [
        ("2cpu-h", 0.2, ("36cpu-min",) * 3),
        ("20trials", 0.2, ("7trials", "7trials", "6trials")),
        ("3h,9gpu-h", 0.0, ("3gpu-h,1h",) * 3),
        ("1cpu-min,4trials", 0.2, ("18cpu-s,2trials", "18cpu-s,1trials", "18cpu-s,1trials")),
        ("10s", 0.5, ("2.5s",) * 3),
    ],
)
def test_a_budget_is_shared_out_evenly(budget: str, confirm_share: float, each: tuple[str, ...]) -> None:
    assert shares(budget, confirm_share, 3).each == each


def test_no_share_is_lost_and_trials_get_as_much_of_the_time_as_without_sizes() -> None:
    for budget, share in (("7cpu-h", 0.2), ("100s", 0.35), ("50gpu-h", 0.1)):
        found, whole = shares(budget, share, 3), parse(budget)
        parts = [parse(text).for_search(found.confirm_share) for text in found.each]
        for limit in ("cpu_seconds", "gpu_seconds", "wall_seconds"):
            asked = getattr(whole.for_search(share), limit)
            if asked is not None:
                assert sum(getattr(part, limit) for part in parts) == pytest.approx(asked, rel=1e-3)
    assert shares("20trials", 0.2, 3).confirm_share == 0.2


def test_fewer_trials_than_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="3 train sizes need a trial each: '2trials'; choose 3trials or more"):
        shares("2trials", 0.2, 3)


# --- crossings -------------------------------------------------------------------------------------------------------


def at(*means: float, rows: Sequence[int] = (100, 1000, 10000), error: float = 0.001, dof: int = 8) -> list[Difference]:
    return [Difference(size, mean, error, dof) for size, mean in zip(rows, means, strict=True)]


def test_a_crossing_is_interpolated_on_log_rows() -> None:
    (found,) = crossings("A", "B", at(0.02, -0.02, -0.04))
    assert found.rows == pytest.approx(10**2.5)
    assert (found.first, found.second) == ("A", "B")  # A leads at few rows, B overtakes it
    assert found.leads == (-0.02, 0.04)
    (found,) = crossings("A", "B", at(-0.03, -0.01, 0.03))
    assert found.rows == pytest.approx(10**3.25)
    assert (found.first, found.second) == ("B", "A")
    assert found.leads == (-0.03, 0.03)


def test_where_both_score_the_same_the_crossing_lies_in_the_middle() -> None:
    (found,) = crossings("A", "B", at(0.02, 0.0, -0.04))
    assert found.rows == pytest.approx(1000)
    assert places(np.array([1.0, 2.0, 3.0, 5.0]), np.array([1.0, 0.0, 0.0, -1.0])) == [(2.5, -1)]
    assert places(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0])) == []
    assert places(np.array([1.0, 2.0]), np.array([0.0, 0.0])) == []


def test_two_may_overtake_each_other_more_than_once() -> None:
    back, forth = crossings("A", "B", at(0.02, -0.02, 0.02))
    assert [back.second, forth.second] == ["B", "A"]
    assert [back.rows, forth.rows] == [pytest.approx(10**2.5), pytest.approx(10**3.5)]


def test_the_interval_is_that_of_the_seeds() -> None:
    """A line through two points whose ends scatter by e: the crossing scatters by about e over the slope."""
    ends = at(0.1, -0.1, rows=(100, 10000), error=0.004, dof=10_000)
    (found,) = crossings("A", "B", ends)
    assert found.rows == pytest.approx(1000)
    assert found.low is not None
    assert found.high is not None
    reach = 1.645 * 0.004 * math.sqrt(0.5) / 0.1 * math.log(10)  # half a decade's error at the middle, times the slope
    assert math.log(found.high / 1000) == pytest.approx(reach, rel=0.06)
    assert math.log(1000 / found.low) == pytest.approx(reach, rel=0.06)
    assert found.chance == 1.0
    (wide,) = crossings("A", "B", at(0.1, -0.1, rows=(100, 10000), error=0.004, dof=2))
    assert wide.low is not None
    assert wide.low < found.low


def test_an_interval_that_leaves_what_was_looked_at_is_open() -> None:
    (found,) = crossings("A", "B", at(0.05, 0.04, -0.002, error=0.01))
    assert found.low is not None
    assert found.low > 1000
    assert found.high is None
    assert found.chance is not None
    assert 0.4 < found.chance < 0.7
    (early,) = crossings("A", "B", at(0.002, -0.04, -0.05, error=0.01))
    assert early.low is None
    assert early.high is not None


def test_no_crossing_is_said_with_who_leads_and_its_chance() -> None:
    (found,) = crossings("A", "B", at(-0.03, -0.02, -0.04, error=0.002))
    assert (found.first, found.second, found.rows) == ("B", "A", None)
    assert found.leads == (-0.03, -0.04)
    assert found.chance == pytest.approx(0.0, abs=1e-3)
    (unsure,) = crossings("A", "B", at(0.01, 0.01, 0.01, error=0.02))
    assert unsure.rows is None
    assert unsure.chance is not None
    assert unsure.chance > 0.3


def test_too_few_seeds_give_no_interval_and_one_size_no_crossing() -> None:
    (found,) = crossings("A", "B", at(0.02, -0.02, -0.04, dof=0))
    assert found.rows == pytest.approx(10**2.5)
    assert (found.low, found.high, found.chance) == (None, None, None)
    assert crossings("A", "B", at(0.02, rows=(100,))) == ()


# --- the answer ------------------------------------------------------------------------------------------------------


def lora(rank: int) -> Candidate:
    delta = {"method": "lora", "roles": ["encoder.self_attn.q"], "config": {"rank": rank}, "learning_rate": 0.001}
    return Candidate.model_validate({"deltas": [delta], "training": {"steps": 40, "batch_size": 8}})


SMALL, LARGE = fakes.a_candidate(), lora(4)


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
    assert rounds(entrants, [], seconds_left=1.0, seconds_of=lambda candidate: 2.0) is None
    broken = confirmed(LARGE, 0.5)[0].model_copy(update={"entrant": "b", "validation": None, "test": None})
    assert rounds(entrants, [broken]) == (entrants[0], 2)


# --- candidates that go first ----------------------------------------------------------------------------------------


def test_given_candidates_are_the_first_trials_and_ordinary_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "floors", lambda task: {})
    first = (lora(4), lora(2), lora(3), lora(4))  # rank 3 is not in the space
    plain = fakes.settings(budget="6trials", space=fakes.FINITE)
    space = fakes.space(tmp_path)
    roles = ("decoder.self_attn.q", "encoder.self_attn.q")
    given = tuple(
        one.model_copy(update={"deltas": (one.deltas[0].model_copy(update={"roles": roles}),)}) for one in first
    )
    run = driver.search(plain.model_copy(update={"first": given}), space, folder=tmp_path / "run")
    assert [trial.candidate for trial in run.trials[:2]] == list(given[:2])
    assert given[2] not in [trial.candidate for trial in run.trials]
    assert len(run.trials) == 6
    assert Counter(trial.state for trial in run.trials) == {"complete": 6}
    assert open_run(run.path).settings.first == given


# --- whole studies ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SizeStudy:
    """One that has ended; to be looked at only."""
    return sized.begun(tmp_path_factory.mktemp("runs") / "study", sized.asked())


def copied(study: SizeStudy, tmp_path: Path, **changes: Any) -> SizeStudy:
    """The same study elsewhere, perhaps asked for something else."""
    shutil.copytree(study.path, tmp_path / "study")
    settings = study.asked.settings.model_copy(update=changes)
    return SizeStudy(tmp_path / "study", study.asked.model_copy(update={"settings": settings}))


def test_a_study_finds_where_lora_overtakes_biases(study: SizeStudy) -> None:
    answer = study.result
    assert answer is not None
    assert answer.finished
    assert [one.rows for one in answer.sizes] == [10, 100, TRAIN_ROWS]
    assert [answer.winner(one.recommended or "").methods for one in answer.sizes] == [("bitfit",), ("lora",), ("lora",)]
    found = [one for one in answer.crossings if one.rows is not None and "bitfit" in one.first and "lora" in one.second]
    assert found
    assert all(40 < (one.rows or 0) < 100 for one in found)
    assert all(one.low is not None and one.high is not None and one.low <= (one.rows or 0) <= one.high for one in found)
    for cell in answer.cells:
        assert cell.test is not None
        assert cell.test.seeds >= SEEDS
        assert cell.test.mean == pytest.approx(
            0.6 + ("lora" in cell.winner) * 0.1 * math.log(cell.rows / sized.CROSSING), abs=0.03
        )


def test_each_search_is_an_ordinary_run_that_tries_the_winners_before_it_first(study: SizeStudy) -> None:
    runs = {rows: open_run(run.path) for rows, run in study.runs.items()}
    assert [run.name for run in runs.values()] == ["10", "100", "all"]
    assert [run.settings.worker.train_rows for run in runs.values()] == [10, 100, None]
    assert [run.settings.rows["train"] for run in runs.values()] == [10, 100, TRAIN_ROWS]
    assert [len(run.trials) for run in runs.values()] == [6, 6, 6]
    exported = [run.result.exported.candidate for run in runs.values() if run.result and run.result.exported]
    assert runs[100].trials[0].candidate == exported[0]
    assert runs[100].settings.first == (exported[0],)
    assert runs[TRAIN_ROWS].settings.first == tuple(dict.fromkeys((exported[1], exported[0])))
    assert [trial.candidate for trial in runs[TRAIN_ROWS].trials[:2]] == [exported[1], exported[0]]


def test_no_run_is_trained_or_scored_twice(study: SizeStudy) -> None:
    assert study.result is not None
    for rows in study.asked.sizes:
        own, more = study.confirmed(rows), Results(study.matrix_folder(rows)).all()
        runs = [(run.candidate, run.seed) for run in [*own, *more]]
        assert max(Counter(runs).values()) == 1
        winners = {winner.candidate for winner in study.result.winners}
        assert all(run.candidate in winners and run.test is not None for run in more)
        tested = Counter(line.split('"')[3] for line in _tested(study.matrix_folder(rows)))
        assert set(tested.values()) <= set(range(1, SEEDS + 1))
        assert not list(study.matrix_folder(rows).rglob("*.safetensors"))


def _tested(folder: Path) -> list[str]:
    return [line for line in (folder / "confirmation.jsonl").read_text().splitlines() if '"test": null' not in line]


class Killed(Exception):
    """Stands for kill -9: nothing of ours catches it."""


@pytest.mark.parametrize("moment", ["between sizes", "before the matrix", "in the matrix"])
def test_a_study_that_was_killed_goes_on_to_the_same_end(moment: str, study: SizeStudy, tmp_path: Path) -> None:
    seen = Counter[str]()

    def kill(event: events.Event) -> None:
        seen[type(event).__name__] += 1
        if moment == "between sizes" and "search 2 of 3" in str(event):
            raise Killed
        if moment == "before the matrix" and "the winners of all sizes" in str(event):
            raise Killed
        if moment == "in the matrix" and seen["SearchEnded"] == 3 and isinstance(event, events.EntrantConfirmed):
            seen["in the matrix"] += 1
            if seen["in the matrix"] == 2:
                raise Killed

    with pytest.raises(Killed):
        sized.begun(tmp_path / "killed", study.asked, kill)
    killed = SizeStudy(tmp_path / "killed", study.asked)
    assert killed.result is None
    assert not killed.answer.finished
    sized.gone_on(killed)
    assert sized.story(killed) == sized.story(study)


def test_a_study_that_has_ended_stays_as_it_is(study: SizeStudy, tmp_path: Path) -> None:
    again, heard = copied(study, tmp_path), list[events.Event]()
    sized.gone_on(again, heard.append)
    assert sized.story(again) == sized.story(study)
    assert not any(isinstance(event, events.TrialStarted | events.EntrantConfirmed) for event in heard)


def test_a_larger_budget_goes_on_at_every_size(study: SizeStudy, tmp_path: Path) -> None:
    again = copied(study, tmp_path, budget="22trials")
    sized.gone_on(again)
    assert [len(run.trials) for run in again.runs.values()] == [8, 7, 7]
    for rows, run in study.runs.items():
        assert again.runs[rows].trials[:6] == run.trials
    assert again.budget["spent"]["trials"] == 22


@pytest.mark.parametrize("where", ["in a search", "in the matrix"])
def test_an_interrupt_ends_a_study_in_good_order(where: str, tmp_path: Path) -> None:
    heard = list[events.Event]()

    def interrupt(event: events.Event) -> None:
        heard.append(event)
        ended = sum(isinstance(one, events.SearchEnded) for one in heard)
        if where == "in a search" and ended == 1 and isinstance(event, events.TrialReported):
            raise KeyboardInterrupt
        if where == "in the matrix" and ended == 3 and isinstance(event, events.EntrantConfirmed):
            raise KeyboardInterrupt

    study = sized.begun(tmp_path / "study", sized.asked(sizes=(10, 100, TRAIN_ROWS), budget="9trials"), interrupt)
    assert study.result is None
    assert isinstance(heard[-1], events.SearchEnded)
    assert heard[-1].reason == "interrupted"
    assert len(study.runs) == (2 if where == "in a search" else 3)
    assert lines(study.answer)[0] == "the study has not ended: this is what is known so far"
    sized.gone_on(study)
    assert study.result is not None


def test_a_budget_in_time_keeps_a_part_for_the_winners_and_is_not_overdrawn(tmp_path: Path) -> None:
    study = sized.begun(tmp_path / "study", sized.asked(sizes=(10, TRAIN_ROWS), budget="3cpu-s,8trials"))
    assert study.result is not None
    assert study.budget["spent"]["device_seconds"] <= 3.1
    assert [run.settings.budget for run in study.runs.values()] == ["1.35cpu-s,4trials"] * 2
    assert study.for_matrix(10).cpu_seconds == pytest.approx(study.for_matrix(10).device_seconds or 0)


def test_without_confirmation_there_is_no_matrix(tmp_path: Path) -> None:
    study = sized.begun(tmp_path / "study", sized.asked(confirm_share=0.0, budget="6trials"))
    assert study.result is not None
    assert study.result.crossings == ()
    assert not (study.path / "matrix").exists()
    assert all(one.recommended is not None for one in study.result.sizes)


def test_a_budget_too_small_for_a_trial_says_whose_share_it_was_and_leaves_nothing(tmp_path: Path) -> None:
    class Slow(sized.SizedSpec):
        def open(self) -> fakes.FakeWorker:  # type: ignore[override]
            return fakes.FakeWorker("smooth:9")

    with pytest.raises(UserError, match=r"too small for one trial.* it is what 10 rows get of '3s' for 3 train sizes"):
        sized.begun(tmp_path / "study", sized.asked(budget="3s", worker=Slow(backbone="fake", task="fake")))
    assert not (tmp_path / "study").exists()


def test_a_study_is_opened_by_name_and_shown_and_is_no_run(study: SizeStudy) -> None:
    runs = study.path.parent
    assert is_study("study", runs)
    assert not is_study("study/10", runs)
    found = open_sizes("study", runs)
    assert found.result == study.result
    shown = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert set(shown) == {"train_sizes", "runs", "answer", "lines", "budget"}
    assert shown["budget"]["spent"]["trials"] == 18
    assert set(found.table().columns) >= {"winner", "rows", "test", "test_sd", "validation_seeds"}
    assert len(tables.recommendations(shown).rows) == 3
    assert len(tables.matrix(shown).columns) == 4
    with pytest.raises(UserError, match=r"study holds a run for each train size: name one of .*study/10"):
        open_run("study", runs)
    with pytest.raises(UserError, match="unknown size study 'studi'; did you mean 'study'"):
        open_sizes("studi", runs)


# --- the command -----------------------------------------------------------------------------------------------------

REAL = """
methods:
  lora: {roles: "*_attn.q", sizes: {rank: [2, 4]}, learning_rate: {low: 3e-3, high: 3e-2, log: true}}
  bitfit: {roles: "*_attn.*, ffn.*", learning_rate: {low: 3e-3, high: 3e-2, log: true}}
training: {steps: 6, batch_size: 8}
"""


def command(place: Path, sizes: str, **changed: str) -> Any:
    (place / "space.yaml").write_text(REAL)
    options = {
        "task": "small",
        "data": str(place / "data"),
        "backbone": str(place / "backbone"),
        "space": str(place / "space.yaml"),
        "budget": "4trials",
        "executor": "local",
        "workers": "1",
        "runs": str(place / "runs"),
        "train-sizes": sizes,
        **changed,
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return CliRunner().invoke(app, ["search", *words], catch_exceptions=False)


@pytest.mark.parametrize(
    ("sizes", "changed", "said"),
    [
        ("8,some", {}, "'some'"),
        ("8,8,all", {}, "every train size stands once: 8"),
        ("8,49", {}, "small has 48 rows of train: 49; choose from 2 to 48, or all"),
        ("1,all", {}, "at least 2"),
        ("all", {}, "two or more"),
        ("4,8,all", {"budget": "2trials"}, "3 train sizes need a trial each"),
        ("8,all", {"budget": "soon"}, "a number and a unit"),
        ("8,all", {"sampler": "tpee"}, "did you mean 'tpe'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_and_writes_nothing(
    sizes: str, changed: dict[str, str], said: str, tmp_path: Path
) -> None:
    save_task(tmp_path / "data")
    result = command(tmp_path, sizes, **changed)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line]
    assert len(errors) == 1
    assert said in errors[0]
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_study_from_the_command_line(tmp_path: Path) -> None:
    save_task(tmp_path / "data")
    save_backbone(tmp_path / "backbone", v1_1=True)
    runs = ["--runs", str(tmp_path / "runs")]
    result = command(tmp_path, "8,all", name="both")
    assert result.exit_code == 0, result.output
    assert "budget 4trials: 2trials for each of 2 train sizes" in result.output
    assert "By labelled data" in result.output
    shown = CliRunner().invoke(app, ["show", "both", *runs])
    assert "Winners at every train size" in shown.output or "there is nothing to cross" in shown.output
    summary = json.loads(CliRunner().invoke(app, ["show", "both", *runs, "--json"]).stdout)
    assert summary["train_sizes"] == [8, 48]
    assert summary["answer"]["finished"]
    one = json.loads(CliRunner().invoke(app, ["show", "both/8", *runs, "--json"]).stdout)
    assert len(one["trials"]) == 2
    assert (tmp_path / "runs" / "both" / "all" / "recipe" / "recipe.yaml").is_file()
    more = CliRunner().invoke(app, ["search", "--resume", "both", "--budget", "6trials", *runs], catch_exceptions=False)
    assert more.exit_code == 0, more.output
    assert autodelta.open_sizes("both", tmp_path / "runs").budget["spent"]["trials"] == 6
    less = CliRunner().invoke(app, ["search", "--resume", "both", "--budget", "5trials", *runs])
    assert (less.exit_code, "a larger one: '6trials', not '5trials'" in less.stderr) == (2, True)
    changed = CliRunner().invoke(app, ["search", "--resume", "both", "--train-sizes", "8,all", *runs])
    assert "keeps its --train-sizes" in changed.stderr
