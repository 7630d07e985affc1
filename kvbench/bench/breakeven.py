"""Owns the arithmetic of a link: effective speed with compression, and the link speed below which it pays.

All formulas are sequential: encode, then transfer, then decode, with no overlap. S are raw bytes, C compressed bytes,
te and td seconds to encode and decode. C bytes take a + C / B over the link, with a the link's latency and B its speed,
each for its direction. GB = 1e9 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvbench.config import Experiment
from kvbench.errors import UsageError
from kvbench.record.fit import fits, points
from kvbench.record.schema import GB, CaseResult, Link
from kvbench.record.store import RunFolder
from kvbench.verdict.block_bootstrap import FEWEST_SAMPLES

ASSUMED_LINK_GBPS = 25.0  # about what PCIe 4.0 x16 gives a pinned copy


@dataclass(frozen=True)
class Transfer:
    """One tensor's sizes, and the times to encode and decode it; a time is None where it could not be measured."""

    raw_bytes: int
    compressed_bytes: int
    encode_s: float | None
    decode_s: float | None

    def metrics(self, link: Link) -> dict[str, float | None]:
        """The columns of METRIC_UNITS about `link`; None where a time is missing or compression saves nothing.

        Outward, S / (te + a_out + C / B_out); inward, S / (td + a_in + C / B_in); both ways, 2 S over the sum of both
        times. Break-even is the B at which compressing takes as long as sending raw: a + S / B = te + a + C / B gives
        (S - C) / te, as the latency is paid either way; inward (S - C) / td; both ways over one link speed
        2 (S - C) / (te + td).
        """
        out_s = self._send_s(self.encode_s, link.out_latency_s, link.out_gbps)
        in_s = self._send_s(self.decode_s, link.in_latency_s, link.in_gbps)
        both_codec_s = _sum(self.encode_s, self.decode_s)
        saved_bytes = self.raw_bytes - self.compressed_bytes
        return {
            "effective_gbps": _gbps(2 * self.raw_bytes, _sum(out_s, in_s)),
            "effective_out_gbps": _gbps(self.raw_bytes, out_s),
            "effective_in_gbps": _gbps(self.raw_bytes, in_s),
            "break_even_gbps": _break_even(2 * saved_bytes, both_codec_s),
            "break_even_out_gbps": _break_even(saved_bytes, self.encode_s),
            "break_even_in_gbps": _break_even(saved_bytes, self.decode_s),
        }

    def _send_s(self, codec_s: float | None, latency_s: float, gbps: float) -> float | None:
        return None if codec_s is None else codec_s + latency_s + self.compressed_bytes / (gbps * GB)


def _sum(first_s: float | None, second_s: float | None) -> float | None:
    return None if first_s is None or second_s is None else first_s + second_s


def _gbps(moved_bytes: int, elapsed_s: float | None) -> float | None:
    return moved_bytes / elapsed_s / GB if elapsed_s else None


def _break_even(saved_bytes: int, codec_s: float | None) -> float | None:
    return _gbps(saved_bytes, codec_s) if saved_bytes > 0 else None


def resolve_link(experiment: Experiment) -> Link:
    """The link an experiment asks for: its own speed, the fit of a baseline run, else an assumption.

    Only a baseline run has latencies; a given or assumed speed has none. Raises UsageError where the run holds no
    pinned copies in both directions.
    """
    if experiment.link_gbps is not None:
        return Link(out_gbps=experiment.link_gbps, in_gbps=experiment.link_gbps, origin="option")
    if experiment.baseline is not None:
        folder = RunFolder.open(experiment.baseline)
        return _measured(folder.results(), folder.path.name, str(experiment.baseline))
    return Link(out_gbps=ASSUMED_LINK_GBPS, in_gbps=ASSUMED_LINK_GBPS, origin="assumed")


def link_note(link: Link) -> str:
    """One line for the user: the link and where its numbers came from."""
    if link.origin == "assumed":
        return (
            f"link speed: assumed {link.out_gbps:g} GB/s (1e9 bytes) each way; "
            "give --link-gbps X, or --baseline RUN to use a measured one"
        )
    if link.origin == "option":
        return f"link speed: {link.out_gbps:g} GB/s (1e9 bytes) each way, as given"
    out_us, in_us = (_microseconds(latency_s) for latency_s in (link.out_latency_s, link.in_latency_s))
    return (
        f"link speed: {link.out_gbps:.3g} GB/s (1e9 bytes) to the host{out_us}, {link.in_gbps:.3g} to the GPU{in_us}; "
        f"{link.detail}"
    )


def _microseconds(latency_s: float) -> str:
    return f" and {latency_s * 1e6:.3g} us a transfer" if latency_s else ""


def _measured(results: list[CaseResult], run: str, asked: str) -> Link:
    """The fit of both directions; the largest copies, without latencies, where a run has too few sizes for one."""
    out_points, in_points = points(results, "d2h"), points(results, "h2d")
    if not out_points or not in_points:
        raise UsageError(
            f"--baseline {asked}: that run has no pinned copies to and from a GPU whose times count; "
            f"run `kvbench baseline` on a machine with one, {FEWEST_SAMPLES} samples or more, or give --link-gbps"
        )
    by_direction = {fit.direction: fit for fit in fits(results)}
    out, back = by_direction.get("d2h"), by_direction.get("h2d")
    if out is not None and back is not None:
        return Link(
            out_gbps=out.gbps,
            in_gbps=back.gbps,
            out_latency_s=out.latency_s,
            in_latency_s=back.latency_s,
            origin="baseline",
            detail=f"fitted to the pinned copies of {run}",
        )
    return Link(
        out_gbps=_largest_gbps(out_points),
        in_gbps=_largest_gbps(in_points),
        origin="baseline",
        detail=f"largest pinned copies of {run}, which has too few sizes to fit a latency: it is left out",
    )


def _largest_gbps(measured: list[tuple[int, float]]) -> float:
    size_bytes, median_s = measured[-1]
    return size_bytes / median_s / GB
