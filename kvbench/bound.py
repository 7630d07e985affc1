"""Owns the meaning of an error bound: its kinds, its text form, and how it becomes absolute."""

from __future__ import annotations

import math
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, field_validator

BoundKind = Literal["abs", "rel", "std"]
BoundPolicy = Literal["strict", "compatible"]
BOUND_KINDS: tuple[BoundKind, ...] = get_args(BoundKind)
BOUND_KIND_MEANING: dict[str, str] = {
    "abs": "in the tensor's own unit",
    "rel": "fraction of max - min of the tensor",
    "std": "fraction of the tensor's standard deviation",
}


class Bound(BaseModel):
    """The largest |x - x'| a user accepts.

    `abs` is in the tensor's unit, `rel` a fraction of max - min and `std` a fraction of the standard deviation,
    both over the finite values of one tensor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: BoundKind = "rel"
    value: float = 1e-2

    @field_validator("value", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError(f"error bound {value} is not a number; try 1e-2")  # noqa: TRY004  pydantic's contract
        return value

    @field_validator("value")
    @classmethod
    def _positive_and_finite(cls, value: float) -> float:
        if not math.isfinite(value) or value <= 0:
            raise ValueError(f"error bound {value!r} is not a finite number above 0; try 1e-2")
        return value

    def absolute(self, *, value_range: float, std: float | None) -> float:
        """The absolute bound for one tensor.

        `value_range` is max - min of its finite values, subtracted in float32; `std` their standard deviation
        (float64), needed for kind `std` only. Returns 0.0 for a constant tensor under `rel` or `std`, and inf
        under `rel` when the range overflows float32.
        """
        if self.kind == "abs":
            return self.value
        if self.kind == "rel":
            return self.value * value_range
        if std is None:
            raise ValueError("a bound of kind 'std' needs the tensor's standard deviation")
        return self.value * std

    def __str__(self) -> str:
        return f"{self.kind} {self.value:g}"
