"""Owns what a batch is expected to cost by each path, fitted from measured ones, and the choice that follows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Direction = Literal["store", "load"]
Path = Literal["fused", "staged", "raw"]
CODED_PATHS: tuple[Path, ...] = ("fused", "staged")
KEPT_SAMPLES = 384  # by direction and path, newest
REFIT_EVERY = 48
PROBE_EVERY = 64  # raw batches in a row, until one is coded to see whether the values have changed
CLEARLY = 0.98  # a coded path is taken where it is expected to need at most this part of raw's time
_CHOICES = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))  # of coefficients
_FADING = 0.8  # weight of what was known of the ratio before, against the newest batch


class Sample(NamedTuple):
    """One measured batch."""

    raw_bytes: int
    moved_bytes: int
    seconds: float


class Choice(NamedTuple):
    """A path and, in a few words, why; `why` is one of few, so that choices can be counted by it."""

    path: Path
    why: str


@dataclass(frozen=True)
class Fit:
    """seconds = start_s + raw_bytes * raw_s + moved_bytes * moved_s, none of them negative."""

    start_s: float
    raw_s: float
    moved_s: float
    samples: int

    def seconds(self, raw_bytes: float, moved_bytes: float) -> float:
        """Of a batch."""
        return self.start_s + raw_bytes * self.raw_s + moved_bytes * self.moved_s


def fitted(samples: list[Sample]) -> Fit:
    """Least squares of the relative errors under coefficients of 0 and above.

    The best such solution is the plain one over the coefficients that it leaves above 0 (Kuhn and Tucker's conditions);
    with three of them every choice can be tried.
    """
    # Columns of like size, as bytes are many and starts are short.
    scale = np.array([1e-6, 1e-11, 1e-11])
    seconds = np.array([max(sample.seconds, 1e-9) for sample in samples])
    rows = np.array([(1.0, raw, moved) for raw, moved, _ in samples]) * scale / seconds[:, None]
    best, least = np.zeros(3), float(len(samples))
    for kept in _CHOICES:
        found = np.linalg.lstsq(rows[:, kept], np.ones(len(samples)), rcond=None)[0]
        error = float(((rows[:, kept] @ found - 1) ** 2).sum())
        if bool((found >= 0).all()) and error < least:
            best, least = np.zeros(3), error
            best[list(kept)] = found
    start_s, raw_s, moved_s = (float(value) for value in best * scale)
    return Fit(start_s, raw_s, moved_s, len(samples))


class CostModel:
    """Samples and fits by direction and path, and the share of its bytes that coding leaves of recent batches."""

    def __init__(self) -> None:
        self._samples: dict[tuple[Direction, Path], deque[Sample]] = {}
        self._fits: dict[tuple[Direction, Path], Fit] = {}
        self._new: dict[tuple[Direction, Path], int] = {}
        self._raw_in_a_row = 0
        self.moved_share: float | None = None  # moved / raw bytes of what was coded; None before the first batch

    def add(self, direction: Direction, path: Path, sample: Sample) -> None:
        """A batch that was measured. Costs a fit now and then: not for the moment of a call."""
        key = (direction, path)
        self._samples.setdefault(key, deque(maxlen=KEPT_SAMPLES)).append(sample)
        self._new[key] = self._new.get(key, 0) + 1
        if self._new[key] >= REFIT_EVERY or key not in self._fits:
            self.refit(direction, path)

    def refit(self, direction: Direction, path: Path) -> None:
        """Fit one path to the samples there are."""
        key = (direction, path)
        self._fits[key] = fitted(list(self._samples[key]))
        self._new[key] = 0

    def refit_all(self) -> None:
        """Fit every path to the samples there are."""
        for direction, path in self._samples:
            self.refit(direction, path)

    def clear(self) -> None:
        """Forget everything."""
        for kept in (self._samples, self._fits, self._new):
            kept.clear()
        self.moved_share, self._raw_in_a_row = None, 0

    def fit(self, direction: Direction, path: Path) -> Fit | None:
        """The fit of a path; None where nothing was measured."""
        return self._fits.get((direction, path))

    def saw_coded(self, raw_bytes: int, moved_bytes: int) -> None:
        """What coding made of a batch."""
        share = moved_bytes / raw_bytes
        before = share if self.moved_share is None else self.moved_share
        self.moved_share = _FADING * before + (1 - _FADING) * share

    def forget_share(self) -> None:
        """The values will be coded otherwise from now on."""
        self.moved_share = None

    def choose_store(self, raw_bytes: int) -> Choice:
        """The path for a batch that goes out.

        A coded one only where both its store and the load that will follow are expected to be clearly quicker than
        raw's: raw is the floor.
        """
        if self.moved_share is None:
            return Choice("fused", "to learn the ratio")
        moved = raw_bytes * self.moved_share
        store = {path: self._seconds("store", path, raw_bytes, moved) for path in (*CODED_PATHS, "raw")}
        floor, back_raw = store["raw"], self._seconds("load", "raw", raw_bytes, raw_bytes)
        quicker = []
        for path in CODED_PATHS:
            out, back = store[path], self.load_seconds(raw_bytes, moved)
            known = None not in (out, back, floor, back_raw)
            if known and out <= CLEARLY * floor and back <= CLEARLY * back_raw:  # type: ignore[operator]
                quicker.append((out, path))
        if quicker:
            self._raw_in_a_row = 0
            return Choice(min(quicker)[1], "expected to be quickest")
        if floor is None:
            return Choice("fused", "nothing measured of raw")
        self._raw_in_a_row += 1
        if self._raw_in_a_row >= PROBE_EVERY:
            self._raw_in_a_row = 0
            return Choice("fused", "to see whether the ratio has changed")
        return Choice("raw", "coding is not expected to be quicker")

    def choose_load(self, raw_bytes: int, moved_bytes: int) -> Choice:
        """The path for coded slots that come back; how many bytes that moves is known."""
        fused, staged = (self._seconds("load", path, raw_bytes, moved_bytes) for path in CODED_PATHS)
        if fused is not None and staged is not None and staged < fused:
            return Choice("staged", "expected to be quickest")
        return Choice("fused", "expected to be quickest" if fused is not None else "nothing measured of fused")

    def load_seconds(self, raw_bytes: float, moved_bytes: float) -> float | None:
        """What loading coded slots is expected to take, by the quicker path."""
        known = [self._seconds("load", path, raw_bytes, moved_bytes) for path in CODED_PATHS]
        return min((seconds for seconds in known if seconds is not None), default=None)

    def _seconds(self, direction: Direction, path: Path, raw_bytes: float, moved_bytes: float) -> float | None:
        fit = self._fits.get((direction, path))
        return None if fit is None else fit.seconds(raw_bytes, raw_bytes if path == "raw" else moved_bytes)
