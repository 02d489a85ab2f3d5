"""Fitting to tables and to own searches, which loses no record of before."""

import errno
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autodelta.cli import app
from autodelta.deltas.spec import specs
from autodelta.errors import UserError
from autodelta.meta import fitting, past
from autodelta.meta.columns import RECORDS, VERSION
from autodelta.meta.parquet import write as write_parquet
from autodelta.meta.records import Table, read, write_table
from autodelta.meta.training import Settings
from autodelta.search import search
from autodelta.search.run import RUN_FILE
from autodelta.space import Space
from autodelta.studies.learn import distinct, gathered, learn
from autodelta.studies.own_runs import tables_of_runs
from tests.meta.pasts import a_past
from tests.meta.tables import record, task_features
from tests.search.fakes import SHAPE, SPACE
from tests.small import save_backbone, save_task

HARDLY = Settings(steps=2, tasks=8, members=1, hidden=8, heads=4, embedding=2)  # what is learned is not looked at
OWN = """
methods:
  lora: {roles: "*_attn.q", sizes: {rank: [1, 2]}, learning_rate: {low: 1e-4, high: 1e-2, log: true}}
  bitfit: {roles: "*_attn.q", learning_rate: 0.001}
training: {steps: [12, 24], batch_size: 8}
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fitting, "Settings", lambda: HARDLY)
    monkeypatch.setattr(past, "BUNDLED", tmp_path / "none")


@pytest.fixture(scope="module")
def space() -> Space:
    return Space.of_text(SPACE, SHAPE, name="small")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, space: Space) -> Path:
    """A table of eight tasks, and a folder of two searches of one task."""
    folder = tmp_path_factory.mktemp("learn")
    write_table(folder / "table", a_past(space))
    save_backbone(folder / "backbone")
    save_task(folder / "data")
    (folder / "own.yaml").write_text(OWN)
    given: dict[str, Any] = {"backbone": str(folder / "backbone"), "space": folder / "own.yaml"}
    for name, seed in (("first", 0), ("second", 1)):
        search(
            "small", budget="4trials", data=folder / "data", runs=folder / "runs", name=name, seed=seed,
            sampler="random", pruner="none", executor="local", workers=1, dtype="fp32", confirm_share=0.0, **given,
        )  # fmt: skip
    return folder


def call(*words: object) -> Any:
    return CliRunner().invoke(app, ["meta", "fit", *map(str, words)], catch_exceptions=False)


def test_fitting_from_the_command_line_keeps_the_records_with_a_card(place: Path, tmp_path: Path) -> None:
    said = call("--table", place / "table", "--to", tmp_path / "fitted")
    assert (said.exit_code, "learned from 8 tasks" in said.output) == (0, True)
    assert [folder.name for folder in past.recorded(tmp_path / "fitted")] == ["table"]
    card = (tmp_path / "fitted" / "README.md").read_text()
    assert f"{len(read(place / 'table').records)} trials on `tiny` (0)" in card
    assert "bitfit, lora, prompt" in card
    again = call("--table", place / "table", "--to", tmp_path / "fitted")
    assert (again.exit_code, again.stderr.count("\n")) == (2, 1)
    assert "is there already" in again.stderr


def test_own_runs_are_learned_from_and_nothing_of_before_is_lost(place: Path, tmp_path: Path) -> None:
    learn(tmp_path / "before", tables=[place / "table"])
    learn(tmp_path / "after", tables=[tmp_path / "before"], runs=place / "runs")
    found = past.read(tmp_path / "after")
    assert found is not None
    assert [task.task for task in found.tasks] == [*(f"task{number}" for number in range(8)), "small"]
    assert len(found.backbones) == 2
    before, own = (
        read(folder) for folder in (past.recorded(tmp_path / "after")[1], past.recorded(tmp_path / "after")[0])
    )
    assert set(before.by_key) == set(read(place / "table").by_key)
    assert {record.task for record in own.records} == {"small"}


def test_what_ships_is_learned_from_too(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn(tmp_path / "ships", tables=[place / "table"])
    monkeypatch.setattr(past, "BUNDLED", tmp_path / "ships")
    learn(tmp_path / "mine", runs=place / "runs")
    found = past.read(tmp_path / "mine")
    assert found is not None
    assert len(found.tasks) == 9


def test_a_place_where_no_model_can_be_written_is_said_before_the_fit(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autodelta.studies.learn.fit", lambda *given, **more: pytest.fail("a model was fitted"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is no folder that can be written"):
        learn(tmp_path / "file" / "model", tables=[place / "table"])


def test_a_model_that_cannot_be_written_whole_is_not_there_at_all(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()):
        monkeypatch.setattr("autodelta.studies.learn.save", partial(_fails, error))
        with pytest.raises((UserError, KeyboardInterrupt), match=r"No space left on device|^$"):
            learn(tmp_path / "model", tables=[place / "table"])
        assert list(tmp_path.iterdir()) == []


def _fails(error: BaseException, *given: object) -> None:
    raise error


def test_a_trial_that_two_tables_hold_counts_once(place: Path, tmp_path: Path) -> None:
    learn(tmp_path / "one", tables=[place / "table"])
    learn(tmp_path / "both", tables=[place / "table", tmp_path / "one"])
    found = past.read(tmp_path / "both")
    assert found is not None
    assert found.trials == len(read(place / "table").records)


def test_of_a_trial_that_has_gone_on_since_the_whole_counts_whatever_repeat_it_is_called() -> None:
    whole, other = record(repeat=1), record(seed=99)
    stopped = whole.model_copy(update={"repeat": 0, "state": "pruned", "curve": whole.curve[:1]})
    before, after = (Table(records=records, tasks={}) for records in ((stopped,), (other, whole)))
    assert [found.records for found in distinct([("past", before), ("own-runs", after)]).values()] == [after.records]
    assert [found.records for found in distinct([("past", after), ("own-runs", before)]).values()] == [after.records]


def test_a_task_whose_trials_lie_in_two_tables_is_named_once_with_the_best_of_both() -> None:
    worse, better, elsewhere = record(), record(rank=4), record(rank=8, backbone_sha256="1")
    known = {"one": task_features()}
    tables = [Table(records=(worse,), tasks=known), Table(records=(better,), tasks=known)]
    found = past.past_of([*tables, Table(records=(elsewhere,), tasks=known)]).tasks
    assert [(task.task, task.trials, task.best and task.best.score) for task in found] == [
        ("one", 2, better.score),
        ("one", 1, elsewhere.score),
    ]


def test_a_method_of_which_every_trial_failed_was_not_learned_from() -> None:
    failed = record(rank=4, state="failed", curve=(), test=None)
    delta = failed.candidate.deltas[0].model_copy(update={"method": "bitfit", "config": specs()["bitfit"].config()})
    failed = failed.model_copy(update={"candidate": failed.candidate.model_copy(update={"deltas": (delta,)})})
    assert past.past_of([Table(records=(record(), failed), tasks={})]).methods == ("lora",)


def test_a_table_named_by_where_one_stands_has_a_folder_of_its_own(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_table(tmp_path / "table", a_past(space)))
    assert [name for name, _ in gathered([Path()], None, say=print)] == ["table"]


def test_runs_become_records_of_one_task_with_its_features(place: Path) -> None:
    (table,) = tables_of_runs(place / "runs")
    assert len(table.records) == 8
    assert len(table.by_key) == 8
    assert {record.state for record in table.records} == {"complete"}
    assert all(record.curve and record.test is None and record.device_seconds > 0 for record in table.records)
    assert table.tasks["small"].features["log_labels"] > 0
    assert table.about is not None
    assert table.about.space_text == OWN


def test_a_run_that_teaches_nothing_is_left_out_and_said(place: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("first", "second"):
        (runs / name).mkdir(parents=True)
        for file in (place / "runs" / name).iterdir():
            if file.is_file():
                (runs / name / file.name).write_bytes(file.read_bytes())
    data = json.loads((runs / "second" / RUN_FILE).read_text())
    data["settings"]["fingerprint"] = "another"
    (runs / "second" / RUN_FILE).write_text(json.dumps(data))
    said: list[str] = []
    (table,) = tables_of_runs(runs, say=said.append)
    assert (len(table.records), len(said)) == (4, 1)
    assert "not those of then" in said[0]


def test_what_cannot_be_learned_from_is_one_line(place: Path, tmp_path: Path, space: Space) -> None:
    few = write_table(tmp_path / "few", a_past(space, tasks=2))
    torn = write_table(tmp_path / "torn", a_past(space))
    shard = torn / "records-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:100])
    empty = write_table(tmp_path / "empty", a_past(space))
    write_parquet(empty / "records-00000.parquet", [], RECORDS, kind="records", version=VERSION)
    newer = write_table(tmp_path / "newer", a_past(space))
    write_parquet(newer / "records-00000.parquet", [], RECORDS, kind="records", version=VERSION + 1)
    (tmp_path / "no-runs").mkdir()
    for words, reason in (
        ((), "name tables with --table, or your searches with --runs"),
        (("--table", few), "nothing can be learned from these records: 2 of 2"),
        (("--table", torn), "no readable Parquet file"),
        (("--table", empty), "no rows; records need at least one"),
        (("--table", newer), f"this version reads schema {VERSION}"),
        (("--table", tmp_path / "nowhere"), "no table in"),
        (("--runs", tmp_path / "no-runs"), "there is no run in"),
    ):
        said = call(*words, "--to", tmp_path / "fitted")
        assert (said.exit_code, said.stderr.count("\n")) == (2, 1)
        assert reason in said.stderr
    assert not (tmp_path / "fitted").exists()


def test_runs_without_a_scored_trial_are_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / RUN_FILE).write_bytes((place / "runs" / "first" / RUN_FILE).read_bytes())
    with pytest.raises(UserError, match=r"no run in .* has a trial with a score"):
        tables_of_runs(tmp_path, say=lambda line: None)
