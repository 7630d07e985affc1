"""Owns the printed table of a GPU codec's speed: kernels by size, mode and dtype beside what the card could do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvbench.cli.rows import Row, grouped, varying
from kvbench.cli.tables import NAMES, empty_table, number
from kvbench.record.schema import CaseResult, PhaseSamples
from kvbench.record.table import phase_gbps

if TYPE_CHECKING:
    from rich.table import Table

MOST_ROWS = 100
ALWAYS_SHOWN = ("elements", "mode", "dtype")
WAYS = ("encode", "decode")
KERNEL_LEGEND = (
    "kernel us: the interval between back-to-back kernels in a graph; where kernels may start early, their launch and "
    "prologue overlap with the kernel before, so one alone takes longer"
)
MEASURES = ("kernel us", "GB/s", "of floor", "library us", "call us")


def speed_table(results: Sequence[CaseResult]) -> tuple[Table | None, list[str]]:
    """One row a case with a kernel timed on a GPU, and the notes under the table; None where there is no such case.

    Times are in us, GB/s are of uncompressed bytes, `of floor` is the part of the kernel's time that its bytes alone
    would take at the speed of the card's own copies. `library` is the codec library's call with the bound given until
    its size is on the host, `call` kvbench's, which finds the bound and makes the frame.
    """
    rows = grouped([result for result in results if _kernel_on_gpu(result)], leaving_out=())
    if not rows:
        return None, []
    present = {name for name in ALWAYS_SHOWN if any(row.settings.get(name) for row in rows)}
    shown = [name for name in rows[0].settings if name in present.union(varying(rows))]
    measures = [f"{way}\n{measure}" for way in WAYS for measure in MEASURES]
    table = empty_table([NAMES.get(name, name) for name in shown], measures, [])
    for row in rows[:MOST_ROWS]:
        numbers = [cell for way in WAYS for cell in _cells(row.results[0], way)]
        table.add_row(*(row.settings.get(name) or "-" for name in shown), *numbers)
    return table, [*_left_out(rows), KERNEL_LEGEND, *_yardstick(rows)]


def _kernel_on_gpu(result: CaseResult) -> bool:
    return result.case.device == "cuda" and any(f"{way}_kernel" in result.phases for way in WAYS)


def _cells(result: CaseResult, way: str) -> list[str]:
    kernel, library, call = (result.phases.get(f"{way}_{what}") for what in ("kernel", "library", "call"))
    share = result.metrics.get(f"{way}_floor_share")
    gbps = None if kernel is None else phase_gbps(kernel)
    percent = "-" if share is None else f"{100 * share:.0f} %"
    return [_microseconds(kernel), number(gbps), percent, _microseconds(library), _microseconds(call)]


def _microseconds(timed: PhaseSamples | None) -> str:
    return number(None if timed is None or timed.median_s is None else timed.median_s * 1e6)


def _left_out(rows: Sequence[Row]) -> list[str]:
    return [f"{len(rows) - MOST_ROWS} more rows are in summary.csv"] if len(rows) > MOST_ROWS else []


def _yardstick(rows: Sequence[Row]) -> list[str]:
    found = [row.results[0].metrics.get("device_copy_gbps") for row in rows]
    copies = sorted({value for value in found if value is not None})
    if not copies:
        return []
    speeds = " to ".join(dict.fromkeys((number(copies[0]), number(copies[-1]))))
    return [f"of floor: the time of as many bytes at {speeds} GB/s, this card's own copy, as a part of the kernel's"]
