"""Owns `KVBenchSpec`: what vLLM's offloading asks for the manager, the workers and the names of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from vllm.v1.kv_offload import base
from vllm.v1.kv_offload.base import GPULoadStoreSpec, OffloadingEvent
from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager
from vllm.v1.kv_offload.cpu.spec import CPUOffloadingSpec

from kvbench.vllm import names
from kvbench.vllm.caches import Cache, pages_alone
from kvbench.vllm.manager import Outside, PageRules
from kvbench.vllm.metrics import definitions
from kvbench.vllm.order import OrderSpec
from kvbench.vllm.pages import PageBook
from kvbench.vllm.settings import read
from kvbench.vllm.sizes import Budget, budget_of

if TYPE_CHECKING:
    from kvbench.vllm.handlers import WorkerByDirection
    from kvbench.vllm.transfer import TransferEngine

# The front end imports this module for the names of metrics: no codec, no compiled module before a spec is made.


class KVBenchManager(PageRules, CPUOffloadingManager):
    """vLLM's manager, counting pages."""


def _removed(keys: list[Any], medium: Any) -> Any:
    return OffloadingEvent(keys=keys, medium=medium, removed=True)


class KVBenchSpec(CPUOffloadingSpec):
    """vLLM's CPU offloading with kvbench's manager and engine; any platform, a slab of its own on every rank."""

    @classmethod
    def build_metric_definitions(cls, extra_config: dict[str, Any]) -> dict[str, Any]:
        """vLLM's and kvbench's."""
        return {**super().build_metric_definitions(extra_config), **definitions(base)}

    def __init__(self, *given: Any) -> None:
        """With whatever this release of vLLM gives a spec. Raises UsageError for settings that cannot be used."""
        from kvbench.vllm.switches import with_switches

        super().__init__(*given)
        self.settings = with_switches(read(self.extra_config))
        self._read_cache: Callable[[Sequence[torch.Tensor]], Cache] = pages_alone
        self.transfers: TransferEngine | None = None
        self._paged_manager: KVBenchManager | None = None

    def show(self, read_cache: Callable[[Sequence[torch.Tensor]], Cache]) -> None:
        """How the cache is to be read, given vLLM's pages; without it pages are all that is known."""
        self._read_cache = read_cache

    @property
    def budget(self) -> Budget:
        """Of one rank."""
        _, ranks = names.ranks_of(self)
        return budget_of(self.settings, ranks, self.cpu_page_size_per_worker)

    def get_manager(self) -> KVBenchManager:
        """For the scheduler."""
        if self._paged_manager is None:
            budget, (_, ranks) = self.budget, names.ranks_of(self)
            self._paged_manager = KVBenchManager(
                outside=Outside(names.manager_names(CPUOffloadingManager, names.status_class()), _removed, OrderSpec),
                book=PageBook(ranks, budget.pages, budget.slot_pages),
                slots=budget.slots,
                cache_policy=self.eviction_policy,
                cache_policy_module_path=getattr(self, "cache_policy_module_path", None),
                enable_events=self.kv_events_config.enable_kv_cache_events,
                store_threshold=int(self.extra_config.get("store_threshold", 0)),
                max_tracker_size=int(self.extra_config.get("max_tracker_size", 64_000)),
                info=getattr(self, "cpu_info", None),
            )
        return self._paged_manager

    def get_worker(self, kv_caches: Any) -> WorkerByDirection:
        """For a worker of vLLM 0.25 and later."""
        from kvbench.vllm.handlers import WorkerByDirection

        return WorkerByDirection(self._transfers(kv_caches), names.result_class())

    def get_handlers(self, kv_caches: Any) -> Iterator[tuple[type[Any], type[Any], Any]]:
        """For a worker of vLLM 0.24."""
        from kvbench.vllm.handlers import handler_pair

        out, back = handler_pair(self._transfers(kv_caches), names.result_class())
        yield GPULoadStoreSpec, CPULoadStoreSpec, out
        yield CPULoadStoreSpec, GPULoadStoreSpec, back

    def _uses_shared_region(self) -> bool:
        """No: vLLM must not think that one rank's copy serves all of them."""
        return False

    def _transfers(self, kv_caches: Any) -> TransferEngine:
        from kvbench.vllm.build import transfers_of

        if self.transfers is None:
            budget, (rank, _) = self.budget, names.ranks_of(self)
            self.transfers = transfers_of(
                self._read_cache([one.tensor for one in kv_caches.tensors]),
                self.settings,
                limit_bytes=budget.limit_bytes,
                slots=budget.slots,
                slot_blocks=names.blocks_of_slot(self),
                rank=rank,
            )
        return self.transfers
