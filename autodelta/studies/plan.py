"""The plan of a collection, as YAML says it: which tasks, how many candidates, which of them on several seeds."""

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, StrictInt, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from autodelta.errors import FILE_KINDS, UserError, one_of
from autodelta.frozen import Frozen
from autodelta.meta.records import task_key
from autodelta.space._document import Document, Position

CURVE_RATIO = 3**0.5  # between the steps of a learning curve, so that every second one is a rung of a search
ALL: Literal["all"] = "all"
MOST_CANDIDATES, MOST_SEEDS, MOST_POINTS = 100_000, 1000, 100  # more are a slip, and would fill the memory


class TaskPlan(Frozen):
    """One task, at one or several sizes of train."""

    name: str = Field(min_length=1)
    train_rows: tuple[int | Literal["all"], ...] = Field((ALL,), min_length=1)
    fresh: StrictInt | None = Field(None, ge=0, le=MOST_CANDIDATES)  # of its own, at each size; None: as the plan says

    @model_validator(mode="before")
    @classmethod
    def _by_name_alone(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @field_validator("train_rows", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else [value]

    @field_validator("train_rows")
    @classmethod
    def _positive(cls, value: tuple[int | Literal["all"], ...]) -> tuple[int | Literal["all"], ...]:
        for rows in value:
            if isinstance(rows, int) and rows < 2:
                raise ValueError(f"train_rows must be at least 2, or all, not {rows}")
        return tuple(dict.fromkeys(value))

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """How many rows of train, each a task of its own; None: all."""
        return tuple(None if rows == ALL else rows for rows in self.train_rows)


class Repeats(Frozen):
    """How many of the shared candidates are trained on several seeds, so that noise is known."""

    candidates: StrictInt = Field(default=0, ge=0)
    seeds: StrictInt = Field(default=3, ge=2, le=MOST_SEEDS)  # the first one included


class Plan(Frozen):
    """A collection of records."""

    description: str = ""
    tasks: tuple[TaskPlan, ...] = Field(min_length=1)
    backbone: str = "nano"
    space: str = "default"
    seed: StrictInt = Field(0, ge=0)
    shared: StrictInt = Field(0, ge=0, le=MOST_CANDIDATES)  # candidates that run on every task
    fresh: StrictInt = Field(0, ge=0, le=MOST_CANDIDATES)  # of each task's own, where it does not say how many
    repeats: Repeats = Field(default_factory=Repeats)
    curve: StrictInt = Field(8, ge=1, le=MOST_POINTS)  # points of a learning curve

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.shared and not any(self.fresh_by_task.values()):
            raise ValueError("nothing to run: shared or fresh must be above 0")
        if self.repeats.candidates > self.shared:
            raise ValueError(
                f"repeats.candidates must be at most shared ({self.shared}), not {self.repeats.candidates}"
            )
        keys = [task_key(task.name, rows) for task in self.tasks for rows in task.sizes]
        if len(set(keys)) < len(keys):
            raise ValueError(f"the task {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
        return self

    @property
    def fresh_by_task(self) -> dict[str, int]:
        """How many candidates of its own each task has, by the task's name in records."""
        return {
            task_key(task.name, rows): self.fresh if task.fresh is None else task.fresh
            for task in self.tasks
            for rows in task.sizes
        }

    def report_at(self, most_steps: int) -> tuple[int, ...]:
        """The steps of the learning curves: the same for all candidates, up to the space's largest number of steps.

        They grow by the square root of three, so that they hold the rungs of a search that keeps a third at each.
        """
        # -1e-9: the root's rounding must not lift an exact third by a step
        steps = {max(1, math.ceil(most_steps / CURVE_RATIO**number - 1e-9)) for number in range(self.curve)}
        return tuple(sorted(steps))


def read(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        UserError: the first mistake in the file, with its line.
    """
    if not path.is_file():
        raise UserError(f"no such plan: {str(path)!r}; give a YAML file")
    document = Document.open(path)
    if not isinstance(document.data, dict):
        raise document.error((), f"a plan has keys and values: {', '.join(Plan.model_fields)}")
    try:
        return Plan.model_validate(document.data)
    except ValidationError as error:
        found = [_explained(details) for details in error.errors() if not _follows(details)]
        position, message = min(found, key=lambda mistake: document.line(mistake[0]))
        raise document.error(position, message) from error


def _follows(details: ErrorDetails) -> bool:
    """Whether a mistake only follows from another: a list whose items are all mistaken counts as one of none."""
    return details["type"] == "too_short" and bool(details["input"])


def _explained(details: ErrorDetails) -> tuple[Position, str]:
    """Where a mistake stands, and what it is: rule, value, choices."""
    position: Position = details["loc"]
    # train_rows is a union: pydantic names the branch that it tried behind the item's number
    if "train_rows" in position:
        at = position.index("train_rows")
        position = position[: at + 2] if details["type"] != "value_error" else position[: at + 1]
        if details["type"] != "value_error":
            return position, f"must be a number of rows, or all, not {details['input']!r}"
    if details["type"] == "extra_forbidden":
        return position, str(one_of("key", str(position[-1]), _keys(position)))
    if details["type"] == "missing":
        return position[:-1], f"{position[-1]!r} is missing"
    if "error" in details.get("ctx", {}):
        return position, str(details["ctx"]["error"])
    if details["type"] in FILE_KINDS:
        return position, f"must be {FILE_KINDS[details['type']]}, not {details['input']!r}"
    if details["type"] in ("too_short", "string_too_short"):
        return position, f"must not be empty, as {details['input']!r} is"
    return position, f"{details['msg'].replace('Input should', 'must')}, not {details['input']!r}"


def _keys(position: Position) -> list[str]:
    if len(position) == 1:
        return list(Plan.model_fields)
    return list(TaskPlan.model_fields if position[0] == "tasks" else Repeats.model_fields)
