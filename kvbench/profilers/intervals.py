"""Owns sets of time as sorted intervals that do not touch: union, length, and how much of one lies in another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Intervals:
    """Sorted, disjoint; start and end in ns."""

    start: Times
    end: Times

    @property
    def total_ns(self) -> int:
        return int((self.end - self.start).sum())

    def within(self, other: Intervals) -> int:
        """Nanoseconds that both sets cover."""
        if not len(self.start) or not len(other.start):
            return 0
        return int((self._covered_before(other.end) - self._covered_before(other.start)).sum())

    def holding(self, moments: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """For every moment (ns): does it lie inside? An interval holds its start and not its end."""
        at = np.asarray(moments, dtype=np.int64)
        if not len(self.start):
            return np.zeros(at.shape, dtype=bool)
        place = np.searchsorted(self.start, at, side="right") - 1
        return np.asarray((place >= 0) & (at < self.end[place]))

    def _covered_before(self, moments: Times) -> Times:
        """For every moment: nanoseconds of this set that come before it."""
        lengths = np.concatenate([[0], np.cumsum(self.end - self.start)])
        place = np.searchsorted(self.start, moments, side="right") - 1
        inside = np.minimum(moments, self.end[place]) - self.start[place]
        return np.where(place < 0, 0, lengths[place] + inside)


def union(start: npt.ArrayLike, end: npt.ArrayLike) -> Intervals:
    """The time that any of these intervals covers; equal lengths, in ns, in any order. Empty ones count as nothing."""
    starts, ends = np.asarray(start, dtype=np.int64), np.asarray(end, dtype=np.int64)
    kept = ends > starts
    starts, ends = starts[kept], ends[kept]
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    if not len(starts):
        return Intervals(starts, reach)
    first = np.concatenate([[True], starts[1:] > reach[:-1]])
    last = np.concatenate([first[1:], [True]])
    return Intervals(starts[first], reach[last])
