"""Owns `KVBenchConnector`: vLLM's offloading connector, with the caches shown to the spec and reports carried back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.common import OffloadingWorkerMetadata
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector

from kvbench.vllm.caches import LayerFacts, cache_of, cross_layer_cache
from kvbench.vllm.reports import WorkerReport
from kvbench.vllm.settings import with_names
from kvbench.vllm.spec import KVBenchSpec


@dataclass
class ReportedMetadata(OffloadingWorkerMetadata):
    """vLLM's list of jobs that ended on the workers, and what kvbench has to say of them."""

    report: WorkerReport = field(default_factory=WorkerReport)

    @classmethod
    def of(cls, metadata: OffloadingWorkerMetadata, report: WorkerReport) -> ReportedMetadata:
        """vLLM's metadata with a report."""
        kept = {one.name: getattr(metadata, one.name) for one in fields(OffloadingWorkerMetadata)}
        return cls(**kept, report=report)

    def aggregate(self, other: Any) -> ReportedMetadata:
        """Of several workers, as vLLM merges them; a worker that ended no job has no report."""
        merged = super().aggregate(other)
        report = self.report.merged(other.report) if isinstance(other, ReportedMetadata) else self.report
        return ReportedMetadata.of(merged, report)


class KVBenchConnector(OffloadingConnector):
    """Put in by `--kv-transfer-config`; all that moves blocks is in the spec's transfers."""

    def __init__(self, vllm_config: Any, role: Any, kv_cache_config: Any) -> None:
        with_names(vllm_config.kv_transfer_config.kv_connector_extra_config)
        super().__init__(vllm_config, role, kv_cache_config)
        self._cache_config = kv_cache_config

    @classmethod
    def build_prom_metrics(cls, vllm_config: Any, *rest: Any, **named: Any) -> Any:
        """In the front end, which asks the spec for the names of metrics."""
        with_names(vllm_config.kv_transfer_config.kv_connector_extra_config)
        return super().build_prom_metrics(vllm_config, *rest, **named)

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        """Show the spec the tensors as attention indexes them, then let vLLM make its own of them."""
        spec, config = self._spec(), self._cache_config
        tensors = {name: one for name, one in kv_caches.items() if isinstance(one, torch.Tensor)}
        if len(tensors) == len(kv_caches) and len(config.kv_cache_groups) == 1:
            facts = layer_facts(config)
            spec.show(lambda pages: cache_of(tensors, facts, pages, config.num_blocks))
        super().register_kv_caches(kv_caches)

    def register_cross_layers_kv_cache(self, kv_cache: torch.Tensor, attn_backend: Any) -> None:
        """The same for one tensor across layers, as vLLM 0.24 may have it."""
        facts = next(iter(layer_facts(self._cache_config).values()), None)
        if facts is not None:
            blocks = self._cache_config.num_blocks
            self._spec().show(lambda pages: cross_layer_cache(kv_cache, facts, pages, blocks))
        super().register_cross_layers_kv_cache(kv_cache, attn_backend)

    def build_connector_worker_meta(self) -> OffloadingWorkerMetadata | None:
        """vLLM's, with what the scheduler has to know of the jobs that ended."""
        metadata = super().build_connector_worker_meta()
        transfers = self._spec().transfers if self.connector_worker is not None else None
        if metadata is None or transfers is None:
            return metadata
        return ReportedMetadata.of(metadata, transfers.take_report())

    def update_connector_output(self, connector_output: Any) -> None:
        """The manager learns of sizes before vLLM completes the jobs."""
        metadata = connector_output.kv_connector_worker_meta
        if isinstance(metadata, ReportedMetadata):
            self.connector_scheduler.manager.take_note(metadata.report)
        super().update_connector_output(connector_output)

    def get_block_ids_with_load_errors(self) -> set[int]:
        """Blocks that vLLM has to compute anew. With several cache groups it takes requests instead."""
        transfers = self._spec().transfers
        bad = set() if transfers is None else transfers.take_bad_blocks()
        return bad if len(self._cache_config.kv_cache_groups) == 1 else set()

    def get_transfer_results(self, finished_req_ids: set[str]) -> Any:
        """As vLLM's; with several cache groups, requests with failed loads are named here. Asked by 0.32 and later."""
        loads: Mapping[int, str | None] = dict(getattr(self.connector_worker, "_load_jobs", {}))
        results = super().get_transfer_results(finished_req_ids)
        transfers = self._spec().transfers
        if transfers is not None and len(self._cache_config.kv_cache_groups) > 1:
            requests = {loads.get(job) for job in transfers.take_failed_loads()}
            results.failed_recving |= {one for one in requests if one is not None}
        return results

    def _spec(self) -> KVBenchSpec:
        spec = self.connector_worker.spec
        assert isinstance(spec, KVBenchSpec)
        return spec


def layer_facts(config: Any) -> dict[str, LayerFacts]:
    """Of the layers that keep keys and values a token, of vLLM's KVCacheConfig."""
    found: dict[str, LayerFacts] = {}
    for group in config.kv_cache_groups:
        each = getattr(group.kv_cache_spec, "kv_cache_specs", {})
        for name in group.layer_names:
            spec = each.get(name, group.kv_cache_spec)
            if hasattr(spec, "num_kv_heads") and hasattr(spec, "head_size"):
                value_size = getattr(spec, "head_size_v", None) or spec.head_size
                found[name] = LayerFacts(spec.block_size, spec.num_kv_heads, spec.head_size, value_size)
    return found
