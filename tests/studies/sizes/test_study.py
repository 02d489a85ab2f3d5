"""Whole studies with fake workers: what they find, and that any stop leaves them whole."""

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autodelta.errors import UserError
from autodelta.meta.problem import NoTransfer
from autodelta.report import sizes as tables
from autodelta.search import driver, events, open_run
from autodelta.search.confirmation import Results
from autodelta.search.settings import Settings
from autodelta.search.worth import Enough
from autodelta.space import Space
from autodelta.studies.sizes import SizeStudy, is_study, open_sizes, resume_sizes
from autodelta.studies.sizes.lines import lines
from autodelta.studies.sizes.matrix import SEEDS
from autodelta.tasks import Task
from tests.search import fakes
from tests.studies.sizes import sized
from tests.studies.sizes.sized import TRAIN_ROWS


def test_given_candidates_are_the_first_trials_and_ordinary_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "floors", lambda task: {})
    given = tuple(sized.lora(rank) for rank in (4, 2, 3, 4))  # rank 3 is not in the space
    plain, space = fakes.settings(budget="6trials"), fakes.space(tmp_path)
    run = driver.search(plain.model_copy(update={"first": given}), space, folder=tmp_path / "run")
    assert [trial.candidate for trial in run.trials[:2]] == list(given[:2])
    assert given[2] not in [trial.candidate for trial in run.trials]
    assert len(run.trials) == 6
    assert Counter(trial.state for trial in run.trials) == {"complete": 6}
    assert open_run(run.path).settings.first == given


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


def test_a_sampler_that_learns_across_tasks_is_told_of_each_size_what_is_known_of_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def known(task: Task, backbone: object) -> dict[str, float]:
        computed.append(len(task.rows["train"]))
        if computed[-1] == 20:
            raise NoTransfer("the task's features cannot be computed")
        return {"train_rows": float(computed[-1])}

    monkeypatch.setattr("autodelta.studies.sizes.driver.features_of", known, raising=False)
    monkeypatch.setattr(sized.SizedSpec, "load_backbone", lambda spec: None)
    what = sized.asked(
        sizes=(10, 20, TRAIN_ROWS), budget="3trials", confirm_share=0.0, features={"train_rows": float(TRAIN_ROWS)}
    )
    study = sized.begun(tmp_path / "study", what)
    told = {rows: open_run(run.path).settings.features for rows, run in study.runs.items()}
    assert told == {10: {"train_rows": 10.0}, 20: None, TRAIN_ROWS: {"train_rows": float(TRAIN_ROWS)}}
    larger = what.settings.model_copy(update={"budget": "6trials"})
    again = SizeStudy(study.path, what.model_copy(update={"settings": larger}))
    sized.gone_on(again)
    assert {rows: open_run(run.path).settings.features for rows, run in again.runs.items()} == told
    assert [len(run.trials) for run in again.runs.values()] == [2, 2, 2]
    assert computed == [10, 20]


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


def test_a_limit_that_a_new_budget_has_not_any_more_is_said(
    study: SizeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autodelta.studies.sizes.open_sizes", lambda name, runs: copied(study, tmp_path))
    monkeypatch.setattr("autodelta.studies.sizes.take_up", lambda *_, **__: None)
    monkeypatch.setattr("autodelta.search.resuming._refuse_changed", lambda settings: None)
    heard: list[events.Event] = []
    resume_sizes(study.path, budget="1h", listener=heard.append)
    before = study.asked.settings.budget
    assert [str(event) for event in heard] == [f"the budget 1h is in place of {before}: no limit of trials is left"]


def test_searches_that_ended_early_go_on_when_less_gain_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rule(settings: Settings, space: Space, run: Path) -> Enough:
        return lambda trials: "little to gain" if len(trials) >= 2 and settings.stop_when_worth_less > 0.1 else None

    monkeypatch.setattr(driver, "rule", rule)
    study = sized.begun(
        tmp_path / "study", sized.asked(sizes=(10, TRAIN_ROWS), budget="8trials", stop_when_worth_less=0.5)
    )
    assert {rows: len(run.trials) for rows, run in study.runs.items()} == {10: 2, TRAIN_ROWS: 2}
    larger = copied(study, tmp_path / "larger", stop_when_worth_less=0.6)
    sized.gone_on(larger)
    assert {rows: len(run.trials) for rows, run in larger.runs.items()} == {10: 2, TRAIN_ROWS: 2}

    monkeypatch.setattr("autodelta.studies.sizes.open_sizes", lambda name, runs: study)
    monkeypatch.setattr("autodelta.search.resuming._refuse_changed", lambda settings: None)
    monkeypatch.setattr(driver, "floors", lambda task: {})
    again = resume_sizes(study.path, stop_when_worth_less=0.0)
    assert {rows: len(run.trials) for rows, run in again.runs.items()} == {10: 4, TRAIN_ROWS: 4}
    assert again.result is not None
    assert again.result.finished


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

    study = sized.begun(tmp_path / "study", sized.asked(sizes=(10, 100, TRAIN_ROWS), budget="12trials"), interrupt)
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


def test_a_study_whose_file_lacks_something_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "sizes.json").write_text('{"schema": 1, "asked": {"sizes": [10, 100]}}')
    with pytest.raises(UserError, match=r"sizes\.json cannot be read: settings: Field required$"):
        open_sizes("study", tmp_path)
