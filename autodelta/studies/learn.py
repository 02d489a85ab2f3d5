"""Learning anew: recorded tables, those that ship and those of own runs, to a model's folder that keeps them all."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from autodelta.errors import UserError
from autodelta.files import in_the_way, write_text
from autodelta.meta import past
from autodelta.meta.card import card
from autodelta.meta.compositions import sources
from autodelta.meta.fitting import fit
from autodelta.meta.model import Model
from autodelta.meta.problem import NoTransfer
from autodelta.meta.records import Record, Table, read, write_table
from autodelta.meta.saved import save
from autodelta.studies.own_runs import tables_of_runs

CARD = "README.md"
OWN = "own-runs"


def learn(
    to: Path,
    *,
    tables: Sequence[Path] = (),
    runs: Path | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> Model:
    """Fits the meta-learner to the records that ship, to tables and to own runs; writes it to a new folder.

    Args:
        to: the folder; model, records and data card go there.
        tables: folders that ``collect`` wrote, or folders of fitted models, which keep their tables.
        runs: a folder of runs, whose scored trials become records.
        seed: of the fit.
        say: is told what is left out.

    Raises:
        UserError: the folder is there already or has no place, a table cannot be read, or nothing can be learned from
            them all.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"the folder {str(to)!r} is there already; choose another for --to")
    nearest = in_the_way(to)
    if nearest is not None:
        raise UserError(f"no model can be written to {str(to)!r}: {nearest} is no folder that can be written")
    found = distinct(gathered(tables, runs, say=say))
    try:
        model = fit(sources(*found.values()), seed=seed)
    except NoTransfer as reason:
        raise UserError(f"nothing can be learned from these records: {reason}") from None
    place = to.resolve()
    unfinished = place.with_name(f".{place.name}.{os.getpid()}.tmp")  # half a model would be in the same command's way
    try:
        _write(unfinished, model, found)
        unfinished.replace(place)
    except OSError as error:
        raise UserError(f"the model cannot be written to {to}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return model


def gathered(tables: Sequence[Path], runs: Path | None, *, say: Callable[[str], None]) -> list[tuple[str, Table]]:
    """All tables by name: those that ship first, then those that were given, then the user's own runs.

    Raises:
        UserError: nothing was given, or a table cannot be read.
    """
    if not tables and runs is None:
        raise UserError("nothing to learn from: name tables with --table, or your searches with --runs")
    shipped = past.bundled()
    folders = [] if shipped is None else past.recorded(shipped)
    for given in tables:
        folders += past.recorded(given) or [given]
    found = [(folder.resolve().name, read(folder)) for folder in folders]  # "." has no name
    if runs is not None:
        found += [(OWN, table) for table in tables_of_runs(runs, say=say)]
    return found


def distinct(tables: Sequence[tuple[str, Table]]) -> dict[str, Table]:
    """Each trial once, as far as it came, though several tables hold it; a name of its own for each table."""
    furthest: dict[tuple[str, ...], Record] = {}
    for _, table in tables:
        for record in table.records:
            known = furthest.setdefault(_mark(record), record)
            if _came_to(record) > _came_to(known):
                furthest[_mark(record)] = record
    found: dict[str, Table] = {}
    for name, table in tables:
        fresh = [record for record in table.records if furthest[_mark(record)] is record]
        if fresh:
            own = next(free for n in range(len(found) + 1) if (free := f"{name}-{n + 1}" if n else name) not in found)
            found[own] = Table(records=tuple(fresh), tasks=table.tasks, about=table.about)
    return found


def _mark(record: Record) -> tuple[str, ...]:
    """What a trial follows from; which repeat it is called depends on the runs beside it."""
    return record.backbone_sha256, record.task, record.candidate.key, str(record.seed)


def _came_to(record: Record) -> int:
    return record.curve[-1].step if record.curve else 0


def _write(to: Path, model: Model, tables: dict[str, Table]) -> None:
    """The records, what they are, and the model."""
    for name, table in tables.items():
        folder = write_table(to / past.RECORDS / name, table)
        write_text(folder / CARD, card(table))
    found = past.past_of(tables.values())
    past.write(found, to)
    write_text(to / CARD, _card(model, found, tables))
    save(model, to)


def opened_by(opening: int | None) -> str:
    """What the first trials of a search come from, in words; None: from chance."""
    if opening is None:
        return "chance"
    trials = "1 trial" if opening == 1 else f"{opening} trials"
    return f"{trials} of the portfolio, then the network" if opening else "the network"


def _card(model: Model, found: past.Past, tables: dict[str, Table]) -> str:
    """The card of a model's folder, in Markdown."""
    backbones = ", ".join(f"`{one.name}` ({one.sha256[:12]})" for one in found.backbones)
    regrets = [
        f"- {opened_by(int(opening) if opening.isdigit() else None)}: {', '.join(f'{value:.3f}' for value in values)}"
        for opening, values in model.found.regrets.items()
    ]
    lines = [
        "# A meta-learner of delta compositions",
        "",
        f"Learned from {len(model.tasks)} tasks, {found.trials:,} trials on {backbones}. Used by `autodelta suggest` "
        "and `autodelta search --sampler meta`; fitted by `autodelta meta fit`, which learns on from this folder.",
        "",
        "| file | holds |",
        "| --- | --- |",
        f"| `meta.safetensors`, `{past.MODEL}` | the network's weights, scales, the portfolio of past winners |",
        f"| `{past.FILE}` | what it has learned from: methods, backbones, features and the best trial of each task |",
        *(
            f"| `{past.RECORDS}/{name}/` | {len(table.records):,} trials, with a card |"
            for name, table in tables.items()
        ),
        "",
        f"Methods: {', '.join(found.methods)}.",
        "",
        *(
            [
                f"Mean normalised regret after 1, 2, ... trials on {model.found.tasks} tasks left out of the fit:",
                "",
                *regrets,
                "",
            ]
            * bool(regrets)
        ),
        "It knows these methods and backbones only. Scores it predicts are those of validation at one seed.",
    ]
    return "\n".join(lines) + "\n"
