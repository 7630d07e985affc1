"""Owns the checks of single values of an experiment, and that one value may stand for a list of one."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from kvbench.geometry import MOST_ELEMENTS, parse_dtype, parse_geometry

T = TypeVar("T")


class OneOrManySchema:
    """One value stands for a list of one, in options, in YAML and in the JSON schema; repeated values count once."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        several = core_schema.no_info_after_validator_function(distinct, handler(source))
        return core_schema.no_info_before_validator_function(listed, several)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


def listed(value: object) -> object:
    """One value as a list of one."""
    return value if value is None or isinstance(value, (list, tuple)) else (value,)


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Each value once, in order."""
    return tuple(dict.fromkeys(values))


def not_bool(value: object) -> object:
    """Raises ValueError for true and false, which Python takes for numbers."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number")  # noqa: TRY004  pydantic reports ValueError only
    return value


def usable_bound(value: float) -> float:
    """Raises ValueError for an error bound that is none."""
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"error bound {value:g} is not a finite number above 0; try 1e-2")
    return value


def usable_size(value: int) -> int:
    """Raises ValueError for a number of elements that no tensor can have."""
    if value <= 0:
        raise ValueError(f"tensor size {value} is not above 0; give a number of elements such as 1048576")
    if value > MOST_ELEMENTS:
        raise ValueError(f"tensor size {value} is above {MOST_ELEMENTS} elements; give a smaller one such as 1048576")
    return value


def known_geometry(text: str) -> str:
    """Raises UsageError for a geometry that cannot be read."""
    parse_geometry(text)
    return text


def as_dtype(value: object) -> object:
    """The dtype that a text names."""
    return parse_dtype(value) if isinstance(value, str) else value


def named_path(value: object) -> object:
    """Raises ValueError for an empty text."""
    if value == "":
        raise ValueError("an empty text is no path; give one, or leave it out")
    return value


def soak_amount(text: str) -> tuple[int | None, float | None]:
    """(operations, None) of `1000000`, (None, seconds) of `300s`. Raises ValueError for anything else, and for none."""
    given = text.strip()
    try:
        amount = float(given.removesuffix("s"))
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount > 0) or not (given.endswith("s") or given.isdecimal()):
        raise ValueError(f"soak {text!r} is no amount of traffic; give operations (1000000) or seconds (300s)")
    return (None, amount) if given.endswith("s") else (int(given), None)


def known_soak(text: str) -> str:
    """The text, if it is an amount of traffic. Raises ValueError like `soak_amount`."""
    soak_amount(text)
    return text.strip()
