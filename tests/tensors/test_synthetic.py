"""The synthetic sources have the statistics they claim, and the same bits for the same seed."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import numpy as np
import pytest
import torch

from kvbench.config import Experiment
from kvbench.record.schema import TensorSpec
from kvbench.tensors import registry, synthetic
from kvbench.tensors.kv_statistics import k_profile, v_profile

SOURCES = ["adversarial", "constant", "gaussian", "kv", "smooth"]
SHAPES = {"llama": "llama-3.1-8b,tokens=1024", "small": "smollm2-135m,tokens=512"}


def specs(source: str, **fields: object) -> list[TensorSpec]:
    return registry.specs(Experiment.model_validate({"command": "sweep", "source": source, **fields}))


def tensor(source: str, kv: str = "k", seed: int = 0, **fields: object) -> torch.Tensor:
    (spec,) = [spec for spec in specs(source, **fields) if spec.kv == kv]
    return registry.load(spec, seed)


def matrix(kv: str, shape: str, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    loaded = tensor("kv", kv, seed, geometry=shape, dtype="float32")
    return loaded.double().reshape(loaded.shape[0], -1).numpy()


def rms(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.sqrt((values**2).mean(axis=0))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
class TestKV:
    def test_two_percent_of_k_channels_are_outliers(self, shape: str, seed: int) -> None:
        scale = rms(matrix("k", shape, seed)[1:])
        outliers = scale > 6 * np.median(scale)
        assert outliers.sum() == round(0.02 * scale.size)
        # A channel's root mean square is its scale * sqrt(1 + 1.1**2); the median scale is 1.
        typical = scale[outliers] / np.median(scale)
        assert typical.min() > 8
        assert typical.max() < 24

    def test_k_scales_are_lognormal(self, shape: str, seed: int) -> None:
        scale = rms(matrix("k", shape, seed)[1:])
        usual = np.log(scale[scale < 6 * np.median(scale)])
        # Rotation mixes the two channels of a pair, which narrows the spread of 0.4 a little.
        assert 0.25 < usual.std() < 0.45

    def test_channel_means_hold_half_of_k_variance(self, shape: str, seed: int) -> None:
        values = matrix("k", shape, seed)
        share = values.mean(axis=0).var() / values.var()
        assert 0.4 < share < 0.6

    def test_the_first_token_is_strong(self, shape: str, seed: int) -> None:
        norms = np.linalg.norm(matrix("k", shape, seed), axis=1)
        assert 2 < norms[0] / np.median(norms) < 4
        assert norms[1:].max() / np.median(norms) < 2

    def test_v_has_no_structure(self, shape: str, seed: int) -> None:
        values = matrix("v", shape, seed)
        tokens = len(values)
        scale = rms(values)
        assert 0.1 < np.log(scale).std() < 0.2
        assert values.mean(axis=0).var() / values.var() < 3 / tokens
        whitened = values / scale
        assert abs((whitened[1:] * whitened[:-1]).mean()) < 5 / np.sqrt(whitened.size)
        assert abs((whitened[:, 1:] * whitened[:, :-1]).mean()) < 5 / np.sqrt(whitened.size)
        assert abs((whitened**4).mean() - 3) < 0.1
        norms = np.linalg.norm(values, axis=1)
        assert 0.7 < norms[0] / np.median(norms) < 1.3


def test_the_profile_is_what_the_formula_says() -> None:
    k = k_profile(np.random.default_rng(0), 8, 128)
    outliers = k.std >= 10
    assert outliers.sum() == 20
    assert k.std.max() <= 20
    assert (np.nonzero(outliers)[1] % 64 >= 48).all()
    assert abs(np.log(k.std[~outliers]).std() - 0.4) < 0.03
    assert abs(np.log(k.std[~outliers]).mean()) < 0.05
    np.testing.assert_allclose(np.abs(k.mean), 1.1 * k.std)
    assert 0.4 < (k.mean > 0).mean() < 0.6
    v = v_profile(np.random.default_rng(0), 8, 128)
    assert abs(np.log(v.std).std() - 0.15) < 0.02
    assert not v.mean.any()


@pytest.mark.parametrize(("heads", "head_dim"), [(1, 1), (1, 2), (3, 5), (2, 64)])
def test_odd_geometries_have_at_least_one_outlier(heads: int, head_dim: int) -> None:
    profile = k_profile(np.random.default_rng(3), heads, head_dim)
    assert (profile.std >= 10).sum() == max(1, round(0.02 * heads * head_dim))


def test_gaussian_is_standard_normal() -> None:
    values = tensor("gaussian", tensor_size=1 << 18).double()
    assert abs(values.mean().item()) < 0.01
    assert abs(values.std().item() - 1) < 0.01
    assert abs((values**4).mean().item() - 3) < 0.1


def test_smooth_neighbours_are_close_and_the_range_is_not_small() -> None:
    values = tensor("smooth", tensor_size=1 << 18).double().reshape(-1)
    assert values.diff().abs().max().item() <= 0.0035
    assert (values.max() - values.min()).item() > 2


def test_constant_is_constant_and_v_is_zero() -> None:
    k = tensor("constant", "k", tensor_size=5000)
    assert k.unique().numel() == 1
    assert k[0].item() != 0
    assert not tensor("constant", "v", tensor_size=5000).any()


def test_adversarial_bits_do_not_compress() -> None:
    values = tensor("adversarial", tensor_size=1 << 18).reshape(-1)
    bits = values.numpy().view(np.uint32)
    assert ((bits >> 23) & 0xFF == 127).all()
    # 24 of 32 bits are random: each is set in half of the values.
    for bit in [*range(23), 31]:
        assert abs(((bits >> bit) & 1).mean() - 0.5) < 0.01
    assert len(zlib.compress(bits.tobytes(), 9)) > 0.75 * bits.nbytes
    # At an absolute bound E there are 1/E equally likely cells.
    cells = torch.bincount(((values.double() + 2) / (2 * 0.02)).long())
    share = cells[cells > 0].double() / cells.sum()
    assert -(share * share.log2()).sum().item() > np.log2(1 / 0.02) - 0.05


@pytest.mark.parametrize("source", SOURCES)
def test_one_seed_one_tensor_another_seed_another(source: str) -> None:
    for kv in ("k", "v"):
        first, again = (tensor(source, kv, 5, tensor_size=3 * 1024) for _ in range(2))
        assert torch.equal(first, again)
        other = tensor(source, kv, 6, tensor_size=3 * 1024)
        assert torch.equal(first, other) == ((source, kv) == ("constant", "v"))


@pytest.mark.parametrize("source", SOURCES)
def test_layers_differ_and_do_not_depend_on_what_else_is_made(source: str) -> None:
    both = {spec.tensor: spec for spec in specs(source, tensor_size=2048, layers=(0, 3))}
    (alone,) = [spec for spec in specs(source, tensor_size=2048, layers=3) if spec.kv == "k"]
    assert torch.equal(registry.load(alone, 1), registry.load(both["layers.3.k"], 1))
    assert not torch.equal(registry.load(both["layers.0.k"], 1), registry.load(both["layers.3.k"], 1))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("size", [1, 31, 1023, 1025, 5000])
def test_a_flat_size_is_the_start_of_the_next_whole_one(source: str, size: int) -> None:
    whole = tensor(source, tensor_size=-(-size // 1024) * 1024)
    flat = tensor(source, tensor_size=size)
    assert flat.shape == (size,)
    assert torch.equal(flat, whole.reshape(-1)[:size])


@pytest.mark.parametrize("source", SOURCES)
def test_bits_do_not_depend_on_the_piece_size(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tensor(source, tensor_size=64 * 1024)
    monkeypatch.setattr(synthetic, "_CHUNK_ELEMENTS", 5 * 1024)
    assert torch.equal(tensor(source, tensor_size=64 * 1024), whole)


@pytest.mark.parametrize("source", SOURCES)
def test_bfloat16_is_the_rounded_float32(source: str) -> None:
    geometry = "layers=2,heads=2,head_dim=16,tokens=40"
    exact = tensor(source, geometry=geometry + ",dtype=float32")
    rounded = tensor(source, geometry=geometry + ",dtype=bf16")
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded, exact.to(torch.bfloat16))


# Pinned: a run's seed must name the same values on every machine and in every release.
DIGESTS = {
    ("adversarial", "k"): "6871ceae5027c121",
    ("adversarial", "v"): "57a1b71568e188c9",
    ("constant", "k"): "03f0b5fcc0ded29c",
    ("constant", "v"): "946cc2661d32ad83",
    ("gaussian", "k"): "f87e88d8684b380b",
    ("gaussian", "v"): "58c7a1a8943c3d7c",
    ("kv", "k"): "5585fa061b52a2a7",
    ("kv", "v"): "8a518613fc3d66b7",
    ("smooth", "k"): "42ec4bbb8161f4d9",
    ("smooth", "v"): "70f841738444d4e6",
}


@pytest.mark.parametrize(("source", "kv"), list(DIGESTS))
def test_the_bits_of_a_seed_are_pinned(source: str, kv: str) -> None:
    values = tensor(source, kv, 7, tensor_size=100_000)
    assert hashlib.sha256(values.numpy().tobytes()).hexdigest()[:16] == DIGESTS[source, kv]
