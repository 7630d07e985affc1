"""Checks the clock that replays graphs: what it captures and how often, and when it gives way to events."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from kvbench.measure import cuda_graph
from kvbench.measure.clock import Clocks, CudaEventClock, HostClock, device_clocks
from kvbench.measure.cuda_graph import CudaGraphClock, captured, graph_clock
from kvbench.measure.sampling import StopRule, sample

NODE_S = 5e-6


class FakeGraph:
    """A graph of so many nodes that each take NODE_S."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


class FakeStream:
    device = "cuda:0"


class FakeGpu:
    """Captures calls and times replays without a GPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.graphs: list[FakeGraph] = []
        self.breaks = False
        monkeypatch.setattr(cuda_graph, "captured", self.captured)
        monkeypatch.setattr(cuda_graph, "SpinTimer", lambda stream: self)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)

    def captured(self, call: Callable[[], object], calls: int, stream: object) -> FakeGraph | None:
        if self.breaks:
            raise RuntimeError("operation not permitted when stream is capturing")
        launches = sum(call() is not None for _ in range(calls))
        if not launches:
            return None
        self.graphs.append(FakeGraph(launches))
        return self.graphs[-1]

    def forget(self) -> None:
        pass

    def take_flags(self) -> list[str]:
        return []

    def time_s(self, work: Callable[[], object], spin_cycles: int) -> float:
        before = sum(graph.replays * graph.nodes for graph in self.graphs)
        work()
        return NODE_S * (sum(graph.replays * graph.nodes for graph in self.graphs) - before)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu(monkeypatch)


def launch() -> str:
    return "one node"


def test_many_calls_become_one_graph_and_samples_are_its_replays(gpu: FakeGpu) -> None:
    clock = CudaGraphClock(FakeStream())  # type: ignore[arg-type]
    timed = sample(launch, clock=clock, rule=StopRule(iterations=6), work_bytes=1, nvtx_text="case/phase")
    assert timed.clock == "cuda_graph"
    assert timed.calls_per_sample >= clock.minimum_sample_s / NODE_S
    assert timed.median_s == pytest.approx(NODE_S)
    assert timed.flags == []
    sampled = gpu.graphs[-1]
    assert sampled.nodes == timed.calls_per_sample
    # The first launch, which uploads it, the last of the warm-up, and six samples.
    assert sampled.replays >= 1 + 1 + 6


def test_a_call_that_goes_round_buffers_is_captured_in_whole_rounds(gpu: FakeGpu) -> None:
    clock = CudaGraphClock(FakeStream())  # type: ignore[arg-type]
    rule = StopRule(iterations=3)
    timed = sample(launch, clock=clock, rule=rule, work_bytes=1, nvtx_text="case/phase", batch_of=7)
    assert timed.calls_per_sample % 7 == 0
    assert [graph.nodes % 7 for graph in gpu.graphs] == [0] * len(gpu.graphs)


def test_work_that_a_graph_cannot_hold_is_left_to_events(gpu: FakeGpu) -> None:
    stream, events = FakeStream(), HostClock()
    clocks = Clocks(work=events, call=events, graph_of=lambda call: graph_clock(stream, call))  # type: ignore[arg-type]
    assert clocks.kernel(launch).name == "cuda_graph"
    assert clocks.kernel(lambda: None) is events  # nothing came onto the stream
    gpu.breaks = True
    assert clocks.kernel(launch) is events


def test_without_graphs_kernels_have_the_clock_of_work() -> None:
    host = HostClock()
    assert Clocks(work=host, call=HostClock()).kernel(launch) is host


class FakeCapture:
    def capture_begin(self, capture_error_mode: str) -> None:
        pass

    def capture_end(self) -> None:
        pass


def test_warnings_of_a_captured_call_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeCapture)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    stream = SimpleNamespace(synchronize=lambda: None)
    with pytest.warns(UserWarning, match="mind the step") as said:
        assert captured(lambda: warnings.warn("mind the step", stacklevel=1), 2, stream) is not None  # type: ignore[arg-type]
    assert len(said) == 2
    # torch's own, where nothing was captured, is no news.
    assert captured(lambda: warnings.warn("The CUDA Graph is empty.", stacklevel=1), 1, stream) is None  # type: ignore[arg-type]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_delay_kernel_is_in_the_time_of_its_replays() -> None:
    cycles = 2_000_000

    def delay() -> None:
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]

    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        clock = device_clocks("cuda").kernel(delay)
        assert isinstance(clock, CudaGraphClock)
        # No GPU runs above 4 GHz.
        assert clock.time_s(delay, 3) >= 3 * cycles / 4e9


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_replays_do_the_work_and_a_waiting_call_falls_back() -> None:
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        count = torch.zeros(1000, device="cuda")

        def add() -> None:
            count.add_(1)

        def wait() -> None:
            float(count.sum())

        clocks = device_clocks("cuda")
        assert isinstance(clocks.kernel(wait), CudaEventClock)
        assert torch.rand(10, device="cuda").max() < 1  # a capture that broke leaves the random numbers usable
        clock = clocks.kernel(add)  # a capture that broke does not spoil the next
        assert isinstance(clock, CudaGraphClock)
        torch.cuda.synchronize()
        before = float(count[0])
        clock.time_s(add, 10)
        torch.cuda.synchronize()
        made = float(count[0]) - before
        assert made >= 2 * 10  # the upload and the sample
        assert made % 10 == 0  # a sample that is taken anew is a whole replay
        assert clock.time_s(lambda: None, 10) < clock.time_s(add, 1000)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_default_stream_has_events() -> None:
    values = torch.zeros(10, device="cuda")
    assert isinstance(device_clocks("cuda").kernel(lambda: values.add_(1)), CudaEventClock)
    assert torch.rand(10, device="cuda").max() < 1
