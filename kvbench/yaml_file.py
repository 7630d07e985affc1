"""Owns reading a YAML mapping with the line of every key, so that a message can say where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kvbench.errors import UsageError


@dataclass(frozen=True)
class YamlFile:
    """The top-level keys of one file, their values and their lines, counted from 1."""

    path: Path | None = None
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def place(self, key: str) -> str:
        """Where a key stands: `file.yaml line 7`."""
        return f"{self.path} line {self.lines[key]}" if key in self.lines else f"{self.path or 'option'}"


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
    lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
    return YamlFile(path, {str(key): value for key, value in values.items()}, lines)


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
