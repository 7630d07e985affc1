"""Owns what several tensors cost together: speed and break-even of one setting over all the tensors of a point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kvbench.record.schema import CaseResult, Link, PhaseSamples

GB = 1e9


@dataclass(frozen=True)
class Interval:
    """A value, and how low and high the timings' 95 % intervals let it be (equal to it where there is none)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Total:
    """Sums over tensors that go out and come back one after the other; times are medians of the whole host call."""

    raw_bytes: int
    compressed_bytes: int
    call_s: Interval  # encode and decode

    @property
    def ratio(self) -> float:
        return self.raw_bytes / self.compressed_bytes

    def effective_gbps(self, link: Link) -> Interval:
        """GB/s of uncompressed bytes, out and back, codec and link one after the other.

        2 S / (te + td + C / Lout + C / Lin), with S raw and C compressed bytes, te and td the times of the calls, L
        the link's speeds.
        """
        link_s = self.compressed_bytes / GB * (1 / link.out_gbps + 1 / link.in_gbps)
        return self._per_call(lambda call_s: 2 * self.raw_bytes / GB / (call_s + link_s))

    def break_even_gbps(self) -> Interval | None:
        """The link speed below which compressing takes less time than sending raw: 2 (S - C) / (te + td).

        None when nothing is saved, so that it pays over no link.
        """
        saved_gb = (self.raw_bytes - self.compressed_bytes) / GB
        return self._per_call(lambda call_s: 2 * saved_gb / call_s) if saved_gb > 0 else None

    def _per_call(self, speed: Callable[[float], float]) -> Interval:
        return Interval(speed(self.call_s.value), speed(self.call_s.high), speed(self.call_s.low))


def total(results: Sequence[CaseResult]) -> Total | None:
    """The sum over cases, one a tensor; None unless every one has its sizes and both of its times."""
    raw = compressed = 0
    value = low = high = 0.0
    for result in results:
        stored = result.metrics.get("compressed_bytes")
        phases = [result.phases.get(name) for name in ("encode_call", "decode_call")]
        if not stored:
            return None
        for timed in phases:
            if timed is None or not timed.median_s:
                return None
            value += timed.median_s
            low += timed.median_s if timed.ci_low_s is None else timed.ci_low_s
            high += timed.median_s if timed.ci_high_s is None else timed.ci_high_s
        raw += result.case.raw_bytes
        compressed += int(stored)
    return Total(raw, compressed, Interval(value, low, high)) if results else None


def raw_link_gbps(link: Link) -> float:
    """GB/s out and back over the link with nothing compressed: the harmonic mean of both directions."""
    return 2 / (1 / link.out_gbps + 1 / link.in_gbps)


def link_words(link: Link) -> str:
    """`25 GB/s each way (assumed)`: the link and where its speed comes from."""
    if link.out_gbps == link.in_gbps:
        speed = f"{link.out_gbps:.3g} GB/s each way"
    else:
        speed = f"{link.out_gbps:.3g} GB/s out, {link.in_gbps:.3g} GB/s in"
    origin = {"option": "given by --link-gbps", "baseline": "measured by a baseline run", "assumed": "assumed"}
    return f"{speed} ({origin[link.origin]})"


def phase_interval(timed: PhaseSamples) -> Interval | None:
    """GB/s of one phase with its 95 % interval; None where the clock could not resolve it."""
    if not timed.median_s or "unresolved" in timed.flags:
        return None
    slow, fast = timed.ci_high_s or timed.median_s, timed.ci_low_s or timed.median_s
    return Interval(*(timed.work_bytes / seconds / GB for seconds in (timed.median_s, slow, fast)))


def spread(values: Iterable[float | int | None]) -> Interval | None:
    """Arithmetic mean, smallest and largest of what is defined; None when nothing is."""
    defined = [float(value) for value in values if value is not None]
    return Interval(sum(defined) / len(defined), min(defined), max(defined)) if defined else None
