"""Damaged files, newer versions and full disks: one line, and nothing is lost."""

import errno
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from autodelta.errors import UserError
from autodelta.files import write_json
from autodelta.search import driver, resuming, storage
from autodelta.search.run import RUN_FILE, Run, create, write_settings
from autodelta.search.storage import FILE, Disk
from tests.search import fakes
from tests.search.test_resume import begun, gone_on_with, told


def changed(study: Path, statement: str) -> None:
    """Changes what a study's file holds."""
    with closing(sqlite3.connect(study)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("text", [b"", b"SQLite format 3\x00 and then nothing of the kind", b"half"])
def test_a_damaged_study_is_one_line_and_stays_as_it_is(text: bytes, tmp_path: Path) -> None:
    first = begun(tmp_path, budget="2trials")
    (first.path / FILE).write_bytes(text)
    others = {path: path.read_bytes() for path in first.path.rglob("*") if path.is_file() and path.name != FILE}
    if text:
        with pytest.raises(UserError, match=r"study\.db.* cannot be read: .*; nothing was changed"):
            gone_on_with(first, tmp_path, budget="4trials")
        assert (first.path / FILE).read_bytes() == text
    else:  # SQLite takes an empty file for a new one, we do not
        with pytest.raises(UserError, match=r"study\.db is empty"):
            gone_on_with(first, tmp_path, budget="4trials")
    kept = {path: text for path, text in others.items() if path.name not in ("driver.lock", "log")}
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_search_whose_study_is_gone_does_not_begin_anew(tmp_path: Path) -> None:
    first = begun(tmp_path, budget="2trials")
    (first.path / FILE).unlink()
    for asked in (first.as_json, lambda: gone_on_with(first, tmp_path, budget="4trials")):
        with pytest.raises(UserError, match=r"study\.db is missing, though the search had begun; nothing was changed"):
            asked()
    assert not (first.path / FILE).exists()


def test_a_trial_of_a_version_that_has_other_candidates_is_one_line(tmp_path: Path) -> None:
    first = begun(tmp_path, budget="2trials")
    changed(first.path / FILE, "UPDATE trial_user_attributes SET value_json = '\"{}\"' WHERE key = 'candidate'")
    with pytest.raises(UserError, match=r"study\.db cannot be read: trial 0: deltas: Field required; nothing was"):
        first.as_json()


def test_a_run_that_does_not_say_when_it_was_made_goes_on(tmp_path: Path) -> None:
    made = create(tmp_path / "mine", fakes.settings())
    said = json.loads((made.path / RUN_FILE).read_text())
    del said["created"]
    write_json(made.path / RUN_FILE, said)
    write_settings(made.path, made.settings)
    assert json.loads((made.path / RUN_FILE).read_text())["created"]


def test_a_larger_budget_for_a_damaged_study_is_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "_refuse_changed", lambda settings: None)  # the task of these tests has no rows
    first = begun(tmp_path, budget="2trials")
    (first.path / FILE).write_bytes(b"half")
    before = (first.path / RUN_FILE).read_bytes()
    with pytest.raises(UserError, match=r"study\.db.* cannot be read: .*; nothing was changed"):
        resuming.resume(first.path, budget="4trials")
    assert (first.path / RUN_FILE).read_bytes() == before


def test_a_study_of_a_newer_optuna_is_one_line_and_stays_as_it_is(tmp_path: Path) -> None:
    first = begun(tmp_path, budget="2trials")
    changed(first.path / FILE, "UPDATE alembic_version SET version_num = 'v99.0.a'")
    with pytest.raises(UserError, match=r"study\.db: .*; nothing was changed"):
        gone_on_with(first, tmp_path, budget="4trials")


def test_a_run_of_a_newer_version_is_one_line(tmp_path: Path) -> None:
    first = begun(tmp_path, budget="2trials")
    (first.path / RUN_FILE).write_text('{"schema": 99}')
    with pytest.raises(UserError, match="has schema 99; this version of autodelta reads"):
        resuming.resume(first.path)


