"""Owns where the time of a call goes: the stages that the phases of a setting let one tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kvbench.record.schema import GB, CaseResult, Link
from kvbench.report.totals import Interval, sum_of

Way = Literal["encode", "decode"]
RANGE, KERNEL, REST, TRANSFER, LINK = STAGES = "range", "kernel", "rest of the call", "transfer", "link, computed"


@dataclass(frozen=True)
class Breakdown:
    """One way of one setting, all its tensors one after the other.

    `stages` are seconds by name, in the order in which they happen; they add up to `whole_s.value`, unless `excess`:
    the parts, timed alone, took longer than the whole they are part of: range and kernel than the call, or the call
    than the call with its transfer. `others` are further phases of this way, each as a whole.
    """

    raw_bytes: int
    raw_link_s: float | None  # of the raw bytes over the link, one transfer a tensor; None without a link
    stages: dict[str, float]
    whole_s: Interval
    others: dict[str, Interval]
    excess: bool


def breakdown(way: Way, results: Sequence[CaseResult], link: Link | None) -> Breakdown | None:
    """What the phases of these cases say about one way; None unless each has the time of the whole call.

    Kernel and range are phases of their own, timed alone; the rest of the call is the call less those; the transfer is
    the phase with transfer less the call. Without that phase the time of the stored bytes on `link` is computed.
    """
    call = phase_total(f"{way}_call", results)
    if call is None:
        return None
    parts = {KERNEL: _part(f"{way}_kernel", results)}
    if way == "encode":
        parts = {RANGE: _part("range", results), **parts}
    rest = call.value - sum(parts.values())
    stages = {name: seconds for name, seconds in parts.items() if seconds > 0} | {REST: max(rest, 0.0)}
    moved = phase_total(f"{way}_transfer", results)
    whole = call if moved is None else moved
    if moved is not None:
        sent = {TRANSFER: max(moved.value - call.value, 0.0)}
    else:
        link_s = _link_s(way, results, link)
        sent = {} if link_s is None else {LINK: link_s}
        whole = Interval(*(seconds + (link_s or 0.0) for seconds in (call.value, call.low, call.high)))
    return Breakdown(
        raw_bytes=sum(result.case.raw_bytes for result in results),
        raw_link_s=None if link is None else sum(send_s(way, result.case.raw_bytes, link) for result in results),
        stages={**stages, **sent} if way == "encode" else {**sent, **stages},
        whole_s=whole,
        others=_others(way, results),
        excess=rest < 0 or (moved is not None and moved.value < call.value),
    )


def phase_total(phase: str, results: Sequence[CaseResult]) -> Interval | None:
    """Seconds of one phase summed over cases; None unless every case has it."""
    timed = [result.phases.get(phase) for result in results]
    found = [one for one in timed if one is not None and one.median_s]
    if not found or len(found) < len(timed):
        return None
    return sum_of(found)


def _part(phase: str, results: Sequence[CaseResult]) -> float:
    """Seconds of a phase that a case may lack, as one that is stored raw has no kernel."""
    return sum(result.phases[phase].median_s or 0.0 for result in results if phase in result.phases)


def _link_s(way: Way, results: Sequence[CaseResult], link: Link | None) -> float | None:
    stored = [result.metrics.get("compressed_bytes") for result in results]
    if link is None or any(size is None for size in stored):
        return None
    return sum(send_s(way, size or 0, link) for size in stored)


def send_s(way: Way, size_bytes: float, link: Link) -> float:
    """Seconds that so many bytes take over the link in one transfer."""
    latency_s, gbps = (link.out_latency_s, link.out_gbps) if way == "encode" else (link.in_latency_s, link.in_gbps)
    return latency_s + size_bytes / GB / gbps


def _others(way: Way, results: Sequence[CaseResult]) -> dict[str, Interval]:
    known = {f"{way}_{part}" for part in ("kernel", "call", "transfer")}
    phases = sorted({phase for result in results for phase in result.phases if phase.startswith(f"{way}_")} - known)
    totals = {phase: phase_total(phase, results) for phase in phases}
    return {phase: seconds for phase, seconds in totals.items() if seconds is not None}
