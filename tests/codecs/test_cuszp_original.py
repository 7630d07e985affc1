"""Owns the tests of the original library as a guest, by a stand-in that has its interface and its faults."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_bench import context

from kvbench import cuszp
from kvbench.bench import compress
from kvbench.bound import Bound
from kvbench.codecs import cuszp_library, cuszp_original, registry
from kvbench.codecs.cuszp_original import CuszpOriginal
from kvbench.config import CodecChoice, build_experiment
from kvbench.errors import CaseFailed, UnavailableError, UsageError
from kvbench.record.gpu import cuda_facts
from kvbench.tensors.base import KVView

SOURCE = Path(__file__).with_name("fake_cuszp_original.cpp")
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "cuszp_v3_1d_f32.npz")
INDEX = json.loads(GOLDEN["index"].tobytes())
MODES = ("fixed", "plain", "outlier")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SIZES = (0, 1, 33, 1000, 32_768, 32_769, 70_001)

_COMPRESS = ctypes.CFUNCTYPE(
    ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float, ctypes.c_int, ctypes.c_void_p
)
_DECOMPRESS = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float, ctypes.c_int, ctypes.c_void_p)


class _Settings(ctypes.Structure):
    _fields_ = (
        ("error_bound", ctypes.c_float),
        ("dim", ctypes.c_int),
        ("type", ctypes.c_int),
        ("mode", ctypes.c_int),
        ("stream", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
    )


def _array(address: int, kind: type, count: int) -> np.ndarray:
    return np.ctypeslib.as_array((kind * count).from_address(address))


@_COMPRESS
def _compress(values: int, n: int, error_bound: float, mode: int, stream: int) -> int:
    made = cuszp.compress(_array(values, ctypes.c_float, n), error_bound, MODES[mode], threads=1)
    ctypes.memmove(stream, made, len(made))
    return len(made)


@_DECOMPRESS
def _decompress(stream: int, n: int, error_bound: float, mode: int, values: int) -> None:
    metadata = _array(stream, ctypes.c_uint8, cuszp.metadata_bytes(n))
    length = cuszp_library.true_length(metadata, MODES[mode])
    made = cuszp.decompress(_array(stream, ctypes.c_uint8, length), n, error_bound, MODES[mode], threads=1)
    ctypes.memmove(values, made.ctypes.data, made.nbytes)


def _built(folder: Path, compiler: list[str]) -> Path:
    library = folder / "libcuSZp.so"
    done = subprocess.run([*compiler, str(SOURCE), "-o", str(library)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ctypes.CDLL(str(library)).fake_use(_compress, _decompress)
    return library


@pytest.fixture(scope="module")
def host_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in on host memory."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler named c++")
    return _built(tmp_path_factory.mktemp("host"), [compiler, "-std=c++17", "-shared", "-fPIC"])


@pytest.fixture(scope="module")
def cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in on device memory."""
    nvcc = shutil.which("nvcc")
    if nvcc is None or not torch.cuda.is_available():
        pytest.skip("needs nvcc and an NVIDIA GPU")
    options = ["-std=c++17", "-x", "cu", "-shared", "-Xcompiler", "-fPIC"]
    return _built(tmp_path_factory.mktemp("cuda"), [nvcc, *options])


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A device on which the codec's library is the stand-in; on the CPU the codec takes host memory for a GPU's."""
    library = request.getfixturevalue("host_library" if request.param == "cpu" else "cuda_library")
    monkeypatch.setenv(cuszp_library.VARIABLE, str(library))
    if request.param == "cpu":
        monkeypatch.setattr(cuszp_original, "_require_gpu", lambda device: None)
        monkeypatch.setattr(cuszp_original, "_ready", lambda device: nullcontext())
    yield request.param
    cuszp_original._require_format.cache_clear()


def _last(library: Path) -> _Settings:
    return _Settings.in_dll(ctypes.CDLL(str(library)), "fake_last")


def _values(n: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Values of many sizes, and a stretch of zeros as long as several blocks."""
    values = torch.randn(n, generator=torch.Generator().manual_seed(n))
    values[n // 3 : n // 2] = 0
    return values.to(dtype)


class TestLoading:
    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            (None, "KVBENCH_CUSZP_LIBRARY is not set: build the original cuSZp v3"),
            ("", "KVBENCH_CUSZP_LIBRARY is not set"),
            ("/nowhere/libcuSZp.so", "KVBENCH_CUSZP_LIBRARY=/nowhere/libcuSZp.so cannot be loaded: .*No such file"),
            (__file__, "cannot be loaded: .*(invalid ELF header|file too short)"),
            ("libm.so.6", "libm.so.6 is not the original library .*undefined symbol: cuSZp_compress"),
        ],
    )
    def test_a_library_that_cannot_be_used_stays_listed(self, monkeypatch, path, reason):
        monkeypatch.delenv(cuszp_library.VARIABLE, raising=False)
        if path is not None:
            monkeypatch.setenv(cuszp_library.VARIABLE, path)
        with pytest.raises(UnavailableError, match=reason):
            cuszp_library.from_environment()
        info = next(info for info in registry.describe() if info.name == "cuszp-original")
        assert info.devices == ()
        assert info.axes == ("bound", "mode")
        assert re.search(reason, info.unavailable)
        assert registry.facts(CodecChoice(name="cuszp-original"), "auto").unavailable == info.unavailable

    def test_a_library_that_loads_needs_a_gpu(self, host_library, monkeypatch):
        monkeypatch.setenv(cuszp_library.VARIABLE, str(host_library))
        assert CuszpOriginal.unavailable("cpu") == "the original library runs on a GPU only"
        with pytest.raises(UsageError, match="cannot code a tensor on cpu: move it to a GPU"):
            CuszpOriginal().encode(KVView(torch.zeros(3)), torch.empty(2000, dtype=torch.uint8), Bound())


