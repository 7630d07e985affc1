"""Owns the made-up tensor sources: `kv`, `gaussian`, `smooth`, `constant`, `adversarial`.

Every source makes K and V of each asked size and layer (`sizes.synthetic_specs`). Values are float64, then rounded
to float32 and to the spec's dtype, to nearest even. Tensor (source, layer, kv) of a seed draws from
`PCG64(SeedSequence(seed, spawn_key=(source number, layer, 0 for K or 1 for V)))`, so tensors do not depend on what
else is made, and one seed gives the same bits everywhere. A flat tensor of n elements is the first n of the tensor
[ceil(n / 1024), 8, 128].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kvbench.config import Experiment
from kvbench.record.schema import TensorSpec
from kvbench.tensors.kv_statistics import k_profile, k_tokens, v_profile, v_tokens
from kvbench.tensors.sizes import HEAD_DIM, HEADS, synthetic_specs
from kvbench.tensors.trig import Floats, cos_sin

if TYPE_CHECKING:
    import torch

# The float64 values of the tokens at these positions, len(tokens) * channels of them; called in order of positions.
Values = Callable[[range], Floats]

_CHUNK_ELEMENTS = 1 << 18
_SMOOTH_OCTAVES = 8
_SMOOTH_LONGEST = 16  # log2 of the longest period, in elements


class KVSource:
    """A KV cache with the statistics of real ones.

    K[t, h, d] = rotate_t(g_t (m_hd + s_hd n_thd)) and V[t, h, d] = u_hd n'_thd with n and n' standard normal.
    s_hd = exp(0.4 n_hd), but uniform in 10 to 20 for 2 % of the channels, all in the slowest quarter of the rotary
    pairs; m_hd = +-1.1 s_hd; g_0 = 3, else 1; rotate_t turns channels d and d + D/2 by t * 500000**(-2d/D);
    u_hd = exp(0.15 n_hd). So K has outlier channels, half of its variance in channel means (40 to 60 % up to some
    4096 tokens) and a strong first token; V has no structure across channels or tokens. K's range is 35 to 75 times
    its std, against some 14 in the packaged sample, so the same relative bound is looser here: for claims about
    ratios take real caches.
    """

    def specs(self, experiment: Experiment) -> Sequence[TensorSpec]:
        """See `sizes.synthetic_specs`."""
        return synthetic_specs("kv", experiment)

    def load(self, spec: TensorSpec, seed: int) -> torch.Tensor:
        """The tensor of `spec` on the CPU."""
        rng = _generator(1, spec, seed)
        _, heads, head_dim = _token_shape(spec)
        make_profile, make_tokens = (k_profile, k_tokens) if spec.kv == "k" else (v_profile, v_tokens)
        profile = make_profile(rng, heads, head_dim)
        return _fill(spec, lambda tokens: make_tokens(rng, profile, tokens))


class GaussianSource:
    """x = n, standard normal, K and V alike: neither channels nor neighbours tell anything."""

    def specs(self, experiment: Experiment) -> Sequence[TensorSpec]:
        """See `sizes.synthetic_specs`."""
        return synthetic_specs("gaussian", experiment)

    def load(self, spec: TensorSpec, seed: int) -> torch.Tensor:
        """The tensor of `spec` on the CPU."""
        rng = _generator(2, spec, seed)
        _, heads, head_dim = _token_shape(spec)
        return _fill(spec, lambda tokens: rng.standard_normal((len(tokens), heads, head_dim)))


class SmoothSource:
    """x_i = sum over j = 0..7 of 2**(-j/2) sin(2 pi (i 2**(j-16) + p_j)), i the index in stored order, p_j uniform.

    Periods of 65536 down to 512 elements, amplitudes falling with the period: neighbours differ by at most 0.0035.
    """

    def specs(self, experiment: Experiment) -> Sequence[TensorSpec]:
        """See `sizes.synthetic_specs`."""
        return synthetic_specs("smooth", experiment)

    def load(self, spec: TensorSpec, seed: int) -> torch.Tensor:
        """The tensor of `spec` on the CPU."""
        phases = _generator(3, spec, seed).random(_SMOOTH_OCTAVES)
        _, heads, head_dim = _token_shape(spec)
        amplitudes = [1.0]
        for _ in range(_SMOOTH_OCTAVES - 1):
            amplitudes.append(amplitudes[-1] / np.sqrt(2.0))

        def values_of(tokens: range) -> Floats:
            channels = heads * head_dim
            index = np.arange(tokens.start * channels, tokens.stop * channels, dtype=np.float64)
            values = np.zeros_like(index)
            for octave, (phase, amplitude) in enumerate(zip(phases, amplitudes, strict=True)):
                values += amplitude * cos_sin(index * 2.0 ** (octave - _SMOOTH_LONGEST) + phase)[1]
            return values

        return _fill(spec, values_of)


class ConstantSource:
    """One value throughout: K holds one standard normal number, V is all zeros (as unused cache slots are)."""

    def specs(self, experiment: Experiment) -> Sequence[TensorSpec]:
        """See `sizes.synthetic_specs`."""
        return synthetic_specs("constant", experiment)

    def load(self, spec: TensorSpec, seed: int) -> torch.Tensor:
        """The tensor of `spec` on the CPU."""
        value = _generator(4, spec, seed).standard_normal() if spec.kv == "k" else 0.0
        _, heads, head_dim = _token_shape(spec)
        return _fill(spec, lambda tokens: np.full((len(tokens), heads, head_dim), value))


class AdversarialSource:
    """x = +-(1 + m 2**-23) with random sign and m uniform in 0 .. 2**23 - 1, K and V alike: incompressible bits.

    24 of a float32's 32 bits are random and 8 of a bfloat16's 16, so no lossless codec gets below that. Values fill
    their range evenly and neighbours are unrelated, so under an absolute bound E no codec gets below
    log2(1/E) bits a value (E well below 1), and a bound below the values' own precision saves nothing at all.
    """

    def specs(self, experiment: Experiment) -> Sequence[TensorSpec]:
        """See `sizes.synthetic_specs`."""
        return synthetic_specs("adversarial", experiment)

    def load(self, spec: TensorSpec, seed: int) -> torch.Tensor:
        """The tensor of `spec` on the CPU."""
        rng = _generator(5, spec, seed)
        _, heads, head_dim = _token_shape(spec)

        def values_of(tokens: range) -> Floats:
            drawn = rng.integers(0, 1 << 24, size=len(tokens) * heads * head_dim, dtype=np.uint32)
            bits = ((drawn >> 23) << 31) | np.uint32(0x3F800000) | (drawn & np.uint32(0x7FFFFF))
            return bits.view(np.float32).astype(np.float64)

        return _fill(spec, values_of)


def _generator(source_number: int, spec: TensorSpec, seed: int) -> np.random.Generator:
    key = (source_number, spec.layer or 0, 0 if spec.kv == "k" else 1)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def _token_shape(spec: TensorSpec) -> tuple[int, int, int]:
    if spec.source_layout == "flat":
        return -(-spec.elements // (HEADS * HEAD_DIM)), HEADS, HEAD_DIM
    tokens, heads, head_dim = spec.shape
    return tokens, heads, head_dim


def _fill(spec: TensorSpec, values: Values) -> torch.Tensor:
    """Round the values into a tensor of the spec, some tokens at a time, so that little float64 is alive at once."""
    import torch

    from kvbench.tensors.layout import torch_dtype

    token_count, heads, head_dim = _token_shape(spec)
    channels = heads * head_dim
    chunk = max(1, _CHUNK_ELEMENTS // channels)
    out = torch.empty(spec.elements, dtype=torch_dtype(spec.dtype))
    for first in range(0, token_count, chunk):
        start = first * channels
        tokens = range(first, min(first + chunk, token_count))
        piece = values(tokens).astype(np.float32).reshape(-1)[: spec.elements - start]
        out[start : start + piece.size] = torch.from_numpy(piece)
    return out.reshape(spec.shape)
