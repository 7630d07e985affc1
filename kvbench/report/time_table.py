"""Owns the page's table of times: a row for every phase of every case, whatever the phase is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kvbench.record.schema import CaseResult, PhaseSamples
from kvbench.record.table import phase_gbps
from kvbench.report.case_table import FILTERS, WHAT
from kvbench.report.page_table import Cell, Column, Table, make_table, microseconds, number_cell, text_cell

MOST_ROWS = 3000  # a page with more would be slow to open; every sample is in measurements.parquet


@dataclass(frozen=True)
class _Timed:
    result: CaseResult
    phase: str
    times: PhaseSamples


def time_table(results: Sequence[CaseResult]) -> Table:
    """The median, its interval and how it was found; at most MOST_ROWS rows, the first of the run."""
    what: dict[str, Column[_Timed]] = {
        **{head: _of_case(column) for head, column in WHAT.items()},
        "phase": lambda timed: Cell(timed.phase),
        "clock": lambda timed: Cell(timed.times.clock),
    }
    filters = {name: _value_of_case(value) for name, value in FILTERS.items()} | {"phase": lambda timed: timed.phase}
    rows = list(_rows(results))
    return make_table(rows, what, _NUMBERS, lambda timed: timed.result.status, filters, MOST_ROWS)


def _rows(results: Sequence[CaseResult]) -> Iterator[_Timed]:
    for result in results:
        for phase, times in result.phases.items():
            yield _Timed(result, phase, times)


def _of_case(column: Column[CaseResult]) -> Column[_Timed]:
    return lambda timed: column(timed.result)


def _value_of_case(value: Callable[[CaseResult], str]) -> Callable[[_Timed], str]:
    return lambda timed: value(timed.result)


def _microseconds(seconds: float | None) -> Cell:
    return Cell("") if seconds is None else Cell(microseconds(seconds), seconds)


def _half_width(timed: _Timed) -> Cell:
    """Half the interval as a share of the median, in %."""
    times = timed.times
    if not times.median_s or times.ci_low_s is None or times.ci_high_s is None:
        return Cell("")
    return number_cell(50 * (times.ci_high_s - times.ci_low_s) / times.median_s, ".2g")


def _clock_range(timed: _Timed) -> Cell:
    """The GPU's clocks seen between the samples, sorted by the lowest."""
    low, high = timed.times.sm_clock_low_mhz, timed.times.sm_clock_high_mhz
    if low is None:
        return Cell("")
    return Cell(str(low) if high in (None, low) else f"{low} to {high}", low)


_NUMBERS: dict[str, Column[_Timed]] = {
    "median \N{GREEK SMALL LETTER MU}s": lambda timed: _microseconds(timed.times.median_s),
    "low \N{GREEK SMALL LETTER MU}s": lambda timed: _microseconds(timed.times.ci_low_s),
    "high \N{GREEK SMALL LETTER MU}s": lambda timed: _microseconds(timed.times.ci_high_s),
    "\N{PLUS-MINUS SIGN} %": _half_width,
    "GB/s": lambda timed: number_cell(phase_gbps(timed.times)),
    "samples": lambda timed: number_cell(len(timed.times.samples_s), "d"),
    "calls a sample": lambda timed: number_cell(timed.times.calls_per_sample, "d"),
    "cache": lambda timed: text_cell(timed.times.cache),
    "chunk bytes": lambda timed: number_cell(timed.times.chunk_bytes, "d"),
    "SM MHz": _clock_range,
    "throttled by": lambda timed: Cell(", ".join(timed.times.throttle_reasons)),
    "stopped by": lambda timed: Cell(timed.times.stop_reason.replace("_", " ")),
    "flags": lambda timed: Cell(", ".join(timed.times.flags)),
    "status": lambda timed: Cell(timed.result.status),
}
