"""Owns what `kvbench compare` prints: a table of times, one of other changes, and what it all amounts to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvbench.cli.rows import settings
from kvbench.cli.tables import empty_table, number
from kvbench.record.schema import CaseResult
from kvbench.report.comparison.compare import Comparison
from kvbench.report.comparison.machines import names_of
from kvbench.report.comparison.pairing import Matched
from kvbench.report.comparison.pairs import paired_rows
from kvbench.report.comparison.rows import Row
from kvbench.report.comparison.sides import Side
from kvbench.report.comparison.spreads import Kind
from kvbench.verdict.judge import DEFAULT_MARGIN
from kvbench.verdict.spread import Spread

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MOST_ROWS = 60
MOST_REASONS = 8
WORST_FIRST = ("slower", "faster", "unclear", "same")
ALWAYS_SHOWN = ("codec", "kv")
RATIO_OF_RUNS = "B/A: ratio of the median times; below 1, B is quicker; in brackets its 95 % interval"
RATIO_OF_PAIRS = "B/A: median of the pairs' ratios; below 1, B is quicker; in brackets its 95 % interval"
RULES = (
    "slower, faster: the interval lies wholly beyond the margin and the tests, corrected for all rows, reject chance",
    "same: the interval lies wholly within the margin; unclear: neither can be said",
)


def parts_to_show(found: Comparison) -> list[RenderableType]:
    """Everything the command prints, in order."""
    times = [row for row in found.rows if row.metric == "time" and row.verdict not in {"missing", "added"}]
    changes = [row for row in found.rows if row.verdict == "changed"]
    parts: list[RenderableType] = [_side(found.a), _side(found.b)]
    if times:
        parts += ["", time_table(_shown(times)), *_left_out(times), "", RATIO_OF_RUNS, *RULES]
    if changes:
        parts += ["", _change_table(changes[:MOST_ROWS]), *_left_out(changes)]
    return [*parts, "", *_lone(found.rows), *_reasons(found.rows), *_spread_lines(found), _verdict_line(found)]


def _side(side: Side) -> str:
    chosen = "".join(f", {axis} {' or '.join(sorted(values))}" for axis, values in side.chosen.items())
    return f"{side.name}: {', '.join(names_of(run) for run in side.runs)}{chosen}"


def _shown(times: Sequence[Row]) -> list[Row]:
    """All, or the ones that say most where there are too many, in the order of the runs."""
    kept = sorted(times, key=lambda row: WORST_FIRST.index(row.verdict))[:MOST_ROWS]
    keep = {id(row) for row in kept}
    return [row for row in times if id(row) in keep]


def _left_out(rows: Sequence[Row]) -> list[str]:
    extra = len(rows) - MOST_ROWS
    return [f"{extra} more rows are left out here; --output FILE.csv has all"] if extra > 0 else []


def time_table(rows: Sequence[Row]) -> Table:
    """Times of both sides, their ratio and the verdict, one row each."""
    names = _telling_apart([row.matched for row in rows])
    table = empty_table([*names, "phase"], ["A us", "B us", "B/A", "interval"], ["verdict"])
    for row in rows:
        table.add_row(*_cells(row.matched, names), row.phase, *_numbers(row), row.verdict)
    return table


def _numbers(row: Row) -> list[str]:
    micros = [number(1e6 * value) if isinstance(value, float) else "-" for value in (row.a_value, row.b_value)]
    if row.contrast is None:
        return [*micros, "-", "-"]
    low, high = row.contrast.known_interval()
    interval = "-" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"
    return [*micros, f"{row.contrast.ratio:.3f}", interval]


def _change_table(rows: Sequence[Row]) -> Table:
    names = _telling_apart([row.matched for row in rows])
    table = empty_table([*names, "changed"], ["A", "B"], ["note"])
    for row in rows:
        table.add_row(*_cells(row.matched, names), row.metric, _value(row.a_value), _value(row.b_value), row.reason)
    return table


def _value(value: float | str | None) -> str:
    """Every digit: two values that differ in the last one must not look alike."""
    return "-" if value is None else str(value)


def _telling_apart(matched: Sequence[Matched]) -> list[str]:
    """The settings to show: those that differ between the rows, or between the sides of one."""
    sides = [settings(cell.results[0]) for one in matched for cell in (one.a, one.b) if cell is not None]
    names = list(sides[0])
    differ = {name for name in names if len({side[name] for side in sides} - {None}) > 1}
    shown = differ | {name for name in ALWAYS_SHOWN if any(side[name] for side in sides)}
    without_tensor = [name for name in names if name in shown and name != "tensor"]
    tensors = {side["tensor"] for side in sides}
    if len({tuple(side[name] for name in ("kv", "layer")) for side in sides}) == len(tensors):
        return without_tensor
    return [name for name in names if name in shown]


def _cells(one: Matched, names: Sequence[str]) -> list[str]:
    a, b = (None if cell is None else settings(cell.results[0]) for cell in (one.a, one.b))
    texts = []
    for name in names:
        values = dict.fromkeys((side[name] or "-") for side in (a, b) if side is not None)
        texts.append(" | ".join(values))
    return texts


def _lone(rows: Sequence[Row]) -> list[str]:
    lines = []
    for verdict, side in (("missing", "A"), ("added", "B")):
        lone = [row for row in rows if row.verdict == verdict]
        lines += [f"only in {side}: {row.matched.case.label} {row.phase or ''}".rstrip() for row in lone[:MOST_REASONS]]
        if len(lone) > MOST_REASONS:
            lines.append(f"and {len(lone) - MOST_REASONS} more rows only in {side}")
    return lines


def _reasons(rows: Sequence[Row]) -> list[str]:
    counts = Counter(row.reason for row in rows if row.verdict == "unclear")
    lines = [f"{count} unclear: {reason}" for reason, count in counts.most_common(MOST_REASONS)]
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(MOST_REASONS))
    return [*lines, f"{rest} unclear for other reasons; --output FILE.csv gives each"] if rest else lines


def _spread_lines(found: Comparison) -> list[str]:
    """One line for each codec of a device, on the phase in which its runs differ most."""
    if not found.spreads.of_kinds:
        return ["the intervals are of the seconds of these two runs, and say nothing of what another run would show"]
    widest: dict[tuple[str, str], tuple[Kind, Spread]] = {}
    for kind, spread in found.spreads.of_kinds.items():
        known = widest.get(kind[:2])
        if known is None or spread.variance > known[1].variance:
            widest[kind[:2]] = kind, spread
    return [
        f"{device}, {codec}: runs of the same code differ by {_percent(spread):.2g} % in {kind.phase} "
        f"(standard deviation, {spread.freedom:g} degrees of freedom), most of all phases; the intervals allow for it"
        for (device, codec), (kind, spread) in sorted(widest.items())
    ]


def _percent(spread: Spread) -> float:
    return 100 * math.expm1(math.sqrt(spread.variance))


def _verdict_line(found: Comparison) -> str:
    counts: Counter[str] = Counter(row.verdict for row in found.rows)
    words = [f"{counts[word]} {word}" for word in (*WORST_FIRST, "changed", "missing", "added") if counts[word]]
    return f"margin {100 * found.margin:g} %: {', '.join(words) or 'nothing to compare'}"


def pair_parts(results: Sequence[CaseResult]) -> list[RenderableType]:
    """What an A/B run has to say of its pairs; nothing for a run that is none."""
    rows = paired_rows(results)
    if not rows:
        return []
    counts: Counter[str] = Counter(row.verdict for row in rows)
    words = ", ".join(f"{counts[word]} {word}" for word in WORST_FIRST if counts[word])
    title = f"B against A, timed in turn, by {100 * DEFAULT_MARGIN:g} %: {words}"
    return ["", title, "", time_table(_shown(rows)), *_left_out(rows), "", RATIO_OF_PAIRS, *RULES, *_reasons(rows)]
