"""Owns the words for a value that an experiment cannot take: where it stands, what it is, what would do."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from kvbench.yaml_file import YamlFile


def one_line(
    error: ValidationError, read: YamlFile, given: Mapping[str, Any], *, models: tuple[type[BaseModel], type[BaseModel]]
) -> str:
    """The first thing wrong: where it stands (an option in `given`, else the file that was read), its value, a remedy.

    `models` are those of top-level keys and of keys further in; an unknown key is answered with the known ones.
    """
    # A key that is missing may be there under a wrong name, which says more.
    first = min(error.errors(), key=lambda one: one["type"] == "missing")
    if first["type"] == "missing":
        return f"{read.place(*first['loc'])}: {'.'.join(str(part) for part in first['loc'])} is missing; add it"
    field = str(first["loc"][0]) if first["loc"] else ""
    if field in given or field not in read.values:
        place = f"--{field.replace('_', '-')}: " if field else ""
    else:
        place = f"{read.place(*first['loc'])}: {'.'.join(str(part) for part in first['loc'])}: "
    if first["type"] == "extra_forbidden":
        model = models[0] if len(first["loc"]) == 1 else models[1]
        return f"{read.place(*first['loc'])}: {_unknown_key(first['loc'], model)}"
    return place + _problem(first["type"], first["input"], first.get("ctx", {}), first["msg"])


def _unknown_key(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    close = get_close_matches(str(loc[-1]), model.model_fields, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown key {'.'.join(map(str, loc))!r}; {hint}known keys: {', '.join(sorted(model.model_fields))}"


def _problem(kind: str, value: object, context: dict[str, Any], message: str) -> str:
    """What is wrong with one value, naming the value and what would do."""
    shown = repr(str(value)) if isinstance(value, Path) else repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    if kind == "value_error":
        problem = str(context["error"])
        return problem if not isinstance(value, str) or value in problem else f"{problem} (got {shown})"
    if value is None:
        return "has no value; give one, or remove the key"
    if kind == "path_type":
        return f"{shown} is not a path; write a file name in quotes"
    if kind == "string_type":
        return f"{shown} is not text; write it in quotes"
    if kind == "literal_error":
        return f"{shown} is not known; use {context['expected'].replace(chr(39), '')}"
    if kind in {"int_parsing", "int_type", "int_from_float"}:
        return f"{shown} is not a whole number{_split_hint(value)}"
    if kind in {"float_parsing", "float_type"}:
        return f"{shown} is not a number; write one like 1e-2{_split_hint(value)}"
    if kind in {"greater_than", "greater_than_equal"}:
        least = f"above {context['gt']:g}" if kind == "greater_than" else f"at least {context['ge']:g}"
        return f"{shown} must be {least}"
    return f"{message[:1].lower()}{message[1:]} (got {shown})"


def _split_hint(value: object) -> str:
    return "; separate values by spaces" if isinstance(value, str) and "," in value else ""
