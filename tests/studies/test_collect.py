"""A collection runs every trial of its plan once, keeps failures as records, and survives any stop."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autodelta.engine.assignment import WorkerSpec
from autodelta.errors import UserError
from autodelta.files import Lines
from autodelta.meta.records import ABOUT, JOURNAL, SHARDS, Record, read
from autodelta.studies import folder as folders
from autodelta.studies.collect import collect, preview
from autodelta.studies.folder import Collection
from tests.meta.tables import record
from tests.studies import fakes
from tests.studies.fakes import FakeSpec, Here, collected, described, plan

ROOT = Path(__file__).parents[2]


def test_every_trial_of_a_plan_is_recorded_with_curve_test_score_and_cost(tmp_path: Path) -> None:
    table = collected(tmp_path, plan(tmp_path))
    assert read(tmp_path / "table").records == table.records
    assert Counter(found.task for found in table.records) == {"one": 14, "two": 14}
    assert Counter(found.repeat for found in table.records) == {0: 20, 1: 4, 2: 4}
    for found in table.records:
        steps = found.candidate.training.steps
        assert found.state == "complete"
        assert [point.step for point in found.curve] == [step for step in (27, 47) if step < steps] + [steps]
        assert found.test == pytest.approx(found.score / 2)
        assert found.device_seconds == steps / 100
        assert found.evaluation_seconds == len(found.curve) / 100
        assert found.train_rows == {"one": 100, "two": 60}[found.task]
        assert set(found.versions) == {"autodelta", "torch", "transformers"}
    assert set(table.tasks) == {"one", "two"}
    assert "28 trials" in (tmp_path / "table" / "README.md").read_text()


def test_shared_candidates_run_on_every_task_and_fresh_ones_on_one(tmp_path: Path) -> None:
    table = collected(tmp_path, plan(tmp_path, fresh=8))
    by_task = {task: {found.candidate for found in table.of(task)} for task in ("one", "two")}
    shared = by_task["one"] & by_task["two"]
    assert len(shared) >= 6
    repeated = {found.candidate for found in table.records if found.repeat}
    assert len(repeated) == 2
    assert repeated <= shared


def test_the_repeats_of_a_trial_have_other_seeds(tmp_path: Path) -> None:
    table = collected(tmp_path, plan(tmp_path))
    assert len({found.seed for found in table.records}) == len(table.records)


def test_a_second_call_runs_nothing_again_and_a_larger_plan_adds_what_is_new(tmp_path: Path) -> None:
    first = collected(tmp_path, plan(tmp_path))
    assert collected(tmp_path, plan(tmp_path)).records == first.records
    more = collected(tmp_path, plan(tmp_path, tasks=["one", "two", "three"], shared=8))
    assert more.records[: len(first.records)] == first.records
    assert Counter(found.task for found in more.records) == {"one": 16, "two": 16, "three": 16}


def test_sizes_of_train_are_tasks_of_their_own_and_those_that_a_task_lacks_are_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    sizes = [{"name": name, "train_rows": [20, 80, "all"]} for name in ("one", "two")]
    table = collected(tmp_path, plan(tmp_path, tasks=sizes), say=said.append)
    rows = {found.task: found.train_rows for found in table.records}
    assert rows == {"one@20": 20, "one@80": 80, "one": 100, "two@20": 20, "two": 60}
    assert "two has 60 rows of train: a size of 80 is left out" in said


def test_tasks_advance_together(tmp_path: Path) -> None:
    table = collected(tmp_path, plan(tmp_path, shared=30, fresh=30))
    for number in range(20, len(table.records), 20):
        started = Counter(found.task for found in table.records[:number])
        assert abs(started["one"] - started["two"]) <= 8


def test_failures_and_candidates_over_a_limit_are_records_with_a_reason(tmp_path: Path) -> None:
    table = collected(tmp_path, plan(tmp_path, shared=9, fresh=0, seed=2), dtype="trouble")
    found = {record.candidate.methods: record for record in table.records}
    assert found["lora",].state == "failed"
    assert found["lora",].reason == "NotFinite: the loss is nan at step 7"
    assert found["lora",].test is None
    assert len(found["lora",].curve) == 1
    assert (found["bitfit",].state, found["bitfit",].reason.split(":")[0]) == ("infeasible", "latency")
    assert (found["lora", "bitfit"].state) == "infeasible"
    assert found["prompt",].state == "complete"


def test_a_process_that_dies_twice_under_a_trial_is_a_failure_and_the_rest_goes_on(tmp_path: Path) -> None:
    asked = plan(tmp_path, tasks=["one"], shared=9, fresh=0, repeats={})
    spec = FakeSpec(backbone="fake", task="one", dtype="trouble")
    table = collect(asked, tmp_path / "table", spec, workers=1, say=print, described=described)
    died = [record for record in table.records if record.candidate.methods == ("bitfit", "prompt")]
    assert [(found.state, found.reason.split(",")[0]) for found in died] == [("failed", "its worker process died")]
    assert len(table.records) == 9


def test_a_collection_killed_again_and_again_loses_no_record_and_has_none_twice(tmp_path: Path) -> None:
    rng = random.Random(4)
    command = [sys.executable, "-m", "tests.studies.fakes", str(tmp_path)]
    recorded = 0
    for _ in range(2):
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        journal = tmp_path / "table" / JOURNAL
        until = time.monotonic() + 60
        while _recorded(tmp_path) <= recorded + 2 and time.monotonic() < until and child.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.random() / 5)
        child.kill()
        child.wait()
        assert journal.exists()
        before, recorded = recorded, _recorded(tmp_path)
        assert recorded > before
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    records = read(tmp_path / "table").records
    stored = [*folders.read_shards(tmp_path / "table"), *folders.read_journal(tmp_path / "table")]
    assert Counter(found.key for found in stored) == Counter(found.key for found in records)
    assert len(records) == 2 * (40 + 20 + 4)
    assert not (tmp_path / "table" / JOURNAL).exists()
    # what was run twice is at most what ran while it was killed: two workers, two kills
    assert len((tmp_path / "trained").read_text().splitlines()) <= len(records) + 4


def _recorded(folder: Path) -> int:
    return len(folders.recorded(folder / "table"))


def test_a_crash_between_a_shard_and_the_emptying_of_the_journal_leaves_each_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "SHARD", 4)
    with Collection(tmp_path) as found:
        for rank in range(1, 4):
            found.add(record(rank=rank))
        kept = (tmp_path / JOURNAL).read_bytes()
        found.add(record(rank=4))
    Lines(tmp_path / JOURNAL).append(record(rank=4).model_dump(mode="json"))
    (tmp_path / JOURNAL).write_bytes(kept + (tmp_path / JOURNAL).read_bytes())
    with Collection(tmp_path) as found:
        assert len(found.records) == 4
        found.add(record(rank=5))
        found.seal()
    assert len(list(tmp_path.glob(SHARDS))) == 2
    assert [r.candidate.deltas[0].config.model_dump()["rank"] for r in folders.read_shards(tmp_path)] == [1, 2, 3, 4, 5]


def test_a_trial_is_not_recorded_twice(tmp_path: Path) -> None:
    with Collection(tmp_path) as found:
        found.add(record())
        with pytest.raises(ValueError, match="recorded already"):
            found.add(record())


def test_a_second_collector_of_a_folder_is_refused(tmp_path: Path) -> None:
    said = r"another collection works on table '.*': process \d+ on "
    with Collection(tmp_path), pytest.raises(UserError, match=said), Collection(tmp_path):
        pass


def test_a_shard_that_the_user_has_named_is_read_and_not_counted_with(tmp_path: Path) -> None:
    collected(tmp_path, plan(tmp_path))
    first = next((tmp_path / "table").glob(SHARDS))
    first.rename(first.with_stem("records-of-may"))
    table = collected(tmp_path, plan(tmp_path, shared=8))
    assert len(table.records) == 32
    assert read(tmp_path / "table").by_key == table.by_key


def test_trials_of_nobody_knows_what_are_not_taken_for_the_plans(tmp_path: Path) -> None:
    collected(tmp_path, plan(tmp_path))
    (tmp_path / "table" / ABOUT).unlink()
    said = r"table holds trials, and no table\.json that says of what; collect into another folder"
    spec = FakeSpec(backbone="fake", task="one")
    for again in (
        lambda: collected(tmp_path, plan(tmp_path, shared=8)),
        lambda: preview(plan(tmp_path), tmp_path / "table", spec),
    ):
        with pytest.raises(UserError, match=said):
            again()
    assert not (tmp_path / "table" / ABOUT).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("ROWS", {"one": 90, "two": 60}), "the task 'one' has 90 rows of train, and had 100 when the table began: "),
        (
            ("TEXTS", {"one": "a row"}),
            r"the task 'one' has other rows than when the table began \(log_chars_mean 2.185, it was 1.93\): ",
        ),
    ],
)
def test_a_task_that_has_other_rows_than_its_table_is_not_collected(
    change: tuple[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = collected(tmp_path, plan(tmp_path))
    monkeypatch.setattr(fakes, *change)
    with pytest.raises(UserError, match=said):
        collected(tmp_path, plan(tmp_path, shared=8))
    with pytest.raises(UserError, match=said):
        preview(plan(tmp_path, shared=8), tmp_path / "table", FakeSpec(backbone="fake", task="one"))
    assert "28 trials on 2 tasks, 28 done" in preview(
        plan(tmp_path), tmp_path / "table", FakeSpec(backbone="fake", task="one")
    )
    assert {found.train_rows for found in read(tmp_path / "table").of("one")} == {100}
    assert len(read(tmp_path / "table").records) >= len(first.records)


@pytest.mark.parametrize("name", ["file", "file/table", "readme"])
def test_a_preview_refuses_a_place_as_collect_does(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "readme").mkdir()
    (tmp_path / "readme" / "README.md").write_text("mine")
    spec = FakeSpec(backbone="fake", task="one")
    said = "is no folder that can be written|has a README.md that is no table's"
    for asked in (preview, collect):
        with pytest.raises(UserError, match=said):
            asked(plan(tmp_path), tmp_path / name, spec)


def test_a_readme_that_is_no_tables_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "README.md").write_text("mine")
    with pytest.raises(UserError, match=r"table' has a README\.md that is no table's; collect into another folder"):
        collected(tmp_path, plan(tmp_path))
    assert [path.read_text() for path in (tmp_path / "table").iterdir()] == ["mine"]


@pytest.mark.parametrize("changes", [{"seed": 9}, {"curve": 4}], ids=str)
def test_a_folder_keeps_to_one_design(tmp_path: Path, changes: dict[str, Any]) -> None:
    first = collected(tmp_path, plan(tmp_path))
    with pytest.raises(UserError, match="a table is of one: collect into another folder"):
        collected(tmp_path, plan(tmp_path, **changes))
    with pytest.raises(UserError, match="a table is of one: collect into another folder"):
        preview(plan(tmp_path, **changes), tmp_path / "table", FakeSpec(backbone="fake", task="one"))
    assert read(tmp_path / "table").records == first.records


def test_a_disk_that_cannot_be_written_on_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with Collection(tmp_path) as found:
        found.add(record())
        monkeypatch.setattr(Lines, "append", full)
        with pytest.raises(UserError, match="No space left on device; what is recorded is kept"):
            found.add(record(rank=4))
    assert len(read(tmp_path).records) == 1


def test_a_preview_counts_trials_and_predicts_their_cost_from_those_that_are_done(tmp_path: Path) -> None:
    spec = FakeSpec(backbone="fake", task="one")
    before = preview(plan(tmp_path), tmp_path / "table", spec)
    assert before[0] == "28 trials on 2 tasks, 0 done"
    assert before[-1] == "cost of the rest: not known before the first trials"
    assert not (tmp_path / "table").exists()
    collected(tmp_path, plan(tmp_path))
    larger = plan(tmp_path, shared=12)
    after = preview(larger, tmp_path / "table", spec)
    assert after[0] == "40 trials on 2 tasks, 28 done"
    seconds = sum(trial.device_seconds for trial in _new(tmp_path, larger))
    assert after[-1] == f"cost of the rest: about {seconds / 60:.1f} device-min"
    assert any(line.startswith("  lora+bitfit: ") for line in after)


def test_a_preview_stumbles_over_a_task_that_is_none_or_too_small_a_size_of_one_or_has_no_labels(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data" / "free"
    folder.mkdir(parents=True)
    (folder / "task.json").write_text('{"name": "free", "inputs": ["text"]}')
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text(
            "".join(f'{{"text": "{split} {n}", "label": "{n}"}}\n' for n in range(20))
        )

    class Loading(FakeSpec):
        def load_task(self) -> Any:
            return WorkerSpec.load_task(self)

    for task, said in (
        ("demo/nope", "unknown demo task 'nope'"),
        ({"name": "demo/topic", "train_rows": 2}, "2 rows of train cannot show each of 6 labels"),
        ("free", "'free' is open-ended"),
    ):
        asked = plan(tmp_path, tasks=["demo/entailment", task])
        with pytest.raises(UserError, match=said):
            preview(asked, tmp_path / "table", Loading(backbone="fake", task="demo/entailment", data=folder.parent))


def _new(folder: Path, larger: Any) -> list[Record]:
    """What the larger plan adds, run elsewhere."""
    known = set(read(folder / "table").by_key)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    spec = FakeSpec(backbone="fake", task="one")
    table = collect(larger, elsewhere, spec, workers=1, say=lambda line: None, start=Here, described=described)
    return [found for found in table.records if found.key not in known]


def test_a_plan_of_sizes_that_no_task_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to run"):
        collected(tmp_path, plan(tmp_path, tasks=[{"name": "one", "train_rows": 5000}]))
