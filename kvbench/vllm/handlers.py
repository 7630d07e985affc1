"""Owns the two forms in which vLLM's workers ask for transfers: by direction (from 0.25), or by handlers (0.24)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kvbench.vllm.reports import StoreOrder
from kvbench.vllm.transfer import Done, GpuBlocks, TransferEngine

MakeResult = Callable[..., Any]
"""vLLM's TransferResult."""


def gpu_blocks(spec: Any) -> GpuBlocks:
    """Of vLLM's GPULoadStoreSpec."""
    return GpuBlocks(spec.block_ids, spec.group_sizes, spec.block_indices)


def store_order(spec: Any) -> StoreOrder:
    """Of the specification that kvbench's manager gave a store."""
    order: StoreOrder = spec.order
    return order


class WorkerByDirection:
    """What `OffloadingSpec.get_worker` gives: an OffloadingWorker in all but its base class."""

    def __init__(self, transfers: TransferEngine, result: MakeResult) -> None:
        self._transfers, self._result = transfers, result

    def submit_store(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        """GPU to host; always accepted."""
        self._transfers.submit_store(job_id, store_order(dst_spec), gpu_blocks(src_spec))
        return True

    def submit_load(self, job_id: int, src_spec: Any, dst_spec: Any, expedited: bool = False) -> bool:
        """Host to GPU; always accepted. All loads start at once, so none needs to be expedited."""
        self._transfers.submit_load(job_id, src_spec.block_ids, gpu_blocks(dst_spec))
        return True

    def get_finished(self) -> list[Any]:
        """Transfers that ended."""
        return [
            self._result(job_id=one.job_id, success=True, transfer_size=one.moved_bytes, transfer_time=one.seconds)
            for one in self._transfers.poll()
        ]

    def wait(self, job_ids: Iterable[int]) -> None:
        """Until these have ended."""
        self._transfers.wait(job_ids)

    def shutdown(self) -> None:
        """Give everything back."""
        self._transfers.shutdown()


class _Shared:
    """Ended jobs of one engine, handed to the handler of their direction."""

    def __init__(self, transfers: TransferEngine) -> None:
        self.transfers = transfers
        self._ended: dict[bool, list[Done]] = {True: [], False: []}

    def take(self, is_store: bool) -> list[Done]:
        for one in self.transfers.poll():
            self._ended[one.is_store].append(one)
        ended, self._ended[is_store] = self._ended[is_store], []
        return ended


class Handler:
    """One direction of what `OffloadingSpec.get_handlers` gives: an OffloadingHandler in all but its base class."""

    def __init__(self, shared: _Shared, result: MakeResult, is_store: bool) -> None:
        self._shared, self._result, self._is_store = shared, result, is_store
        self._type = ("GPU", "CPU") if is_store else ("CPU", "GPU")

    def transfer_async(self, job_id: int, spec: tuple[Any, Any]) -> bool:
        """Always accepted."""
        source, target = spec
        if self._is_store:
            self._shared.transfers.submit_store(job_id, store_order(target), gpu_blocks(source))
        else:
            self._shared.transfers.submit_load(job_id, source.block_ids, gpu_blocks(target))
        return True

    def get_finished(self) -> list[Any]:
        """Transfers of this direction that ended."""
        return [
            self._result(
                job_id=one.job_id,
                success=True,
                transfer_size=one.moved_bytes,
                transfer_time=one.seconds,
                transfer_type=self._type,
            )
            for one in self._shared.take(self._is_store)
        ]

    def wait(self, job_ids: Iterable[int]) -> None:
        """Until these have ended, whatever their direction."""
        self._shared.transfers.wait(job_ids)

    def shutdown(self) -> None:
        """Give everything back; the other direction ends with it."""
        self._shared.transfers.shutdown()


def handler_pair(transfers: TransferEngine, result: MakeResult) -> tuple[Handler, Handler]:
    """For stores and for loads."""
    shared = _Shared(transfers)
    return Handler(shared, result, True), Handler(shared, result, False)
