"""Checks the share of the floor, and the scratch memory of a codec."""

from __future__ import annotations

import pytest
import torch
from fake_bench import Shifting

from kvbench.bench import floor
from kvbench.bench.scratch import scratch_bytes
from kvbench.bound import Bound
from kvbench.codecs.cuszp import Cuszp
from kvbench.record.schema import PhaseSamples
from kvbench.tensors.base import KVView


def kernel(median_s: float | None, *flags: str) -> PhaseSamples:
    return PhaseSamples(samples_s=[1.0], work_bytes=1, median_s=median_s, flags=list(flags))


def test_share_is_the_time_of_the_bytes_over_that_of_the_kernel() -> None:
    phases = {"encode_kernel": kernel(2e-6), "decode_kernel": kernel(4e-6)}
    # 2000 + 1000 bytes at 3 GB/s take 1 us.
    assert floor.metrics(2000, 1000, phases, 3.0) == {
        "device_copy_gbps": 3.0,
        "encode_floor_share": pytest.approx(0.5),
        "decode_floor_share": pytest.approx(0.25),
    }


@pytest.mark.parametrize(
    ("phases", "gbps"),
    [
        ({"encode_kernel": kernel(None)}, 3.0),
        ({}, 3.0),
        ({"encode_kernel": kernel(1e-6)}, None),
        ({"encode_kernel": kernel(1e-6, "launch_bound")}, 3.0),
    ],
    ids=["unresolved", "no kernel", "no copy measured", "held up by the host"],
)
def test_what_is_not_known_is_none(phases: dict[str, PhaseSamples], gbps: float | None) -> None:
    found = floor.metrics(2000, 1000, phases, gbps)
    assert found == {"device_copy_gbps": gbps, "encode_floor_share": None, "decode_floor_share": None}


class Keeping(Shifting):
    def kept_bytes(self, view: KVView) -> int | None:
        return 3 * view.tensor.numel()


def test_host_scratch_is_what_a_codec_declares() -> None:
    view, out, bound = KVView(torch.arange(100.0)), torch.empty(64, dtype=torch.uint8), Bound(value=1e-3)
    assert scratch_bytes(Shifting(), view, out, bound) is None
    assert scratch_bytes(Keeping(), view, out, bound) == 300
    assert scratch_bytes(Cuszp(), view, out, bound) is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_gpu_scratch_sees_what_an_encode_allocates() -> None:
    view = KVView(torch.arange(1_000_000.0, device="cuda"))
    out = torch.empty(64, dtype=torch.uint8, device="cuda")
    found = scratch_bytes(Shifting(), view, out, Bound(value=1e-3))
    assert found is not None
    assert found >= 4_000_000  # it makes a float32 copy
    kept = scratch_bytes(Keeping(), view, out, Bound(value=1e-3))
    assert kept is not None
    assert kept >= found + 3_000_000 - (2 << 20)  # the allocator's own units may differ from call to call
