"""Where a method may stand, as words: stacks, blocks and roles; and what they mean on one backbone.

Blocks: ``all``, ``3``, ``0-3``, ``first 2``, ``last 2``, ``upper half`` (or ``lower``, ``middle``; ``third``,
``quarter``), ``25%-75%``; several with commas; for one stack only with its name before: ``encoder upper half, decoder
all``. Absolute numbers reach as far as a stack has blocks; a share takes every block that it touches, so it is never
empty.
Roles: parts of a block or stack as in ``autodelta.shape``, with ``*``, several with commas: ``*_attn.q, *_attn.v``.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from autodelta.errors import one_of
from autodelta.shape import STACKS, BackboneShape, Site, Stack

STACK_CHOICES = ("both", *STACKS)
PORTIONS = {"half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4)}
PIECE = re.compile(
    r"(?:(?P<stack>encoder|decoder)\s*)?"
    r"(?P<which>all|(?P<low>\d+)(?:\s*-\s*(?P<high>\d+))?|(?P<end>first|last) (?P<number>\d+)"
    r"|(?P<side>lower|middle|upper) (?P<portion>half|third|quarter)|(?P<start>\d+)%\s*-\s*(?P<stop>\d+)%)?"
)
BLOCK_FORMS = "all, 3, 0-3, first 2, last 2, upper half, middle third, lower quarter, 25%-75%, decoder all"


class Place(NamedTuple):
    """Roles and blocks on one backbone, as a Delta names them, and the sites that they come to."""

    roles: tuple[str, ...]
    encoder_blocks: tuple[int, ...] | None
    decoder_blocks: tuple[int, ...] | None
    sites: tuple[Site, ...]


def check_blocks(words: str) -> None:
    """Raises ValueError where the words name no blocks."""
    for piece in words.split(","):
        _parsed(piece)


def blocks(words: str, stack: Stack, depth: int) -> tuple[int, ...]:
    """The blocks of a stack of that depth which the words name."""
    found: set[int] = set()
    for piece in words.split(","):
        match = _parsed(piece)
        if match["stack"] in (None, stack):
            found.update(_reach(match, depth))
    return tuple(sorted(found))


def check_roles(words: str, accepted: frozenset[str]) -> None:
    """Raises ValueError where a pattern matches no part that the method accepts."""
    full = [f"{stack}.{part}" for stack in STACKS for part in accepted]
    for pattern in _patterns(words):
        if not any(_matches(role, pattern) for role in full):
            raise one_of("role", pattern, accepted)


def place(stack: str, block_words: str, role_words: str, accepted: frozenset[str], shape: BackboneShape) -> Place:
    """What a choice of stack, blocks and roles comes to on a backbone; its sites are empty if there is nothing.

    A stack of which no block is chosen is left out, with its roles outside the blocks.
    """
    chosen = {name: blocks(block_words, name, shape.blocks(name)) for name in STACKS if stack in ("both", name)}
    patterns = _patterns(role_words)
    roles = {
        f"{name}.{part}"
        for name in STACKS
        for part in accepted
        if chosen.get(name) and any(_matches(f"{name}.{part}", pattern) for pattern in patterns)
    }
    sites = tuple(
        site
        for site in shape.sites()
        if site.role in roles and (site.block is None or site.block in chosen[site.stack])
    )
    return Place(
        roles=tuple(sorted({site.role for site in sites})),
        encoder_blocks=_named(chosen, "encoder", shape, sites),
        decoder_blocks=_named(chosen, "decoder", shape, sites),
        sites=sites,
    )


def _named(
    chosen: dict[Stack, tuple[int, ...]], stack: Stack, shape: BackboneShape, sites: Sequence[Site]
) -> tuple[int, ...] | None:
    """None where all blocks are meant, or where it makes no difference."""
    matters = any(site.stack == stack and site.block is not None for site in sites)
    return chosen[stack] if matters and len(chosen[stack]) < shape.blocks(stack) else None


def _parsed(piece: str) -> re.Match[str]:
    words = " ".join(piece.split())
    match = PIECE.fullmatch(words)
    if not words or match is None:
        raise ValueError(f"unknown blocks {words!r}; write for example: {BLOCK_FORMS}")
    if match["low"] and int(match["high"] or match["low"]) < int(match["low"]):
        raise ValueError(f"blocks {words!r} run backwards")
    if match["number"] and int(match["number"]) == 0:
        raise ValueError(f"blocks {words!r} are none; name at least one")
    if match["start"] and not int(match["start"]) < int(match["stop"]) <= 100:
        raise ValueError(f"blocks {words!r} must be a share from 0% to 100%, the lower end first")
    return match


def _reach(match: re.Match[str], depth: int) -> range:
    if match["low"]:
        return range(int(match["low"]), min(depth, int(match["high"] or match["low"]) + 1))
    if match["end"]:
        number = min(int(match["number"]), depth)
        return range(number) if match["end"] == "first" else range(depth - number, depth)
    start, stop = Fraction(0), Fraction(1)
    if match["side"]:
        portion = PORTIONS[match["portion"]]
        start = {"lower": Fraction(0), "middle": (1 - portion) / 2, "upper": 1 - portion}[match["side"]]
        stop = start + portion
    elif match["start"]:
        start, stop = Fraction(int(match["start"]), 100), Fraction(int(match["stop"]), 100)
    return range(floor(depth * start), ceil(depth * stop))


def _patterns(words: str) -> list[str]:
    return ["*" if pattern.strip() == "all" else pattern.strip() for pattern in words.split(",")]


def _matches(role: str, pattern: str) -> bool:
    """A pattern that starts with a stack's name is about that stack, any other about both."""
    if pattern == "*":
        return True
    by_stack = pattern.partition(".")[0] in STACKS
    return fnmatchcase(role if by_stack else role.partition(".")[2], pattern)
