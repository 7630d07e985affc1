"""Transfers on the real swap engine, on the CPU: what comes back, by codec, and that compression takes fewer pages."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_vllm import Stats

from kvbench.errors import UsageError
from kvbench.vllm.build import transfers_of
from kvbench.vllm.caches import LayerFacts, cache_of
from kvbench.vllm.handlers import WorkerByDirection, handler_pair
from kvbench.vllm.metrics import SHOWN, Figures
from kvbench.vllm.reports import StoreOrder
from kvbench.vllm.settings import read
from kvbench.vllm.transfer import GpuBlocks, TransferEngine

BLOCKS, TOKENS, HEADS, SIZE, LAYERS = 24, 32, 2, 64, 3
FACTS = LayerFacts(TOKENS, HEADS, SIZE, SIZE)
RAW_BYTES = LAYERS * 2 * TOKENS * HEADS * SIZE * 2


def layers(dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    """Smooth values, as of a cache."""
    made = torch.Generator().manual_seed(0)
    shape = (BLOCKS, HEADS, TOKENS, 2 * SIZE)
    found = {}
    for number in range(LAYERS):
        values = torch.randn((BLOCKS, HEADS, 1, 2 * SIZE), generator=made) + 0.1 * torch.randn(shape, generator=made)
        found[f"layers.{number}.attn"] = values.to(dtype).contiguous()
    return found


def transfers(tensors: dict[str, torch.Tensor], slot_blocks: int = 1, **keys: Any) -> TransferEngine:
    pages = [one.view(torch.int8).reshape(BLOCKS, -1) for one in tensors.values()]
    cache = cache_of(tensors, dict.fromkeys(tensors, FACTS), pages, BLOCKS)
    settings = read({"cpu_bytes_to_use": 64 * RAW_BYTES, **keys})
    return transfers_of(cache, settings, limit_bytes=64 * RAW_BYTES, slots=64, slot_blocks=slot_blocks, rank=0)


def store_all(one: TransferEngine, slot_blocks: int = 1) -> int:
    """Every block but the last slot's, to slots from 7 on; pages that they took."""
    slots = tuple(range(7, 7 + BLOCKS // slot_blocks - 1))
    ids = np.arange(len(slots) * slot_blocks)
    one.submit_store(1, StoreOrder(slots, (), 0, 0), GpuBlocks(ids, (len(ids),), (0,)))
    one.wait([1])
    assert [done.job_id for done in one.poll()] == [1]
    (report,) = one.take_report().stores
    assert min(report.pages) > 0
    return sum(report.pages)


@pytest.mark.parametrize("slot_blocks", [1, 3])
@pytest.mark.parametrize("path", ["auto", "fused", "staged"])
@pytest.mark.parametrize(("codec", "bound"), [("raw", None), ("cuszp", 0.05)])
def test_there_and_back(codec: str, bound: float | None, path: str, slot_blocks: int) -> None:
    tensors = layers()
    before = {name: one.clone() for name, one in tensors.items()}
    keys = {} if bound is None else {"error_bound": bound, "bound_kind": "abs", "verify": True}
    one = transfers(tensors, slot_blocks, codec=codec, path=path, **keys)
    pages = store_all(one, slot_blocks)
    for tensor in tensors.values():
        tensor[: BLOCKS - slot_blocks] = 0
    count = BLOCKS // slot_blocks - 1
    ids = np.arange(count * slot_blocks)
    one.submit_load(2, np.arange(7, 7 + count), GpuBlocks(ids, (len(ids),), (0,)))
    one.wait([2])
    assert [done.job_id for done in one.poll()] == [2]
    assert one.take_bad_blocks() == set()
    for name, tensor in tensors.items():
        if bound is None:
            assert torch.equal(tensor, before[name])
        else:
            # The bound is on float32 values before they become bfloat16 again.
            assert ((tensor.float() - before[name].float()).abs() <= bound + before[name].float().abs() * 2**-8).all()
    raw_pages = -(-RAW_BYTES * slot_blocks // 4096) * count
    assert pages <= raw_pages
    if codec == "cuszp" and path != "auto":
        assert pages < 0.6 * raw_pages
    one.shutdown()


def test_an_8_bit_cache_is_moved_raw_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    tensors = {name: one.to(torch.float8_e4m3fn) for name, one in layers().items()}
    with caplog.at_level(logging.WARNING, "kvbench"):
        one = transfers(tensors, error_bound=0.1)
    assert "moved raw: an 8-bit cache" in caplog.text
    store_all(one)
    one.shutdown()
    transfers(tensors, codec="fp8").shutdown()


def test_fp8_of_another_cache_is_refused() -> None:
    with pytest.raises(UsageError, match="--kv-cache-dtype fp8"):
        transfers(layers(), codec="fp8")


def test_a_profile_by_layer(tmp_path: Path) -> None:
    profile = tmp_path / "p.yaml"
    profile.write_text(
        "rules:\n- {layers: 0, codec: raw}\n- {kv: k, bound: 0.02}\n- {kv: v, bound: 0.2, mode: outlier}\n"
    )
    tensors = layers()
    one = transfers(tensors, profile=str(profile))
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    store_all(one)
    for tensor in tensors.values():
        tensor.zero_()
    one.submit_load(2, np.arange(7, 8), GpuBlocks(np.array([0]), (1,), (0,)))
    one.wait([2])
    assert torch.equal(tensors["layers.0.attn"][0], before["layers.0.attn"][0])
    assert not torch.equal(tensors["layers.2.attn"][0], before["layers.2.attn"][0])
    one.shutdown()


class Spec:
    """In the place of vLLM's specifications."""

    def __init__(self, ids: list[int], order: StoreOrder | None = None) -> None:
        self.block_ids, self.group_sizes, self.block_indices, self.order = np.array(ids), [len(ids)], [0], order


def result(**named: Any) -> dict[str, Any]:
    return named


def test_as_a_worker_by_direction() -> None:
    worker = WorkerByDirection(transfers(layers(), error_bound=1e-2), result)
    assert worker.submit_store(1, Spec([0, 1]), Spec([4, 5], StoreOrder((4, 5), (), 0, 0)))
    worker.wait({1})
    (stored,) = worker.get_finished()
    assert stored["job_id"] == 1
    assert stored["success"]
    assert 0 < stored["transfer_size"] < 2 * RAW_BYTES
    assert worker.submit_load(2, Spec([5]), Spec([9]), expedited=True)
    worker.wait({2, 77})
    assert [one["job_id"] for one in worker.get_finished()] == [2]
    worker.shutdown()


def test_as_a_pair_of_handlers() -> None:
    out, back = handler_pair(transfers(layers()), result)
    assert out.transfer_async(1, (Spec([0]), Spec([4], StoreOrder((4,), (), 0, 0))))
    back.wait({1})
    assert back.get_finished() == []
    (stored,) = out.get_finished()
    assert stored["transfer_type"] == ("GPU", "CPU")
    assert back.transfer_async(2, (Spec([4]), Spec([3])))
    out.wait({2})
    assert out.get_finished() == []
    assert [one["transfer_type"] for one in back.get_finished()] == [("CPU", "GPU")]
    out.shutdown()
    back.shutdown()


def test_every_figure_is_one_that_vllm_was_told_of() -> None:
    """vLLM asserts on a name or a number of labels that it does not know."""
    one = transfers(layers(), error_bound=1e-2)
    one.submit_store(1, StoreOrder((7, 8), (), 0, 0), GpuBlocks(np.arange(2), (2,), (0,)))
    one.submit_load(2, np.array([7]), GpuBlocks(np.array([0]), (1,), (0,)))
    one.wait([1, 2])
    figures, stats = Figures(), Stats()
    figures.add(one.take_report())
    figures.tell(stats)
    told = {**stats.counters, **stats.gauges}
    assert {name for name, _ in told} >= {
        f"vllm:kvbench_{name}" for name in ("raw_bytes", "moved_bytes", "blocks", "stage_seconds", "pages_in_use")
    }
    for name, labels in told:
        assert len(labels) == len(SHOWN[name.removeprefix("vllm:kvbench_")].labels)
    assert stats.counters["vllm:kvbench_raw_bytes", ("store",)] == 2 * RAW_BYTES
    one.shutdown()
