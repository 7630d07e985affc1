"""The managers that the rules are tested on: stand-ins everywhere, and vLLM's own where it is installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fake_vllm import BlockStatus, ChunkStatus, ManagerOfBlocks, ManagerOfChunks

from kvbench.vllm.manager import Outside, PageRules
from kvbench.vllm.names import manager_names, status_class
from kvbench.vllm.pages import PageBook
from kvbench.vllm.reports import StoreOrder


@dataclass(frozen=True)
class OrderAlone:
    """In the place of a specification of vLLM's."""

    order: StoreOrder


@dataclass(frozen=True)
class Kit:
    """A manager class of vLLM's, or one like it, and what its calls take."""

    stock: type[Any]
    status: type[Any]
    context: Callable[[int], Any]
    outside: Callable[[Any], Outside]

    def manager(self, ranks: int, pages: int, slot_pages: int, slots: int, **more: Any) -> Any:
        """With the page rules on."""
        paged = type("Paged", (PageRules, self.stock), {})
        outside = self.outside(manager_names(self.stock, self.status))
        return paged(outside=outside, book=PageBook(ranks, pages, slot_pages), slots=slots, **more)


def key_of(number: int) -> bytes:
    """As vLLM's OffloadKey: a hash, and the group of layers, 0."""
    return number.to_bytes(8, "big") + bytes(4)


def _fake(stock: type[Any], status: type[Any]) -> Kit:
    return Kit(stock, status, lambda number: None, lambda names: Outside(names, lambda *event: event, OrderAlone))


def installed() -> Kit:
    """Of the vLLM that can be imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm.v1.kv_offload.base import ReqContext
        from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager

        from kvbench.vllm.order import OrderSpec
        from kvbench.vllm.spec import _removed

    return Kit(
        CPUOffloadingManager,
        status_class(),
        lambda number: ReqContext(f"request {number}"),
        lambda names: Outside(names, _removed, OrderSpec),
    )


FAKES: dict[str, Kit] = {
    "blocks": _fake(ManagerOfBlocks, BlockStatus),
    "chunks": _fake(ManagerOfChunks, ChunkStatus),
}
