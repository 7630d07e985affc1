"""Owns the figures an engine keeps about itself: counters, gauges and histograms, and their Prometheus text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from kvbench.errors import UnavailableError

Labels = tuple[tuple[str, str], ...]
PREFIX = "kvbench_swap_"
SECONDS = tuple(1e-5 * 4.0**power for power in range(10))  # upper ends of a histogram's buckets, 10 us to 2.6 s


@dataclass(frozen=True)
class Family:
    """One metric: its kind, what it counts, and the labels it goes by."""

    kind: str  # counter, gauge, histogram
    help: str
    labels: tuple[str, ...] = ()


FAMILIES: Mapping[str, Family] = {
    "raw_bytes": Family("counter", "Uncompressed bytes of finished stores and loads.", ("direction",)),
    "moved_bytes": Family("counter", "Bytes of their streams.", ("direction",)),
    "blocks": Family("counter", "Blocks of the cache stored and loaded, by the path they took.", ("direction", "path")),
    "choices": Family("counter", "Paths taken by batches, by the reason.", ("direction", "path", "why")),
    "raw_streams": Family("counter", "Streams stored raw as coding would not make them smaller, or break the bound."),
    "dropped_slots": Family("counter", "Slots not stored for lack of room."),
    "evicted_slots": Family("counter", "Slots that made room for others."),
    "failed_slots": Family("counter", "Slots whose streams could not be read."),
    "slots_in_use": Family("gauge", "Slots that hold something."),
    "pages_in_use": Family("gauge", "Pages of the slab that are taken, reserved ones among them."),
    "pages": Family("gauge", "Pages of the slab."),
    "jobs": Family("gauge", "Jobs that are not finished."),
    "bound_step": Family("gauge", "Step of the ladder of bounds in use, from 0."),
    "stage_seconds": Family("histogram", "Time of a stage of a batch on its stream.", ("direction", "stage")),
}


@dataclass
class Histogram:
    """Counts by bucket of SECONDS, the last one above all of them."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)


class Metrics:
    """Values by family and labels. Counting is plain arithmetic: it takes no lock and belongs to one thread."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, Labels], float] = {}
        self._histograms: dict[tuple[str, Labels], Histogram] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        key = (name, tuple(labels.items()))
        self._values[key] = self._values.get(key, 0) + amount

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._values[name, ()] = value

    def seconds(self, name: str, seconds: float, **labels: str) -> None:
        """Add one time to a histogram."""
        histogram = self._histograms.setdefault((name, tuple(labels.items())), Histogram())
        histogram.counts[bisect_left(SECONDS, seconds)] += 1
        histogram.total += seconds

    def value(self, name: str, **labels: str) -> float:
        """A counter or gauge; of a counter without `labels` the sum over all of its labels."""
        if labels:
            return self._values.get((name, tuple(labels.items())), 0)
        return sum(value for (family, _), value in self._values.items() if family == name)

    def values(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Name, labels and value of every counter and gauge."""
        for (name, labels), value in self._values.items():
            yield name, dict(labels), value

    def histograms(self) -> Iterator[tuple[str, dict[str, str], Histogram]]:
        """Name, labels and counts of every histogram."""
        for (name, labels), histogram in self._histograms.items():
            yield name, dict(labels), histogram


def prometheus_text(metrics: Metrics) -> str:
    """The metrics in the text form that Prometheus reads.

    The text is prometheus_client's work, so that escaping and suffixes are right; counting is ours, as its metrics
    take a lock each time. Raises UnavailableError without that package.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError as error:
        raise UnavailableError(
            f"Prometheus text needs the package prometheus-client ({error}); pip install 'kvbench[metrics]'"
        ) from None
    registry = CollectorRegistry()
    registry.register(cast("Any", _Collector(metrics)))
    text: str = generate_latest(registry).decode()
    return text


class _Collector:
    """The metrics as prometheus_client asks for them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[object]:
        from prometheus_client import core

        kinds = {"counter": core.CounterMetricFamily, "gauge": core.GaugeMetricFamily}
        values, histograms = list(self._metrics.values()), list(self._metrics.histograms())
        for name, family in FAMILIES.items():
            if family.kind == "histogram":
                made = core.HistogramMetricFamily(PREFIX + name, family.help, labels=family.labels)
                for labels, histogram in [(labels, one) for known, labels, one in histograms if known == name]:
                    made.add_metric([labels[label] for label in family.labels], *_cumulative(histogram))
            else:
                made = kinds[family.kind](PREFIX + name, family.help, labels=family.labels)
                for labels, value in [(labels, value) for known, labels, value in values if known == name]:
                    made.add_metric([labels[label] for label in family.labels], value)
            yield made


def _cumulative(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Buckets as Prometheus counts them, each with all below it, and the sum."""
    so_far, buckets = 0, []
    for end, count in zip((*map(repr, SECONDS), "+Inf"), histogram.counts, strict=True):
        so_far += count
        buckets.append((end, float(so_far)))
    return buckets, histogram.total
