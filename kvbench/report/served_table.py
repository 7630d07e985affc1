"""Owns the page's table of servers: the arms of every load side by side, means over the starts that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.report.page_table import Cell, Column, Table, make_table, number_cell
from kvbench.report.runs import Run
from kvbench.report.served import Arm, arms_of

# Head, metric, factor, form.
MEASURES: tuple[tuple[str, str, float, str], ...] = (
    ("TTFT p50 ms", "ttft_p50_s", 1e3, ""),
    ("TTFT p90 ms", "ttft_p90_s", 1e3, ""),
    ("TTFT p99 ms", "ttft_p99_s", 1e3, ""),
    ("TPOT p50 ms", "tpot_p50_s", 1e3, ""),
    ("ITL p99 ms", "itl_p99_s", 1e3, ""),
    ("E2E p50 ms", "e2el_p50_s", 1e3, ""),
    ("E2E p99 ms", "e2el_p99_s", 1e3, ""),
    ("cold TTFT p50 ms", "cold_ttft_p50_s", 1e3, ""),
    ("cold TPOT p50 ms", "cold_tpot_p50_s", 1e3, ""),
    ("requests/s", "requests_per_s", 1.0, ""),
    ("good/s", "good_requests_per_s", 1.0, ""),
    ("tokens/s", "output_tokens_per_s", 1.0, ""),
    ("stored MB", "stored_bytes", 1e-6, ""),
    ("restored MB", "loaded_bytes", 1e-6, ""),
    ("ratio", "ratio", 1.0, ".2f"),
    ("link in %", "load_link_share", 100.0, ".1f"),
    ("host hits %", "host_hit_rate", 100.0, ".1f"),
    ("GPU hits %", "gpu_hit_rate", 100.0, ".1f"),
    ("slots resident", "resident_slots", 1.0, ".0f"),
    ("GPU GB", "server_gpu_bytes", 1e-9, ".2f"),
    ("host GB", "server_host_bytes", 1e-9, ".2f"),
    ("start s", "startup_s", 1.0, ".1f"),
    ("same answers %", "same_answers", 100.0, ".0f"),
    ("log-prob distance", "logprob_distance", 1.0, ""),
)


@dataclass(frozen=True)
class _Row:
    run: str
    arm: Arm


def served_table(runs: Sequence[Run]) -> Table:
    """A row an arm of every load, arms without a start that counts included."""
    rows = [_Row(run.name, arm) for run in runs for arm in arms_of(run.results)]
    return make_table(rows, _WHAT, _NUMBERS, _status, {"load": lambda row: row.arm.load})


def scaled(arm: Arm, metric: str, factor: float) -> float | None:
    """The mean of a metric in the unit of its column."""
    value = arm.middle(metric)
    return None if value is None else value * factor


def count_words(arm: Arm) -> str:
    """`6 of 6`: starts that count, of all."""
    return f"{len(arm.valid)} of {len(arm.starts)}"


def _status(row: _Row) -> str:
    return "ok" if row.arm.valid else row.arm.starts[0].status


def _column(metric: str, factor: float, form: str) -> Column[_Row]:
    return lambda row: number_cell(scaled(row.arm, metric, factor), form)


_WHAT: dict[str, Column[_Row]] = {
    "run": lambda row: Cell(row.run),
    "load": lambda row: Cell(row.arm.load),
    "arm": lambda row: Cell(row.arm.name),
    "starts that count": lambda row: Cell(count_words(row.arm)),
}
_NUMBERS: dict[str, Column[_Row]] = {head: _column(metric, factor, form) for head, metric, factor, form in MEASURES}
