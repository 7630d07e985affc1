"""Caches of every form that is met, read as planes."""

from __future__ import annotations

import pytest
import torch

from kvbench.errors import UsageError
from kvbench.swap.planes import guessed_axes, planes_of

B, T, H, C = 5, 4, 2, 8


def numbered(*shape: int) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


@pytest.mark.parametrize(
    ("values", "axes"),
    [
        (numbered(3, 2, B, T, H, C), "lkbthc"),
        (numbered(3, 2, B, H, T, C).transpose(3, 4), "lkbthc"),
        (numbered(B, H, 3, 2, T, C).permute(2, 3, 0, 4, 1, 5), "lkbthc"),
        (numbered(B, H, 3, 2, T, C), "bhlktc"),
    ],
)
def test_one_tensor_across_layers(values, axes):
    found = planes_of(values, axes)
    assert [(plane.layer, plane.kv) for plane in found] == [(layer, kv) for layer in range(3) for kv in "kv"]
    whole = values.permute([axes.index(axis) for axis in "lkbthc"])
    for plane in found:
        assert plane.block_shape == (T, H, C)
        assert torch.equal(plane.values, whole[plane.layer, "kv".index(plane.kv)])
        assert plane.values.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()


@pytest.mark.parametrize("axes", ["kbthc", "bkthc"])
def test_a_tensor_for_every_layer(axes):
    shape = {"kbthc": (2, B, T, H, C), "bkthc": (B, 2, T, H, C)}[axes]
    found = planes_of([numbered(*shape), numbered(*shape) + 1], axes)
    assert [plane.name for plane in found] == ["layer 0 k", "layer 0 v", "layer 1 k", "layer 1 v"]


def test_k_and_v_interleaved_by_head():
    page = numbered(B, H, T, 2 * C)
    k, v = planes_of(page.unflatten(-1, (2, C)), "bhtkc")
    assert torch.equal(k.values, page[..., :C].transpose(1, 2))
    assert torch.equal(v.values, page[..., C:].transpose(1, 2))


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.float64])
def test_other_dtypes_are_bytes(dtype):
    (plane,) = planes_of(torch.zeros(B, 64).to(dtype), "bc")
    assert not plane.coded
    assert plane.block_bytes == 64 * dtype.itemsize
    assert plane.name == "the cache"


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, B, T, H, C), "kbthc"),
        ((B, 2, T, H, C), "bkthc"),
        ((B, T, H, C), "bthc"),
        ((B, T, C), "btc"),
        ((B, 9), "bc"),
    ],
)
def test_axes_can_be_guessed(shape, axes):
    assert guessed_axes(torch.zeros(shape)) == axes


@pytest.mark.parametrize(
    ("tensors", "axes", "message"),
    [
        ([], "bc", "a cache of no tensors"),
        (torch.zeros(B, 8), "bx", "use each of the letters lkbthc"),
        (torch.zeros(B, 8), "tc", "b and c at least"),
        (torch.zeros(B, 8), "btc", "are 3, a cache tensor has shape"),
        (torch.zeros(8, B).T, "bc", "the channels have stride 5"),
        (torch.zeros(3, B, 8), "kbc", "axis k has 3 entries"),
        ([torch.zeros(2, B, 8)] * 2, "lbc", "have layers in each of 2 tensors"),
        ([torch.zeros(B, 8), torch.zeros(B + 1, 8)], "bc", "layer 1 has 6 blocks, layer 0 5"),
        ([torch.zeros(B, 8), torch.zeros(B, 8).half()], "bc", "use one engine for each"),
        (torch.zeros(0, 8), "bc", "is empty"),
    ],
)
def test_what_cannot_be_a_cache(tensors, axes, message):
    with pytest.raises(UsageError, match=message):
        planes_of(tensors, axes)


def test_shapes_without_a_form():
    with pytest.raises(UsageError, match="name its axes"):
        guessed_axes(torch.zeros(3, B, T, H, C))
