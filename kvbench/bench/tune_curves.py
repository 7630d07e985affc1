"""Owns what is measured of each layer's K and V without the model: bytes and weighted error of ways to code it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch

from kvbench.bench.tune_choice import Curve, Point
from kvbench.bound import Bound
from kvbench.codecs import calibration
from kvbench.codecs.pipeline import Pipeline
from kvbench.codecs.transforms import chain as chains
from kvbench.errors import CaseFailed
from kvbench.models.prefix import Prefix
from kvbench.models.sensitivity import Gradients
from kvbench.tensors.base import KVView

Mode = Literal["fixed", "outlier"]
# `plain` never stores less than `outlier`. Token-major blocks of 32 hold 32 channels, which differencing does not help.
ORDERS: tuple[tuple[str, Mode], ...] = (("hdt", "fixed"), ("hdt", "outlier"), ("thd", "fixed"))
FINALISTS = 2  # ways to code a tensor that are measured at every bound
LEAST_KEPT, MOST_KEPT = 4, 16  # which of the first tokens all others attend to differs from text to text
RAW_BITS = 16.0
USUAL_BITS = 3.0  # of a coded value, to weigh a kept token against
LEAST_WEIGHT = 0.1  # of the mean: a channel that this text hardly used may matter in another


@dataclass(frozen=True)
class TensorToTune:
    """One layer's K or V on the calibration text."""

    view: KVView  # thd
    gradients: torch.Tensor  # float32 [probes, tokens, heads, head size], of `kvbench.models.sensitivity.probe`
    kept: int
    vectors: dict[str, torch.Tensor]  # mean and std, float32 [heads, head size]


def tensors_to_tune(prefix: Prefix, gradients: Sequence[Gradients], device: torch.device) -> list[TensorToTune]:
    """K, then V, of every layer, with kept tokens and calibrated vectors."""
    found = []
    for layer, (pair, probes) in enumerate(zip(prefix, gradients, strict=True)):
        keys = KVView(pair.keys.to(device), layer=layer, kv="k", layout="thd")
        values = KVView(pair.values.to(device), layer=layer, kv="v", layout="thd")
        found += [_to_tune(keys, probes.keys.to(device)), _to_tune(values, probes.values.to(device))]
    return found


def _to_tune(view: KVView, gradients: torch.Tensor) -> TensorToTune:
    weights = gradients.square().mean(dim=0)
    kept = tokens_to_keep(weights)
    vectors = {"mean": calibration.measure(view.tensor[kept:])["mean"], "std": bearable_spread(weights[kept:])}
    return TensorToTune(view, gradients, kept, {name: vector.cpu() for name, vector in vectors.items()})


def tokens_to_keep(weights: torch.Tensor) -> int:
    """How many first tokens of [tokens, heads, head size] to keep raw.

    At equal KL the error's variance may grow as the weight that is left shrinks, which saves 1/2 log2 of that a value;
    a kept token costs RAW_BITS less what it would have cost, on 1 of all tokens.
    """
    tokens = len(weights)
    left = weights.double().sum(dim=(1, 2)).flip(0).cumsum(0).flip(0)
    least, most = min(LEAST_KEPT, tokens - 1), min(MOST_KEPT, tokens - 1)
    costs = [
        0.5 * math.log2(max(float(left[kept]), 1e-300)) + kept * (RAW_BITS - USUAL_BITS) / tokens
        for kept in range(least, most + 1)
    ]
    return least + costs.index(min(costs))


def bearable_spread(weights: torch.Tensor) -> torch.Tensor:
    """Per channel, weight^-1/2: steps in this proportion make every channel's error count alike, which is optimal for
    a sum of weighted squared errors at a given number of bits. float32 [heads, head size]."""
    channel = weights.double().sum(dim=0)
    return (channel + LEAST_WEIGHT * channel.mean()).clamp_min(1e-300).rsqrt().float()


