"""Owns the list of transforms: entry points of the group `kvbench.transforms`, imported when first asked for."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from kvbench.codecs.transforms.base import Transform
from kvbench.errors import UnavailableError, UsageError

GROUP = "kvbench.transforms"


def names() -> list[str]:
    """Every registered transform, in alphabetical order."""
    return sorted(_found(tuple(sys.path)))


def load(name: str) -> type[Transform]:
    """The class of a transform. Raises UsageError for an unknown name, UnavailableError where it does not load."""
    found = _found(tuple(sys.path))
    if name not in found:
        raise UsageError(f"unknown transform {name!r}; use {', '.join(names())}, or none")
    try:
        loaded = found[name].load()
    except Exception as error:
        raise UnavailableError(f"transform {name!r} cannot be used here: {type(error).__name__}: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Transform)):
        raise UnavailableError(f"transform {name!r} cannot be used here: {found[name].value} is no Transform")
    return loaded


def make(name: str, params: dict[str, Any]) -> Transform:
    """A transform with these parameters, defaults for the rest; the key '' stands for the main one.

    Raises what `load` does, and UsageError for a parameter that cannot be used.
    """
    kind = load(name)
    named = {key or kind.main: value for key, value in params.items()}
    try:
        return kind.model_validate(named)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][:1])
        if first["type"] == "extra_forbidden":
            taken = ", ".join(kind.model_fields)
            raise UsageError(f"transform {name!r} has no parameter {place!r}; it takes: {taken}") from None
        message = str(first["msg"]).removeprefix("Value error, ")
        raise UsageError(f"transform {name!r}, parameter {place}: {message} (got {first['input']!r})") from None


@cache
def _found(_path: tuple[str, ...]) -> dict[str, Any]:
    """Entry points by name; kept for as long as the import path stays what it was."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}
