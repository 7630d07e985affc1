"""Owns what one measured case gives back to the runner."""

from __future__ import annotations

from dataclasses import dataclass, field

from kvbench.record.schema import Case, CaseResult, CaseStatus, Histogram, LayerFigures, PhaseSamples


@dataclass
class Outcome:
    """Numbers and verdict of one case. Verdict and numbers travel together, so a broken bound keeps its figures."""

    phases: dict[str, PhaseSamples] = field(default_factory=dict)
    metrics: dict[str, float | int | None] = field(default_factory=dict)
    histogram: Histogram | None = None
    layers: LayerFigures | None = None
    flags: list[str] = field(default_factory=list)
    status: CaseStatus = "ok"
    reason_code: str | None = None
    reason: str | None = None
    beside: list[tuple[Case, Outcome]] = field(default_factory=list)  # further cases that were measured in the same go

    def result(self, case: Case, started_at: str, elapsed_s: float) -> CaseResult:
        """What the record keeps of this case; `beside` has results of its own."""
        return CaseResult(
            case_id=case.id,
            case=case,
            status=self.status,
            reason_code=self.reason_code,
            reason=self.reason,
            flags=self.flags,
            metrics=self.metrics,
            phases=self.phases,
            histogram=self.histogram,
            layers=self.layers,
            started_at=started_at,
            elapsed_s=elapsed_s,
        )
