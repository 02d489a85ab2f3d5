"""What the charts of a Ray cluster can show of a search: trials by state, the best score, how much is spent.

Ray exports these to Prometheus under the name of the run. They count from the start of the driver: a search that is
taken up again begins at zero, as Prometheus expects of counters; the best score and what is spent are of the whole run.
"""

from ray.util.metrics import Counter, Gauge

from autodelta.search.events import BestChanged, BudgetSpent, EntrantConfirmed, Event, TrialEnded, TrialStarted


class Metrics:
    """A listener that turns events into Ray's metrics."""

    def __init__(self, run: str) -> None:
        self._run = {"run": run}
        self._running: set[int] = set()
        self._ended = Counter("autodelta_trials_ended", "Trials that ended, by state.", ("run", "state"))
        self._under_way = Gauge("autodelta_trials_running", "Trials under way.", ("run",))
        self._best = Gauge("autodelta_best_score", "The best validation score so far.", ("run",))
        self._spent = Gauge("autodelta_budget_spent", "The share of the budget that is spent, 0 to 1.", ("run",))
        self._confirmed = Counter("autodelta_confirmation_runs", "Confirmation runs that ended.", ("run",))

    def __call__(self, event: Event) -> None:
        match event:
            case TrialStarted():
                self._running.add(event.number)
            case TrialEnded():
                self._running.discard(event.trial.number)
                self._ended.inc(1, {**self._run, "state": event.trial.state})
            case BestChanged() if event.trial.score is not None:
                self._best.set(event.trial.score, self._run)
            case BudgetSpent():
                self._spent.set(event.share, self._run)
            case EntrantConfirmed():
                self._confirmed.inc(1, self._run)
            case _:
                return
        self._under_way.set(len(self._running), self._run)
