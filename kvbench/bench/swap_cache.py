"""Owns the cache that a swap moves blocks of: its content, its coding, and the look at what came back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kvbench.bench.swap_cases import block_shape
from kvbench.codecs.profile import Profile
from kvbench.errors import CaseFailed
from kvbench.record.schema import Case, TensorSpec
from kvbench.swap.coding import Coding, cuszp_coding, profile_coding, raw_coding
from kvbench.swap.planes import Plane, planes_of
from kvbench.tensors import registry as tensors
from kvbench.tensors.layout import torch_dtype

MOST_MADE_VALUES = 1 << 22  # of K and of V; planes repeat them from different places on
_CHECKED_VALUES = 1 << 24  # at a time


def cache_of(case: Case, blocks: int, device: str, kept: dict[str, Any]) -> tuple[Plane, ...]:
    """`blocks` blocks of as many planes as the case has, K and V of layer after layer, on `device`.

    Content is the case's source: K and V, made once and repeated. `kept` holds them for the next case.
    """
    assert case.block_bytes is not None
    assert case.planes is not None
    assert case.tensor is not None
    shape = block_shape(case.block_bytes, case.dtype)
    each = blocks * math.prod(shape)
    values = torch.empty((case.planes, each), dtype=torch_dtype(case.dtype))
    for number in range(case.planes):
        made = _made(case, "k" if number % 2 == 0 else "v", each, shape, kept)
        start = number // 2 * math.prod(shape) % made.numel()
        repeated = made.roll(-start) if start else made
        values[number] = repeated.repeat(-(-each // made.numel()))[:each]
    shaped = values.to(device).view(case.planes, blocks, *shape)
    found = []
    for number in range(case.planes):
        (plane,) = planes_of(shaped[number], "bthc")
        found.append(Plane(plane.values, number // 2, "k" if number % 2 == 0 else "v"))
    return tuple(found)


def coding_of(case: Case, planes: Sequence[Plane], profile: Profile | None) -> Coding:
    """How the case's planes are coded. Raises UsageError like `profile_coding`."""
    if case.codec == "raw":
        return raw_coding(planes)
    if profile is not None:
        return profile_coding(planes, profile)
    assert case.bound is not None
    return cuszp_coding(planes, case.bound, case.codec_params.get("mode", "plain"))


def wrong_values(
    plane: Plane, source: np.ndarray[Any, Any], target: np.ndarray[Any, Any], bound: float | None
) -> tuple[int, float]:
    """How many values of the target blocks are not what the source blocks' may have become, and the largest error.

    Without a bound every bit has to agree. With one, |x - x'| <= bound + half a unit in the last place of x' where the
    cache's 16-bit dtype rounds; NaN and infinities have to agree.
    """
    wrong, largest = 0, 0.0
    step = max(1, _CHECKED_VALUES // plane.block_values)
    for first in range(0, len(source), step):
        before, after = (
            plane.values[torch.from_numpy(blocks[first : first + step]).to(plane.values.device)]
            for blocks in (source, target)
        )
        same = _bits(before) == _bits(after)
        if bound is None:
            wrong += int((~same).sum())
            continue
        error = (before.double() - after.double()).abs()
        rounding = 0.0 if plane.values.dtype == torch.float32 else torch.finfo(plane.values.dtype).eps / 2
        allowed = bound + rounding * after.double().abs()
        wrong += int((~(same | (error <= allowed))).sum())
        finite = error[torch.isfinite(error)]
        largest = max(largest, float(finite.max()) if finite.numel() else 0.0)
    return wrong, largest


def require_right(planes: Sequence[Plane], source: Any, target: Any, bounds: Sequence[float | None]) -> float:
    """The largest error of blocks that were swapped out and in. Raises CaseFailed where any is wrong."""
    wrong, largest = 0, 0.0
    for plane, bound in zip(planes, bounds, strict=True):
        found, error = wrong_values(plane, source, target, bound)
        wrong, largest = wrong + found, max(largest, error)
    if wrong:
        raise CaseFailed("bound_broken" if any(bounds) else "bytes_differ", f"{wrong} values came back wrong")
    return largest


def _made(case: Case, kind: str, each: int, shape: tuple[int, int, int], kept: dict[str, Any]) -> torch.Tensor:
    assert case.tensor is not None
    channels = shape[1] * shape[2]
    tokens = min(each, MOST_MADE_VALUES) // channels
    spec = TensorSpec.model_validate(
        {
            "source": case.tensor.source, "tensor": f"layers.0.{kind}", "layer": 0, "kv": kind, "dtype": "float32",
            "shape": (tokens, *shape[1:]), "source_layout": "thd",
        }
    )  # fmt: skip
    key = f"{spec.model_dump_json()} {case.seed} {case.dtype}"
    if kept.get(f"made {kind}", ("",))[0] != key:
        kept[f"made {kind}"] = (key, tensors.load(spec, case.seed).to(torch_dtype(case.dtype)).reshape(-1))
    made: torch.Tensor = kept[f"made {kind}"][1]
    return made


def _bits(values: torch.Tensor) -> torch.Tensor:
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
    return values.view(kinds[values.element_size()])
