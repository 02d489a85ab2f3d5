"""A size study: the folder of one search for each train size, how it is made, found again and read.

``sizes.json`` (what was asked), ``<size>/`` (the runs: ``100``, ``1000``, ``all``), ``matrix/<size>/`` (winners of
other sizes, trained there), ``sizes-result.json`` (the answer), ``log``.
"""

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from autodelta.errors import UserError, first_problem, one_line, one_of
from autodelta.files import write_json
from autodelta.frozen import Frozen
from autodelta.search.answer import Confirmed
from autodelta.search.budget import Budget, Spent
from autodelta.search.confirmation import Results
from autodelta.search.ledger import WALL, Spending, read
from autodelta.search.run import LEDGER_FILE, RUN_FILE, Run
from autodelta.search.settings import Settings, versions
from autodelta.studies.sizes.answer import Searched, SizesAnswer, conclude
from autodelta.studies.sizes.asked import ALL, shares
from autodelta.studies.sizes.lines import lines
from autodelta.studies.sizes.matrix import MATRIX, trained

if TYPE_CHECKING:
    import pandas

SCHEMA = 1
SIZES_FILE, RESULT_FILE = "sizes.json", "sizes-result.json"


class Asked(Frozen):
    """What a size study was asked: a search, at several train sizes."""

    sizes: tuple[int, ...]  # rows of train, rising
    settings: Settings  # of the search on all of train, with the whole budget


class SizeStudy:
    """What a size study left behind; read from its folder at each question, so it is right also while it goes on."""

    def __init__(self, path: Path, asked: Asked) -> None:
        self.path = path
        self.asked = asked

    def __repr__(self) -> str:
        return f"SizeStudy({str(self.path)!r})"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def runs(self) -> dict[int, Run]:
        """The searches that have begun, by rows of train."""
        folders = {rows: self.run_folder(rows) for rows in self.asked.sizes}
        return {
            rows: Run(folder, self.settings(place))
            for place, (rows, folder) in enumerate(folders.items())
            if (folder / RUN_FILE).is_file()
        }

    @property
    def result(self) -> SizesAnswer | None:
        """The answer; None until the study has ended by itself."""
        path = self.path / RESULT_FILE
        if not path.exists():
            return None
        try:
            return SizesAnswer.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise UserError(
                f"{path} cannot be read: {first_problem(error)}; without this file the study can be taken up again"
            ) from None

    @property
    def answer(self) -> SizesAnswer:
        """The answer, or what is known so far."""
        return self.result or self.conclude(finished=False)

    @property
    def lines(self) -> list[str]:
        """The answer in plain sentences."""
        return lines(self.answer)

    @property
    def budget(self) -> dict[str, Any]:
        """Limits, spending and remainder of all searches and the matrix together."""
        return self.asked.settings.limits.as_json(self.spent())

    def label(self, rows: int) -> str:
        """What the folders of a size are called."""
        return ALL if rows == self.asked.settings.rows["train"] else str(rows)

    def run_folder(self, rows: int) -> Path:
        """Where the search of a size lies."""
        return self.path / self.label(rows)

    def matrix_folder(self, rows: int) -> Path:
        """Where the runs of other sizes' winners at this size lie."""
        return self.path / MATRIX / self.label(rows)

    def settings(self, place: int) -> Settings:
        """What the search of a size is told, but for its rows' fingerprint and the candidates that it tries first."""
        whole, rows = self.asked.settings, self.asked.sizes[place]
        found = shares(whole.budget, whole.confirm_share, len(self.asked.sizes))
        train_rows = None if rows == whole.rows["train"] else rows
        return whole.model_copy(
            update={
                "worker": whole.worker.model_copy(update={"train_rows": train_rows}),
                "rows": {**whole.rows, "train": rows},
                "budget": found.each[place],
                "confirm_share": found.confirm_share,
            }
        )

    def conclude(self, *, finished: bool) -> SizesAnswer:
        """The answer that the runs which have ended give."""
        settings = self.asked.settings
        return conclude(self.searched(), task=settings.task, metric=settings.metric, finished=finished)

    def searched(self) -> list[Searched]:
        """What is known at each size whose search has ended."""
        found = []
        for rows, run in self.runs.items():
            result = run.result
            if result is not None:
                confirmed = [*self.confirmed(rows), *trained(self.matrix_folder(rows))]
                found.append(Searched(rows, run.name, result.answer, result.exported, confirmed))
        return found

    def confirmed(self, rows: int) -> list[Confirmed]:
        """The confirmation runs of a size's own search."""
        return Results(self.run_folder(rows)).all()

    def spent(self) -> Spent:
        """What the searches and the matrix have used up."""
        totals = [read(ledger) for ledger in self.path.glob(f"**/{LEDGER_FILE}")]
        return Spent(
            device_seconds=sum(total[kind] for total in totals for kind in Spending),
            wall_seconds=sum(total[WALL] for total in totals),
            trials=sum(trial.counts for run in self.runs.values() for trial in run.trials),
        )

    def for_matrix(self, rows: int) -> Budget:
        """What the winners at one size may spend: what they have, and an even share of what is left of the budget among
        this size and those after it."""
        whole, spent = self.asked.settings.limits, self.spent()
        own, later = read(self.matrix_folder(rows) / LEDGER_FILE), sum(size >= rows for size in self.asked.sizes)

        def part(limit: float | None, gone: float, own_gone: float) -> float | None:
            return None if limit is None else own_gone + max(0.0, limit - gone) / later

        device, gpus = sum(own[kind] for kind in Spending), whole.gpu_share
        return Budget(
            text=f"the winners with {rows:,} rows",
            gpu_seconds=part(whole.gpu_seconds, spent.device_seconds * gpus, device * gpus),
            cpu_seconds=part(whole.cpu_seconds, spent.device_seconds, device),
            wall_seconds=part(whole.wall_seconds, spent.wall_seconds, own[WALL]),
            gpu_share=gpus,
        )

    def as_json(self) -> dict[str, Any]:
        """What ``autodelta show --json`` prints."""
        answer = self.answer
        return {
            "train_sizes": list(self.asked.sizes),
            "runs": {str(rows): str(run.path) for rows, run in self.runs.items()},
            "answer": answer.model_dump(mode="json"),
            "lines": lines(answer),
            "budget": self.budget,
        }

    def table(self) -> "pandas.DataFrame":
        """Every winner at every train size, with means over seeds."""
        import pandas

        rows = []
        for cell in self.answer.cells:
            means = {
                f"{split}{ending}": value
                for split, found in (("validation", cell.validation), ("test", cell.test))
                for ending, value in (
                    ("", found.mean if found else None),
                    ("_sd", found.sd if found else None),
                    ("_seeds", found.seeds if found else 0),
                )
            }
            rows.append({"winner": cell.winner, "rows": cell.rows, **means})
        return pandas.DataFrame(rows)


