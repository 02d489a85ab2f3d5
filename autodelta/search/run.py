"""A run: the folder of one search, how it is made, found again and read.

``run.json`` (settings), ``study.db`` (trials), ``ledger.jsonl`` (spending), ``trials/<number>/`` (weights of the trials
on the front, checkpoints, tracebacks), ``confirmation/`` and ``confirmation.jsonl`` (the best, trained again),
``result.json`` (the answer), ``log``.
"""

import datetime
import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from autodelta.candidate import Candidate
from autodelta.errors import UserError, first_problem, one_line, one_of
from autodelta.files import write_json, write_text
from autodelta.frozen import Frozen
from autodelta.search.answer.answer import Answer
from autodelta.search.answer.lines import lines
from autodelta.search.attempt import WEIGHTS
from autodelta.search.budget import Spent
from autodelta.search.front import best, front
from autodelta.search.kept import keep
from autodelta.search.ledger import WALL, Spending, read
from autodelta.search.records import INNER, TrialRecord, carried_on
from autodelta.search.settings import Settings, versions

if TYPE_CHECKING:
    import pandas

    from autodelta.search.interactions import Interactions

SCHEMA = 2
RUN_FILE, LEDGER_FILE, RESULT_FILE, LOG_FILE = "run.json", "ledger.jsonl", "result.json", "log"
LONGEST_NAME = 200  # of a folder, in characters; file systems take 255 bytes
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Exported(Frozen):
    """What a search hands over: a trained candidate, at one seed."""

    name: str
    candidate: Candidate
    parameters: int
    trial: int | None
    seed: int
    weights: str  # inside the run's folder
    validation: float
    test: float | None


class Result(Frozen):
    """How a search ended: its answer, and what is exported unless something else is asked for."""

    trials: int  # that the study had
    budget: str = ""  # that it was found with
    ended_early: str = ""  # why some of that was left, where it was
    stop_when_worth_less: float = 0.0  # the gain in score that was asked for then
    answer: Answer
    exported: Exported | None


class Run:
    """What a search left behind; read from its folder at each question, so it is right also while the search runs."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.settings = settings

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def trials(self) -> list[TrialRecord]:
        """Every trial, in the order in which they were asked for."""
        from autodelta.search.study import load_trials

        return load_trials(self.path)

    @property
    def front(self) -> list[TrialRecord]:
        """The trials that no other beats in score without more parameters, from the smallest."""
        return front(self.trials)

    @property
    def best(self) -> TrialRecord | None:
        """The trial of the highest validation score."""
        return best(self.trials)

    @property
    def result(self) -> Result | None:
        """The answer, and what is exported; None until the search has ended by itself."""
        path = self.path / RESULT_FILE
        if not path.exists():
            return None
        try:
            return Result.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise UserError(
                f"{path} cannot be read: {first_problem(error)}; without this file the run can be taken up again"
            ) from None

    @property
    def budget(self) -> dict[str, Any]:
        """Limits, spending and remainder, and device-seconds by what they were spent on."""
        return self._budget(self.trials)

    def weights(self, number: int) -> Path:
        """The trained deltas of a trial on the front.

        Raises:
            UserError: they were not kept.
        """
        path = self._weights(number)
        if not path.exists():
            kept = [str(trial.number) for trial in self.front if self._weights(trial.number).exists()]
            raise UserError(
                f"run {self.name} keeps no weights of trial {number}; it has those of: {', '.join(kept) or 'none'}"
            )
        return path

    def _weights(self, number: int) -> Path:
        return self.path / "trials" / str(number) / WEIGHTS

    def interactions(self) -> "Interactions":
        """Which genes matter at each rung, and which pairs of methods help or hurt each other."""
        from autodelta.search.interactions import interactions

        trials = self.trials
        doubled = carried_on(trials)
        return interactions(trial for trial in trials if trial.number not in doubled)

    def as_json(self) -> dict[str, Any]:
        """What `autodelta show --json` prints."""
        trials = self.trials
        winner, result = best(trials), self.result
        gone_on = _gone_on(result, len(trials))
        return {
            "trials": [trial.as_json() for trial in trials],
            "front": [trial.as_json() for trial in front(trials)],
            "best": winner and {**winner.as_json(), "candidate": winner.model_dump(mode="json")["candidate"]},
            "answer": result and result.answer.model_dump(mode="json"),
            "lines": [*gone_on, *lines(result.answer)] if result else [],
            "ended_early": result.ended_early if result and not gone_on else "",
            "test": _test(result),
            "budget": self._budget(trials),
        }

    def leaderboard(self) -> "pandas.DataFrame":
        """Every trial as a row, the best first and those without a score last."""
        import pandas

        trials = self.trials
        rows = [trial.as_json() for trial in trials]
        table = pandas.DataFrame(rows, columns=[name for name in TrialRecord.model_fields if name not in INNER])
        table["methods"] = ["+".join(row["methods"]) for row in rows]
        table["front"] = table["number"].isin([trial.number for trial in front(trials)])
        order = table.assign(unfinished=table["state"] != "complete").sort_values(
            ["unfinished", "score", "parameters"], ascending=[True, False, True], na_position="last"
        )
        return order.drop(columns="unfinished").reset_index(drop=True)

    def _budget(self, trials: list[TrialRecord]) -> dict[str, Any]:
        totals = read(self.path / LEDGER_FILE)
        by_kind = {str(kind): totals[kind] for kind in Spending}
        spent = Spent(
            device_seconds=sum(by_kind.values()),
            wall_seconds=totals[WALL],
            trials=sum(trial.counts for trial in trials),
        )
        return {**self.settings.limits.as_json(spent), "by_kind": by_kind}


def _gone_on(result: Result | None, trials: int) -> list[str]:
    """A line where the answer is from before the search went on, and there is no later one yet."""
    if result is None or result.trials >= trials:
        return []
    return [f"the search has gone on since: this is the answer of {result.trials} of its {trials} trials"]


def _test(result: Result | None) -> dict[str, Any] | None:
    """The test score of the very weights that are exported, and the mean over all seeds of that candidate."""
    if result is None or result.exported is None or result.exported.test is None:
        return None
    standing = result.answer.standing(result.exported.name)
    return {
        "metric": result.answer.metric,
        "score": result.exported.test,
        "seeds": [result.exported.seed],
        "mean": standing.test,
        "mean_of": len(standing.test_scores),
    }


def new_folder(runs: Path, name: str | None, *, task: str) -> Path:
    """Where a new run will lie; nothing is made yet.

    Raises:
        UserError: the name is taken or no name, or nothing can be written there.
    """
    if name is None:
        name = _free_name(runs, task)
    elif not _NAME.fullmatch(name):
        raise UserError(f"a run's name is made of letters, digits, '.', '_' and '-': {name!r}")
    elif len(name) > LONGEST_NAME:
        raise UserError(f"a run's name has at most {LONGEST_NAME} characters, not {len(name)}")
    folder = runs / name
    if os.path.lexists(folder):
        raise UserError(f"the run {name!r} is there already, in {runs}; choose another name")
    parent = next(path for path in (runs, *runs.absolute().parents) if path.exists())
    if not parent.is_dir():
        raise UserError(f"the folder for runs is a file: {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"nothing can be written to {parent}, so there is no place for the run; choose another folder")
    return folder


def _free_name(runs: Path, task: str) -> str:
    """``<task>-<date>-<n>``, the first that is free."""
    start = re.sub(r"[^A-Za-z0-9._]+", "-", task).strip("-.")[: LONGEST_NAME // 2] or "task"
    date = datetime.date.today().isoformat()
    number = 1
    while os.path.lexists(runs / f"{start}-{date}-{number}"):
        number += 1
    return f"{start}-{date}-{number}"


def create(folder: Path, settings: Settings) -> Run:
    """Makes the run's folder.

    Raises:
        UserError: somebody else has just made it, or it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        raise UserError(f"the run {folder.name!r} is there already, in {folder.parent}; choose another name") from None
    except OSError as error:
        raise UserError(f"cannot make the run's folder {folder}: {error.strerror}") from None
    run = Run(folder, settings)
    try:
        write_text(folder / LOG_FILE, "")
        run = Run(folder, keep(settings, folder))
        write_settings(folder, run.settings)
    except OSError as error:
        discard(run)
        raise UserError(f"cannot write the run's folder {folder}: {error.strerror}; it is gone again") from None
    return run


