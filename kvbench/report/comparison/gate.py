"""Owns `--fail-on`: what in a comparison makes its exit code that of a failed gate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kvbench.errors import UsageError
from kvbench.report.comparison.compare import Comparison
from kvbench.report.comparison.pairing import Cell
from kvbench.report.comparison.rows import Row, with_verdicts
from kvbench.report.comparison.sides import Side
from kvbench.report.comparison.spreads import phase_in_runs, phases_of

WITH_MARGIN = ("slower", "faster", "unclear")
WORDS = (*WITH_MARGIN, "changed", "missing", "added")
MOST_PERCENT = 1000
FEWEST_RUNS = 3  # of both sides together, for a verdict on times


@dataclass(frozen=True)
class Condition:
    """A verdict no row may have; `margin` (a fraction) is what times are judged by, None for the comparison's own."""

    word: str
    margin: float | None = None

    def __str__(self) -> str:
        return self.word if self.margin is None else f"{self.word}:{100 * self.margin:g}%"


def parse_conditions(texts: Iterable[str]) -> list[Condition]:
    """`slower:5%`, `changed`, or several with commas between. Raises UsageError naming the bad word."""
    return [_condition(word.strip()) for text in texts for word in text.split(",")]


def parse_margin(option: str, text: str) -> float:
    """`5%`, `5` or `2.5 %` as a fraction. Raises UsageError."""
    return _fraction(text, f"{option} {text}")


def _fraction(text: str, typed: str) -> float:
    digits = text.strip().removesuffix("%").strip()
    try:
        percent = float(digits)
    except ValueError:
        percent = math.nan
    if not 0 < percent < MOST_PERCENT:
        raise UsageError(f"{typed}: give a number of per cent above 0 and below {MOST_PERCENT}, such as 5%")
    return percent / 100


def require_repeats(conditions: Iterable[Condition], a: Side, b: Side) -> None:
    """Raises UsageError where a condition can never be met: one run a side finds nothing slower or faster."""
    asked = [condition for condition in conditions if condition.word in {"slower", "faster"}]
    if asked and len(a.runs) + len(b.runs) < FEWEST_RUNS:
        raise UsageError(
            f"--fail-on {asked[0]}: one run a side cannot tell; give more runs of each side, best three, with --more-a "
            "and --more-b"
        )


def lost_in_b(found: Comparison, conditions: Iterable[Condition]) -> list[str]:
    """A phrase for each kind of result that B lacks, where a condition on times would pass for want of a time.

    Cases that were ok in A and are not so in every run of B, phases that only A could time, runs of B that did not end.
    Empty without a condition on times.
    """
    if not any(condition.word in WITH_MARGIN for condition in conditions):
        return []
    both = [(one.a, one.b) for one in found.matched if one.a is not None and _ok_runs(one.a)]
    whole = [(a, b) for a, b in both if b is not None and _ok_runs(b) == len(found.b.runs)]
    phases = sum(len(phase_in_runs(b, phase)) < len(found.b.runs) for a, b in whole for phase in _timed_phases(a))
    ended = [run for run in found.b.runs if run.manifest.status != "finished"]
    counts = (
        (len(both) - len(whole), "cases were ok in A and failed, are invalid or are missing in B"),
        (phases, "phases were timed in A and not in B"),
        (len(ended), "runs of B did not finish"),
    )
    return [f"{count} {what}" for count, what in counts if count]


def _ok_runs(cell: Cell) -> int:
    return sum(result.status == "ok" for result in cell.results)


def _timed_phases(cell: Cell) -> list[str]:
    return [phase for phase in phases_of(cell) if phase_in_runs(cell, phase)]


def offending(rows: Sequence[Row], conditions: Iterable[Condition]) -> list[tuple[Condition, int]]:
    """Each condition that some row meets, and how many do."""
    met = []
    for condition in conditions:
        judged = rows if condition.margin is None else with_verdicts(rows, condition.margin)
        count = sum(row.verdict == condition.word for row in judged)
        if count:
            met.append((condition, count))
    return met


def _condition(text: str) -> Condition:
    word, colon, margin = text.partition(":")
    if word not in WORDS:
        raise UsageError(f"--fail-on {text}: use {', '.join(WORDS)}, the first three also as slower:5%")
    if not colon:
        return Condition(word)
    if word not in WITH_MARGIN:
        raise UsageError(f"--fail-on {text}: {word} takes no margin; write --fail-on {word}")
    return Condition(word, _fraction(margin, f"--fail-on {text!r}"))
