"""Owns the verdict: a ratio of times with its interval and its tests becomes faster, slower, same or unclear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["faster", "slower", "same", "unclear"]

CONFIDENCE = 0.95
DEFAULT_MARGIN = 0.05
_LARGEST = 700.0  # a spread of e^700 says no more than that nothing is known


@dataclass(frozen=True)
class Contrast:
    """What two sets of times of one row say about the ratio B / A, on the scale of its natural logarithm."""

    log_ratio: float
    log_error: float  # standard error; 0 where no two samples differ
    freedom: float  # degrees of freedom of that error, inf where it is known well
    rank_p: float  # two-sided p of a rank test that A and B are alike
    doubt: str | None = None  # why no verdict but unclear is possible, whatever the numbers

    @property
    def ratio(self) -> float:
        """B / A; above 1, B takes longer."""
        return math.exp(self.log_ratio)

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the ratio: log ratio -+ t x error."""
        half = _t_quantile(self.freedom) * self.log_error if self.log_error else 0.0
        return _exp(self.log_ratio - half), _exp(self.log_ratio + half)

    def known_interval(self) -> tuple[float | None, float | None]:
        """The interval, (None, None) where it reaches from nothing to anything."""
        low, high = self.interval()
        return (low, high) if math.isfinite(self.log_error) and low > 0 and high < math.exp(_LARGEST) else (None, None)

    def p_value(self, margin: float) -> float:
        """The larger of two p: the rank test's, and that of a t test that B / A lies within the margin.

        Both have to reject for a difference, so the larger one is their joint p (an intersection-union test: R. L.
        Berger, Technometrics 24, 1982).
        """
        beyond = abs(self.log_ratio) - math.log1p(margin)
        if beyond <= 0:
            return 1.0
        return max(self.rank_p, _t_tail(beyond / self.log_error, self.freedom) if self.log_error else 0.0)


@dataclass(frozen=True)
class Judged:
    """The verdict on one row; `p_value` allows for all rows judged together, `reason` is there for every `unclear`."""

    verdict: Verdict
    p_value: float | None  # None where a doubt keeps the row out of the count
    reason: str | None = None


def judge(contrasts: Sequence[Contrast], margin: float) -> list[Judged]:
    """The verdict on each of the rows of one comparison.

    `faster` and `slower`: the interval lies wholly beyond the margin, and the p-value, corrected by Holm's method for
    the number of rows without doubt, is at most 0.05. `same`: the interval lies wholly within it. `unclear`: anything
    else. The margin is a fraction: with 0.05, within means from 1 / 1.05 to 1.05, so that swapping A and B swaps the
    verdicts.
    """
    firm = [contrast for contrast in contrasts if contrast.doubt is None]
    corrected = iter(holm([contrast.p_value(margin) for contrast in firm]))
    return [
        Judged("unclear", None, contrast.doubt)
        if contrast.doubt is not None
        else _judged(contrast, next(corrected), margin, len(firm))
        for contrast in contrasts
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value corrected for their number (S. Holm, Scandinavian Journal of Statistics 6, 1979)."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _judged(contrast: Contrast, p_value: float, margin: float, rows: int) -> Judged:
    low, high = contrast.interval()
    if low > 1 + margin or high < 1 / (1 + margin):
        if p_value <= 1 - CONFIDENCE:
            return Judged("slower" if low > 1 else "faster", p_value)
        return Judged("unclear", p_value, f"beyond the margin, but among {rows} rows that may be chance")
    if 1 / (1 + margin) <= low and high <= 1 + margin:
        return Judged("same", p_value)
    return Judged("unclear", p_value, "the interval reaches across the margin")


def _exp(value: float) -> float:
    return math.exp(min(value, _LARGEST))


def _t_quantile(freedom: float) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def _t_tail(t: float, freedom: float) -> float:
    """Two-sided."""
    from scipy import stats

    return float(2 * stats.t.sf(t, freedom))
