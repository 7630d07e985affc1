"""Owns the one test that every registered transform must pass: there and back, exactly or within what it states."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from kvbench.codecs import calibration
from kvbench.codecs.transforms import chain as chains
from kvbench.codecs.transforms import registry
from kvbench.codecs.transforms.base import Block

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
TOKENS = [0, 1, 31, 32, 33, 257]
HEADS = [(1, 2), (3, 64), (2, 6)]

# What to try beside the defaults.
MORE = {
    "keep-first": ["keep-first=1", "keep-first=1000", "keep-first=0"],
    "layout": ["layout=thd", "layout=htd"],
    "derope": ["derope=500000:pairing=interleaved", "derope=100:dims=2"],
    "hadamard": ["hadamard=2"],
    "center": ["center=calibrated"],
    "scale": ["scale=calibrated"],
}
# How far a value may be from itself after there and back, in units of 2^-24 of the largest value.
ROUNDINGS = {"keep-first": 0, "layout": 0, "scale": 0, "center": 4, "hadamard": 16, "derope": 12}


def variants() -> list[str]:
    return [text for name in registry.names() for text in (name, *MORE[name])]


def block_of(tokens: int, heads: int, head_dim: int, dtype: torch.dtype, start: int = 7) -> Block:
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(tokens, heads, head_dim, generator=generator)
    values = values * torch.logspace(-2, 1, head_dim) + torch.linspace(-3, 3, head_dim)
    return Block(values.to(dtype), "thd", start, dtype)


def known_chain(text: str, block: Block) -> chains.Chain:
    spread = torch.linspace(0.1, 4.0, block.values[0].numel() if block.shape[0] else block.shape[1] * block.shape[2])
    vector = calibration.add(spread.reshape(block.shape[1:]))
    return chains.with_calibration(chains.parse(text), {"mean": vector, "std": vector})


@pytest.mark.parametrize("text", variants())
class TestEveryTransform:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_there_and_back(self, text, dtype):
        for tokens, (heads, head_dim) in product(TOKENS, HEADS):
            block = block_of(tokens, heads, head_dim, dtype)
            (one,) = chain = known_chain(text, block)
            before = block.values.clone()
            assert one.fault(block.shape) is None
            coded, sides = chains.forward(chain, block)
            assert torch.equal(block.values, before)
            assert coded.shape == one.shape_after(block.shape) == chains.shape_after(chain, block.shape)
            assert [side.numel() for side in sides] == chains.side_sizes(chain, block.shape, dtype)
            assert coded.layout == chains.layout_after(chain, "thd")
            assert coded.dtype == dtype
            assert coded.values.dtype == (torch.float32 if one.changes_values else dtype)
            back = chains.inverse(chain, coded, sides).values
            assert back.shape == block.values.shape
            if tokens:
                largest = max(float(values.abs().max()) for values in (before, coded.values) if values.numel())
                error = float((back.double() - before.double()).abs().max())
                assert error <= ROUNDINGS[one.name] * 2.0**-24 * largest * math.sqrt(head_dim)

    def test_the_text_makes_it_again(self, text):
        (one,) = chains.parse(text)
        assert chains.parse(one.text()) == (one,)
        assert all(f"{name}" in one.text() for name in type(one).model_fields if name != one.main)

    def test_strided_values_are_taken(self, text):
        block = block_of(33, 3, 64, torch.bfloat16)
        chain = known_chain(text, block)
        strided = block.values.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        assert not strided.is_contiguous()
        coded, sides = chains.forward(chain, Block(strided, "thd", 7, torch.bfloat16))
        expected, expected_sides = chains.forward(chain, block)
        assert torch.equal(coded.values, expected.values)
        assert all(torch.equal(a, b) for a, b in zip(sides, expected_sides, strict=True))

    def test_side_data_at_any_byte(self, text):
        block = block_of(9, 3, 64, torch.float32)
        chain = known_chain(text, block)
        coded, sides = chains.forward(chain, block)
        moved = []
        for side in sides:
            memory = torch.zeros(side.numel() + 1, dtype=torch.uint8)
            memory[1:] = side
            moved.append(memory[1:])
        assert torch.equal(chains.inverse(chain, coded, moved).values, chains.inverse(chain, coded, sides).values)


def test_every_registered_transform_is_tried():
    assert set(MORE) == set(ROUNDINGS) == set(registry.names())


class TestWhatTheyDo:
    def test_center_leaves_no_mean(self):
        coded, sides = chains.forward(chains.parse("center"), block_of(512, 3, 64, torch.float32))
        assert float(coded.values.mean(dim=0).abs().max()) < 1e-5
        assert sides[0].numel() == 3 * 64 * 4

    def test_center_is_exact_on_a_16_bit_tensor(self):
        block = block_of(64, 3, 64, torch.bfloat16)
        coded, sides = chains.forward(chains.parse("center"), block)
        assert torch.equal(chains.inverse(chains.parse("center"), coded, sides).values, block.values.float())

    def test_calibrated_means_take_no_side_data(self):
        block = block_of(64, 3, 64, torch.bfloat16)
        vector = calibration.measure(block.values)["mean"]
        chain = chains.with_calibration(chains.parse("center=calibrated"), {"mean": calibration.add(vector)})
        coded, sides = chains.forward(chain, block)
        own, _ = chains.forward(chains.parse("center"), block)
        assert sides[0].numel() == 0
        assert torch.equal(coded.values, own.values)

    def test_scale_brings_channels_within_a_factor_of_two(self):
        coded, sides = chains.forward(chains.parse("scale"), block_of(512, 3, 64, torch.float32))
        spread = coded.values.double().std(dim=0)
        assert float(spread.max() / spread.min()) < 2.2
        assert sides[0].numel() == 3 * 64

    def test_a_channel_without_spread_is_not_scaled(self):
        values = torch.zeros(8, 1, 2)
        values[:, 0, 1] = torch.arange(8.0)
        coded, sides = chains.forward(chains.parse("scale"), Block(values, "thd", 0, torch.float32))
        assert sides[0].tolist()[0] == 0
        assert torch.isfinite(coded.values).all()

    @pytest.mark.parametrize(("head_dim", "run"), [(64, 64), (96, 32), (6, 2)])
    def test_hadamard_is_the_matrix(self, head_dim, run):
        matrix = torch.ones(1, 1, dtype=torch.float64)
        while matrix.shape[0] < run:
            matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
        block = block_of(5, 2, head_dim, torch.float32)
        coded, _ = chains.forward(chains.parse("hadamard"), block)
        expected = block.values.double().reshape(5, 2, -1, run) @ matrix / math.sqrt(run)
        assert torch.allclose(coded.values.double(), expected.reshape(5, 2, head_dim), atol=1e-5)

    @pytest.mark.parametrize("pairing", ["half", "interleaved"])
    def test_derope_undoes_the_rotation_of_a_model(self, pairing):
        """Against complex multiplication, and so that the same key is the same wherever it stands."""
        generator = torch.Generator().manual_seed(2)
        key = torch.randn(1, 2, 8, generator=generator, dtype=torch.float64).expand(40, 2, 8)
        first, second = (key[..., :4], key[..., 4:]) if pairing == "half" else (key[..., ::2], key[..., 1::2])
        angles = torch.arange(100, 140)[:, None, None] * 10_000.0 ** (-torch.arange(4) / 4)
        turned = torch.complex(first, second) * torch.polar(torch.ones(()).double(), angles.double())
        roped = torch.empty_like(key).contiguous()
        if pairing == "half":
            roped[..., :4], roped[..., 4:] = turned.real, turned.imag
        else:
            roped[..., ::2], roped[..., 1::2] = turned.real, turned.imag
        chain = chains.parse(f"derope:pairing={pairing}")
        coded, _ = chains.forward(chain, Block(roped.float(), "thd", 100, torch.float32))
        assert torch.allclose(coded.values, key.float(), atol=2e-5)

    def test_derope_leaves_values_alone(self):
        chain = chains.parse("center,derope")
        assert [one.name for one in chains.resolved(chain, "v")] == ["center"]
        assert len(chains.resolved(chain, "k")) == len(chains.resolved(chain, None)) == 2

    def test_kept_tokens_move_the_position(self):
        coded, _ = chains.forward(chains.parse("keep-first=3"), block_of(9, 1, 2, torch.float32, start=7))
        assert coded.token_start == 10
