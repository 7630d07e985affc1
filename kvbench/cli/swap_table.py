"""Owns the printed tables of `swap`: batches by path, direction and what ran beside, and soaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kvbench.cli.tables import empty_table, number
from kvbench.record.schema import Case, CaseResult
from kvbench.record.table import phase_gbps
from kvbench.report.swap_words import coding_words, took
from kvbench.report.swapped import against_raw

if TYPE_CHECKING:
    from rich.table import Table

MOST_ROWS = 120
LEGEND = (
    "us, GB/s: wall time of a batch until the host knows that it is done, and its uncompressed bytes",
    "own us: time on the batch's own stream alone",
    "link: bytes of the streams over the wall time; x raw: speed over that of path raw in the same row of this run",
    "paged: ratio with streams on whole pages of 4096 bytes; blocks: thread blocks of a kernel at most (CPU: threads)",
)
BESIDE_LEGEND = (
    "slower: time that the work beside takes longer while batches go on all the time; SMs: their share at most"
)
BARE_LEGEND = "bare: wall time that a kernel that only copies as many bytes over the link needs, over that of the batch"


def swap_table(results: Sequence[CaseResult]) -> tuple[Table | None, list[str]]:
    """A row a timed batch or soak, and notes under it; None where nothing ran."""
    ran = [result for result in results if result.metrics]
    if not ran:
        return None, []
    soaks = [result for result in ran if result.case.soak is not None]
    return _soak_table(soaks) if soaks else _batch_table(ran, results)


def _batch_table(ran: Sequence[CaseResult], results: Sequence[CaseResult]) -> tuple[Table, list[str]]:
    quicker = against_raw(results)
    columns: dict[str, Callable[[CaseResult], str]] = {
        "us": lambda result: _microseconds(result, "_wall"),
        "GB/s": lambda result: number(_gbps(result)),
        "own\nus": lambda result: _microseconds(result, ""),
        "link\nGB/s": lambda result: number(result.metrics.get("moved_gbps")),
        "ratio": lambda result: number(result.metrics.get("ratio")),
        "paged": lambda result: number(result.metrics.get("paged_ratio")),
        "x raw": lambda result: number(quicker.get(result.case_id)),
        "bare": lambda result: _percent(result.metrics.get("zero_copy_share")),
        "blocks": lambda result: f"{result.metrics.get('thread_blocks') or 0:.0f}",
        "SMs": lambda result: _percent(result.metrics.get("sm_share")),
        "slower": lambda result: _percent(result.metrics.get("beside_slowdown")),
    }
    shown = {head: text for head, text in columns.items() if any(text(result) != "-" for result in ran)}
    what = {
        head: text for head, text in _WHAT.items() if len({text(result.case) for result in ran}) > 1 or head in _KEPT
    }
    table = empty_table([*what, "took"], list(shown), ["status"])
    for result in ran[:MOST_ROWS]:
        status = "" if result.status == "ok" else result.status
        table.add_row(
            *(text(result.case) for text in what.values()),
            took(result),
            *(text(result) for text in shown.values()),
            status,
        )
    left_out = [f"{len(ran) - MOST_ROWS} more rows are in summary.csv"] if len(ran) > MOST_ROWS else []
    notes = [*left_out, *LEGEND]
    notes += [BESIDE_LEGEND] if "slower" in shown else []
    return table, notes + ([BARE_LEGEND] if "bare" in shown else [])


def _soak_table(soaks: Sequence[CaseResult]) -> tuple[Table, list[str]]:
    heads = ["operations", "a second", "blocks\nchecked", "wrong", "dropped\nslots", "most used", "limit", "growth"]
    table = empty_table(["coding", "dtype", "path"], heads, ["status"])
    for result in soaks:
        counts = [result.metrics.get(name) for name in _SOAK_COUNTS]
        table.add_row(
            coding_words(result.case),
            result.case.dtype,
            str(result.case.path),
            *("-" if count is None else f"{count:.0f}" for count in counts),
            "" if result.status == "ok" else result.status,
        )
    return table, ["most used, limit: bytes of host memory; growth: of the process, after the first tenth"]


_SOAK_COUNTS = (
    "operations",
    "operations_per_s",
    "checked_blocks",
    "mismatches",
    "dropped_slots",
    "most_used_bytes",
    "limit_bytes",
    "host_growth_bytes",
)
_WHAT: dict[str, Callable[[Case], str]] = {
    "way": lambda case: str(case.direction),
    "blocks": lambda case: f"{case.blocks} x {case.block_bytes}",
    "source": lambda case: "-" if case.tensor is None else case.tensor.source,
    "dtype": lambda case: case.dtype,
    "coding": lambda case: coding_words(case),
    "path": lambda case: str(case.path),
    "beside": lambda case: str(case.beside),
}
_KEPT = ("way", "blocks", "path")


def _gbps(result: CaseResult) -> float | None:
    timed = result.phases.get(f"{result.case.direction}_wall")
    return None if timed is None else phase_gbps(timed)


def _microseconds(result: CaseResult, of: str) -> str:
    timed = result.phases.get(f"{result.case.direction}{of}")
    return number(None if timed is None or timed.median_s is None else timed.median_s * 1e6)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