class TestCalls:
    @pytest.mark.parametrize("mode", MODES)
    def test_arguments_and_results(self, host_library, mode):
        library = cuszp_library.CuszpLibrary(str(host_library))
        values, bound = _values(40_000).numpy(), 0.1
        stream = np.zeros(cuszp.max_compressed_bytes(40_000), np.uint8)
        length = library.compress(values.ctypes.data, stream.ctypes.data, 40_000, bound, mode)
        assert stream[:length].tobytes() == cuszp.compress(values, bound, mode)
        asked = _last(host_library)
        assert (asked.dim, asked.type, asked.mode, asked.stream) == (1, 0, MODES.index(mode), None)
        assert asked.error_bound == np.float32(bound)
        decoded = np.zeros_like(values)
        library.decompress(decoded.ctypes.data, stream.ctypes.data, 40_000, length, bound, mode)
        assert np.array_equal(decoded, cuszp.decompress(stream[:length], 40_000, bound, mode))
        asked = _last(host_library)
        assert (asked.dim, asked.type, asked.mode, asked.stream, asked.bytes) == (1, 0, MODES.index(mode), None, length)

    def test_the_length_of_the_originals_own_streams(self):
        for entry in INDEX:
            stream = GOLDEN[entry["stream"]]
            metadata = stream[: cuszp.metadata_bytes(entry["n"])]
            assert cuszp_library.true_length(metadata, entry["mode"]) == len(stream) == entry["length"], entry
        assert {cuszp_library.reports_true_length(entry["n"]) for entry in INDEX} == {False, True}

    def test_which_lengths_are_believed(self):
        assert not cuszp_library.reports_true_length(32_768)
        assert cuszp_library.reports_true_length(32_769)
        assert not cuszp_library.reports_true_length(1 << 30)  # its longest stream takes more than 32 bits to count


