"""A space's YAML file becomes a plan; every mistake in it is one line with the place, the value and the choices.

Whatever depends on the backbone is checked later, when the space is bound to one (``_method.py``, ``_space.py``).
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from autodelta.candidate import THEN, TOGETHER, Delta, Training
from autodelta.deltas.spec import spec
from autodelta.errors import UserError, one_of
from autodelta.space._document import Document, Position
from autodelta.space._domain import Choices, Domain, Range, Value, of_reals
from autodelta.space._places import STACK_CHOICES, check_blocks, check_roles
from autodelta.space._plan import Constraints, MethodPlan, Plan

# Whose keys they are, by how deep they stand in the file.
MODELS: dict[int, type[BaseModel]] = {0: Plan, 1: Constraints, 2: MethodPlan}

_RATE = Delta.model_fields["learning_rate"]
RATE: TypeAdapter[float] = TypeAdapter(Annotated[float, *_RATE.metadata])


def read(path: Path) -> tuple[Plan, Document]:
    """The plan in a file, and the document to point at when it does not fit a backbone.

    Raises:
        UserError: the first mistake in the file, with its line.
    """
    return checked(Document.open(path))


def checked(document: Document) -> tuple[Plan, Document]:
    """The plan in a document, as ``read``."""
    try:
        plan = Plan.model_validate(document.data)
    except ValidationError as error:
        raise _first(document, (), error) from error
    if not plan.methods:
        raise document.error(("methods",), "no choices; name at least one method")
    if plan.cap > len(plan.methods):
        raise document.error(("at_most",), f"{plan.cap} methods at once, but the space has {len(plan.methods)}")
    methods = {name: _checked_method(document, name, method) for name, method in plan.methods.items()}
    training = _checked(document, ("training",), Training, plan.training)
    _check_sequences(document, training, methods)
    return plan.model_copy(update={"methods": methods, "training": training}), document


def _checked_method(document: Document, name: str, plan: MethodPlan) -> MethodPlan:
    here: Position = ("methods", name)
    try:
        method = spec(name)
    except UserError as error:
        raise document.error(here, str(error)) from error
    for key, words, check in (
        ("stacks", plan.stacks, _check_stack),
        ("blocks", plan.blocks, check_blocks),
        ("roles", plan.roles, lambda words: check_roles(words, method.parts)),
    ):
        _check_words(document, (*here, key), words, check)
    rate = _typed(plan.learning_rate, _RATE)
    for position, value in _ends((*here, "learning_rate"), rate):
        _valid(document, position, partial(RATE.validate_python, value, strict=True))
    sizes = _checked(document, (*here, "sizes"), method.config, plan.sizes)
    return plan.model_copy(update={"learning_rate": rate, "sizes": sizes})


def _check_sequences(document: Document, training: Mapping[str, Domain], methods: Collection[str]) -> None:
    """A sequence is of the space's own methods: of any other it would say nothing."""
    for position, sequence in _ends(("training", "sequence"), training.get("sequence", Choices(values=(TOGETHER,)))):
        if sequence != TOGETHER:
            for name in str(sequence).split(THEN):
                if name not in methods:
                    raise document.error(position, str(one_of("method of this space", name, methods)))


def _check_stack(stack: str) -> None:
    if stack not in STACK_CHOICES:
        raise one_of("stack", stack, STACK_CHOICES)


def _check_words(document: Document, here: Position, words: tuple[str, ...], check: Callable[[str], None]) -> None:
    for number, word in enumerate(words):
        try:
            check(word)
        except ValueError as error:
            raise document.error((*here, number), str(error)) from error


def _checked(document: Document, here: Position, model: type[BaseModel], genes: dict[str, Domain]) -> dict[str, Domain]:
    """The genes of a model's fields, after trying every end of every gene in the model."""
    for name in genes:
        if name not in model.model_fields:
            raise document.error((*here, name), _unknown_key(name, model))
    typed = {name: _typed(gene, model.model_fields[name]) for name, gene in genes.items()}
    first = {name: next(_ends((), gene))[1] for name, gene in typed.items()}
    try:
        model.model_validate(first, strict=True)
    except ValidationError as error:
        raise _first(document, here, error) from error
    for name, gene in typed.items():
        if isinstance(gene, Range) and gene.whole and isinstance(gene.step, float):
            raise document.error((*here, name), f"a range of whole numbers has a whole step, not {gene.step}")
        for position, value in _ends((*here, name), gene):
            _valid(document, position, partial(model.model_validate, {**first, name: value}, strict=True))
    return typed


def _ends(here: Position, gene: Domain) -> Iterator[tuple[Position, Value]]:
    """The values to try, each with its place in the file."""
    if isinstance(gene, Choices):
        yield from (((*here, number), value) for number, value in enumerate(gene.values))
    else:
        yield from (((*here, "low"), gene.low), ((*here, "high"), gene.high))


def _typed(gene: Domain, field: FieldInfo) -> Domain:
    return of_reals(gene) if field.annotation is float else gene


def _valid(document: Document, position: Position, check: Callable[[], Any]) -> None:
    """Points at that position, whatever pydantic finds."""
    try:
        check()
    except ValidationError as error:
        _, message = _explained((), error.errors()[0])
        raise document.error(position, message) from error


def _first(document: Document, here: Position, error: ValidationError) -> UserError:
    """The first mistake in the order of the file, in what stands at ``here``."""
    found = [_explained(here, details) for details in error.errors()]
    position, message = min(found, key=lambda mistake: document.line(mistake[0]))
    return document.error(position, message)


def _explained(here: Position, details: ErrorDetails) -> tuple[Position, str]:
    """Where a pydantic error belongs, and what it says as rule and value."""
    position: Position = (*here, *details["loc"])
    value, kind = details["input"], details["type"]
    if kind == "extra_forbidden":
        return position, _unknown_key(str(position[-1]), MODELS[len(position) - 1])
    if kind == "missing":
        return position[:-1], f"{position[-1]!r} is missing"
    if "error" in details.get("ctx", {}):
        return position, str(details["ctx"]["error"])
    shown = "nothing" if value is None else repr(value)
    if kind in ("model_type", "dict_type"):
        return position, f"must be keys and values, not {shown}"
    return position, f"{details['msg'].replace('Input should', 'must')}, not {shown}"


def _unknown_key(key: str, model: type[BaseModel]) -> str:
    if not model.model_fields:
        return f"unknown key {key!r}; there is nothing to choose here"
    return str(one_of("key", key, model.model_fields))
