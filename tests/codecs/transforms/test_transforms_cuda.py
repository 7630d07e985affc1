"""Owns the tests of transforms and pipelines on a GPU: the CPU's bytes where arithmetic allows, and the bound kept."""

from __future__ import annotations

import math

import pytest
import torch

from kvbench.bench.verify import check
from kvbench.bound import Bound
from kvbench.codecs import frame
from kvbench.codecs.pipeline import Pipeline
from kvbench.tensors.base import KVView

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

# Sums over tokens are made in another order on a GPU, so the means of `center` and `scale` may differ in a last bit.
EXACT = ["layout=hdt", "keep-first=4", "hadamard", "derope", "keep-first=4,derope:pairing=interleaved,hadamard,layout"]
SUMMED = ["center", "scale", "keep-first=4,center,scale,hadamard,layout=htd"]
INNER = [("cuszp", {"mode": "outlier"}), ("groupwise", {"bits": 4}), ("raw", {})]


def view(dtype: torch.dtype, device: str) -> KVView:
    generator = torch.Generator().manual_seed(3)
    tensor = torch.randn(500, 2, 32, generator=generator) + torch.linspace(-6, 6, 32)
    tensor[7, 1, 3], tensor[400, 0, 0] = math.nan, -math.inf
    return KVView(tensor.to(dtype).to(device), layer=1, kv="k", layout="thd", token_start=48)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("name", "params"), INNER, ids=[name for name, _ in INNER])
@pytest.mark.parametrize("chain", EXACT + SUMMED)
def test_a_pipeline_on_a_gpu(chain: str, name: str, params: dict[str, object], dtype: torch.dtype) -> None:
    codec = Pipeline(codec=name, params=params, transforms=chain)
    bound = Bound(kind="rel", value=1e-2) if "bound" in codec.axes else None
    found = {}
    for device in ("cpu", "cuda"):
        one = view(dtype, device)
        room = torch.empty(codec.capacity(one.tensor.numel(), dtype), dtype=torch.uint8, device=device)
        decoded = torch.empty_like(one.tensor)
        checked = check(codec, one, room, decoded, bound)
        assert checked.errors.special_mismatches == 0
        if bound is not None or codec.lossless:
            assert checked.mismatches == 0
        found[device] = frame.to_bytes(checked.encoded)
    if chain in EXACT and name != "groupwise":
        assert found["cpu"] == found["cuda"]
    else:
        assert abs(len(found["cpu"]) - len(found["cuda"])) <= len(found["cpu"]) // 100


def test_a_frame_made_on_a_gpu_decodes_on_the_cpu() -> None:
    codec = Pipeline(transforms="keep-first=4,center,layout=hdt")
    one = view(torch.bfloat16, "cuda")
    room = torch.empty(codec.capacity(one.tensor.numel(), torch.bfloat16), dtype=torch.uint8, device="cuda")
    encoded = codec.encode(one, room, Bound(kind="abs", value=0.05))
    on_gpu, on_cpu = torch.empty_like(one.tensor), torch.empty(one.tensor.shape, dtype=torch.bfloat16)
    codec.decode(encoded, on_gpu)
    codec.decode(frame.from_bytes(frame.to_bytes(encoded)), on_cpu)
    assert torch.equal(on_gpu.cpu().view(torch.int16), on_cpu.view(torch.int16))