def write_asked(path: Path, asked: Asked) -> None:
    """Writes what a study is to do, in place of what stood there."""
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if (path / SIZES_FILE).exists():
        created = json.loads((path / SIZES_FILE).read_text(encoding="utf-8"))["created"]
    said = {"schema": SCHEMA, "created": created, "versions": versions(), "asked": asked.model_dump(mode="json")}
    write_json(path / SIZES_FILE, said)


def is_study(name_or_path: str | Path, runs: str | Path = "runs") -> bool:
    """Whether that is the name of a size study in ``runs``, or its folder."""
    return _folder(name_or_path, runs) is not None


def open_sizes(name_or_path: str | Path, runs: str | Path = "runs") -> SizeStudy:
    """A size study by its name in ``runs``, or by its folder.

    Raises:
        UserError: there is none, or this version cannot read it.
    """
    folder = _folder(name_or_path, runs)
    if folder is None:
        known = sorted(path.parent.name for path in Path(runs).glob(f"*/{SIZES_FILE}"))
        if known:
            raise one_of("size study", str(name_or_path), known)
        raise UserError(f"there is no size study {str(name_or_path)!r}: none in {runs}")
    path = folder / SIZES_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise UserError(f"{path} has schema {data['schema']}; this version of autodelta reads {SCHEMA}")
        return SizeStudy(folder, Asked.model_validate(data["asked"]))
    except UserError:
        raise
    except ValidationError as error:
        raise UserError(f"{path} cannot be read: {first_problem(error)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no size study: {one_line(error)}") from None


def _folder(name_or_path: str | Path, runs: str | Path) -> Path | None:
    places = (Path(runs) / name_or_path, Path(name_or_path))
    return next((place for place in places if (place / SIZES_FILE).is_file()), None)
