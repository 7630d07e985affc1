"""Owns the statistics of the synthetic KV cache: channel scales and means of K, and its values; the values of V."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kvbench.tensors.rotary import rotate
from kvbench.tensors.trig import Floats

K_LOG_SIGMA = 0.4
V_LOG_SIGMA = 0.15
OUTLIER_SHARE = 0.02
OUTLIER_GAIN = (10.0, 20.0)
MEAN_OVER_STD = 1.1
FIRST_TOKEN_GAIN = 3.0
SLOW_PAIRS_FROM = 0.75  # outliers sit in the slowest quarter of the rotary pairs


@dataclass(frozen=True)
class ChannelProfile:
    """What stays the same over tokens: each channel's standard deviation and mean, [heads, head_dim], float64."""

    std: Floats
    mean: Floats


def k_profile(rng: np.random.Generator, heads: int, head_dim: int) -> ChannelProfile:
    """Channels of K: std lognormal exp(0.4 n) with n normal; 2 % of them (at least one) a factor 10 to 20, uniform.

    Outlier channels are drawn from the slowest quarter of the rotary pairs, where real models have theirs. A
    channel's mean is 1.1 times its std with a random sign, which leaves about half of K's variance in the means
    after rotation, as measured on real caches.
    """
    channels = heads * head_dim
    std = _lognormal(rng, channels, K_LOG_SIGMA)
    candidates = _slow_channels(heads, head_dim)
    count = max(1, round(OUTLIER_SHARE * channels))
    outliers = candidates[np.argsort(rng.random(candidates.size), kind="stable")][:count]
    std[outliers] = rng.uniform(*OUTLIER_GAIN, size=outliers.size)
    sign = np.where(rng.random(channels) < 0.5, -1.0, 1.0)
    mean = sign * MEAN_OVER_STD * std
    return ChannelProfile(std.reshape(heads, head_dim), mean.reshape(heads, head_dim))


def v_profile(rng: np.random.Generator, heads: int, head_dim: int) -> ChannelProfile:
    """Channels of V: std lognormal exp(0.15 n), no mean."""
    std = _lognormal(rng, heads * head_dim, V_LOG_SIGMA).reshape(heads, head_dim)
    return ChannelProfile(std, np.zeros_like(std))


def k_tokens(rng: np.random.Generator, profile: ChannelProfile, tokens: range) -> Floats:
    """K of the tokens at these positions, [len(tokens), heads, head_dim]: rotate(mean + std * normal).

    Position 0 is 3 times as large, as the first token of real prompts often is.
    """
    values = v_tokens(rng, profile, tokens)
    if tokens.start == 0:
        values[:1] *= FIRST_TOKEN_GAIN
    return rotate(values, tokens.start)


def v_tokens(rng: np.random.Generator, profile: ChannelProfile, tokens: range) -> Floats:
    """V of these tokens, [len(tokens), heads, head_dim]: mean + std * normal, unrelated between tokens."""
    values = rng.standard_normal((len(tokens), *profile.std.shape))
    values *= profile.std
    values += profile.mean
    return values


def _lognormal(rng: np.random.Generator, channels: int, sigma: float) -> Floats:
    # Rounded to float32 so that a last-bit difference of `exp` between machines vanishes.
    exact = [math.exp(sigma * normal) for normal in rng.standard_normal(channels)]
    return np.asarray(exact, dtype=np.float32).astype(np.float64)


def _slow_channels(heads: int, head_dim: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    pairs = head_dim // 2
    first_slow = min(math.ceil(SLOW_PAIRS_FROM * pairs), max(pairs - 1, 0))
    channel = np.arange(heads * head_dim, dtype=np.int64)
    place = channel % head_dim
    pair = np.where(place < pairs, place, place - pairs)  # an unrotated last channel counts as the slowest
    return channel[pair >= first_slow]
