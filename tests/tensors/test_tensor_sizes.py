"""Sizes in elements and tokens as shapes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbench.config import Experiment
from kvbench.errors import UsageError
from kvbench.tensors.sizes import cut, synthetic_specs


def experiment(**fields: object) -> Experiment:
    return Experiment.model_validate({"command": "sweep", **fields})


@given(st.integers(1, 10_000_000))
def test_a_size_gives_k_and_v_of_that_many_elements(size: int) -> None:
    specs = synthetic_specs("kv", experiment(tensor_size=size))
    assert [(spec.kv, spec.layer, spec.tensor) for spec in specs] == [("k", 0, "layers.0.k"), ("v", 0, "layers.0.v")]
    for spec in specs:
        assert spec.elements == size
        assert spec.dtype == "float32"
        expected = ((size // 1024, 8, 128), "thd") if size % 1024 == 0 else ((size,), "flat")
        assert (spec.shape, spec.source_layout) == expected


def test_a_geometry_gives_its_shape_and_dtype() -> None:
    specs = synthetic_specs("kv", experiment(geometry="smollm2-135m,tokens=100", layers=(0, 29)))
    assert [spec.tensor for spec in specs] == ["layers.0.k", "layers.0.v", "layers.29.k", "layers.29.v"]
    assert {spec.shape for spec in specs} == {(100, 3, 64)}
    assert {spec.dtype for spec in specs} == {"bfloat16"}


def test_a_cast_starts_from_float32() -> None:
    specs = synthetic_specs("kv", experiment(geometry="smollm2-135m,tokens=100", dtype=("float16",)))
    assert {spec.dtype for spec in specs} == {"float32"}


def test_sizes_and_geometries_and_layers_multiply() -> None:
    specs = synthetic_specs("kv", experiment(tensor_size=(1024, 100), geometry="smollm2-135m", layers=(0, 1)))
    assert len(specs) == 3 * 2 * 2


def test_without_a_size_it_is_a_million_elements() -> None:
    assert {spec.elements for spec in synthetic_specs("kv", experiment())} == {1 << 20}


def test_the_glob_chooses() -> None:
    assert [spec.kv for spec in synthetic_specs("kv", experiment(tensor="*.k"))] == ["k"]
    with pytest.raises(UsageError, match=r"source 'kv' holds no tensor matching 'x'; it has layers.0.k, layers.0.v"):
        synthetic_specs("kv", experiment(tensor="x"))


def test_a_layer_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="--layers 30: the geometry has layers 0 to 29"):
        synthetic_specs("kv", experiment(layers=(0, 30), geometry="smollm2-135m"))


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((10, 2, 4), "thd", (3, 2, 4)),
        ((2, 10, 4), "htd", (2, 3, 4)),
        ((2, 4, 10), "hdt", (2, 4, 3)),
        ((5, 20), "flat", (24,)),
    ],
)
def test_a_cut_keeps_whole_tokens(shape: tuple[int, ...], layout: str, expected: tuple[int, ...]) -> None:
    assert cut(shape, layout, 24, "t") == expected
    assert cut(shape, layout, math.prod(shape), "t") in (shape, (math.prod(shape),))


@pytest.mark.parametrize("elements", [25, 7])
def test_a_cut_inside_a_token_is_refused(elements: int) -> None:
    with pytest.raises(UsageError, match=rf"--tensor-size {elements}: t has 8 elements a token; give a multiple"):
        cut((10, 2, 4), "thd", elements, "t")


def test_a_cut_larger_than_the_tensor_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--tensor-size 81: t has only 80 elements"):
        cut((10, 2, 4), "thd", 81, "t")
