"""Checks what cases share: the loaded view and the clock of their device."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from fake_bench import CALL_S, SteadyClock, context, steady_clocks

from kvbench.bench import compress
from kvbench.bench import context as context_module
from kvbench.config import build_experiment
from kvbench.measure.clock import Clocks
from kvbench.measure.unseen_work import LOOKS
from kvbench.record.schema import Case, PhaseSamples, TensorSpec


def cases(**fields: object) -> tuple[Case, ...]:
    return compress.prepare(build_experiment("sweep", fields), "no GPU").plan.cases


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    load = context_module.registry.load

    def recorded(spec: TensorSpec, seed: int) -> torch.Tensor:
        seen.append(spec.tensor)
        return load(spec, seed)

    monkeypatch.setattr(context_module.registry, "load", recorded)
    return seen


def test_cases_on_one_tensor_load_it_once(loads: list[str]) -> None:
    shared = context()
    for case in cases(source="gaussian", tensor_size=1024, error_bound=[1e-1, 1e-2, 1e-3], mode=["fixed", "plain"]):
        shared.view(case)
    assert loads == ["layers.0.k", "layers.0.v"]


def test_another_layout_dtype_or_seed_is_another_view(loads: list[str]) -> None:
    shared = context()
    [first, *_] = cases(source="gaussian", tensor_size=1024)
    views = [
        shared.view(first.model_copy(update=change))
        for change in ({}, {"layout": "hdt"}, {"dtype": "bfloat16"}, {"seed": 1})
    ]
    assert len(loads) == 4
    assert views[1].layout == "hdt"
    assert views[1].tensor.shape == (8, 128, 1)
    assert views[2].tensor.dtype == torch.bfloat16
    assert not torch.equal(views[3].tensor, views[0].tensor)


def test_work_that_goes_on_beside_the_clock_leaves_no_median() -> None:
    [case, _] = cases(source="gaussian", tensor_size=1024)
    seen: list[object] = []

    def unseen_s(call: object, calls: int) -> float:
        seen.append((call, calls))
        return unseen[min(len(seen), len(unseen)) - 1]

    def clocks(device: str, device_id: int) -> Clocks:
        return replace(steady_clocks(device, device_id), unseen_s=unseen_s)

    shared = context(clocks_of=clocks)
    unseen = [0.1 * CALL_S]
    timed = shared.sample(case, "encode_kernel", int, SteadyClock())
    assert (timed.median_s, timed.flags) == (CALL_S, ["few_samples"])
    unseen = [0.5 * CALL_S]
    timed = shared.sample(case, "encode_kernel", int, SteadyClock())
    assert "unseen_work" in timed.flags
    assert (timed.median_s, timed.ci_low_s, timed.ci_high_s) == (None, None, None)
    assert seen == [(int, 1)] * (1 + LOOKS)
    seen.clear()
    unseen = [0.5 * CALL_S, 0.0]  # the host was held up at the first look
    assert shared.sample(case, "encode_kernel", int, SteadyClock()).median_s == CALL_S


def test_a_phase_and_the_source_have_ranges_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: list[str] = []

    @contextmanager
    def recorded(text: str) -> Iterator[None]:
        ranges.append(f"push {text}")
        yield
        ranges.append("pop")

    monkeypatch.setattr(context_module, "marked", recorded)
    [case, _] = cases(source="gaussian", tensor_size=1024)
    shared = context()
    shared.view(case)
    shared.view(case)
    shared.sample(case, "encode_call", int, SteadyClock())
    assert ranges == [f"push {case.id}/source", "pop", f"push {case.id}/encode_call", "pop"]


def test_the_card_is_measured_once_a_run_and_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def measured(clocks: Clocks, device_id: int, clock_log: object) -> PhaseSamples:
        asked.append(device_id)
        seconds = {"median_s": 1e-3, "ci_low_s": 0.8e-3, "ci_high_s": 1.25e-3}
        return PhaseSamples(samples_s=[1e-3], work_bytes=3_000_000_000, flags=["noisy"], **seconds)

    monkeypatch.setattr(context_module, "device_copy", measured)
    [case, _] = cases(source="gaussian", tensor_size=1024)
    on_gpu = case.model_copy(update={"device": "cuda"})
    shared = context(device_id=1, watch_of=lambda device, device_id: "no NVML here")
    assert shared.device_copy_gbps(case) is None
    assert [shared.device_copy_gbps(on_gpu) for _ in range(3)] == [3000.0] * 3
    assert asked == [1]
    copy = "device copy, which kernels are compared with: 3000 GB/s (95 %: 2400 to 3750); flags: noisy"
    assert shared.notes() == [copy, "clock not watched: no NVML here"]
    assert context().notes() == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_another_dtype_does_not_load_again(loads: list[str]) -> None:
    shared = context()
    [k, v] = [case.model_copy(update={"device": "cuda"}) for case in cases(source="gaussian", tensor_size=1024)]
    for dtype in ("float32", "bfloat16", "float16"):
        view = shared.view(k.model_copy(update={"dtype": dtype}))
        assert view.tensor.is_cuda
        assert str(view.tensor.dtype) == f"torch.{dtype}"
    assert loads == ["layers.0.k"]
    shared.view(v)
    assert loads == ["layers.0.k", "layers.0.v"]


def test_how_it_was_timed_is_recorded() -> None:
    [case, _] = cases(source="gaussian", tensor_size=1024)
    timed = context().sample(case, "encode_overlap", int, SteadyClock(), 4, "cold", 512)
    assert (timed.cache, timed.chunk_bytes, timed.calls_per_sample % 4) == ("cold", 512, 0)


def test_the_last_view_is_let_go_before_the_next_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = context()
    [k, v] = cases(source="gaussian", tensor_size=1024)
    last = weakref.ref(shared.view(k).tensor)
    alive: list[bool] = []
    load = context_module.registry.load

    def watched(spec: TensorSpec, seed: int) -> torch.Tensor:
        gc.collect()
        alive.append(last() is not None)
        return load(spec, seed)

    monkeypatch.setattr(context_module.registry, "load", watched)
    shared.view(v)
    assert alive == [False]