class TestCodec:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("mode", MODES)
    def test_streams_and_values(self, device, mode, dtype):
        codec = CuszpOriginal(mode=mode)
        for n in SIZES:
            values = _values(n, dtype)
            encoded, _ = _encode(codec, values.to(device), Bound(kind="abs", value=0.02))
            expected = cuszp.compress(values, 0.02, mode)
            assert encoded.body.cpu().numpy().tobytes() == expected.numpy().tobytes()
            assert encoded.nbytes() == encoded.stream_bytes == len(expected)
            assert encoded.effective_error_bound == 0.02
            assert encoded.quantizer_error_bound == np.float32(0.02)
            assert encoded.flags == (("length_recomputed",) if 0 < n <= 32_768 else ())
            wanted = cuszp.decompress(expected, n, 0.02, mode)
            for kind in {dtype, torch.float32}:
                decoded = torch.full((n,), 77, dtype=kind, device=device)  # zero blocks must not keep this
                codec.decode(encoded, decoded)
                assert torch.equal(decoded.cpu(), wanted.to(kind))
            [(first, piece)] = codec.float32_chunks(encoded, (n,))
            assert first == 0
            assert torch.equal(piece.cpu(), wanted)

    def test_relative_bounds(self, device):
        values = _values(5000)
        width = float(values.max() - values.min())
        for kind, scale in (("rel", width), ("std", float(np.std(values.double().numpy())))):
            encoded, out = _encode(CuszpOriginal(), values.to(device), Bound(kind=kind, value=1e-2))
            assert encoded.effective_error_bound == pytest.approx(1e-2 * scale)
            assert set(CuszpOriginal().stages(KVView(values.to(device)), out, Bound(kind=kind))) == {"range"}
        assert CuszpOriginal().stages(KVView(values.to(device)), out, Bound(kind="abs")) == {}

    def test_memory_that_is_not_aligned(self, device):
        values = _values(1001).to(device)[1:]
        encoded, _ = _encode(CuszpOriginal(), values, Bound(kind="abs", value=0.02))
        assert torch.equal(encoded.body.cpu(), cuszp.compress(values.cpu(), 0.02))
        decoded = torch.full((1001,), 77.0, device=device)
        CuszpOriginal().decode(encoded, decoded[1:])
        assert torch.equal(decoded[1:].cpu(), cuszp.decompress(encoded.body.cpu(), 1000, 0.02))
        assert decoded[0] == 77

    def test_streams_longer_than_the_values_have_room(self, device):
        values = torch.randn(64, generator=torch.Generator().manual_seed(1)).to(device) * 1e6
        encoded, out = _encode(CuszpOriginal(), values, Bound(kind="abs", value=1e-3))
        assert 4 * 64 < encoded.nbytes() <= out.numel()

    def test_non_finite_values_are_counted_and_lost(self, device):
        values = _values(100)
        values[[3, 50]] = torch.tensor([torch.nan, torch.inf])
        encoded, _ = _encode(CuszpOriginal(), values.to(device), Bound(kind="abs", value=0.02))
        assert encoded.non_finite_count == 2
        assert encoded.flags == ("length_recomputed", "non_finite")
        decoded = torch.empty(100, device=device)
        CuszpOriginal().decode(encoded, decoded)
        assert torch.isfinite(decoded).all()

    @pytest.mark.parametrize("value", [1e-300, 1e300])
    def test_bounds_beyond_float32(self, device, value):
        with pytest.raises(CaseFailed, match="in float32, which the original library cannot quantise with") as failure:
            _encode(CuszpOriginal(), _values(100).to(device), Bound(kind="abs", value=value))
        assert failure.value.reason_code == "bound_unrepresentable"

    def test_a_constant_tensor_has_no_relative_bound(self, device):
        with pytest.raises(CaseFailed, match="the effective bound 0 is 0 in float32"):
            _encode(CuszpOriginal(), torch.full((100,), 2.5, device=device), Bound())

    def test_refusals(self, device):
        values = _values(100).to(device)
        encoded, out = _encode(CuszpOriginal(), values, Bound(kind="abs", value=0.02))
        with pytest.raises(UsageError, match="needs an error bound"):
            CuszpOriginal().encode(KVView(values), out, None)
        with pytest.raises(ValueError, match="bytes"):
            CuszpOriginal().encode(KVView(values), out[:-1], Bound(kind="abs", value=0.02))
        with pytest.raises(ValueError, match="decoding needs"):
            CuszpOriginal().decode(encoded, values[:50])
        with pytest.raises(TypeError, match="cannot decode"):
            CuszpOriginal().decode(object(), values)

    def test_a_library_of_another_format_is_found_out(self, device):
        @_COMPRESS
        def nonsense(values: int, n: int, error_bound: float, mode: int, stream: int) -> int:
            ctypes.memset(stream, 1, cuszp.metadata_bytes(n) + 8)
            return cuszp.metadata_bytes(n) + 8

        library = ctypes.CDLL(os.environ[cuszp_library.VARIABLE])
        library.fake_use(nonsense, _decompress)
        try:
            with pytest.raises(CaseFailed, match="does not write cuSZp v3 streams in mode fixed") as failure:
                _encode(CuszpOriginal(), _values(100).to(device), Bound(kind="abs", value=0.02))
            assert failure.value.reason_code == "guest_broken"
        finally:
            library.fake_use(_compress, _decompress)


