import errno
import os
from pathlib import Path

import pytest

from autodelta.files import Lines, write_json, write_whole
from autodelta.search.ledger import Ledger, Spending, read
from tests.search.fakes import Clock


def test_everything_held_is_booked_idle_time_too(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(tmp_path / "ledger.jsonl", clock=clock)
    for kind, seconds in (
        (Spending.START_UP, 3),
        (Spending.TRAINING, 10),
        (Spending.IDLE, 2),
        (Spending.CONFIRMATION, 1),
    ):
        ledger.enter(0, kind)
        clock.now += seconds
    ledger.enter(1, Spending.TRAINING, trials=(5,))
    clock.now += 4
    ledger.leave(1)
    clock.now += 7
    ledger.close()
    assert ledger.by_kind() == {"start-up": 3, "training": 14, "evaluation": 0, "idle": 2, "confirmation": 12}
    assert ledger.device_seconds == 31
    assert ledger.wall_seconds == 27


def test_a_killed_search_has_written_all_but_the_last_second(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, clock=clock)
    ledger.enter(0, Spending.TRAINING, trials=(0,))
    for _ in range(50):
        clock.now += 0.3
        ledger.tick()
    assert read(path)["training"] == pytest.approx(15, abs=1.0)  # never closed


def test_a_ledger_taken_up_again_goes_on_from_what_was_spent(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "ledger.jsonl"
    for _ in range(2):
        ledger = Ledger(path, clock=clock)
        ledger.enter(0, Spending.TRAINING)
        clock.now += 5
        ledger.close()
        clock.now += 1000  # nobody holds anything meanwhile
    assert (ledger.device_seconds, ledger.wall_seconds) == (10, 10)
    assert read(path)["training"] == 10


def test_a_worker_that_changed_some_time_ago_is_booked_back_to_then(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(tmp_path / "ledger.jsonl", clock=clock)
    ledger.enter(0, Spending.START_UP)
    clock.now += 10
    ledger.enter(0, Spending.TRAINING, ago=4)
    clock.now += 3
    ledger.enter(0, Spending.IDLE, ago=9)  # since before it began to train, of which nothing is left then
    ledger.close()
    assert (ledger.by_kind()["start-up"], ledger.by_kind()["training"], ledger.by_kind()["idle"]) == (6, 0, 7)


def test_what_turns_out_to_have_been_evaluation_is_moved_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, clock=clock)
    ledger.enter(0, Spending.TRAINING, trials=(3,))
    ledger.enter(1, Spending.TRAINING, trials=(4,))
    clock.now += 10
    ledger.move(3, 4.0, to=Spending.EVALUATION)
    ledger.close()
    assert (read(path)["training"], read(path)["evaluation"]) == (16, 4)
    assert ledger.device_seconds == 20


def test_an_interrupt_after_the_write_books_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, path = Clock(), tmp_path / "ledger.jsonl"
    ledger = Ledger(path, clock=clock)
    ledger.enter(0, Spending.TRAINING, trials=(0,))
    clock.now += 5
    append = Lines.append

    def interrupted(self: Lines, *rows: dict[str, object]) -> None:
        append(self, *rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(Lines, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ledger.tick(force=True)
    monkeypatch.undo()
    clock.now += 2
    ledger.close()
    assert read(path)["training"] == 7


def test_seconds_that_a_full_disk_refused_are_written_when_it_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, path = Clock(), tmp_path / "ledger.jsonl"
    ledger = Ledger(path, clock=clock)
    ledger.enter(0, Spending.TRAINING, trials=(0,))
    clock.now += 5

    def full(self: Lines, *rows: dict[str, object]) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Lines, "append", full)
    with pytest.raises(OSError, match="no space"):
        ledger.tick(force=True)
    monkeypatch.undo()
    ledger.close()
    assert read(path)["training"] == 5


def test_seconds_that_a_disk_refused_after_it_took_them_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, path = Clock(), tmp_path / "ledger.jsonl"
    ledger = Ledger(path, clock=clock)
    ledger.enter(0, Spending.TRAINING, trials=(0,))
    clock.now += 3
    ledger.tick(force=True)
    clock.now += 5

    def full(descriptor: int) -> None:  # as a file system says it that takes lines and finds room for them later
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            ledger.tick(force=True)
    assert read(path)["training"] == 3
    ledger.close()
    assert read(path)["training"] == 8


def test_a_torn_last_line_is_passed_over_and_stays_alone(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "lines.jsonl")
    lines.append({"n": 1})
    with lines.path.open("a") as file:
        file.write('{"n": 2')
    assert lines.read() == [{"n": 1}]
    lines.append({"n": 3})
    assert lines.read() == [{"n": 1}, {"n": 3}]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    write_json(path, {"a": 1})

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_whole(path, fail)
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.json"]
