"""Collects records to a plan: trials on many tasks, by several processes, into a folder that any stop leaves whole."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from autodelta.engine import devices
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.errors import UserError
from autodelta.meta.features import VERSION
from autodelta.meta.records import About, Key, Record, Table, TaskFeatures, read_about, read_tasks, task_key
from autodelta.search import knowledge
from autodelta.space import Space
from autodelta.studies.attempt import Job, attempt, check_rows, describe, lost
from autodelta.studies.backlog import Backlog
from autodelta.studies.design import Trial, trials
from autodelta.studies.folder import Collection, check, check_place, recorded
from autodelta.studies.plan import Plan
from autodelta.studies.pool import Call, Died, Pool
from autodelta.studies.progress import Progress, Say, hours, predicted_seconds

LOSSES = 1  # processes that may die under a trial before it has failed


class Design:
    """A plan on its backbone: every trial of it, by task."""

    def __init__(self, plan: Plan, base: WorkerSpec, *, say: Say) -> None:
        self.plan = plan
        backbone = base.load_backbone()
        self.dtype = backbone.dtype_name
        self.space = Space.load(plan.space, backbone.shape)
        self.about = About(
            backbone=plan.backbone,
            backbone_sha256=backbone.sha256,
            dtype=self.dtype,
            shape=backbone.shape,
            space=self.space.name,
            space_text=self.space.text,
            seed=plan.seed,
            curve=plan.report_at(self.space.settings.most_steps),
        )
        self.specs = _specs(plan, base, say=say)
        self.trials = trials(plan, self.space, list(self.specs))
        self.totals = {task: len(found) for task, found in self.trials.items()}

    def job(self, trial: Trial, number: int, device: str, *, known: TaskFeatures) -> Job:
        """What a worker on that device is told of a trial, and what the table has of its task."""
        return Job(
            spec=self.specs[trial.task].model_copy(update={"device": device}),
            assignment=Assignment(
                number=number,
                candidate=trial.candidate,
                seed=trial.seed,
                report_at=self.about.curve,
                limits=self.space.limits,
            ),
            repeat=trial.repeat,
            known=known,
            parameters=trial.candidate.count_parameters(self.about.shape),
            backbone_sha256=self.about.backbone_sha256,
            dtype=self.dtype,
            device=devices.called(device),
        )


def worker_spec(
    plan: Plan,
    *,
    data: Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    allow_pickle: bool = False,
) -> WorkerSpec:
    """What all workers of a collection have in common; the task is the plan's first.

    Raises:
        UserError: there is no such device.
    """
    return WorkerSpec(
        backbone=plan.backbone,
        task=plan.tasks[0].name,
        data=data,
        device=devices.chosen(device),
        dtype=dtype,
        allow_pickle=allow_pickle,
    )


def collect(
    plan: Plan,
    to: Path,
    base: WorkerSpec,
    *,
    workers: int | None = None,
    say: Say = print,
    start: Callable[[Connection], Executor] | None = None,
    described: Callable[[WorkerSpec], TaskFeatures] = describe,
) -> Table:
    """Runs what a plan asks for and the folder does not hold yet; returns the table.

    Args:
        plan: as ``plan.read`` reads it. More tasks, candidates or repeats than at an earlier call add to the table.
        to: the table's folder; made if it is not there.
        base: backbone, data and device, as ``worker_spec`` makes it.
        workers: how many processes; one per GPU, or per physical core.
        say: is told, line by line, how it goes.
        start: makes a worker; a process of its own unless something else is given.
        described: what is known of a task before any trial.

    Raises:
        UserError: a task, the backbone or the space is not as the plan says; the folder is broken, in use, or holds
            trials of something else; there is no room for so many workers.
    """
    devices.check_room(workers or 1, "--workers")
    with Collection(to) as folder:
        design = Design(plan, base, say=say)
        folder.begin(design.about)
        with Pool(workers or devices.workers(base.device), start) as pool:
            _describe(design, folder, pool, described)
            _train(design, folder, pool, say=say)
        folder.seal()
        return folder.table()


def preview(plan: Plan, to: Path, base: WorkerSpec) -> list[str]:
    """What a plan comes to, in lines: trials by task and by set of methods, and the cost as the trials so far say.

    Raises:
        UserError: as ``collect``.
    """
    lines: list[str] = []
    design = Design(plan, base, say=lines.append)
    check_place(to)
    described, records = read_tasks(to), recorded(to)
    check(to, read_about(to), design.about, records=len(records))
    known = {record.key for record in records}
    left = {task: [trial for trial in found if trial.key not in known] for task, found in design.trials.items()}
    for name, spec in design.specs.items():  # which collect would stumble over only when its turn comes
        loaded = spec.load_task()
        knowledge.check(loaded)
        if name in described and left[name]:
            check_rows(loaded, described[name])
    every = [trial for found in design.trials.values() for trial in found]
    lines.append(f"{len(every)} trials on {len(design.trials)} tasks, {sum(t.key in known for t in every)} done")
    for task, found in design.trials.items():
        repeats = sum(trial.repeat > 0 for trial in found)
        lines.append(f"  {task}: {len(found)} trials, {repeats} of them repeats")
    sets = Counter("+".join(trial.candidate.methods) for trial in every)
    lines += [f"  {methods}: {number} trials" for methods, number in sorted(sets.items())]
    seconds = predicted_seconds(left, records)
    cost = "not known before the first trials" if seconds is None else f"about {hours(seconds)}"
    return [*lines, f"cost of the rest: {cost}"]


# --- the two passes --------------------------------------------------------------------------------------------------


def _describe(design: Design, folder: Collection, pool: Pool, described: Callable[[WorkerSpec], TaskFeatures]) -> None:
    """Features of every task that has none, or has those of an older list."""
    left = [
        (task, spec)
        for task, spec in design.specs.items()
        if task not in folder.tasks or folder.tasks[task].version != VERSION
    ]

    def next_call(worker: int) -> Call | None:
        return Call(described, left.pop(0)[1]) if left else None

    def hear(spec: WorkerSpec, found: TaskFeatures | Died) -> None:
        if isinstance(found, Died):
            left.append((task_key(spec.task, spec.train_rows), spec))
        else:
            folder.describe([found])

    pool.run(next_call, hear)


def _train(design: Design, folder: Collection, pool: Pool, *, say: Say) -> None:
    """Every trial that is not recorded yet."""
    left = {task: [t for t in found if t.key not in folder.records] for task, found in design.trials.items()}
    backlog = Backlog(left, design.totals)
    progress = Progress(backlog, design.totals, say=say)
    under_way: dict[int, Trial] = {}
    losses: Counter[Key] = Counter()
    numbers = count()

    def next_call(worker: int) -> Call | None:
        trial = backlog.take(worker)
        if trial is None:
            return None
        number = next(numbers)
        under_way[number] = trial
        device = devices.own(design.specs[trial.task].device, worker)
        return Call(attempt, design.job(trial, number, device, known=folder.tasks[trial.task]))

    def hear(job: Job, found: Record | Died) -> None:
        trial = under_way.pop(job.assignment.number)
        if isinstance(found, Died):
            losses[trial.key] += 1
            if losses[trial.key] <= LOSSES:
                backlog.give_back(trial)
                return
            found = lost(job, found.reason)
        folder.add(found)

    progress.line(folder.records.values())
    pool.run(next_call, hear, lambda: progress.tick(folder.records.values()))
    progress.line(folder.records.values())


# --- tasks -----------------------------------------------------------------------------------------------------------


def _specs(plan: Plan, base: WorkerSpec, *, say: Say) -> dict[str, WorkerSpec]:
    """Where each task of the plan is worked on; a size of train that a task does not have is left out.

    Raises:
        UserError: nothing is left.
    """
    found = {}
    for task in plan.tasks:
        rows: int | None = None
        for size in task.sizes:
            spec = base.model_copy(update={"task": task.name, "train_rows": size})
            if size is not None:
                rows = rows or len(base.model_copy(update={"task": task.name}).load_task().rows["train"])
                if size >= rows:
                    say(f"{task.name} has {rows} rows of train: a size of {size} is left out")
                    continue
            found[task_key(task.name, size)] = spec
    if not found:
        raise UserError("nothing to run: no task of the plan has as many rows of train as it asks for")
    return found
