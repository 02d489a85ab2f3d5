"""A YAML file read safely, with the line of every key and item, so that an error can point at it.

Scalars follow YAML 1.2: ``3e-4`` is a number, ``on`` and ``no`` are words.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from autodelta.errors import UserError, one_line

Position = tuple[str | int, ...]  # keys and item numbers from the top: ("methods", "lora", "sizes", "rank", 2)

WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
INTEGER = re.compile(r"[-+]?[0-9]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}
MAX_DEPTH = 20
MAX_DIGITS = 300  # of a number
MAX_NODES = 20_000  # aliases can make a small file endless


class Document:
    """What a YAML file says, and where it says it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._lines: dict[Position, int] = {(): 1}
        self._nodes = 0
        self.data = self._read()

    @classmethod
    def open(cls, path: Path) -> "Document":
        """Reads a file.

        Raises:
            UserError: it cannot be read, or is not YAML.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path.name}: not a text file in UTF-8 (byte {error.start})") from error
        except OSError as error:
            raise UserError(f"cannot read {str(path)!r}: {error.strerror}") from error
        return cls(path.name, text)

    def error(self, position: Position, message: str) -> UserError:
        """The error for what stands at a position: file, line, position, message."""
        where = ".".join(str(part) for part in position if isinstance(part, str))
        return self._at(self.line(position), f"{where}: {message}" if where else message)

    def line(self, position: Position) -> int:
        """The line of a position, or of the nearest thing around it that the file has."""
        while position not in self._lines:
            position = position[:-1]
        return self._lines[position]

    def _at(self, line: int, message: str) -> UserError:
        return UserError(f"{self.name}:{line}: {message}")

    def _read(self) -> Any:
        try:
            root = yaml.compose(self.text, Loader=yaml.BaseLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._at(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise UserError(f"{self.name}: not YAML: {one_line(error)}") from error
        return None if root is None else self._plain(root, ())

    def _plain(self, node: yaml.Node, position: Position) -> Any:
        line = node.start_mark.line + 1
        self._lines.setdefault(position, line)
        self._nodes += 1
        if len(position) > MAX_DEPTH or self._nodes > MAX_NODES:
            raise self._at(line, f"nested too deeply or too large (at most {MAX_DEPTH} levels, {MAX_NODES} entries)")
        if node.tag not in PLAIN_TAGS:
            raise self._at(line, f"tags are not allowed: {node.tag.replace('tag:yaml.org,2002:', '!!')}")
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*position, number)) for number, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, position)
        quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
        return str(node.value) if quoted else _scalar(str(node.value))

    def _mapping(self, node: yaml.MappingNode, position: Position) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise self._at(line, "a key must be a word")
            if key.value in found:
                raise self._at(
                    line, f"the key {key.value!r} stands twice, first in line {self._lines[(*position, key.value)]}"
                )
            self._lines[(*position, key.value)] = line
            found[key.value] = self._plain(value, (*position, key.value))
        return found


def _scalar(text: str) -> bool | int | float | str | None:
    """What a word without quotes means; a number too large to be one stays a word, which no gene takes."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text)
    return float(text) if FLOAT.fullmatch(text) and math.isfinite(float(text)) else text
