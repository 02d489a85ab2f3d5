"""What is left of a collection, and who does it: tasks advance together, and a worker stays on one for a while."""

from collections.abc import Mapping, Sequence

from autodelta.studies.design import Trial

BLOCK = 8  # trials that a worker does on one task before it loads another


class Backlog:
    """Trials that are left, by task; of tasks, the one that is furthest behind goes first."""

    def __init__(self, left: Mapping[str, Sequence[Trial]], totals: Mapping[str, int]) -> None:
        self._left = {task: list(trials) for task, trials in left.items()}
        self._totals = totals
        self._at: dict[int, tuple[str, int]] = {}  # by worker: its task, and the trials left of its block

    def __len__(self) -> int:
        return sum(map(len, self._left.values()))

    @property
    def left(self) -> Mapping[str, Sequence[Trial]]:
        """The trials that nobody has taken yet, by task."""
        return self._left

    def take(self, worker: int) -> Trial | None:
        """The next trial for a worker; None when all are taken."""
        task, more = self._at.get(worker, ("", 0))
        if more == 0 or not self._left[task]:
            waiting = [name for name, trials in self._left.items() if trials]
            if not waiting:
                return None
            held = {name for other, (name, _) in self._at.items() if other != worker}
            task, more = min(waiting, key=lambda name: (name in held, self._share(name))), BLOCK
        self._at[worker] = task, more - 1
        return self._left[task].pop(0)

    def give_back(self, trial: Trial) -> None:
        """The trial is to be done again, next."""
        self._left[trial.task].insert(0, trial)

    def _share(self, task: str) -> float:
        return 1 - len(self._left[task]) / self._totals[task]
