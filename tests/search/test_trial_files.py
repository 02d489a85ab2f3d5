from types import SimpleNamespace
from typing import Any

from autodelta.search.trial_files import CHECKPOINTS_KEPT, TrialFiles
from tests.search.test_front import trial


def test_all_that_was_cut_short_keeps_its_checkpoint_and_the_best_of_what_the_pruner_stopped() -> None:
    """More trials may run at once than the pruner's are kept of, and a resume goes on with each of them."""
    cut_short = [trial(number, 0.1, 100, "pruned", reason="interrupted") for number in range(CHECKPOINTS_KEPT + 4)]
    stopped = [
        trial(len(cut_short) + place, -place / 100, 100, "pruned", reason="not among the best 1/3 at step 1")
        for place in range(CHECKPOINTS_KEPT + 4)
    ]
    study: Any = SimpleNamespace(trials=lambda: [*cut_short, *stopped], running=())
    kept = TrialFiles(None, study).checkpoints()
    assert kept == {one.number for one in (*cut_short, *stopped[:CHECKPOINTS_KEPT])}
