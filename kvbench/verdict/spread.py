"""Owns what runs of the same code differ by: a variance that no single run can show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Variance of the log of a run's median from one run to the next, and how well it is known."""

    variance: float
    freedom: float  # degrees of freedom


def spread_of_repeats(rows: Iterable[Sequence[float]], runs: int, sides: int) -> Spread | None:
    """From rows that several runs of one side measured: each row the log medians of its runs, at least one long.

    The pooled variance within rows. All rows of a run share the state its machine was in, so that the degrees of
    freedom are those of the runs, `runs` - `sides`, however many rows there are. None without a repeated row.
    """
    repeated = [np.asarray(row) for row in rows if len(row) > 1]
    if not repeated or runs <= sides:
        return None
    squares = sum(float(((row - row.mean()) ** 2).sum()) for row in repeated)
    return Spread(squares / sum(len(row) - 1 for row in repeated), runs - sides)


def spread_of_controls(log_ratios: Sequence[float], runs_a: int, runs_b: int) -> Spread | None:
    """From control rows: log ratios of rows whose code is the same on both sides, over so many runs a side.

    Whatever ratio they show is the machine's doing, a shift common to all of them included, so their mean square is
    taken about 0 and not about their mean: the null distribution of negative controls (M. J. Schuemie et al.,
    Statistics in Medicine 33, 2014) with its centre held at 0. All of them share the runs, so that the degrees of
    freedom are those of the runs. None without a control row or with one run a side.
    """
    if not log_ratios or runs_a + runs_b <= 2:
        return None
    square = float(np.mean(np.square(log_ratios)))
    return Spread(square / (1 / runs_a + 1 / runs_b), runs_a + runs_b - 2)


def widened(own: Spread, *others: Spread | None) -> Spread:
    """`own` with the greatest variance of all and no more freedom than its own.

    With the spread of a row's own run medians this is never surer than Student's test of these medians.
    """
    return Spread(max(own.variance, *(other.variance for other in others if other is not None), 0.0), own.freedom)
