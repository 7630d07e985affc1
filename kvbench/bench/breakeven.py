"""Owns the arithmetic of a link: effective speed with compression, and the link speed below which it pays.

All formulas are sequential: encode, then transfer, then decode, with no overlap. S are raw bytes, C compressed bytes,
te and td seconds to encode and decode, L a link speed. GB = 1e9 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvbench.config import Experiment
from kvbench.errors import UsageError
from kvbench.record.schema import CaseResult, Link
from kvbench.record.store import RunFolder

GB = 1e9
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

        Outward, S / (te + C / L_out); inward, S / (td + C / L_in); both ways, 2 S / (te + td + C / L_out + C / L_in).
        Break-even is the L at which compressing takes as long as sending raw: S / L = te + C / L gives (S - C) / te;
        inward (S - C) / td; both ways over one link speed 2 (S - C) / (te + td).
        """
        out_s = self._send_s(self.encode_s, link.out_gbps)
        in_s = self._send_s(self.decode_s, link.in_gbps)
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

    def _send_s(self, codec_s: float | None, gbps: float) -> float | None:
        return None if codec_s is None else codec_s + self.compressed_bytes / (gbps * GB)


def _sum(first_s: float | None, second_s: float | None) -> float | None:
    return None if first_s is None or second_s is None else first_s + second_s


def _gbps(moved_bytes: int, elapsed_s: float | None) -> float | None:
    return moved_bytes / elapsed_s / GB if elapsed_s else None


def _break_even(saved_bytes: int, codec_s: float | None) -> float | None:
    return _gbps(saved_bytes, codec_s) if saved_bytes > 0 else None


def resolve_link(experiment: Experiment) -> Link:
    """The link speed an experiment asks for: its own number, a baseline run's measurement, else an assumption.

    Raises UsageError where the run holds no pinned copies in both directions.
    """
    if experiment.link_gbps is not None:
        return Link(out_gbps=experiment.link_gbps, in_gbps=experiment.link_gbps, origin="option")
    if experiment.baseline is not None:
        folder = RunFolder.open(experiment.baseline)
        results = folder.results()
        out_gbps, in_gbps = _measured_gbps(results, "d2h"), _measured_gbps(results, "h2d")
        if out_gbps is None or in_gbps is None:
            raise UsageError(
                f"--baseline {experiment.baseline}: that run measured no pinned copies to and from a GPU; "
                "run `kvbench baseline` on a machine with one, or give --link-gbps"
            )
        return Link(
            out_gbps=out_gbps, in_gbps=in_gbps, origin="baseline", detail=f"largest pinned copies of {folder.path.name}"
        )
    return Link(out_gbps=ASSUMED_LINK_GBPS, in_gbps=ASSUMED_LINK_GBPS, origin="assumed")


def link_note(link: Link) -> str:
    """One line for the user: the speed and where it came from."""
    if link.origin == "assumed":
        return (
            f"link speed: assumed {link.out_gbps:g} GB/s (1e9 bytes) each way; "
            "give --link-gbps X, or --baseline RUN to use a measured one"
        )
    if link.origin == "option":
        return f"link speed: {link.out_gbps:g} GB/s (1e9 bytes) each way, as given"
    return f"link speed: {link.out_gbps:.3g} GB/s (1e9 bytes) to the host, {link.in_gbps:.3g} to the GPU; {link.detail}"


def _measured_gbps(results: list[CaseResult], direction: str) -> float | None:
    """GB/s of the largest pinned copy in one direction, or None where none was measured."""
    copies = [
        (result.case.raw_bytes, phase.work_bytes / phase.median_s / GB)
        for result in results
        if result.status == "ok" and result.case.direction == direction and result.case.memory == "pinned"
        for phase in [result.phases.get(direction)]
        if phase is not None and phase.median_s
    ]
    return max(copies)[1] if copies else None
