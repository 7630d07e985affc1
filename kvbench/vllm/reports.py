"""Owns what the workers tell the scheduler beside the ends of jobs: bytes of slots, what failed, and figures."""

from __future__ import annotations

from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]
DROPPED = -1
"""Pages of a slot that a rank could not store."""


@dataclass(frozen=True)
class StoreOrder:
    """The scheduler's side of a store, as it travels to the workers.

    `stamp` numbers the stores of one manager. `freed` are slots whose content was given up before this store was
    prepared: they are to be freed unless something with this stamp or a later one is in them. `epoch` counts resets.
    """

    slots: tuple[int, ...]
    freed: tuple[int, ...]
    stamp: int
    epoch: int


@dataclass(frozen=True)
class StoreReport:
    """One rank's end of one store: pages that each slot took, or DROPPED."""

    rank: int
    stamp: int
    slots: tuple[int, ...]
    pages: tuple[int, ...]


@dataclass
class WorkerReport:
    """What one rank, or several that were merged, have to tell since the last report."""

    stores: list[StoreReport] = field(default_factory=list)
    unreadable: set[tuple[int, int]] = field(default_factory=set)  # epoch and slot
    counts: dict[tuple[str, Labels], float] = field(default_factory=dict)  # increments of counters
    gauges: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def merged(self, other: WorkerReport) -> WorkerReport:
        """Both reports in one."""
        counts = dict(self.counts)
        for key, amount in other.counts.items():
            counts[key] = counts.get(key, 0) + amount
        return WorkerReport(
            [*self.stores, *other.stores], self.unreadable | other.unreadable, counts, self.gauges | other.gauges
        )
