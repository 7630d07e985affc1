"""Owns the tests of the comparison codecs on a GPU: the CPU's bytes where arithmetic allows, and every value back."""

from __future__ import annotations

import math

import pytest
import torch

from kvbench.bench.verify import check
from kvbench.codecs import bit_packing, frame, registry
from kvbench.codecs.base import Codec
from kvbench.codecs.fp8 import Fp8
from kvbench.codecs.groupwise import Groupwise
from kvbench.codecs.lossless import Lossless
from kvbench.codecs.nvcomp import Nvcomp
from kvbench.codecs.payload import EncodedPayload
from kvbench.codecs.rotated import Rotated
from kvbench.errors import UnavailableError
from kvbench.tensors.base import KVView

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
EXACT = [
    *(Fp8(format=form, scale=scale) for form in ("e4m3", "e5m2") for scale in ("tensor", "head", "one")),
    *(Groupwise(bits=bits, group=group, along=along) for bits in (2, 3, 4, 8) for group in (32, 20)
      for along in ("tokens", "head_dim")),
]  # fmt: skip
NVCOMP = [Nvcomp(algorithm=name) for name in ("ans", "bitcomp", "cascaded", "lz4", "zstd")]


@pytest.fixture(params=NVCOMP, ids=repr, name="nvcomp")
def _nvcomp(request) -> Nvcomp:
    reason = Nvcomp.unavailable("cuda")
    if reason is not None:
        pytest.skip(reason)
    return request.param


def cache(*shape: int, dtype: torch.dtype = torch.bfloat16, spoiled: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(6)
    tensor = torch.randn(shape, generator=generator) * torch.exp(torch.randn(shape[-1], generator=generator))
    tensor = tensor.to(dtype)
    if spoiled:
        tensor.view(-1)[::101] = math.nan
        tensor.view(-1)[5] = -math.inf
    return tensor


def encode(codec: Codec, tensor: torch.Tensor, layout: str = "thd") -> EncodedPayload:
    out = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8, device=tensor.device)
    return codec.encode(KVView(tensor, layout=layout, kv="k"), out, None)


def decoded(codec: Codec, encoded: EncodedPayload, like: torch.Tensor) -> torch.Tensor:
    own = torch.empty_like(like)
    codec.decode(encoded, own)
    return own.cpu()


@pytest.mark.parametrize("codec", EXACT, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("spoiled", [False, True])
def test_bytes_and_values_are_those_of_the_cpu(codec, dtype, spoiled, bits_equal):
    tensor = cache(130, 3, 48, dtype=dtype, spoiled=spoiled)
    here, there = encode(codec, tensor), encode(codec, tensor.cuda())
    assert frame.to_bytes(here) == frame.to_bytes(there)
    assert bits_equal(decoded(codec, here, tensor), decoded(codec, there, tensor.cuda()))


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rotated_differs_by_few_codes(bits, dtype):
    codec = Rotated(bits=bits)
    tensor = cache(200, 2, 64, dtype=dtype)
    here, there = encode(codec, tensor), encode(codec, tensor.cuda())
    norms, count = 400 * dtype.itemsize, tensor.numel()
    codes = [bit_packing.unpack(found.body.cpu()[norms:], count, bits) for found in (here, there)]
    assert here.nbytes() == there.nbytes()
    assert int((codes[0] != codes[1]).sum()) <= count // 1000
    assert int((codes[0].int() - codes[1].int()).abs().max()) <= 1
    # One stored tensor decodes alike on both.
    on_cpu = frame.from_bytes(frame.to_bytes(there))
    wide = [torch.empty(tensor.shape), torch.empty(tensor.shape, device="cuda")]
    codec.decode(on_cpu, wide[0])
    codec.decode(there, wide[1])
    assert torch.allclose(wide[0], wide[1].cpu(), rtol=1e-4, atol=1e-4 * float(tensor.abs().max()))


@pytest.mark.parametrize("codec", [*EXACT[::5], Rotated(bits=3), Rotated(bits=4)], ids=repr)
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 4097])
def test_flat_sizes(codec, size):
    tensor = cache(max(size, 1), dtype=torch.float16)[:size].cuda()
    out = torch.empty(codec.capacity(size, tensor.dtype), dtype=torch.uint8, device="cuda")
    found = check(codec, KVView(tensor), out, torch.empty_like(tensor), None)
    assert found.encoded.nbytes() == len(frame.to_bytes(found.encoded))


@pytest.mark.parametrize("codec", [*EXACT[::4], Rotated()], ids=repr)
def test_stages_leave_the_same_payload(codec):
    tensor = cache(512, 4, 64).cuda()
    view = KVView(tensor, layout="thd", kv="v")
    want = codec.encode(
        view, torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8, device="cuda"), None
    )
    out = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8, device="cuda")
    stages = codec.stages(view, out, None)
    assert set(stages) == {"encode_kernel", "decode_kernel"}
    out.zero_()
    for call in stages.values():
        call()
    assert torch.equal(out[: want.stream_bytes], want.body)


class TestNvcomp:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("size", [0, 1, 31, 33, 4097, 300_001])
    def test_every_bit_comes_back(self, nvcomp, dtype, size, bits_equal):
        tensor = cache(max(size, 1), dtype=dtype, spoiled=size > 5)[:size]
        encoded = encode(nvcomp, tensor.cuda(), "flat")
        assert bits_equal(decoded(nvcomp, encoded, tensor.cuda()), tensor)
        assert encoded.nbytes() == len(frame.to_bytes(encoded))
        assert encoded.non_finite_count == int((~torch.isfinite(tensor)).sum())

    def test_zeros_become_small(self, nvcomp, bits_equal):
        tensor = torch.zeros(1 << 20, dtype=torch.bfloat16)
        encoded = encode(nvcomp, tensor.cuda(), "flat")
        # nvCOMP's ANS codes the exponents of 16-bit floats and keeps the other half of the bits.
        assert encoded.stream_bytes < tensor.nbytes * (0.6 if nvcomp.algorithm == "ans" else 0.25)
        assert bits_equal(decoded(nvcomp, encoded, tensor.cuda()), tensor)

    def test_a_stored_frame_decodes_on_the_gpu(self, nvcomp, bits_equal):
        tensor = torch.zeros(70_000, dtype=torch.float16)
        stored = frame.from_bytes(frame.to_bytes(encode(nvcomp, tensor.cuda(), "flat")))
        with pytest.raises(UnavailableError, match="nvCOMP runs on the GPU only"):
            nvcomp.decode(stored, torch.empty_like(tensor))
        moved = EncodedPayload(stored.header, stored.body.cuda(), None)
        assert bits_equal(decoded(nvcomp, moved, tensor.cuda()), tensor)

    def test_the_bench_check_holds_on_another_stream(self, nvcomp):
        tensor = cache(300, 4, 64).cuda()
        out = torch.empty(nvcomp.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8, device="cuda")
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            found = check(nvcomp, KVView(tensor, layout="thd"), out, torch.empty_like(tensor), None)
        assert found.errors.mismatches == 0


def test_cpu_codecs_say_so():
    with pytest.raises(UnavailableError, match="codec 'lossless' cannot be used here: Blosc runs on the CPU only"):
        encode(Lossless(), torch.zeros(64, 2, 2).cuda())
    for name in ("zfp", "sz3"):
        assert "runs on the CPU only" in registry.load(name).unavailable("cuda")
