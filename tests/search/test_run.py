import errno
import json
import os
from pathlib import Path

import pytest

from autodelta.errors import UserError
from autodelta.files import write_json
from autodelta.search import events
from autodelta.search.driver import search, take_up
from autodelta.search.run import LEDGER_FILE, RESULT_FILE, RUN_FILE, Run, create, new_folder, open_run
from tests.search import fakes
from tests.search.cutting import cut_short


def test_names_are_task_date_and_number(tmp_path: Path) -> None:
    first = new_folder(tmp_path / "runs", None, task="demo/entailment")
    assert first.name.startswith("demo-entailment-2")
    assert first.name.endswith("-1")
    assert not first.parent.exists()
    create(first, fakes.settings())
    assert new_folder(tmp_path / "runs", None, task="demo/entailment").name == first.name[:-1] + "2"


def test_the_name_of_a_task_of_any_length_makes_one_that_the_file_system_takes(tmp_path: Path) -> None:
    create(new_folder(tmp_path, None, task="ä long name " * 40), fakes.settings())


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "a b", "a" * 201])
def test_a_name_that_is_no_name_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a run's name"):
        new_folder(tmp_path, name, task="rte")


def test_a_name_that_is_taken_is_an_error(tmp_path: Path) -> None:
    create(tmp_path / "mine", fakes.settings())
    with pytest.raises(UserError, match="'mine' is there already"):
        new_folder(tmp_path, "mine", task="rte")
    with pytest.raises(UserError, match="'mine' is there already"):
        create(tmp_path / "mine", fakes.settings())


def test_a_folder_that_cannot_be_written_is_an_error_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere but on a read-only mount
    with pytest.raises(UserError, match="nothing can be written"):
        new_folder(tmp_path / "deep" / "runs", "mine", task="rte")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("autodelta.search.run.write_json", full)
    with pytest.raises(UserError, match="No space left on device; it is gone again"):
        create(tmp_path / "mine", fakes.settings())
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="is a file"):
        new_folder(tmp_path / "runs", "mine", task="rte")


def test_a_run_is_found_by_name_and_by_folder(tmp_path: Path) -> None:
    made = create(tmp_path / "mine", fakes.settings(seed=5))
    assert open_run("mine", tmp_path).settings == open_run(made.path).settings
    assert open_run(str(made.path)).settings.seed == 5
    with pytest.raises(UserError, match="unknown run 'mime'; did you mean 'mine'"):
        open_run("mime", tmp_path)
    with pytest.raises(UserError, match="there is no run 'mine'"):
        open_run("mine", tmp_path / "elsewhere")


def test_a_run_that_has_lost_its_settings_is_not_unknown(tmp_path: Path) -> None:
    create(tmp_path / "other", fakes.settings())
    made = create(tmp_path / "mine", fakes.settings())
    (made.path / LEDGER_FILE).touch()
    (made.path / RUN_FILE).unlink()
    with pytest.raises(UserError, match=r"mine is a run without settings: its run\.json is missing"):
        open_run("mine", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 3}', "schema 3; this version of autodelta reads 2"),
        ("{", "no run's settings: no JSON: "),
        ("[]", "no run's settings: 'schema' is missing"),
        ('{"schema": 2}', "no run's settings: 'settings' is missing"),
    ],
)
def test_a_run_that_cannot_be_read_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    made = create(tmp_path / "mine", fakes.settings())
    (made.path / RUN_FILE).write_text(text)
    with pytest.raises(UserError, match=message):
        open_run("mine", tmp_path)


def test_a_run_that_has_not_begun_can_be_shown(tmp_path: Path) -> None:
    made = create(tmp_path / "mine", fakes.settings())
    shown = made.as_json()
    assert (shown["trials"], shown["front"], shown["best"], shown["test"]) == ([], [], None, None)
    assert len(made.leaderboard()) == 0


