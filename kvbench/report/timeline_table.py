"""Owns the page's table of what nsys saw: for every phase of every case, where its time went on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kvbench.record.profile import NamedTime, TimelineRow
from kvbench.report.page_table import Cell, Column, Table, make_table, microseconds, number_cell
from kvbench.report.runs import Run

MOST_ROWS = 3000  # as many as the page shows of times


@dataclass(frozen=True)
class _Row:
    run: str
    seen: TimelineRow


def timeline_table(runs: Sequence[Run]) -> Table:
    """A row a phase; times are those of one range, so that phases with more samples read alike."""
    rows = [_Row(run.name, row) for run in runs if run.timeline is not None for row in run.timeline.rows]
    filters = {"run": lambda row: row.run, "case": lambda row: row.seen.case, "phase": lambda row: row.seen.phase}
    return make_table(rows, _WHAT, _NUMBERS, lambda _: "ok", filters, MOST_ROWS)


def kernel_words(kernels: Sequence[NamedTime]) -> str:
    """`encode_kernel x 12: 34.5 us`, ...: what ran, the longest first, in a launch's mean time."""
    means = [(kernel, microseconds(kernel.total_s / kernel.launches)) for kernel in kernels]
    return ", ".join(f"{kernel.name} x {kernel.launches}: {mean} \N{GREEK SMALL LETTER MU}s" for kernel, mean in means)


def _share(part: Callable[[TimelineRow], float | None]) -> Column[_Row]:
    """In % of the wall time."""

    def cell(row: _Row) -> Cell:
        seconds = part(row.seen)
        return number_cell(100 * seconds / row.seen.wall_s if seconds is not None and row.seen.wall_s else None, ".1f")

    return cell


def _each(seconds: float | None, row: _Row) -> Cell:
    """Microseconds a range."""
    return Cell("") if seconds is None else Cell(microseconds(seconds / row.seen.ranges), seconds / row.seen.ranges)


def _recorded(row: _Row) -> Cell:
    seconds = row.seen.recorded_s
    return Cell("") if seconds is None else Cell(microseconds(seconds), seconds)


def _megabytes(copied: int | None, row: _Row) -> Cell:
    """MB a range."""
    return number_cell(None if copied is None else copied / row.seen.ranges / 1e6)


_WHAT: dict[str, Column[_Row]] = {
    "run": lambda row: Cell(row.run),
    "case": lambda row: Cell(row.seen.case or row.seen.case_id),
    "phase": lambda row: Cell(row.seen.phase),
}
_NUMBERS: dict[str, Column[_Row]] = {
    "ranges": lambda row: number_cell(row.seen.ranges, "d"),
    "calls a range": lambda row: number_cell(row.seen.calls_per_range, "d"),
    "recorded \N{GREEK SMALL LETTER MU}s": _recorded,
    "wall \N{GREEK SMALL LETTER MU}s": lambda row: _each(row.seen.wall_s, row),
    "kernels \N{GREEK SMALL LETTER MU}s": lambda row: _each(row.seen.kernel_s, row),
    "kernels %": _share(lambda seen: seen.kernel_s),
    "idle %": _share(lambda seen: seen.idle_s),
    "overlap %": _share(lambda seen: seen.overlap_s),
    "measuring %": _share(lambda seen: seen.left_out_s),
    "to host MB": lambda row: _megabytes(row.seen.d2h_bytes, row),
    "to host GB/s": lambda row: number_cell(row.seen.d2h_gbps),
    "to GPU MB": lambda row: _megabytes(row.seen.h2d_bytes, row),
    "to GPU GB/s": lambda row: number_cell(row.seen.h2d_gbps),
    "within GPU MB": lambda row: _megabytes(row.seen.d2d_bytes, row),
    "within GPU GB/s": lambda row: number_cell(row.seen.d2d_gbps),
    "kernels, longest first": lambda row: Cell(kernel_words(row.seen.top_kernels)),
}
