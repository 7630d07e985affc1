"""Owns `--fail-on`: which rows of a comparison make its exit code that of a failed gate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kvbench.errors import UsageError
from kvbench.report.comparison.rows import Row, with_verdicts

WITH_MARGIN = ("slower", "faster", "unclear")
WORDS = (*WITH_MARGIN, "changed", "missing", "added")


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
    digits = text.strip().removesuffix("%").strip()
    try:
        percent = float(digits)
    except ValueError:
        percent = math.nan
    if not 0 < percent < 1000:
        raise UsageError(f"{option} {text}: give a number of per cent above 0, such as 5%")
    return percent / 100


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
    return Condition(word, parse_margin("--fail-on", margin))
