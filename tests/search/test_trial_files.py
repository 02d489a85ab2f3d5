import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autodelta.search.trial_files import CHECKPOINTS_KEPT, TrialFiles
from tests.search.test_front import trial


def test_all_that_was_cut_short_keeps_its_checkpoint_and_the_best_of_what_the_pruner_stopped() -> None:
    """More trials may run at once than the pruner's are kept of, and a resume goes on with each of them."""
    cut_short = [trial(number, 0.1, 100, "pruned", reason="budget") for number in range(CHECKPOINTS_KEPT + 4)]
    stopped = [
        trial(len(cut_short) + place, -place / 100, 100, "pruned", reason="not among the best 1/3 at step 1")
        for place in range(CHECKPOINTS_KEPT + 4)
    ]
    study: Any = SimpleNamespace(trials=lambda: [*cut_short, *stopped], running=())
    kept = TrialFiles(None, study).checkpoints()
    assert kept == {one.number for one in (*cut_short, *stopped[:CHECKPOINTS_KEPT])}


def test_a_folder_that_a_worker_writes_into_just_then_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine on another node may still be saving a checkpoint of a trial that was stopped."""
    (tmp_path / "trials" / "0").mkdir(parents=True)
    (tmp_path / "trials" / "1").mkdir()

    def rmdir(folder: Path) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(folder))

    study: Any = SimpleNamespace(trials=list, running=())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rmdir", rmdir)
        TrialFiles(tmp_path, study).clear()
    (tmp_path / "trials" / "1" / "traceback.txt").touch()
    TrialFiles(tmp_path, study).clear()
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["1"]
