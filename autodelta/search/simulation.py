"""A whole search on recorded trials, in virtual time: what it would have handed over as its budget was spent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autodelta.candidate import Candidate
from autodelta.errors import UserError
from autodelta.search.budget import Budget
from autodelta.search.events import Event, TrialEnded
from autodelta.search.executors.table import Replayed, Table, VirtualClock
from autodelta.search.ledger import Ledger
from autodelta.search.pool import Pool
from autodelta.search.pruning import pruner as pruner_named
from autodelta.search.pruning import rungs
from autodelta.search.records import TrialRecord
from autodelta.search.samplers import PoolEntry, Rank, names, sampler
from autodelta.search.session import Session
from autodelta.search.storage import quiet
from autodelta.search.study import Study
from autodelta.search.work import Accounts
from autodelta.space import Space


@dataclass(frozen=True)
class Moment:
    """How a search stood when a trial had ended."""

    trials: int  # that have ended
    steps: int  # trained by all of them
    device_seconds: float  # held by workers, idle ones too
    best: str | None  # the key of the candidate that would be handed over


@dataclass(frozen=True)
class Simulated:
    """A search that never was."""

    moments: tuple[Moment, ...]
    trials: tuple[TrialRecord, ...]
    spent: Mapping[str, float]  # device-seconds by kind


HandOver = Callable[[Sequence[TrialRecord]], str | None]  # the candidate's key, given all trials; None: the best score


def rankable() -> tuple[str, ...]:
    """The names of the samplers that rank recorded candidates."""
    return tuple(known for known in names() if sampler(known).rank)


def ranking(name: str) -> Rank:
    """How the sampler of that name ranks recorded candidates.

    Raises:
        UserError: there is none of that name, or it ranks nothing.
    """
    rank = sampler(name).rank
    if rank is None:
        raise UserError(f"the sampler {name!r} cannot rank recorded candidates; choose from: {', '.join(rankable())}")
    return rank


def simulate(
    space: Space,
    candidates: Sequence[tuple[Candidate, PoolEntry]],
    trials: Mapping[str, Replayed],
    budget: Budget,
    *,
    sampler_name: str = "tpe",
    rank: Rank | None = None,
    hand_over: HandOver | None = None,
    pruner_name: str = "asha",
    seed: int = 0,
    workers: int = 1,
) -> Simulated:
    """Searches among recorded candidates until the budget is spent or all have been tried; nothing is kept for
    confirmation.

    Args:
        space: what the candidates come from.
        candidates: as ``pool.entries`` gives them.
        trials: what becomes of each candidate, by its key.
        budget: device-seconds, wall-clock and trials are those of the records.
        sampler_name: a sampler that can rank.
        rank: what ranks in place of that sampler, which then goes unused.
        hand_over: what says which candidate a search would hand over; by itself that of the best finished trial.
        pruner_name: none, asha or hyperband.
        seed: of every draw.
        workers: that train at once.

    Raises:
        UserError: a name that is none, or a sampler that ranks nothing.
    """
    chooses = rank or ranking(sampler_name)
    moments: list[Moment] = []
    checkpoints: set[int] = set()  # trials that have one, as a run's folder would
    levels = rungs(space.settings.most_steps)
    if pruner_name == "none":  # nothing is compared at a rung: a table may lack one
        levels = tuple(level for level in levels if all(trial.has(level) for trial in trials.values()))
    with quiet():
        study = Study(
            None,
            space,
            sampler=sampler("random" if rank else sampler_name),  # the plan chooses
            seed=seed,
            pruner=pruner_named(pruner_name, levels),
            plan=Pool(candidates, chooses),
            can_continue=lambda number: number in checkpoints,
            levels=levels,
        )
        clock = VirtualClock()
        ledger = Ledger(None, clock=clock)
        table = Table(trials, clock, workers=workers)

        def note(event: Event) -> None:
            if isinstance(event, TrialEnded):
                checkpoints.add(event.trial.number)
                checkpoints.intersection_update(session.files.checkpoints())
                best = session.best()
                ended = len(moments) + 1
                key = best.candidate.key if best is not None and best.candidate is not None else None
                if key is not None and hand_over is not None:
                    key = hand_over(study.trials()) or key
                moments.append(Moment(ended, table.steps, ledger.device_seconds, key))

        session = Session(
            None, study, Accounts(budget, ledger, emit=note, confirm_share=0.0, clock=clock), workers=workers
        )
        table.run(session)
        session.stop_running()
    return Simulated(tuple(moments), tuple(study.trials()), ledger.by_kind())
