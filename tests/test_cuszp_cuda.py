"""The codec on a GPU: the CPU's bytes and values, on any stream, in graphs, whatever the bytes."""

from __future__ import annotations

import ctypes
import hashlib
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from kvbench import _ext, cuszp
from kvbench.bound import Bound
from kvbench.codecs import engine, frame
from kvbench.codecs.cuszp import Cuszp
from kvbench.errors import UsageError
from kvbench.tensors.base import KVView

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    pytest.mark.skipif(not _ext.has_cuda_module(), reason="kvbench was built without CUDA"),
]

GOLDEN = np.load(Path(__file__).parent / "golden" / "cuszp_v3_1d_f32.npz")
INDEX = json.loads(GOLDEN["index"].tobytes())
MODES = ("fixed", "plain", "outlier")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SIZES = (0, 1, 31, 32, 33, 1023, 1024, 4097, 32768, 32769, 100_003)


def values_of(n: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.exp(torch.randn(n, generator=generator))
    return (torch.randn(n, generator=generator) * scale).to(dtype)


def test_golden_streams_both_ways() -> None:
    for entry in INDEX:
        bound = float(np.array([int(entry["eb_f32_hex"], 16)], np.uint32).view(np.float32)[0])
        values = torch.from_numpy(GOLDEN[entry["input"]]).cuda()
        stream = cuszp.compress(values, bound, entry["mode"])
        assert stream.cpu().numpy().tobytes() == GOLDEN[entry["stream"]].tobytes(), entry
        decoded = cuszp.decompress(stream, entry["n"], bound, entry["mode"])
        assert hashlib.sha256(decoded.cpu().numpy().tobytes()).hexdigest() == entry["decoded_sha256"], entry


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
def test_bytes_and_values_are_those_of_the_cpu(mode: str, dtype: torch.dtype) -> None:
    for n in SIZES:
        for offset in (0, 1, 3):
            values = values_of(n + offset, dtype, seed=n)[offset:]
            on_gpu = values_of(n + offset, dtype, seed=n).cuda()[offset:]  # the same misalignment
            stream = cuszp.compress(values, 1e-2, mode)
            assert torch.equal(cuszp.compress(on_gpu, 1e-2, mode).cpu(), stream), (n, offset)
            back = cuszp.decompress(stream.cuda(), n, 1e-2, mode)
            assert torch.equal(back.cpu(), cuszp.decompress(stream, n, 1e-2, mode)), (n, offset)


def test_strides_do_not_matter() -> None:
    values = values_of(64 * 48, torch.float32).reshape(64, 48)
    assert torch.equal(cuszp.compress(values.cuda().T, 1e-3).cpu(), cuszp.compress(values.T.contiguous(), 1e-3))


def test_damaged_streams_are_refused_or_decoded() -> None:
    n, generator = 5000, np.random.default_rng(0)
    stream = cuszp.compress(values_of(n, torch.float32), 1e-2, "outlier")
    for _ in range(300):
        damaged = stream.clone()
        damaged[torch.from_numpy(generator.integers(0, len(stream), 3))] = int(generator.integers(0, 256))
        cut = damaged[: int(generator.integers(0, len(stream) + 1))] if generator.random() < 0.3 else damaged
        verdicts = []
        for candidate in (cut, cut.cuda()):
            try:
                verdicts.append(cuszp.decompress(candidate, n, 1e-2, "outlier").cpu().view(torch.int32))
            except UsageError:
                verdicts.append(None)
        host, gpu = verdicts
        assert (host is None) == (gpu is None)
        assert host is None or torch.equal(host, gpu)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("policy", ["strict", "compatible"])
@pytest.mark.parametrize("kind", ["rel", "abs", "std"])
@pytest.mark.parametrize("case", ["plain", "non-finite", "constant", "zeros", "huge", "all nan"])
def test_frames_are_those_of_the_cpu(case: str, kind: str, policy: str, dtype: torch.dtype) -> None:
    values = values_of(5000, dtype)
    if case == "non-finite":
        values[torch.tensor([0, 7, 4999])] = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=dtype)
    if case in {"constant", "zeros"}:
        values[:] = 3.0 if case == "constant" else 0.0
    if case == "huge":
        values[100] = torch.finfo(dtype).max
    if case == "all nan":
        values[:] = torch.nan
    codec = Cuszp(mode="outlier", bound_policy=policy)
    frames = []
    for device in ("cpu", "cuda"):
        view = KVView(values.to(device).reshape(50, 100), layout="flat")
        out = torch.empty(codec.capacity(5000, dtype), dtype=torch.uint8, device=device)
        encoded = codec.encode(view, out, Bound(kind=kind, value=1e-2))
        decoded = torch.full_like(view.tensor, 77)
        codec.decode(encoded, decoded)
        pieces = torch.cat([piece.cpu() for _, piece in codec.float32_chunks(encoded, (50, 100))])
        frames.append((frame.to_bytes(encoded), decoded.cpu().view(torch.uint8), pieces))
    assert bytes(frames[0][0]) == bytes(frames[1][0])
    assert torch.equal(frames[0][1], frames[1][1])
    # Widening a float16 NaN keeps other payload bits on each device.
    torch.testing.assert_close(frames[0][2], frames[1][2], rtol=0, atol=0, equal_nan=True)


