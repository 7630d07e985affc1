"""Owns the tests of groups: several tensors as one view, and what that saves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kvbench.bound import Bound
from kvbench.codecs import grouping
from kvbench.codecs.pipeline import Pipeline
from kvbench.errors import UsageError
from kvbench.tensors.base import KVView

AXES = {"thd": (0, 1, 2), "htd": (1, 0, 2), "hdt": (1, 2, 0)}


def views(layout: str = "thd", tokens: int = 16, count: int = 8) -> list[KVView]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for layer in range(count):
        tensor = torch.randn(tokens, 1 + layer % 3, 64, generator=generator) + 5 * layer
        tensor = tensor.to(torch.bfloat16).permute(AXES[layout]).contiguous()
        made.append(KVView(tensor, layer=layer, kv="k", layout=layout, token_start=32))
    return made


@pytest.mark.parametrize("layout", ["thd", "htd", "hdt"])
def test_what_was_joined_comes_apart(layout):
    members = views(layout)
    group = grouping.join(members)
    assert group.tensor.is_contiguous()
    assert (group.layer, group.kv, group.layout, group.token_start) == (None, "k", layout, 32)
    parts = grouping.split(group.tensor, members)
    assert all(torch.equal(part, one.tensor) for part, one in zip(parts, members, strict=True))


def test_keys_and_values_of_one_layer():
    keys = views(count=1)[0]
    group = grouping.join([keys, replace(keys, kv="v")])
    assert (group.layer, group.kv) == (0, None)


@pytest.mark.parametrize("chain", ["none", "center,layout=hdt"])
def test_a_block_of_all_layers_takes_less_than_its_tensors_alone(chain):
    codec, bound = Pipeline(params={"mode": "outlier"}, transforms=chain), Bound(kind="abs", value=0.05)

    def stored(view: KVView) -> int:
        room = torch.empty(codec.capacity(view.tensor.numel(), view.tensor.dtype), dtype=torch.uint8)
        encoded = codec.encode(view, room, bound)
        out = torch.empty_like(view.tensor)
        codec.decode(encoded, out)
        error = (out.double() - view.tensor.double()).abs().max()
        assert float(error) <= 0.05 + 2.0**-8 * float(view.tensor.abs().max())  # and the rounding to bfloat16
        return encoded.nbytes()

    members = views()
    assert stored(grouping.join(members)) < 0.8 * sum(stored(one) for one in members)


def test_every_member_keeps_its_own_channel_means():
    members = views(tokens=200)
    codec = Pipeline(transforms="center")
    view = grouping.join(members)
    room = torch.empty(codec.capacity(view.tensor.numel(), view.tensor.dtype), dtype=torch.uint8)
    pair = codec.coded_values(view, codec.encode(view, room, Bound(kind="abs", value=0.05)))
    assert pair is not None
    assert float(pair[0].reshape(200, -1).mean(dim=0).abs().max()) < 0.13  # half a step of bfloat16 at 35


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layout": "htd"}, "layout, dtype, tokens, head size"),
        ({"token_start": 0}, "cannot join"),
        ({"tensor": torch.zeros(16, 1, 64)}, "torch.float32"),
        ({"tensor": torch.zeros(8, 1, 64, dtype=torch.bfloat16)}, "cannot join"),
        ({"tensor": torch.zeros(64, dtype=torch.bfloat16), "layout": "flat"}, "flat"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, words):
    first = views()[0]
    with pytest.raises(UsageError, match=words):
        grouping.join([first, replace(first, **change)])


def test_no_group_of_nothing_and_none_of_flat_tensors():
    with pytest.raises(UsageError, match="at least one"):
        grouping.join([])
    with pytest.raises(UsageError, match="not a flat one"):
        grouping.join([KVView(torch.zeros(8))])
