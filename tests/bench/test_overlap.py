"""Checks chunk-wise coding with overlapping copies: the chunks, the order of waits, and that spoiled bytes are seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import pytest
import torch
from fake_bench import Shifting

from kvbench.bench import compress, overlap
from kvbench.bench.context import BenchContext
from kvbench.bench.overlap import Overlap, chunk_views, overlap_of
from kvbench.bound import Bound
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.cuszp import Cuszp
from kvbench.codecs.raw import Raw
from kvbench.config import build_experiment
from kvbench.errors import CaseFailed
from kvbench.measure.sampling import StopRule
from kvbench.tensors.base import KVView

ABS = Bound(kind="abs", value=1e-3)


class FakeEvent:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def record(self, stream: FakeStream) -> None:
        self.log.append(f"{stream.name} records {self.name}")


class FakeStream:
    device = "cpu"

    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def wait_event(self, event: FakeEvent) -> None:
        self.log.append(f"{self.name} waits {event.name}")

    def wait_stream(self, stream: FakeStream) -> None:
        self.log.append(f"{self.name} waits {stream.name}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The streams and events of CUDA stood in for: everything runs at once, and what would wait is noted."""
    events: list[str] = []
    names = cycle(("ready 0", "ready 1", "free 0", "free 1"))

    @contextmanager
    def current(stream: FakeStream) -> Iterator[None]:
        events.append(f"{stream.name} copies")
        yield

    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **more: empty(*shape, **more))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: FakeStream(events, "work"))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream(events, "side"))
    monkeypatch.setattr(torch.cuda, "Event", lambda: FakeEvent(events, next(names)))
    monkeypatch.setattr(torch.cuda, "stream", current)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    return events


def view_of(rows: int = 30) -> KVView:
    generator = torch.Generator().manual_seed(1)
    return KVView(torch.randn(rows, 4, 32, generator=generator), layout="thd")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "LEAST_CHUNK_BYTES", 10 * 4 * 32 * 4)  # ten rows


def test_small_tensors_are_not_cut() -> None:
    assert len(chunk_views(view_of())) == 1
    assert len(chunk_views(KVView(torch.empty(0)))) == 1
    assert len(chunk_views(KVView(torch.tensor(1.0)))) == 1


@pytest.mark.parametrize(("rows", "chunks"), [(19, 1), (20, 2), (30, 3), (35, 3), (1000, 4), (1001, 4)])
def test_chunks_cover_the_tensor_in_order(small_chunks: None, rows: int, chunks: int) -> None:
    view = view_of(rows)
    cut = chunk_views(view)
    assert len(cut) == chunks
    assert torch.equal(torch.cat([one.tensor for one in cut]), view.tensor)
    assert {one.layout for one in cut} == {"thd"}
    assert all(one.tensor.is_contiguous() for one in cut)


class Noting(Cuszp):
    """Notes its calls among the waits."""

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Any:
        _log.append("encode")
        return super().encode(view, out, bound)

    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        _log.append("decode")
        super().decode(encoded, out)


_log: list[str] = []


def test_a_buffer_is_used_again_only_after_its_copy(log: list[str], small_chunks: None) -> None:
    global _log  # a codec is its parameters and has no room for a log
    _log = log
    both = Overlap(Noting(), chunk_views(view_of()), torch.empty(30, 4, 32), ABS)
    log.clear()
    both.encode()
    one = ["work waits free {0}", "encode", "work records ready {0}", "side waits ready {0}", "side copies"]
    one.append("side records free {0}")
    assert log == [line.format(slot) for slot in (0, 1, 0) for line in one] + ["work waits side"]
    log.clear()
    both.decode()
    fetch = ["side waits free {0}", "side copies", "side records ready {0}"]
    use = ["work waits ready {0}", "decode", "work records free {0}"]
    steps = [(fetch, 0), (fetch, 1), (use, 0), (fetch, 0), (use, 1), (use, 0)]
    assert log == ["side waits work", *[line.format(slot) for lines, slot in steps for line in lines]]


@pytest.mark.parametrize("codec", [Cuszp(), Raw()], ids=["cuszp", "raw"])
def test_what_comes_back_is_what_one_by_one_gives(log: list[str], small_chunks: None, codec: Codec) -> None:
    view = view_of(35)
    out = torch.empty(codec.capacity(view.tensor.numel(), view.tensor.dtype), dtype=torch.uint8)
    bound = Bound(value=1e-3) if "bound" in codec.axes else None
    both = overlap_of(codec, view, torch.empty_like(view.tensor), codec.encode(view, out, bound), bound)
    assert both is not None
    assert both.chunk_bytes == 12 * 4 * 32 * 4
    both.verify()


class Losing(Overlap):
    """Lets the next chunk's bytes come before those of chunk 1 are decoded, as a missing wait would."""

    def _fetch(self, number: int, starts: list[int]) -> None:
        super()._fetch(number, starts)
        if number == 1:
            self._buffers[1][:8] = self._buffers[0][:8]


def test_bytes_that_were_overrun_are_seen(log: list[str], small_chunks: None) -> None:
    chunks, decoded = chunk_views(view_of()), torch.empty(30, 4, 32)
    Overlap(Raw(), chunks, decoded, None).verify()
    losing = Losing(Raw(), chunks, decoded, None)
    with pytest.raises(CaseFailed, match="chunk 1 came back other than without overlap"):
        losing.verify()


def test_a_bound_of_nothing_leaves_the_phase_out(log: list[str], small_chunks: None) -> None:
    view = KVView(torch.ones(30, 4, 32))
    encoded = Shifting().encode(view, torch.empty(64, dtype=torch.uint8), Bound(value=1e-3))
    assert encoded.effective_error_bound == 0.0
    assert overlap_of(Shifting(), view, torch.empty_like(view.tensor), encoded, Bound(value=1e-3)) is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_tensors_on_a_gpu_have_the_phases(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "LEAST_CHUNK_BYTES", 1 << 23)
    experiment = build_experiment(
        "sweep", {"source": "gaussian", "tensor_size": (1 << 23) + 1024, "codec": ["cuszp", "raw"], "dtype": dtype}
    )
    from kvbench.record.gpu import cuda_facts

    cases = compress.prepare(experiment, cuda_facts(0)).plan.cases
    shared = BenchContext(rule=StopRule(iterations=2))
    for case in cases[::2]:
        outcome = compress.run(case, shared)
        assert outcome.status == "ok"
        for phase in ("encode_overlap", "decode_overlap"):
            assert outcome.phases[phase].clock == "host"
            assert (outcome.phases[phase].chunk_bytes or 0) >= overlap.LEAST_CHUNK_BYTES