def test_a_disk_that_is_full_before_the_first_trial_leaves_what_can_be_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(disk: Disk, trial: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "start", full)
        with pytest.raises(UserError, match=r"mend it, then autodelta search --resume \S+run$"):
            begun(tmp_path, budget="2trials")
        (tmp_path / "my runs").mkdir()
        with pytest.raises(UserError, match=r"autodelta search --resume '\S+my runs/run'$"):
            begun(tmp_path / "my runs", budget="2trials")
    run = Run(tmp_path / "run", fakes.settings(budget="2trials"))
    gone_on_with(run, tmp_path, budget="2trials")
    assert [trial.state for trial in run.trials] == ["complete", "complete"]


def test_a_disk_without_room_for_the_study_leaves_what_can_be_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = sqlite3.connect

    def small(*words: Any, **more: Any) -> sqlite3.Connection:
        connection = plain(*words, **more)
        connection.execute("PRAGMA max_page_count = 8")  # of which its tables alone take more
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", small)
        with pytest.raises(UserError, match="disk is full; nothing that was finished is lost: mend it, then"):
            begun(tmp_path, budget="2trials")
    run = Run(tmp_path / "run", fakes.settings(budget="2trials"))
    assert run.as_json()["trials"] == []
    assert not list(run.path.glob("*study.db*"))
    gone_on_with(run, tmp_path, budget="2trials")
    assert [trial.state for trial in run.trials] == ["complete", "complete"]


def test_a_new_study_that_cannot_be_opened_is_told_by_its_own_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        (folder / FILE).write_bytes(b"half")  # nor can it be read when the search looks whether anything is lost
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(storage, "writable", full)
    with pytest.raises(UserError, match="cannot be read: database or disk is full; nothing was changed"):
        begun(tmp_path, budget="2trials")
    assert (tmp_path / "run" / RUN_FILE).exists()


@pytest.mark.parametrize("place", ["asking", "study", "flush", "ledger", "checkpoint", "weights"])
def test_a_full_disk_is_one_line_and_costs_no_trial(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full(*words: Any, **more: Any) -> None:
        calls.append(words)
        if len(calls) > {"ledger": 1, "weights": 2}.get(place, 4):  # the ledger is written once a second
            if place == "flush":  # SQLite's words
                raise OperationalError("PRAGMA", None, sqlite3.OperationalError("No space left on device"))
            if place == "weights":  # safetensors' words
                raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(*words, **more)

    owner, name = {
        "asking": (Disk, "start"),
        "study": (Disk, "end"),
        "flush": (storage, "sync"),
        "ledger": (driver.Ledger, "_write"),
        "checkpoint": (fakes.FakeWorker, "save"),
        "weights": (fakes.FakeWorker, "weights"),
    }[place]
    plain = getattr(owner, name)
    settings = fakes.settings(budget="6trials", task="smooth:0.3" if place == "ledger" else "smooth")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(UserError, match="No space left on device; nothing that was finished is lost"):
            driver.search(settings, fakes.space(tmp_path), folder=tmp_path / "run")
    first = Run(tmp_path / "run", settings)
    ended = [line for line in told(first) if line[3] == "complete"]
    assert ended
    again, _ = gone_on_with(first, tmp_path, budget="6trials")
    assert set(ended) <= set(told(again))
    assert sum(trial.state == "complete" for trial in again.trials) == 6
    assert not any(trial.state == "failed" for trial in again.trials)


def test_a_file_elsewhere_that_may_not_be_touched_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(spec: fakes.FakeSpec) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "elsewhere/model.safetensors")

    monkeypatch.setattr(fakes.FakeSpec, "open", refused)
    with pytest.raises(UserError, match="run cannot go on: Permission denied: elsewhere/model"):
        begun(tmp_path, budget="2trials")
