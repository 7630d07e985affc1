"""Owns the plugin's figures in vLLM's metrics: their names, and their way from the workers to the front end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kvbench.vllm.reports import Labels, WorkerReport

if TYPE_CHECKING:
    from kvbench.swap.metrics import Metrics

PREFIX = "vllm:kvbench_"


@dataclass(frozen=True)
class Shown:
    """One metric as vLLM shows it; counters end in `_total` there."""

    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


SHOWN: Mapping[str, Shown] = {
    "raw_bytes": Shown("counter", "Uncompressed bytes of finished stores and loads.", ("direction",)),
    "moved_bytes": Shown("counter", "Bytes of their streams.", ("direction",)),
    "blocks": Shown("counter", "Blocks stored and loaded, by the path they took.", ("direction", "path")),
    "choices": Shown("counter", "Paths taken by batches, by the reason.", ("direction", "path", "why")),
    "raw_streams": Shown("counter", "Streams stored raw: coding would not help, or would break the bound."),
    "dropped_slots": Shown("counter", "Slots that a rank had no room for."),
    "failed_slots": Shown("counter", "Slots that a rank could not read."),
    "stage_seconds": Shown("counter", "Time of the stages of batches on their streams.", ("direction", "stage")),
    "pages_in_use": Shown("gauge", "Pages of 4096 bytes taken, reserved ones among them.", ("rank",)),
    "pages": Shown("gauge", "Pages that there are.", ("rank",)),
    "slots_in_use": Shown("gauge", "Slots that hold something.", ("rank",)),
    "given_up_slots": Shown("counter", "Slots not kept, as at least one rank had not stored them."),
    "evicted_for_pages": Shown("counter", "Slots evicted for want of pages, beyond those evicted by count."),
    "reserved_pages": Shown("gauge", "Pages in the scheduler's books, of the rank with most."),
    "slot_pages": Shown("gauge", "Pages of a slot, running mean."),
}


def definitions(classes: Any) -> dict[str, Any]:
    """SHOWN for vLLM, which asserts on any figure that it was not told of; `classes` is its module of base classes."""
    kinds = {"counter": classes.OffloadingCounterMetadata, "gauge": classes.OffloadingGaugeMetadata}
    return {
        PREFIX + name: kinds[one.kind](documentation=one.help, labelnames=one.labels) for name, one in SHOWN.items()
    }


class Figures:
    """Increments and states that vLLM has not been told yet."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Labels], float] = {}
        self._gauges: dict[tuple[str, Labels], float] = {}

    def count(self, name: str, amount: float, labels: Labels = ()) -> None:
        """Add to a counter."""
        self._counts[name, labels] = self._counts.get((name, labels), 0) + amount

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._gauges[name, ()] = value

    def add(self, report: WorkerReport) -> None:
        """What workers say."""
        for (name, labels), amount in report.counts.items():
            self.count(name, amount, labels)
        self._gauges |= report.gauges

    def tell(self, stats: Any) -> None:
        """Put everything into vLLM's OffloadingConnectorStats, and start anew."""
        for (name, labels), amount in self._counts.items():
            stats.increase_counter(PREFIX + name, amount, tuple(value for _, value in labels))
        for (name, labels), value in self._gauges.items():
            stats.set_gauge(PREFIX + name, value, tuple(value for _, value in labels))
        self._counts.clear()
        self._gauges.clear()


class Increments:
    """What an engine's metrics have grown by since the last look."""

    def __init__(self, metrics: Metrics, rank: int) -> None:
        self._metrics, self._rank = metrics, str(rank)
        self._before: dict[tuple[str, Labels], float] = {}

    def take(self, report: WorkerReport) -> None:
        """Write them, and the gauges, into a report."""
        for name, labels, value in self._values():
            shown = SHOWN.get(name)
            if shown is None:
                continue
            if shown.kind == "gauge":
                report.gauges[name, (("rank", self._rank),)] = value
                continue
            key = name, tuple((label, labels[label]) for label in shown.labels)
            grown = value - self._before.get(key, 0)
            if grown:
                self._before[key] = value
                report.counts[key] = report.counts.get(key, 0) + grown

    def _values(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        yield from self._metrics.values()
        for name, labels, histogram in self._metrics.histograms():
            yield name, labels, histogram.total