def test_work_goes_to_the_current_stream_and_streams_do_not_meet() -> None:
    wanted = [cuszp.compress(values_of(200_000, torch.float32, seed), 1e-2) for seed in range(4)]
    inputs = [values_of(200_000, torch.float32, seed).cuda() for seed in range(4)]
    streams = [torch.cuda.Stream() for _ in range(4)]
    got: list[torch.Tensor] = []
    torch.cuda.synchronize()
    for values, stream in zip(inputs, streams, strict=True):
        with torch.cuda.stream(stream):
            late = torch.zeros_like(values)
            torch.cuda._sleep(20_000_000)
            late.copy_(values)  # the codec must not start before this
            got.append(cuszp.compress(late, 1e-2))
    torch.cuda.synchronize()
    for stream, expected in zip(got, wanted, strict=True):
        assert torch.equal(stream.cpu(), expected)


def test_a_captured_graph_replays() -> None:
    from kvbench import cuszp_cuda

    n = 100_000
    values, other = values_of(n, torch.float32, 1).cuda(), values_of(n, torch.float32, 2)
    stream = torch.zeros(cuszp.max_compressed_bytes(n), dtype=torch.uint8, device="cuda")
    decoded = torch.zeros(n, device="cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        length = cuszp_cuda.compress(values, 1e-2, "plain", stream)  # makes the scratch memory outside the graph
        compress = cuszp_cuda.compress_launch(values, 1e-2, "plain", stream)
        decompress = cuszp_cuda.decompress_launch(stream[:length], n, 1e-2, "plain", decoded)
        decompress()
        side.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            compress()
            decompress()
    for _ in range(3):
        stream.zero_()
        decoded.zero_()
        torch.cuda.synchronize()
        graph.replay()
        torch.cuda.synchronize()
        expected = cuszp.compress(values.cpu(), 1e-2)
        assert torch.equal(stream[:length].cpu(), expected)
        assert torch.equal(decoded.cpu(), cuszp.decompress(expected, n, 1e-2))
    values.copy_(other)
    graph.replay()
    torch.cuda.synchronize()
    fresh = cuszp.compress(other, 1e-2)
    assert torch.equal(stream[: len(fresh)].cpu(), fresh)


def test_a_graph_keeps_its_workspace_when_a_larger_call_follows() -> None:
    from kvbench import cuszp_cuda

    values = values_of(1000, torch.float32).cuda()
    stream = torch.zeros(cuszp.max_compressed_bytes(1000), dtype=torch.uint8, device="cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        length = cuszp_cuda.compress(values, 1e-2, "plain", stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            cuszp_cuda.compress_launch(values, 1e-2, "plain", stream)()
        large = values_of(5_000_000, torch.float32).cuda()
        wanted = cuszp.compress(large, 1e-2)
        filler = torch.full((1 << 22,), 0xFF, dtype=torch.uint8, device="cuda")  # where a freed workspace would be
        for _ in range(2):
            stream.zero_()
            graph.replay()
            assert torch.equal(cuszp.compress(large, 1e-2), wanted)
            assert torch.equal(stream[:length].cpu(), cuszp.compress(values.cpu(), 1e-2))
        assert bool((filler == 0xFF).all())


def test_bounds_worked_out_on_the_device_are_those_of_the_host() -> None:
    cuda, count = _ext.cuda(), 20_000
    generator = np.random.default_rng(5)
    exponents = generator.integers(0, 255, (count, 2), np.uint32)  # subnormal numbers to the largest, no infinity
    exponents[: count // 2] = 127 + generator.integers(-12, 13, (count // 2, 2))
    bits = generator.integers(0, 1 << 23, (count, 2), np.uint32) | exponents << 23
    bits |= generator.integers(0, 2, (count, 2), np.uint32) << 31
    ends = np.sort(bits.view(np.float32), axis=1)
    records = np.zeros((count, cuda.RANGE_BYTES), np.uint8)
    records[:, :12] = np.column_stack([ends, np.abs(ends).max(axis=1)]).astype(np.float32).view(np.uint8)
    values = 10.0 ** generator.uniform(-7, 1, count)
    values[::97] = 10.0 ** generator.uniform(-300, 300, len(values[::97]))
    on_gpu = torch.from_numpy(records).cuda()
    for kind, policy in product(("abs", "rel"), ("strict", "compatible")):
        bounds = torch.full((count,), -1.0, device="cuda")
        queue = torch.cuda.current_stream().cuda_stream
        for i, value in enumerate(values.tolist()):
            cuda.effective_bound(
                on_gpu.data_ptr() + cuda.RANGE_BYTES * i,
                cuda.BOUND_KINDS[kind],
                value,
                cuda.BOUND_POLICIES[policy],
                bounds.data_ptr() + 4 * i,
                queue,
            )
        expected = [_host_bound(*ends[i].tolist(), kind, value, policy) for i, value in enumerate(values.tolist())]
        assert bounds.cpu().tolist() == expected
        assert 0 < expected.count(0.0) < count


def _host_bound(low: float, high: float, kind: str, value: float, policy: str) -> float:
    measured = engine.ValueRange(low, high, max(abs(low), abs(high)), 0)
    asked = Bound(kind=kind, value=value).absolute(value_range=measured.width, std=None)
    if policy == "strict":
        return engine.strict_error_bound(asked, measured.max_abs)
    as_float32 = ctypes.c_float(asked).value
    return as_float32 if 0 < as_float32 < np.inf else 0.0


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("policy", ["strict", "compatible"])
@pytest.mark.parametrize("kind", ["rel", "abs"])
def test_a_call_waits_once(kind: str, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    for name in [name for name in dir(_ext.cuda()) if name.endswith("_and_wait")]:
        call = getattr(_ext.cuda(), name)
        monkeypatch.setattr(
            _ext.cuda(), name, lambda *given, name=name, call=call: (waited.append(name), call(*given))[1]
        )
    codec, values = Cuszp(bound_policy=policy), values_of(40_000, torch.bfloat16).cuda()
    view, decoded = KVView(values), torch.empty_like(values)
    out = torch.empty(codec.capacity(40_000, torch.bfloat16), dtype=torch.uint8, device="cuda")
    codec.encode(view, out, Bound(kind=kind, value=1e-2))  # makes the scratch memory
    waited.clear()
    torch.cuda.set_sync_debug_mode("error")  # a wait of torch's raises
    try:
        encoded = codec.encode(view, out, Bound(kind=kind, value=1e-2))
        assert waited == ["measure_compress_and_wait"]
        codec.decode(encoded, decoded)
        assert waited == ["measure_compress_and_wait", "decompress_and_wait"]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert encoded.flags == ()


def test_workspace_is_not_made_during_a_capture() -> None:
    from kvbench import cuszp_cuda

    small, large = values_of(1000, torch.float32).cuda(), values_of(3_000_000, torch.float32).cuda()
    stream = torch.zeros(cuszp.max_compressed_bytes(3_000_000), dtype=torch.uint8, device="cuda")
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        cuszp_cuda.compress(small, 1e-2, "plain", stream)
        with torch.cuda.graph(graph, stream=side):
            cuszp_cuda.compress_launch(small, 1e-2, "plain", stream)()
            with pytest.raises(UsageError, match="while a CUDA graph is captured"):
                cuszp_cuda.compress_launch(large, 1e-2, "plain", stream)()
        graph.replay()
        # What was refused was not taken for done.
        length = cuszp_cuda.compress(large, 1e-2, "plain", stream)
        side.synchronize()
    assert torch.equal(stream[:length].cpu(), cuszp.compress(large.cpu(), 1e-2))


def test_a_graph_does_not_write_what_a_call_reads() -> None:
    from kvbench import cuszp_cuda

    values = values_of(1000, torch.float32).cuda()
    stream = torch.zeros(cuszp.max_compressed_bytes(1000), dtype=torch.uint8, device="cuda")
    scratch = cuszp_cuda._scratch(values)
    length = cuszp_cuda.compress(values, 1e-2, "plain", stream)
    read = ctypes.c_uint64.from_address(scratch.answers + _ext.cuda().ANSWER_AT["stream_bytes"])
    assert read.value == length
    read.value = 0
    cuszp_cuda.compress_launch(values, 1e-2, "plain", stream)()
    torch.cuda.synchronize()
    assert read.value == 0
    assert ctypes.c_uint64.from_address(scratch.unread("stream_bytes")).value == length


@pytest.mark.parametrize("home", ["device", "host"])
def test_a_batch_goes_through_page_tables_and_back(home: str) -> None:
    cuda, count, n, page_bytes, bound = _ext.cuda(), 3, 4096, 256, 1e-2
    values = values_of(count * n, torch.float32).cuda().view(count, n)
    values[2, 5] = torch.nan  # breaks the limit that the last block alone has, so it is stored raw
    limit = torch.full((1,), bound, device="cuda")
    limits = [0, 0, limit.data_ptr()]
    back = torch.zeros_like(values)
    pages_each = values[0].nbytes // page_bytes
    where = {"pin_memory": True} if home == "host" else {"device": "cuda"}
    pool = torch.zeros((count * pages_each, page_bytes), dtype=torch.uint8, **where)
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))
    pages = (pool.data_ptr() + order * page_bytes).view(count, pages_each).cuda()

    def items(tensors: torch.Tensor) -> torch.Tensor:
        parts = zip(tensors, pages, limits, strict=True)
        rows = [[t.data_ptr(), n, p.data_ptr(), pages_each * page_bytes, 0, most] for t, p, most in parts]
        table = torch.tensor(rows, dtype=torch.int64, device="cuda")
        assert table[0].nbytes == cuda.BATCH_ITEM_BYTES
        return table

    into, out = items(values), items(back)
    results = torch.zeros((count, cuda.BATCH_RESULT_BYTES), dtype=torch.uint8, device="cuda")
    statuses = torch.full((count,), -1, dtype=torch.int32, device="cuda")
    dtype, mode, queue = cuda.DTYPES["float32"], cuda.MODES["plain"], torch.cuda.current_stream().cuda_stream
    given = (count, dtype, bound, mode, page_bytes)
    cuda.compress_batch(into.data_ptr(), *given, cuda.PAGES_HOMES[home], results.data_ptr(), 0, queue)
    cuda.decompress_batch(out.data_ptr(), results.data_ptr(), *given, statuses.data_ptr(), 0, queue)
    torch.cuda.synchronize()
    assert statuses.tolist() == [0] * count
    stored = results.cpu().numpy().view(np.dtype([("bytes", "<u8"), ("status", "<u4"), ("raw", "<u4")]))[:, 0]
    assert stored["status"].tolist() == [0] * count
    assert stored["raw"].tolist() == [0, 0, 1]
    assert (stored["bytes"][:2] < values[0].nbytes).all()
    assert torch.equal(back[2].view(torch.int32), values[2].view(torch.int32))
    for block in range(2):
        alone = cuszp.decompress(cuszp.compress(values[block].cpu(), bound), n, bound)
        assert torch.equal(back[block].cpu(), alone)
