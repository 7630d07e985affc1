"""Owns the table made of an nsys trace: for every phase of every case, where its time went on the GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

from kvbench.profilers.intervals import Intervals, union
from kvbench.profilers.trace import Trace
from kvbench.record.profile import NamedTime, TimelineRow
from kvbench.record.schema import GB, CaseResult

TOP_KERNELS = 5
DIRECTIONS = ("h2d", "d2h", "d2d", "other")
# What kvbench itself puts on the GPU in order to measure: by what it is called, kernels whose full name says so.
_ADDED = {
    "spin": re.compile(r"\bspin_kernel\b"),
    "cache flush": re.compile(r"flush_(?:l2|cache)|(?:l2|cache)_flush"),
}
_SAMPLE, _WARMUP = "sample", "warmup"
# `<case id>/<phase>`, then `/sample` or `/warmup` for the parts of it.
_CASE = re.compile(r"([0-9a-f]{12}) (.+)")
_PHASE = re.compile(r"([0-9a-f]{12})/([^/]+)(?:/([^/]+))?")


def timeline_rows(trace: Trace, results: Iterable[CaseResult]) -> list[TimelineRow]:
    """A row for every phase that has a range, in the order in which they began.

    `results` are the run's own, for the recorded times. A phase is its sample ranges; where it has none,
    its own range. GPU work counts where it ran while the phase lasted, whatever process and stream it was on; bytes
    and launches count where it began then. Warm-up is left out, and so is what `_ADDED` names.
    """
    gpu = _Gpu(trace) if trace.has_gpu else None
    by_id = {result.case_id: result for result in results}
    words = _case_words(trace)
    rows = []
    for (case_id, phase), ranges in _phases(trace).items():
        lasted = _time(ranges)
        row = TimelineRow(
            case_id=case_id,
            case=words.get(case_id, ""),
            phase=phase,
            ranges=len(ranges),
            wall_s=_s(lasted.total_ns),
            **_recorded(by_id.get(case_id), phase),
        )
        rows.append(row if gpu is None else row.model_copy(update=_on_gpu(gpu, lasted)))
    return rows


def _recorded(result: CaseResult | None, phase: str) -> dict[str, Any]:
    """What the run's own record says of the phase; a case that was interrupted is not in it."""
    timed = None if result is None else result.phases.get(phase)
    if timed is None:
        return {}
    calls = timed.calls_per_sample
    return {"calls_per_range": calls, "recorded_s": None if timed.median_s is None else timed.median_s * calls}


def _case_words(trace: Trace) -> dict[str, str]:
    """By id: the case in words, from the range around all that a run does for it."""
    found = (_CASE.fullmatch(str(text)) for text in trace.ranges["text"])
    return {match.group(1): match.group(2) for match in found if match is not None}


def _phases(trace: Trace) -> dict[tuple[str, str], pd.DataFrame]:
    parts = trace.ranges["text"].astype(str).str.extract(rf"^{_PHASE.pattern}$")
    ranges = trace.ranges.assign(case_id=parts[0], phase=parts[1], part=parts[2])
    ranges = ranges[ranges["case_id"].notna() & (ranges["part"] != _WARMUP)]
    found = {}
    for (case_id, phase), own in ranges.groupby(["case_id", "phase"], sort=False):
        samples = own[own["part"] == _SAMPLE]
        found[str(case_id), str(phase)] = own[own["part"].isna()] if samples.empty else samples
    return {key: own for key, own in found.items() if not own.empty}


class _Gpu:
    """The trace's GPU work as sets of time."""

    def __init__(self, trace: Trace) -> None:
        self.added = pd.Series("", index=trace.kernels.index, dtype=object)
        for what, pattern in _ADDED.items():
            self.added[trace.kernels["full_name"].astype(str).str.contains(pattern)] = what
        self.kernels = trace.kernels[self.added == ""]
        self.left_out = trace.kernels[self.added != ""].assign(name=self.added[self.added != ""])
        self.copies = {name: trace.copies[trace.copies["direction"] == name] for name in DIRECTIONS}
        self.kernel_time, self.added_time = _time(self.kernels), _time(self.left_out)
        self.copy_times = {name: _time(copies) for name, copies in self.copies.items()}
        self.copy_time = _time(trace.copies)
        wanted = [self.kernels, trace.copies, trace.memsets]
        self.wanted_time = _time(*wanted)
        self.busy_time = _time(*wanted, self.left_out)
        self.work_time = _time(self.kernels, trace.copies)


def _time(*events: pd.DataFrame) -> Intervals:
    together = pd.concat([part[["start", "end"]] for part in events])
    return union(together["start"].to_numpy(), together["end"].to_numpy())


def _on_gpu(gpu: _Gpu, lasted: Intervals) -> dict[str, Any]:
    kernel_ns, copy_ns = gpu.kernel_time.within(lasted), gpu.copy_time.within(lasted)
    busy_ns = gpu.busy_time.within(lasted)
    figures: dict[str, Any] = {
        "kernel_s": _s(kernel_ns),
        "kernel_launches": int(lasted.holding(gpu.kernels["start"]).sum()),
        "overlap_s": _s(kernel_ns + copy_ns - gpu.work_time.within(lasted)),
        "idle_s": _s(lasted.total_ns - busy_ns),
        "left_out_s": _s(busy_ns - gpu.wanted_time.within(lasted)),
        "top_kernels": _named(gpu.kernels, lasted)[:TOP_KERNELS],
        "left_out": _named(gpu.left_out, lasted),
    }
    for name in DIRECTIONS:
        prefix = "other_copy" if name == "other" else name
        figures |= _copied(prefix, gpu.copies[name], gpu.copy_times[name], lasted)
    return figures


def _copied(prefix: str, copies: pd.DataFrame, time: Intervals, lasted: Intervals) -> dict[str, Any]:
    """Bytes, seconds in which they moved, and GB/s while they did; all None where nothing was copied that way."""
    began = lasted.holding(copies["start"])
    if not began.any():
        return {}
    copied, seconds = int(copies["bytes"].to_numpy()[began].sum()), _s(time.within(lasted))
    speed = copied / seconds / GB if seconds > 0 else None
    return {f"{prefix}_bytes": copied, f"{prefix}_s": seconds, f"{prefix}_gbps": speed}


def _named(kernels: pd.DataFrame, lasted: Intervals) -> list[NamedTime]:
    """The kernels that began in this time by name, the longest in all first."""
    began = kernels[lasted.holding(kernels["start"])]
    took = (began["end"] - began["start"]).groupby(began["name"]).agg(["size", "sum"])
    ordered = took.sort_values("sum", ascending=False, kind="stable")
    return [
        NamedTime(name=str(name), launches=int(row["size"]), total_s=_s(row["sum"])) for name, row in ordered.iterrows()
    ]


def _s(ns: float) -> float:
    return float(ns) * 1e-9