@pytest.mark.cuda
def test_a_run_keeps_its_figures_and_calls_an_excess_invalid(cuda_library, monkeypatch, tmp_path):
    monkeypatch.setenv(cuszp_library.VARIABLE, str(cuda_library))
    ramp = tmp_path / "ramp.npy"
    np.save(ramp, 50 * np.arange(1, 20_001, dtype=np.float32) + np.float32(0.37))
    fields = {"input": ramp, "codec": "cuszp-original", "bound_kind": "abs", "device": "cuda"}
    experiment = build_experiment("sweep", {**fields, "error_bound": [1e-3, 1.0], "mode": list(MODES)})
    plan = compress.prepare(experiment, cuda_facts()).plan
    assert len(plan.cases) == 6
    for case in plan.cases:
        outcome = compress.run(case, context())
        assert outcome.flags == ["length_recomputed"]
        assert not {"encode_kernel", "decode_kernel"} & set(outcome.phases)
        assert {"encode_call", "decode_call"} < set(outcome.phases)
        if case.bound.value == 1.0:
            assert (outcome.status, outcome.metrics["violations"]) == ("ok", 0)
        else:
            assert (outcome.status, outcome.reason_code) == ("invalid", "bound_exceeded")
            assert outcome.metrics["violations"] > 0


@pytest.mark.cuda
def test_a_side_stream_is_waited_for(cuda_library, monkeypatch):
    monkeypatch.setenv(cuszp_library.VARIABLE, str(cuda_library))
    values, bound = _values(40_000), Bound(kind="abs", value=0.02)
    with torch.cuda.stream(torch.cuda.Stream()):
        late = torch.zeros(40_000, device="cuda")
        ready = values.cuda()
        torch.cuda._sleep(20_000_000)
        late.copy_(ready)
        encoded, _ = _encode(CuszpOriginal(), late, bound)
        decoded = torch.full((40_000,), 77.0, device="cuda")
        CuszpOriginal().decode(encoded, decoded)
        assert torch.equal(decoded.cpu(), cuszp.decompress(cuszp.compress(values, 0.02), 40_000, 0.02))


def _encode(
    codec: CuszpOriginal, values: torch.Tensor, bound: Bound
) -> tuple[cuszp_original.OriginalEncoded, torch.Tensor]:
    out = torch.full((codec.capacity(values.numel(), values.dtype),), 0xA5, dtype=torch.uint8, device=values.device)
    return codec.encode(KVView(values), out, bound), out
