"""Owns what a store's order looks like on its way to the workers: a specification of vLLM's with the order in it."""

from __future__ import annotations

from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec

from kvbench.vllm.reports import StoreOrder


class OrderSpec(CPULoadStoreSpec):
    """vLLM's own specification of slots, and kvbench's order, which vLLM passes on without looking at it."""

    def __init__(self, order: StoreOrder) -> None:
        super().__init__(list(order.slots))
        self.order = order
