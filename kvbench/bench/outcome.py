"""Owns what one measured case gives back to the runner."""

from __future__ import annotations

from dataclasses import dataclass, field

from kvbench.record.schema import Case, CaseStatus, Histogram, PhaseSamples


@dataclass
class Outcome:
    """Numbers and verdict of one case. Verdict and numbers travel together, so a broken bound keeps its figures."""

    phases: dict[str, PhaseSamples] = field(default_factory=dict)
    metrics: dict[str, float | int | None] = field(default_factory=dict)
    histogram: Histogram | None = None
    flags: list[str] = field(default_factory=list)
    status: CaseStatus = "ok"
    reason_code: str | None = None
    reason: str | None = None
    beside: list[tuple[Case, Outcome]] = field(default_factory=list)  # further cases that were measured in the same go
