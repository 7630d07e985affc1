"""Owns reading a YAML mapping with the line of every key and item, so that a message can say where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kvbench.errors import UsageError

_DEPTH = 3


@dataclass(frozen=True)
class YamlFile:
    """One file: its top-level keys and their values, and the line of everything in it, counted from 1."""

    path: Path | None = None
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[tuple[str | int, ...], int] = field(default_factory=dict)  # by keys and item numbers from the top

    def place(self, *keys: str | int) -> str:
        """Where a key or item stands, or what it is in where it has no line of its own: `file.yaml line 7`."""
        for depth in range(len(keys), 0, -1):
            if keys[:depth] in self.lines:
                return f"{self.path} line {self.lines[keys[:depth]]}"
        return f"{self.path or 'option'}"


def read_yaml(path: Path) -> YamlFile:
    """Read a file that maps field names to values.

    Raises UsageError when it cannot be read, is not YAML, is not a mapping, or has a key that is empty or named twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"cannot read config {path}: {error.strerror}") from None
    except RecursionError:
        raise UsageError(f"config {path} nests too deep; write one `field: value` a line") from None
    except (yaml.YAMLError, ValueError) as error:
        problem = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise UsageError(f"config {path} is not valid YAML: {problem}") from None
    if not isinstance(node, yaml.MappingNode) or not isinstance(values, dict):
        raise UsageError(f"config {path} holds no mapping; write one `field: value` a line")
    _check_keys(node, path)
    return YamlFile(path, {str(key): value for key, value in values.items()}, dict(_lines(node, ())))


def _lines(node: yaml.Node, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """The line of every key of a mapping and item of a list, three levels deep: as deep as kvbench's files go."""
    if len(place) == _DEPTH:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*place, str(key.value)), key.start_mark.line + 1
            yield from _lines(value, (*place, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*place, number), item.start_mark.line + 1
            yield from _lines(item, (*place, number))


def _check_keys(top: yaml.MappingNode, path: Path) -> None:
    """Raise UsageError where a mapping, at any depth, has an empty key or names one twice: YAML would take the last."""
    waiting: list[yaml.Node] = [top]
    seen: set[int] = set()  # an anchor may stand in many places, inside itself too
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if not isinstance(node, yaml.MappingNode):
            waiting += node.value
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            line, name = key.start_mark.line + 1, str(key.value)
            if key.tag == "tag:yaml.org,2002:null":
                raise UsageError(f"config {path} line {line}: a key is empty; write one `field: value` a line")
            if name in lines:
                raise UsageError(f"config {path} line {line}: {name!r} was already given on line {lines[name]}")
            lines[name] = line
            waiting.append(value)
