"""Sine, cosine and the rotary rotation of synthetic keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbench.tensors.rotary import rotate, turns_per_token
from kvbench.tensors.trig import cos_sin


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=50))
def test_cos_and_sin_are_right(turns: list[float]) -> None:
    values = np.asarray(turns)
    cosine, sine = cos_sin(values)
    exact = 2.0 * np.pi * (values - np.round(values))
    np.testing.assert_allclose(cosine, np.cos(exact), rtol=0, atol=1e-15)
    np.testing.assert_allclose(sine, np.sin(exact), rtol=0, atol=1e-15)


def test_quarter_turns_are_exact() -> None:
    cosine, sine = cos_sin(np.asarray([0.0, 0.25, 0.5, 0.75, 1.0, -0.25]))
    assert cosine.tolist() == [1.0, 0.0, -1.0, 0.0, 1.0, 0.0]
    assert sine.tolist() == [0.0, 1.0, 0.0, -1.0, 0.0, -1.0]


def test_angles_follow_the_formula() -> None:
    exact = 500_000.0 ** (-2.0 * np.arange(64) / 128) / (2 * np.pi)
    np.testing.assert_allclose(turns_per_token(128), exact, rtol=2**-24)


def test_rotation_matches_complex_multiplication() -> None:
    tokens, heads, size, base = 7, 2, 6, 10_000.0
    values = np.random.default_rng(1).standard_normal((tokens, heads, size))
    rotated = rotate(values, 11, base)
    pairs = values[..., :3] + 1j * values[..., 3:]
    angle = np.arange(11, 18)[:, None, None] * base ** (-2.0 * np.arange(3) / size)
    expected = pairs * np.exp(1j * angle)
    np.testing.assert_allclose(rotated[..., :3], expected.real, atol=1e-5)
    np.testing.assert_allclose(rotated[..., 3:], expected.imag, atol=1e-5)


@given(st.integers(1, 9), st.integers(0, 1_000_000))
def test_rotation_keeps_the_norm_of_every_pair(head_dim: int, first: int) -> None:
    values = np.random.default_rng(head_dim).standard_normal((5, 2, head_dim))
    rotated = rotate(values, first)
    half = head_dim // 2
    for each in range(half):
        before = np.hypot(values[..., each], values[..., each + half])
        after = np.hypot(rotated[..., each], rotated[..., each + half])
        np.testing.assert_allclose(after, before, rtol=1e-14)
    if head_dim % 2:
        assert np.array_equal(rotated[..., -1], values[..., -1])


def test_position_zero_is_not_rotated_and_later_ones_are() -> None:
    values = np.ones((2, 1, 4))
    rotated = rotate(values)
    assert np.array_equal(rotated[0], values[0])
    assert not np.allclose(rotated[1], values[1], atol=0.1)


@pytest.mark.parametrize("split", [1, 3, 6])
def test_pieces_rotate_as_the_whole(split: int) -> None:
    values = np.random.default_rng(2).standard_normal((7, 2, 8))
    pieces = np.concatenate([rotate(values[:split]), rotate(values[split:], split)])
    assert np.array_equal(pieces, rotate(values))