def test_a_run_shows_as_other_scripts_rely_on(tmp_path: Path) -> None:
    run = search(fakes.settings(budget="5trials"), fakes.space(tmp_path), folder=tmp_path / "runs" / "mine")
    shown = json.loads(json.dumps(run.as_json(), allow_nan=False))
    keys = {"number", "state", "methods", "parameters", "score", "step", "device_seconds", "seed", "reason", "curve"}
    assert set(shown) == {"trials", "front", "best", "answer", "lines", "ended_early", "test", "budget"}
    assert all(keys <= set(trial) for trial in shown["trials"] + shown["front"])
    assert len(shown["trials"]) == 5
    assert shown["best"]["score"] == max(trial["score"] for trial in shown["trials"])
    assert (shown["test"]["metric"], len(shown["test"]["seeds"]), shown["test"]["mean_of"]) == ("accuracy", 1, 3)
    assert shown["test"]["mean"] == pytest.approx(shown["test"]["score"], abs=0.03)
    assert shown["best"]["seed"] not in shown["test"]["seeds"]
    assert shown["lines"][0].startswith(f"{' + '.join(shown['best']['methods'])} (trial ")
    assert shown["budget"]["spent"]["trials"] == 5
    assert shown["budget"]["remaining"] == {"trials": 0}
    assert sum(shown["budget"]["by_kind"].values()) == pytest.approx(shown["budget"]["spent"]["device_seconds"])


def test_an_answer_from_before_the_search_went_on_says_so(tmp_path: Path) -> None:
    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.TrialEnded):
            raise KeyboardInterrupt

    space = fakes.space(tmp_path)
    first = search(fakes.settings(budget="3trials"), space, folder=tmp_path / "mine")
    early = json.loads((first.path / RESULT_FILE).read_text()) | {"ended_early": "little is to be gained"}
    write_json(first.path / RESULT_FILE, early)
    said = first.as_json()["lines"]
    assert first.as_json()["ended_early"] == "little is to be gained"
    run = Run(first.path, fakes.settings(budget="6trials"))
    take_up(run, space, events=interrupt)
    shown = run.as_json()
    assert shown["lines"] == ["the search has gone on since: this is the answer of 3 of its 4 trials", *said]
    assert shown["ended_early"] == ""
    take_up(run, space)
    assert not any("gone on" in line for line in run.as_json()["lines"])


def test_interactions_see_a_trial_that_went_on_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.TrialReported):
            raise KeyboardInterrupt

    space = fakes.space(tmp_path)
    run = search(fakes.settings(budget="4trials"), space, folder=tmp_path / "mine", events=interrupt)
    cut_short(run, space)
    take_up(run, space)
    assert [trial.continues for trial in run.trials] == [None, 0, None, None, None]
    seen: list[int] = []
    monkeypatch.setattr(
        "autodelta.search.interactions.interactions", lambda found: seen.extend(t.number for t in found)
    )
    run.interactions()
    assert seen == [1, 2, 3, 4]


def test_the_leaderboard_has_the_best_first(tmp_path: Path) -> None:
    settings = fakes.settings(budget="8trials", task="trouble", sampler="random", seed=8)
    run = search(settings, fakes.space(tmp_path, fakes.SAFE), folder=tmp_path / "mine")
    table = run.leaderboard()
    assert run.best is not None
    assert table["number"][0] == run.best.number
    finished = table[table["state"] == "complete"]
    assert list(finished["score"]) == sorted(finished["score"], reverse=True)
    assert list(table["state"] != "complete") == sorted(table["state"] != "complete")
    assert set(table.columns) == {"front", *run.trials[0].as_json()}


def test_the_leaderboard_of_a_running_search_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that ends while the table is made is in it as it was, and so not yet on the front."""
    run = search(fakes.settings(budget="4trials"), fakes.space(tmp_path), folder=tmp_path / "mine")
    last = run.trials[-1]
    before = [*run.trials[:-1], last.model_copy(update={"state": "running"})]
    after = [*run.trials[:-1], last.model_copy(update={"score": 1.0})]
    looks = iter([before, after])
    monkeypatch.setattr(Run, "trials", property(lambda run: next(looks)))
    table = run.leaderboard()
    assert set(table[table["front"]]["state"]) == {"complete"}
