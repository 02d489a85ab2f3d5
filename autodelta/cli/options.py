"""What several commands take, and how they talk: shared options, one-line errors, the console."""

import errno
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic_core import to_json
from typer.core import TyperGroup

from autodelta.errors import UserError, one_of

if TYPE_CHECKING:
    from rich.console import Console

    from autodelta.tasks import Columns

Data = Annotated[
    Path | None,
    typer.Option("--data", readable=False, help="a folder of task folders; or set AUTODELTA_DATA", show_default=False),
]
Runs = Annotated[Path, typer.Option("--runs", readable=False, help="the folder that holds the runs")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="a run's name or its folder")]
RecipeFolder = Annotated[Path, typer.Option("--recipe", readable=False, help="a recipe's folder")]
SEED_HELP = "the seed of every random draw"
SPACE_HELP = "a name from `autodelta spaces`, or a YAML file"
SpaceName = Annotated[str, typer.Option("--space", help=SPACE_HELP)]
Device = Annotated[str | None, typer.Option("--device", help="cpu or cuda", show_default=False)]
AllowPickle = Annotated[bool, typer.Option("--allow-pickle", help="also read weights that exist only in pickled form")]
MetaFolder = Annotated[
    Path | None,
    typer.Option(
        "--meta", readable=False, help="a fitted meta-learner's folder", show_default="the one that ships, if any"
    ),
]
InputColumns = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="<str>", help="hf: tasks: an input column; once for each", show_default=False),
]
LabelColumn = Annotated[str | None, typer.Option("--label", help="hf: tasks: the label column", show_default="label")]
LabelNames = Annotated[
    str | None,
    typer.Option("--label-names", help="hf: tasks: what integers mean, from 0 on: bad,good", show_default=False),
]
Template = Annotated[
    str | None, typer.Option("--template", help="hf: tasks: 'name text: {text}'", show_default="in T5's style")
]
Metric = Annotated[str | None, typer.Option("--metric", help="hf: tasks: the metric", show_default="accuracy")]
NEW_TOKENS_HELP = "hf: tasks of free texts: how long an answer gets at most"
MaxNewTokens = Annotated[int | None, typer.Option("--max-new-tokens", help=NEW_TOKENS_HELP, show_default="32")]


# What cannot be read of a command line, whichever click it is: typer's own copy in newer versions.
UNREADABLE: Any = typer.BadParameter.__bases__[0]
NO_NAME = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)  # what a path that the user named may be to the system


class Commands(TyperGroup):
    """A group of commands; words that none of them takes are one line, too, as every other mistake."""

    def make_context(self, *args: Any, **given: Any) -> Any:
        with _unreadable():
            return super().make_context(*args, **given)

    def invoke(self, ctx: Any) -> Any:
        with _unreadable():
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            ctx.fail(str(one_of("command", name, self.commands)))
        return super().resolve_command(ctx, args)


@contextmanager
def _unreadable() -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a command alone, which is answered by its help
            raise
        said = " ".join(error.format_message().split()).removesuffix(".")
        print(f"error: {said[:1].lower()}{said[1:]}", file=sys.stderr)
        raise typer.Exit(2) from None


@contextmanager
def mistakes() -> Iterator[None]:
    """A user's mistake is one line on standard error, and exit code 2; so is a path that cannot be looked at."""
    try:
        yield
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from None
    except OSError as error:
        if error.errno not in NO_NAME or error.filename is None:
            raise
        print(f"error: {str(error.filename)!r} cannot be looked at: {error.strerror}", file=sys.stderr)
        raise typer.Exit(2) from None


def console() -> "Console":
    """Standard output, as wide as the terminal, or wide enough for tables where there is none; paths and reasons are
    shown as they are, brackets too."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140, markup=False, emoji=False)


def say(screen: "Console", lines: Iterable[str]) -> None:
    """Sentences, a line each; what does not fit goes on below, further in than where its line began."""
    for line in lines:
        inner = " " * (len(line) - len(line.lstrip()) + 2)
        text = fill(line, screen.width, subsequent_indent=inner, break_long_words=False, break_on_hyphens=False)
        screen.print(text, highlight=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """JSON on standard output; scores that are no numbers are null."""
    print(to_json(data, indent=2, inf_nan_mode="null").decode())


def asked_for(context: typer.Context) -> dict[str, str]:
    """The options that stand on the command line, as it writes them, by the names of their parameters."""
    flags = {str(option.name): option.opts[0] for option in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name: flags[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def columns(inputs: list[str] | None, **said: str | int | None) -> "Columns | None":
    """Which columns of an hf: data set are what, if that was said."""
    from autodelta.tasks import Columns

    found: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    if not inputs:
        if found:
            flag = {"labels": "label-names"}.get(next(iter(found)), next(iter(found)).replace("_", "-"))
            raise UserError(f"--{flag} is for hf: tasks, which need --input, once for each input column")
        return None
    if "labels" in found:
        found["labels"] = tuple(name.strip() for name in found["labels"].split(","))
    return Columns(inputs=tuple(inputs), **found)
