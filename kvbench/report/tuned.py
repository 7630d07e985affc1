"""Owns what a tuned profile came to: its target, and the points on the calibration text and on the held-out ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kvbench.record.schema import CaseResult
from kvbench.report.scored import text_name


@dataclass(frozen=True)
class TunedPoint:
    """KL, a mean over texts, and ratio, of all their bytes together."""

    kl: float
    ratio: float


@dataclass(frozen=True)
class Tuned:
    """One target of a run of `tune`."""

    profile: str
    kind: Literal["max_kl", "min_ratio"]
    value: float
    calibration: CaseResult
    held_out: Sequence[CaseResult]

    @property
    def target(self) -> str:
        return f"KL at most {self.value:g}" if self.kind == "max_kl" else f"ratio at least {self.value:g}"

    @property
    def predicted(self) -> TunedPoint | None:
        kl, ratio = (self.calibration.metrics.get(name) for name in ("predicted_kl", "predicted_ratio"))
        return None if kl is None or ratio is None else TunedPoint(kl, ratio)

    @property
    def on_calibration(self) -> TunedPoint | None:
        return _point([self.calibration])

    @property
    def on_held_out(self) -> TunedPoint | None:
        return _point(self.held_out)

    @property
    def verdict(self) -> Literal["met", "missed", "unfinished"]:
        """Of the held-out texts together: they are what a later text is like."""
        point = self.on_held_out
        if point is None:
            return "missed" if self.calibration.reason_code == "target_missed" else "unfinished"
        return "met" if (point.kl <= self.value if self.kind == "max_kl" else point.ratio >= self.value) else "missed"


def tuned(results: Sequence[CaseResult]) -> list[Tuned]:
    """The targets whose calibration case has a result, in the order of the run."""
    groups: dict[str, list[CaseResult]] = defaultdict(list)
    for result in results:
        if result.case.command == "tune" and result.case.profile is not None:
            groups[result.case.profile].append(result)
    found = []
    for profile, members in groups.items():
        params: dict[str, Any] = members[0].case.codec_params
        calibration = [one for one in members if _role(one) == "calibration"]
        kind: Literal["max_kl", "min_ratio"] = "max_kl" if "max_kl" in params else "min_ratio"
        if calibration:
            held_out = [one for one in members if _role(one) == "held_out"]
            found.append(Tuned(profile, kind, float(params[kind]), calibration[0], held_out))
    return found


def tuned_answer(results: Sequence[CaseResult]) -> list[str]:
    """A sentence a target: met or missed on the held-out texts, there and on the calibration text."""
    return [_sentence(one) for one in tuned(results)]


def _sentence(one: Tuned) -> str:
    if one.verdict == "unfinished":
        return f"{one.profile}: the target, {one.target}, was not judged, as not all of its cases ended well."
    point, seen = one.on_held_out, one.on_calibration
    if point is None:
        return f"{one.profile}: the target was missed. {one.calibration.reason}."
    beside = "" if seen is None else f", on the calibration text {_words(seen)}"
    names = " and ".join(text_name(result) for result in one.held_out)
    return f"{one.profile}: the target, {one.target}, is {one.verdict} on {names}: {_words(point)}{beside}."


def _words(point: TunedPoint) -> str:
    return f"KL {point.kl:.2g} at ratio {point.ratio:.2f}"


def _role(result: CaseResult) -> str | None:
    return None if result.case.tensor is None else result.case.tensor.params.get("role")


def _point(results: Sequence[CaseResult]) -> TunedPoint | None:
    """None where there is no text, or one has not ended well."""
    kl = [float(one.metrics["kl_mean"] or 0.0) for one in results if one.metrics.get("kl_mean") is not None]
    stored = sum(one.metrics.get("compressed_bytes") or 0 for one in results)
    if not results or len(kl) < len(results) or not stored or any(one.status != "ok" for one in results):
        return None
    return TunedPoint(sum(kl) / len(kl), sum(one.case.raw_bytes for one in results) / stored)
