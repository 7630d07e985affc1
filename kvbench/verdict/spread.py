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


def spread_of_controls(log_ratios: Sequence[float], cases: int, runs_a: int, runs_b: int) -> Spread | None:
    """From control rows of so many cases: log ratios of rows whose code is the same on both sides, over so many runs.

    Whatever ratio they show is the machine's doing, a shift common to all of them included, so their mean square is
    taken about 0 and not about their mean: the null distribution of negative controls (M. J. Schuemie et al.,
    Statistics in Medicine 33, 2014) with its centre held at 0. The phases of a case are measured one right after
    another, so that a case gives one degree of freedom. None without a control row.
    """
    if not log_ratios:
        return None
    square = float(np.mean(np.square(log_ratios)))
    return Spread(square / (1 / runs_a + 1 / runs_b), cases)


def spread_of_rows(groups: Iterable[Sequence[float]], freedom: int, runs_a: int, runs_b: int) -> Spread | None:
    """From groups of log ratios that one and the same change would have moved alike: their variance within groups.

    What is left is what hit the moments at which single rows were measured; a shift of a whole run is not in it.
    `freedom` is how many more cases than groups of cases there are. None where no group has two rows.
    """
    spread = spread_of_repeats(groups, freedom, 0)
    return None if spread is None else Spread(spread.variance / (1 / runs_a + 1 / runs_b), freedom)


def larger(first: Spread, other: Spread | None) -> Spread:
    """The one with the greater variance."""
    return first if other is None or first.variance >= other.variance else other


def pooled(*spreads: Spread | None) -> Spread | None:
    """Several estimates as one, each weighted by its degrees of freedom; None where there is none."""
    known = [spread for spread in spreads if spread is not None]
    if not known:
        return None
    freedom = sum(spread.freedom for spread in known)
    return Spread(sum(spread.variance * spread.freedom for spread in known) / freedom, freedom)
