"""Owns what several tensors cost together: speed and break-even of one setting over all the tensors of a point."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kvbench.record.schema import GB, CaseResult, Link, PhaseSamples
from kvbench.record.trust import interval_s


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
    tensors: int = 1  # each a transfer out and one in, which costs the link's latency

    @property
    def ratio(self) -> float:
        return self.raw_bytes / self.compressed_bytes

    def codec_gbps(self) -> Interval:
        """GB/s of uncompressed bytes, out and back, through encode and decode alone: 2 S / (te + td)."""
        return self._per_call(lambda call_s: 2 * self.raw_bytes / GB / call_s)

    def effective_gbps(self, link: Link) -> Interval:
        """GB/s of uncompressed bytes, out and back, codec and link one after the other.

        2 S / (te + td + aout + C / Bout + ain + C / Bin), with S raw and C compressed bytes, te and td the times of the
        calls, a the link's latencies, once a tensor, and B its speeds.
        """
        link_s = self._link_s(self.compressed_bytes, link)
        return self._per_call(lambda call_s: 2 * self.raw_bytes / GB / (call_s + link_s))

    def raw_gbps(self, link: Link) -> float:
        """GB/s out and back with nothing compressed, the latencies of these tensors' transfers included."""
        return 2 * self.raw_bytes / GB / self._link_s(self.raw_bytes, link)

    def _link_s(self, moved_bytes: int, link: Link) -> float:
        latency_s = self.tensors * (link.out_latency_s + link.in_latency_s)
        return latency_s + moved_bytes / GB * (1 / link.out_gbps + 1 / link.in_gbps)

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
    calls: list[PhaseSamples] = []
    for result in results:
        stored = result.metrics.get("compressed_bytes")
        phases = [result.phases.get(name) for name in ("encode_call", "decode_call")]
        if not stored:
            return None
        for timed in phases:
            if timed is None or not timed.median_s:
                return None
            calls.append(timed)
        raw += result.case.raw_bytes
        compressed += int(stored)
    return Total(raw, compressed, sum_of(calls), tensors=len(results)) if results else None


def sum_of(times: Sequence[PhaseSamples]) -> Interval:
    """The sum of medians in seconds; every one known. Its interval is none unless each has one."""
    value = sum(timed.median_s or 0.0 for timed in times)
    ends = [interval_s(timed) for timed in times]
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return Interval(value, value, value)
    return Interval(value, sum(low for low, _ in known), sum(high for _, high in known))


def raw_link_gbps(link: Link) -> float:
    """GB/s out and back over the link with nothing compressed, for transfers so large that latency is nothing.

    The harmonic mean of both directions.
    """
    return 2 / (1 / link.out_gbps + 1 / link.in_gbps)


def link_words(link: Link) -> str:
    """`25 GB/s each way (assumed)`: the link and where its speed comes from."""
    if link.out_gbps == link.in_gbps:
        speed = f"{link.out_gbps:.3g} GB/s each way"
    else:
        speed = f"{link.out_gbps:.3g} GB/s out, {link.in_gbps:.3g} GB/s in"
    origin = {"option": "given by --link-gbps", "baseline": "measured by a baseline run", "assumed": "assumed"}
    latencies = [f"{latency_s * 1e6:.3g}" for latency_s in (link.out_latency_s, link.in_latency_s)]
    cost = f", and {' and '.join(dict.fromkeys(latencies))} us a transfer" if any(map(float, latencies)) else ""
    return f"{speed}{cost} ({origin[link.origin]})"


def links_words(links: Mapping[str, Link]) -> str:
    """`link_words` of every run's link, by run name where there are several runs."""
    words = [f"{name}: {link_words(link)}" if name else link_words(link) for name, link in links.items()]
    return "; ".join(words) or "none is known"


def link_levels(links: Mapping[str, Link], what: str) -> dict[str, float]:
    """GB/s out and back with nothing compressed over each link, by a label that begins with `what`; equal ones once."""
    names: dict[float, list[str]] = defaultdict(list)
    for name, link in links.items():
        names[raw_link_gbps(link)].append(name)
    several = len(names) > 1
    return {
        f"{', '.join(runs) + ': ' if several else ''}{what}: {speed:.3g} GB/s": speed for speed, runs in names.items()
    }


def phase_interval(timed: PhaseSamples) -> Interval | None:
    """GB/s of one phase with its 95 % interval; None where the clock could not resolve it."""
    if not timed.median_s or "unresolved" in timed.flags:
        return None
    fast, slow = interval_s(timed) or (timed.median_s, timed.median_s)
    return Interval(*(timed.work_bytes / seconds / GB for seconds in (timed.median_s, slow, fast)))


def spread(values: Iterable[float | int | None]) -> Interval | None:
    """Arithmetic mean, smallest and largest of what is defined; None when nothing is."""
    defined = [float(value) for value in values if value is not None]
    return Interval(sum(defined) / len(defined), min(defined), max(defined)) if defined else None
