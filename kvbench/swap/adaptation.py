"""Owns moving along a ladder of bounds under pressure: looser when room or link run short, back when they do not."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from kvbench.errors import UsageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ladder:
    """Bounds are multiplied by `steps[i]` at step i; the last one is the loosest that is allowed, ever.

    One step a decision: up after `patience` observations in a row at or above `high` pressure, down after
    `calm_patience` in a row at or below `low`. Pressure is the larger of the share of pages in use and the seconds of
    work that wait for the link over `backlog_s`. Raises UsageError for steps that do not start at 1 and grow, and for
    limits that leave no room between them.
    """

    steps: tuple[float, ...] = (1.0, 2.0, 4.0)
    high: float = 0.95
    low: float = 0.7
    patience: int = 4
    calm_patience: int = 32
    backlog_s: float = 0.05

    def __post_init__(self) -> None:
        if (
            not self.steps
            or self.steps[0] != 1
            or any(b <= a for a, b in zip(self.steps, self.steps[1:], strict=False))
        ):
            raise UsageError(f"a ladder of bounds {self.steps}: start at 1, the given bounds, and grow")
        if not 0 <= self.low < self.high:
            raise UsageError(f"a ladder with low {self.low} and high {self.high}: low must be below high")
        if self.patience < 1 or self.calm_patience < 1 or self.backlog_s <= 0:
            raise UsageError("a ladder's patience, calm_patience and backlog_s must be above 0")


@dataclass(frozen=True)
class Step:
    """One move along the ladder."""

    number: int  # the step now in use
    factor: float  # by which the given bounds are multiplied now
    pressure: float
    why: str


@dataclass
class Adaptation:
    """Where on its ladder an engine is, and every step it made."""

    ladder: Ladder
    step: int = 0
    log: list[Step] = field(default_factory=list)
    _above: int = 0
    _below: int = 0

    def observe(self, page_share: float, waiting_s: float) -> bool:
        """Take note of the pressure after a batch; True where the step has changed. Each step is logged."""
        link = waiting_s / self.ladder.backlog_s
        pressure = max(page_share, link)
        self._above = self._above + 1 if pressure >= self.ladder.high else 0
        self._below = self._below + 1 if pressure <= self.ladder.low else 0
        if self._above >= self.ladder.patience and self.step + 1 < len(self.ladder.steps):
            return self._move(1, pressure, "the link is behind" if link >= page_share else "pages run short")
        if self._below >= self.ladder.calm_patience and self.step > 0:
            return self._move(-1, pressure, "there is room again")
        return False

    def _move(self, by: int, pressure: float, why: str) -> bool:
        self.step += by
        self._above = self._below = 0
        made = Step(self.step, self.ladder.steps[self.step], pressure, why)
        self.log.append(made)
        logger.info("bounds x %g (step %d): %s, pressure %.2f", made.factor, made.number, why, pressure)
        return True