def measure_curves(tensors: Sequence[TensorToTune], ladder: Sequence[float], threads: int) -> Iterator[Curve]:
    """The curve of each tensor: the best ways at its middle, at the bounds where its KL would be each of `ladder`."""
    for tensor in tensors:
        middle = ladder[len(ladder) // 2]
        found = [(way, _point(tensor, way, middle, threads)) for way in _ways(tensor)]
        best = sorted(found, key=lambda one: _bits_at_equal_kl(one[1], tensor))[:FINALISTS]
        points = [_point(tensor, way, kl, threads) for (way, _), kl in product(best, ladder)]
        view = tensor.view
        assert view.layer is not None
        assert view.kv is not None
        yield Curve(view.layer, view.kv, view.tensor.numel() * view.tensor.element_size(), points)


def coded(tensor: TensorToTune, mode: str, transforms: str, bound: float, threads: int) -> tuple[int, torch.Tensor]:
    """Bytes stored, and what comes back in the tensor's dtype."""
    ids = {name: calibration.add(values) for name, values in tensor.vectors.items()}
    chain = chains.canonical(chains.with_calibration(chains.parse(transforms), ids))
    codec = Pipeline(codec="cuszp", params={"mode": mode}, transforms=chain, threads=threads)
    values = tensor.view.tensor
    out = torch.empty(codec.capacity(values.numel(), values.dtype), dtype=torch.uint8, device=values.device)
    encoded = codec.encode(tensor.view, out, Bound(kind="abs", value=bound))
    decoded = torch.empty_like(values)
    codec.decode(encoded, decoded)
    return encoded.nbytes(), decoded


def _ways(tensor: TensorToTune) -> Iterator[tuple[Mode, str]]:
    kept = [f"keep-first={tensor.kept}"] if tensor.kept else []
    for (order, mode), center, scale in product(ORDERS, (False, True), (False, True)):
        if scale and order == "thd":  # neighbours of one token are then of unlike size
            continue
        steps = ["center=calibrated"] * center + ["scale=calibrated"] * scale + [f"layout={order}"]
        yield mode, ",".join([*kept, *steps])


def _bits_at_equal_kl(point: Point, tensor: TensorToTune) -> float:
    """Bits a value, were the bound such that KL is 1: half a bit a doubling of KL."""
    return 8 * point.compressed_bytes / tensor.view.tensor.numel() + 0.5 * math.log2(max(point.kl, 1e-300))


def _point(tensor: TensorToTune, way: tuple[Mode, str], kl: float, threads: int) -> Point:
    """Code the tensor with the bound that would give this KL if errors were spread evenly: variance = bound^2 / 3."""
    mode, text = way
    weight = _weight_of_coded_error(tensor, scaled="scale" in text)
    if not weight > 0:
        raise CaseFailed("cache_unused", f"the output does not depend on layer {tensor.view.layer} {tensor.view.kv}")
    bound = float(f"{math.sqrt(3 * kl / weight):.6g}")
    stored, decoded = coded(tensor, mode, text, bound, threads)
    error = decoded.float() - tensor.view.tensor.float()
    return Point(mode, text, bound, stored, _kl_of(tensor, error))


def _kl_of(tensor: TensorToTune, error: torch.Tensor) -> float:
    """Predicted for the error [tokens, heads, head size] of this tensor alone.

    Errors of different channels count as uncorrelated, those of one channel as they are: attention averages over
    tokens, so an error that many tokens share does far more harm than one that changes from token to token.
    """
    by_channel = (tensor.gradients * error.float()).sum(dim=1)  # [probes, heads, head size]
    return float(by_channel.double().square().sum(dim=(1, 2)).mean())


def _weight_of_coded_error(tensor: TensorToTune, *, scaled: bool) -> float:
    """KL per variance of the error of what the codec sees."""
    channels = tensor.gradients[:, tensor.kept :].double().square().sum(dim=1).mean(dim=0).cpu()
    if scaled:  # by powers of two around the root mean square, as the transform does
        spread = tensor.vectors["std"].double()
        channels = channels * (spread / spread.square().mean().sqrt()).log2().round().exp2().square()
    return float(channels.sum())