def write_settings(folder: Path, settings: Settings) -> None:
    """Writes what a search is to do, in place of what stood there."""
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if (folder / RUN_FILE).exists():
        created = json.loads((folder / RUN_FILE).read_text(encoding="utf-8")).get("created", created)
    write_json(
        folder / RUN_FILE,
        {
            "schema": SCHEMA,
            "created": created,
            "versions": versions(),
            "settings": settings.model_dump(mode="json"),
        },
    )


def discard(run: Run) -> None:
    """Removes the folder of a run that came to nothing."""
    shutil.rmtree(run.path)


def open_run(name_or_path: str | Path, runs: str | Path = "runs") -> Run:
    """A run by its name in ``runs``, or by its folder.

    Raises:
        UserError: there is none, or this version cannot read it.
    """
    runs = Path(runs)
    places = (runs / name_or_path, Path(name_or_path))
    folder = next((place for place in places if (place / RUN_FILE).is_file()), None)
    if folder is None:
        _refuse_several(places)
        _refuse_remains(places)
        known = sorted(path.parent.name for path in runs.glob(f"*/{RUN_FILE}"))
        if known:
            raise one_of("run", str(name_or_path), known)
        raise UserError(f"there is no run {str(name_or_path)!r}: no runs in {runs}")
    return Run(folder, _settings(folder / RUN_FILE))


def _refuse_several(places: Iterable[Path]) -> None:
    """A folder of runs is none itself."""
    for place in places:
        inside = sorted(str(path.parent) for path in place.glob(f"*/{RUN_FILE}"))
        if inside and any(place.glob("*.json")):
            raise UserError(f"{place} holds a run for each train size: name one of {', '.join(inside)}")


def _refuse_remains(places: Iterable[Path]) -> None:
    """A run that has lost its settings is not unknown."""
    for place in places:
        if (place / LEDGER_FILE).is_file():
            raise UserError(f"{place} is a run without settings: its {RUN_FILE} is missing")


def _settings(path: Path) -> Settings:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no run's settings: no JSON: {one_line(error)}") from None
    if not isinstance(data, dict) or "schema" not in data:
        raise UserError(f"{path} is no run's settings: 'schema' is missing")
    if data["schema"] != SCHEMA:
        raise UserError(f"{path} has schema {data['schema']!r}; this version of autodelta reads {SCHEMA}")
    if "settings" not in data:
        raise UserError(f"{path} is no run's settings: 'settings' is missing")
    try:
        return Settings.model_validate(data["settings"])
    except ValidationError as error:
        raise UserError(f"{path} cannot be read: {first_problem(error)}") from None
