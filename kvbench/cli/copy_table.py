"""Owns the printed table of copies, and the lines under it about the fit of the link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kvbench.cli.tables import empty_table, number
from kvbench.record.fit import LinkFit, fits
from kvbench.record.schema import Case, CaseResult, PhaseSamples
from kvbench.record.table import phase_gbps
from kvbench.report.copies import DIRECTION_WORDS, copy_phase

if TYPE_CHECKING:
    from rich.table import Table

# A column that no case has anything for is left out.
WHAT: dict[str, Callable[[Case], object]] = {
    "copy": lambda case: case.direction,
    "memory": lambda case: case.memory,
    "method": lambda case: case.method,
    "blocks": lambda case: case.blocks and f"{case.blocks} x {case.block_bytes}",
    "node": lambda case: case.numa_node,
    "threads": lambda case: case.threads if case.threads is None else case.threads or "all",
}
CLOCKS_LEGEND = (
    "us, GB/s: by the host's clock until the bytes are there; GPU: by the GPU's own, without launching and waiting"
)
BOTH_LEGEND = "both: a copy out and a copy in at once; GB/s of the two together, each way half of it"
LATE_LEGEND = (
    "launch_bound: the host issued the copies too late for the GPU's clock, so its us are those of launching and its "
    "GB/s no speed of the link; each_way_gbps is left empty"
)


def copy_table(results: Sequence[CaseResult]) -> tuple[Table, list[str]]:
    """The timed copies of `baseline`, one row each, and notes to print under the table."""
    what = {name: text for name, text in WHAT.items() if any(text(one.case) is not None for one in results)}
    on_gpu = any(one.case.device == "cuda" for one in results)
    gpu_heads = ["GPU us", "GPU GB/s"] if on_gpu else []
    table = empty_table(list(what), ["bytes", "us", "95 % interval", "GB/s", *gpu_heads], ["notes"])
    for result in results:
        whole = copy_phase(result)
        if whole is None:
            continue
        gpu = _times(result.phases.get(result.case.direction or ""))
        flags = {*result.flags, *(flag for timed in result.phases.values() for flag in timed.flags)}
        texts = [text(result.case) for text in what.values()]
        time, speed = _times(whole)
        table.add_row(
            *("-" if text is None else str(text) for text in texts),
            str(result.case.raw_bytes),
            time,
            _interval(whole),
            speed,
            *(gpu if on_gpu else ()),
            " ".join(sorted(flags)),
        )
    both = any(one.case.direction == "both" for one in results)
    late = any("launch_bound" in timed.flags for one in results for timed in one.phases.values())
    legends = {CLOCKS_LEGEND: on_gpu, BOTH_LEGEND: both, LATE_LEGEND: late}
    notes = [legend for legend, needed in legends.items() if needed]
    return table, [*notes, *map(fit_line, fits(results))]


def fit_line(fit: LinkFit) -> str:
    """One line about a fit: the formula with its intervals, and how far the worst size is from it."""
    left_out = f"; {fit.left_out} times that may decide nothing are left out" if fit.left_out else ""
    high = "" if fit.gbps_high is None else f" to {number(fit.gbps_high)}"
    return (
        f"fit of pinned copies, {DIRECTION_WORDS[fit.direction]}: time = {number(fit.latency_s * 1e6)} us + "
        f"bytes / {number(fit.gbps)} GB/s (95 %: {number(fit.latency_low_s * 1e6)} to "
        f"{number(fit.latency_high_s * 1e6)} us, {number(fit.gbps_low)}{high or ' or more'} GB/s); "
        f"farthest of {fit.sizes} sizes: {100 * fit.worst_deviation:.0f} %{left_out}"
    )


def _times(timed: PhaseSamples | None) -> tuple[str, str]:
    if timed is None:
        return "-", "-"
    return number(None if timed.median_s is None else timed.median_s * 1e6), number(phase_gbps(timed))


def _interval(timed: PhaseSamples) -> str:
    if timed.ci_low_s is None or timed.ci_high_s is None:
        return "-"
    return f"{number(timed.ci_low_s * 1e6)} to {number(timed.ci_high_s * 1e6)}"
