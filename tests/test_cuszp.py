"""Owns the tests of the raw codec functions: the original's streams, what they accept, what they refuse."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import reference_cuszp as reference
import torch

from kvbench import cuszp
from kvbench.errors import UsageError

with np.load(Path(__file__).parent / "golden" / "cuszp_v3_1d_f32.npz") as archive:
    GOLDEN = dict(archive)
ENTRIES = json.loads(GOLDEN["index"].tobytes())
VALUES = np.random.default_rng(3).normal(size=(7, 50, 33)).astype(np.float32)


def _bound(entry: dict[str, object]) -> float:
    return float(np.uint32(int(str(entry["eb_f32_hex"]), 16)).view(np.float32))


def test_the_golden_file_is_whole() -> None:
    assert len(ENTRIES) == 144
    assert {entry["mode"] for entry in ENTRIES} == set(cuszp.MODES)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e['kind']}-{e['n']}-{e['eb']}-{e['mode']}")
def test_golden_stream_both_ways(entry: dict[str, object], threads: int) -> None:
    values, stream = GOLDEN[str(entry["input"])], GOLDEN[str(entry["stream"])].tobytes()
    mode, n = str(entry["mode"]), int(str(entry["n"]))
    assert len(stream) == entry["length"]
    assert cuszp.compress(values, _bound(entry), mode, threads=threads) == stream
    decoded = cuszp.decompress(stream, n, _bound(entry), mode, threads=threads)
    assert decoded.dtype == np.float32
    assert decoded.shape == (n,)
    assert hashlib.sha256(decoded.tobytes()).hexdigest() == entry["decoded_sha256"]


@pytest.mark.parametrize("entry", ENTRIES[::5], ids=lambda e: f"{e['kind']}-{e['n']}-{e['eb']}-{e['mode']}")
def test_the_reference_agrees_with_the_golden_streams(entry: dict[str, object]) -> None:
    stream = GOLDEN[str(entry["stream"])].tobytes()
    assert reference.encode(GOLDEN[str(entry["input"])], _bound(entry), str(entry["mode"])) == stream
    decoded = reference.decode(stream, int(str(entry["n"])), _bound(entry), str(entry["mode"]))
    assert hashlib.sha256(decoded.tobytes()).hexdigest() == entry["decoded_sha256"]


@pytest.mark.parametrize("mode", cuszp.MODES)
def test_sixteen_bit_values_give_the_stream_of_their_float32_values(mode: str) -> None:
    for dtype in (np.float16, ml_dtypes.bfloat16):
        narrow = VALUES.astype(dtype)
        assert cuszp.compress(narrow, 1e-3, mode) == cuszp.compress(narrow.astype(np.float32), 1e-3, mode)


def test_strides_and_byte_order_do_not_matter() -> None:
    for view in (VALUES.transpose(2, 0, 1), VALUES[::-2, 1:, ::3], np.broadcast_to(VALUES[0], (3, 50, 33))):
        expected = cuszp.compress(view.copy(), 1e-2)
        assert cuszp.compress(view, 1e-2) == expected
        assert cuszp.compress(view.astype(">f4"), 1e-2) == expected
        tensor = torch.from_numpy(VALUES).permute(2, 0, 1)
    assert cuszp.compress(tensor, 1e-2).numpy().tobytes() == cuszp.compress(VALUES.transpose(2, 0, 1), 1e-2)


def test_odd_addresses_are_fine() -> None:
    for offset in range(4):
        buffer = np.zeros(VALUES.nbytes + offset, np.uint8)
        buffer[offset:] = np.frombuffer(VALUES.tobytes(), np.uint8)
        assert cuszp.compress(buffer[offset:].view(np.float32), 1e-2) == cuszp.compress(VALUES, 1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensors_in_tensors_out(dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(VALUES).to(dtype).requires_grad_()
    stream = cuszp.compress(tensor, 1e-2, "outlier")
    assert stream.dtype == torch.uint8
    wide = tensor.detach().float().numpy()
    assert stream.numpy().tobytes() == cuszp.compress(wide, 1e-2, "outlier")
    decoded = cuszp.decompress(stream, tensor.numel(), 1e-2, "outlier")
    assert decoded.dtype == torch.float32
    np.testing.assert_array_equal(decoded.numpy(), cuszp.decompress(stream.numpy(), VALUES.size, 1e-2, "outlier"))
    assert np.abs(decoded.numpy() - wide.reshape(-1)).max() <= 1e-2 * (1 + 1e-5)


def test_decompress_takes_any_buffer() -> None:
    stream = cuszp.compress(VALUES, 1e-2)
    spread = np.repeat(np.frombuffer(stream, np.uint8), 2)[::2]
    buffers = [bytearray(stream), memoryview(stream), memoryview(spread), spread, np.frombuffer(stream, np.uint8)]
    for buffer in buffers:
        np.testing.assert_array_equal(
            cuszp.decompress(buffer, VALUES.size, 1e-2), cuszp.decompress(stream, VALUES.size, 1e-2)
        )


def test_no_values_make_an_empty_stream() -> None:
    assert cuszp.compress(np.empty((0, 4), np.float32), 1e-2) == b""
    assert cuszp.compress(torch.empty(0), 1e-2).shape == (0,)
    assert cuszp.decompress(b"", 0, 1e-2).shape == (0,)


def test_sizes() -> None:
    assert [cuszp.metadata_bytes(n) for n in (0, 1, 32768, 32769)] == [0, 1024, 1024, 2048]
    assert [cuszp.max_compressed_bytes(n) for n in (0, 1, 32, 33)] == [0, 1152, 1152, 1280]


REFUSED_BOUNDS = [0, 0.0, -1e-3, float("nan"), float("inf"), -float("inf"), 1e-60, 1e39, 10**400, "x", None]


@pytest.mark.parametrize("bound", REFUSED_BOUNDS)
def test_bounds_that_are_refused(bound: object) -> None:
    with pytest.raises(UsageError, match="error_bound") as refusal:
        cuszp.compress(VALUES, bound)  # type: ignore[call-overload]
    assert str(bound) in str(refusal.value)
    with pytest.raises(UsageError, match="error_bound"):
        cuszp.decompress(b"", 0, bound)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (VALUES.view(np.uint16), "uint16.*ml_dtypes.bfloat16"),
        (VALUES.astype(np.float64), "float64.*float32, bfloat16, float16"),
        (VALUES.astype(object), "object"),
        ([1.0, 2.0], "list"),
        (torch.zeros(3, dtype=torch.float64), "float64"),
        (torch.zeros(3, device="meta"), "meta"),
        (torch.eye(3).to_sparse(), "sparse"),
    ],
)
def test_values_that_are_refused(values: object, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        cuszp.compress(values, 1e-2)  # type: ignore[call-overload]


def test_other_arguments_that_are_refused() -> None:
    stream = cuszp.compress(VALUES, 1e-2)
    with pytest.raises(UsageError, match=r"'lossy'.*fixed, plain, outlier"):
        cuszp.compress(VALUES, 1e-2, "lossy")
    with pytest.raises(UsageError, match="threads -1"):
        cuszp.compress(VALUES, 1e-2, threads=-1)
    for n in (-1, 2**63, 1.5, "7"):
        with pytest.raises(UsageError, match=f"n '?{n}"):
            cuszp.decompress(stream, n, 1e-2)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=r"n = 10000000000000 .*check n"):
        cuszp.decompress(stream, 10**13, 1e-2)
    with pytest.raises(UsageError, match=f"n = {VALUES.size - 100} .*check n and mode"):
        cuszp.decompress(stream, VALUES.size - 100, 1e-2)
    with pytest.raises(UsageError, match="left over"):
        cuszp.decompress(stream + b"\0", VALUES.size, 1e-2)
    for wrong in ("text", 7, np.zeros(2000, np.int8), torch.zeros(2000)):
        with pytest.raises(UsageError, match="a stream of"):
            cuszp.decompress(wrong, 1, 1e-2)  # type: ignore[call-overload]


@pytest.mark.parametrize("truth", [True, False, np.True_])
def test_truth_values_are_no_numbers(truth: Any) -> None:
    stream = cuszp.compress(VALUES, 1e-2)
    for call, name in (
        (lambda: cuszp.compress(VALUES, truth), "error_bound"),
        (lambda: cuszp.compress(VALUES, 1e-2, threads=truth), "threads"),
        (lambda: cuszp.decompress(stream, VALUES.size, truth), "error_bound"),
        (lambda: cuszp.decompress(stream, VALUES.size, 1e-2, threads=truth), "threads"),
        (lambda: cuszp.decompress(stream, truth, 1e-2), "n"),
        (lambda: cuszp.metadata_bytes(truth), "n"),
        (lambda: cuszp.max_compressed_bytes(truth), "n"),
    ):
        with pytest.raises(UsageError, match=rf"^{name} .*(True|False).* is not an? (number|integer)"):
            call()


@pytest.mark.parametrize("threads", [1, 2])
def test_flushing_subnormals_in_the_process_changes_nothing(threads: int) -> None:
    values = np.where(np.arange(200_000) % 7 < 3, 3e38, -2e38).astype(np.float32)
    bound = 1e38  # 0.5 / bound is subnormal
    stream = cuszp.compress(values, bound, threads=threads)
    decoded = cuszp.decompress(stream, values.size, bound, threads=threads)
    assert np.count_nonzero(decoded) == values.size
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        assert cuszp.compress(values, bound, threads=threads) == stream
        flushed = cuszp.decompress(stream, values.size, bound, threads=threads)
    finally:
        torch.set_flush_denormal(False)
    assert flushed.tobytes() == decoded.tobytes()


def test_the_module_does_not_import_torch() -> None:
    code = (
        "import sys, numpy; from kvbench import cuszp; "
        "cuszp.compress(numpy.ones(3, 'f4'), 1); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
