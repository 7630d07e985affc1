"""Owns the choice among measured points: one a tensor, so that all stand at the same slope of bytes against KL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LEAST_SLOPE, MOST_SLOPE = 1e-3, 1e18  # bytes a nat
_STEPS = 80


@dataclass(frozen=True)
class Point:
    """One way to code a tensor: what it stores, and what its error is predicted to add to the model's KL."""

    mode: Literal["fixed", "plain", "outlier"]
    transforms: str
    bound: float  # absolute, of what the codec sees
    compressed_bytes: int
    kl: float


@dataclass(frozen=True)
class Curve:
    """The points that were measured for one layer's K or V."""

    layer: int
    kv: Literal["k", "v"]
    raw_bytes: int
    points: Sequence[Point]


@dataclass(frozen=True)
class Chosen:
    """A point of every curve."""

    points: tuple[Point, ...]

    @property
    def kl(self) -> float:
        """Predicted: errors of different tensors add up."""
        return sum(point.kl for point in self.points)

    @property
    def compressed_bytes(self) -> int:
        return sum(point.compressed_bytes for point in self.points)


def at_slope(curves: Sequence[Curve], bytes_a_nat: float) -> Chosen:
    """The points that minimise bytes + slope x KL, curve by curve (Shoham and Gersho, "Efficient bit allocation for
    an arbitrary set of quantizers", 1988)."""
    return Chosen(
        tuple(min(curve.points, key=lambda one: one.compressed_bytes + bytes_a_nat * one.kl) for curve in curves)
    )


def within_kl(curves: Sequence[Curve], most_kl: float) -> Chosen:
    """The fewest bytes with a predicted KL of at most `most_kl`; the least KL there is where none has."""
    low, high = LEAST_SLOPE, MOST_SLOPE
    if at_slope(curves, low).kl <= most_kl:
        return at_slope(curves, low)
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if at_slope(curves, middle).kl <= most_kl else (middle, high)
    return at_slope(curves, high)


def within_bytes(curves: Sequence[Curve], most_bytes: float) -> Chosen:
    """The least predicted KL with at most so many bytes; the fewest bytes there are where none has."""
    low, high = LEAST_SLOPE, MOST_SLOPE
    if at_slope(curves, high).compressed_bytes <= most_bytes:
        return at_slope(curves, high)
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if at_slope(curves, middle).compressed_bytes <= most_bytes else (low, middle)
    return at_slope(curves, low)
