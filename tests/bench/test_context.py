"""Checks what cases share: the loaded view and the clock of their device."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from fake_bench import context

from kvbench.bench import compress
from kvbench.bench import context as context_module
from kvbench.config import build_experiment
from kvbench.record.schema import Case, TensorSpec


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
