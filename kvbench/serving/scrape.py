"""Owns what a server's /metrics say: a reading, and what happened between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kvbench.errors import UnavailableError

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Reading:
    """The samples of one scrape, by name and labels."""

    samples: Mapping[tuple[str, Labels], float]

    def total(self, name: str, **labels: str) -> float | None:
        """The sum of the samples of this name that have these labels; None where there is none."""
        found = list(self._found(name, labels))
        return sum(found) if found else None

    def label(self, name: str, label: str) -> str | None:
        """The value of one label of a sample of this name."""
        for sample, labels in self.samples:
            if sample == name and label in dict(labels):
                return dict(labels)[label]
        return None

    def _found(self, name: str, labels: Mapping[str, str]) -> Iterator[float]:
        wanted = labels.items()
        for (sample, has), value in self.samples.items():
            if sample == name and wanted <= dict(has).items():
                yield value


def read(text: str) -> Reading:
    """A reading of Prometheus' text format. Raises UnavailableError where its parser is not installed."""
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError:
        raise UnavailableError("no package prometheus-client: pip install 'kvbench[metrics]'") from None
    families = text_string_to_metric_families(text)
    return Reading(
        {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}
    )


@dataclass(frozen=True)
class Counts:
    """What a server counted during one pass; None where it does not count it. Tokens, bytes and seconds."""

    prompt_tokens: float | None = None
    gpu_hit_tokens: float | None = None
    host_hit_tokens: float | None = None
    stored_bytes: float | None = None  # over the link, to the host
    loaded_bytes: float | None = None
    store_s: float | None = None
    load_s: float | None = None
    stored_raw_bytes: float | None = None  # the same blocks uncompressed; of kvbench's connector
    loaded_raw_bytes: float | None = None
    stored_moved_bytes: float | None = None
    loaded_moved_bytes: float | None = None
    dropped_slots: float | None = None
    preemptions: float | None = None


# Names with labels, the first that is there counts: releases of vLLM differ.
_Named = tuple[str, dict[str, str]]
_COUNTERS: Mapping[str, tuple[_Named, ...]] = {
    "prompt_tokens": (
        ("vllm:prompt_tokens_by_source_total", {}),
        ("vllm:prompt_tokens_total", {}),
        ("vllm:prefix_cache_queries_total", {}),
    ),
    "gpu_hit_tokens": (("vllm:prefix_cache_hits_total", {}),),
    "host_hit_tokens": (
        ("vllm:external_prefix_cache_hits_total", {}),
        ("vllm:prompt_tokens_by_source_total", {"source": "external_kv_transfer"}),
    ),
    "stored_bytes": (
        ("vllm:kv_offload_store_bytes_total", {}),
        ("vllm:kv_offload_total_bytes_total", {"transfer_type": "GPU_to_CPU"}),
    ),
    "loaded_bytes": (
        ("vllm:kv_offload_load_bytes_total", {}),
        ("vllm:kv_offload_total_bytes_total", {"transfer_type": "CPU_to_GPU"}),
    ),
    "store_s": (
        ("vllm:kv_offload_store_time_total", {}),
        ("vllm:kv_offload_total_time_total", {"transfer_type": "GPU_to_CPU"}),
    ),
    "load_s": (
        ("vllm:kv_offload_load_time_total", {}),
        ("vllm:kv_offload_total_time_total", {"transfer_type": "CPU_to_GPU"}),
    ),
    "stored_raw_bytes": (("vllm:kvbench_raw_bytes_total", {"direction": "store"}),),
    "loaded_raw_bytes": (("vllm:kvbench_raw_bytes_total", {"direction": "load"}),),
    "stored_moved_bytes": (("vllm:kvbench_moved_bytes_total", {"direction": "store"}),),
    "loaded_moved_bytes": (("vllm:kvbench_moved_bytes_total", {"direction": "load"}),),
    "dropped_slots": (("vllm:kvbench_dropped_slots_total", {}),),
    "preemptions": (("vllm:num_preemptions_total", {}),),
}


def between(before: Reading, after: Reading) -> Counts:
    """What was counted between two readings. A counter that came up in between began at 0."""
    return Counts(**{field: _growth(before, after, names) for field, names in _COUNTERS.items()})


def since_start(reading: Reading) -> Counts:
    """What was counted until a reading."""
    return between(Reading({}), reading)


def _growth(before: Reading, after: Reading, names: tuple[_Named, ...]) -> float | None:
    for name, labels in names:
        value = after.total(name, **labels)
        if value is not None:
            return value - (before.total(name, **labels) or 0.0)
    return None
