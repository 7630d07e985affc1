"""Owns the page's table of what ncu counted: one row a profiled launch of a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.record.profile import KernelRow
from kvbench.report.page_table import Cell, Column, Table, make_table, microseconds, number_cell, text_cell
from kvbench.report.runs import Run

MOST_ROWS = 3000


@dataclass(frozen=True)
class _Row:
    run: str
    counted: KernelRow


def kernel_table(runs: Sequence[Run]) -> Table:
    """Every launch that was profiled, in the order of the report."""
    rows = [_Row(run.name, row) for run in runs if run.kernels is not None for row in run.kernels.rows]
    filters = {"run": lambda row: row.run, "kernel": lambda row: row.counted.name}
    return make_table(rows, _WHAT, _NUMBERS, lambda _: "ok", filters, MOST_ROWS)


def _duration(row: _Row) -> Cell:
    seconds = row.counted.duration_s
    return Cell("") if seconds is None else Cell(microseconds(seconds), seconds)


def _megabytes(row: _Row) -> Cell:
    return number_cell(None if row.counted.dram_bytes is None else row.counted.dram_bytes / 1e6)


def _stall(row: _Row) -> Cell:
    if row.counted.top_stall is None:
        return Cell("")
    return Cell(f"{row.counted.top_stall} ({row.counted.top_stall_cycles:.1f})", row.counted.top_stall_cycles)


_WHAT: dict[str, Column[_Row]] = {
    "run": lambda row: Cell(row.run),
    "kernel": lambda row: Cell(row.counted.name),
    "phase": lambda row: text_cell(row.counted.phase),
    "grid": lambda row: Cell(row.counted.grid),
    "block": lambda row: Cell(row.counted.block),
}
_NUMBERS: dict[str, Column[_Row]] = {
    "time \N{GREEK SMALL LETTER MU}s": _duration,
    "DRAM MB": _megabytes,
    "DRAM GB/s": lambda row: number_cell(row.counted.dram_gbps),
    "DRAM %": lambda row: number_cell(row.counted.dram_percent, ".1f"),
    "SM %": lambda row: number_cell(row.counted.sm_percent, ".1f"),
    "issue %": lambda row: number_cell(row.counted.issue_percent, ".1f"),
    "occupancy %": lambda row: number_cell(row.counted.occupancy_percent, ".1f"),
    "registers": lambda row: number_cell(row.counted.registers, "d"),
    "top stall (cycles)": _stall,
}
