"""Views: order of axes, rounding, and no copy when nothing changes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kvbench.errors import UsageError
from kvbench.plan import permuted_shape
from kvbench.record.schema import SourceLayout, TensorSpec
from kvbench.tensors.layout import as_view, torch_dtype

LAYOUTS: tuple[SourceLayout, ...] = ("thd", "htd", "hdt")


def spec_of(tensor: torch.Tensor, layout: SourceLayout) -> TensorSpec:
    return TensorSpec(
        source="x.npy",
        tensor="layers.3.k",
        layer=3,
        kv="k",
        dtype=str(tensor.dtype).removeprefix("torch."),
        shape=tuple(tensor.shape),
        source_layout=layout,
    )


@pytest.mark.parametrize(("stored", "seen"), list(itertools.product(LAYOUTS, LAYOUTS)))
def test_every_layout_from_every_layout(stored: SourceLayout, seen: SourceLayout) -> None:
    tokens, heads, size = 5, 2, 3
    by_token = torch.arange(tokens * heads * size, dtype=torch.float32).reshape(tokens, heads, size)
    order = {"thd": (0, 1, 2), "htd": (1, 0, 2), "hdt": (1, 2, 0)}
    tensor = by_token.permute(order[stored]).contiguous()
    view = as_view(tensor, spec_of(tensor, stored), seen, "float32")
    assert torch.equal(view.tensor, by_token.permute(order[seen]))
    assert view.tensor.is_contiguous()
    assert tuple(view.tensor.shape) == permuted_shape(spec_of(tensor, stored), seen)
    assert (view.layout, view.layer, view.kv, view.token_start) == (seen, 3, "k", 0)


def test_nothing_is_copied_when_nothing_changes() -> None:
    tensor = torch.zeros(4, 2, 8, dtype=torch.bfloat16)
    assert as_view(tensor, spec_of(tensor, "thd"), "thd", "bfloat16").tensor.data_ptr() == tensor.data_ptr()
    flat = torch.zeros(7)
    assert as_view(flat, spec_of(flat, "flat"), "flat", "float32").tensor.data_ptr() == flat.data_ptr()


def test_the_original_stays_when_something_changes() -> None:
    tensor = torch.ones(4, 2, 8)
    as_view(tensor, spec_of(tensor, "thd"), "hdt", "bfloat16").tensor.zero_()
    assert torch.equal(tensor, torch.ones(4, 2, 8))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_bfloat16_rounds_to_nearest_even(values: list[float]) -> None:
    tensor = torch.tensor(values, dtype=torch.float32)
    view = as_view(tensor, spec_of(tensor, "flat"), "flat", "bfloat16")
    bits = tensor.numpy().view(np.uint32).astype(np.uint64)
    expected = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    assert np.array_equal(view.tensor.view(torch.uint16).numpy(), expected)


def test_float16_overflow_is_an_infinity() -> None:
    tensor = torch.tensor([65504.0, 65520.0, -1e9])
    view = as_view(tensor, spec_of(tensor, "flat"), "flat", "float16")
    assert view.tensor.tolist() == [65504.0, float("inf"), float("-inf")]


def test_a_column_major_tensor_is_laid_out_in_order() -> None:
    tensor = torch.arange(6.0).reshape(3, 2).T
    view = as_view(tensor, spec_of(tensor, "flat"), "flat", "float32")
    assert view.tensor.is_contiguous()
    assert torch.equal(view.tensor, tensor)


@pytest.mark.parametrize(("stored", "asked"), [("flat", "hdt"), ("thd", "flat")])
def test_a_layout_that_cannot_be_is_refused(stored: SourceLayout, asked: SourceLayout) -> None:
    tensor = torch.zeros(2, 2, 2) if stored == "thd" else torch.zeros(8)
    with pytest.raises(UsageError, match=f"stored as {stored}; it cannot be laid out as {asked}"):
        as_view(tensor, spec_of(tensor, stored), asked, "float32")


def test_names_of_types() -> None:
    assert [torch_dtype(name) for name in ("float32", "bfloat16", "float16")] == [
        torch.float32,
        torch.bfloat16,
        torch.float16,
    ]
    with pytest.raises(UsageError, match=r"unknown dtype 'int8'; use one of float32"):
        torch_dtype("int8")
