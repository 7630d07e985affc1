"""Owns the rotary rotation of synthetic keys by position."""

from __future__ import annotations

import math

import numpy as np

from kvbench.tensors.trig import Floats, cos_sin

ROTARY_BASE = 500_000.0  # Llama 3's


def turns_per_token(head_dim: int, base: float = ROTARY_BASE) -> Floats:
    """How far each pair of channels turns a token, in full turns: base**(-2i/head_dim) / (2 pi), [head_dim // 2].

    Rounded to float32, so that a last-bit difference of `pow` between machines vanishes and position * turns is
    exact in float64 for positions below 2**29.
    """
    exact = [math.pow(base, -2.0 * pair / head_dim) / (2.0 * math.pi) for pair in range(head_dim // 2)]
    return np.asarray(exact, dtype=np.float32).astype(np.float64)


def rotate(values: Floats, first_position: int = 0, base: float = ROTARY_BASE) -> Floats:
    """Rotate [tokens, heads, head_dim] by position, as rotary position embedding does (Su et al., 2021).

    Channels i and i + head_dim/2 of a head form pair i (the order of Llama's code); at position p, counted from
    `first_position`, it turns by the angle p * base**(-2i/head_dim). The last channel of an odd head_dim stays.
    Returns a new array.
    """
    tokens, _, head_dim = values.shape
    pairs = head_dim // 2
    positions = np.arange(first_position, first_position + tokens, dtype=np.float64)[:, None, None]
    cosine, sine = cos_sin(positions * turns_per_token(head_dim, base))
    first, second = values[..., :pairs], values[..., pairs : 2 * pairs]
    rotated = values.copy()
    rotated[..., :pairs] = first * cosine - second * sine
    rotated[..., pairs : 2 * pairs] = second * cosine + first * sine
    return rotated
