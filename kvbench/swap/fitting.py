"""Owns the measurement behind a cost model: batches of known content by every path, both ways, on its own cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch

from kvbench.bound import Bound
from kvbench.swap.coding import Coding
from kvbench.swap.cost import CostModel, Path
from kvbench.swap.device import Device
from kvbench.swap.engine import SwapEngine
from kvbench.swap.planes import Plane
from kvbench.swap.slab import PAGE_BYTES
from kvbench.swap.state import geometry_of

LARGEST_BATCH_BYTES = 64 << 20
_REPEATS = 5
_CONTENTS = (1e-6, 4.0, 64.0, 1e6)  # spread of the values in bounds: all alike, a few bits, more bits, incompressible
_MOST_FLOAT16 = 1e4
PATHS: tuple[Path, ...] = ("raw", "fused", "staged")


def fitted_model(
    planes: Sequence[Plane],
    coding: Coding,
    *,
    slot_blocks: int = 1,
    device: Device | None = None,
    seconds: float = 1.0,
    largest_bytes: int = LARGEST_BATCH_BYTES,
) -> CostModel:
    """Measure stores and loads of 1, 4, 16, ... slots up to `largest_bytes` by every path, and fit.

    The blocks are in a cache of the same geometry, made for this and given back after it, so memory for twice the
    largest batch has to be free there. It ends after about `seconds`, with what it has by then; the first batch by
    every path is not counted. The share of bytes that coding leaves is the caller's to see: it is not taken from here.
    """
    model = CostModel()
    if coding.raw:
        return model
    geometry = geometry_of(planes, slot_blocks)
    slot_bytes = geometry.slot_pages * PAGE_BYTES
    most = int(max(1, min(largest_bytes // slot_bytes, geometry.blocks // slot_blocks)))
    own, bounded = _cache_like(planes, most * slot_blocks), _bounded(coding)
    counts = sorted({min(4**power, most) for power in range(12)})
    deadline = time.monotonic() + seconds
    engines = {
        path: SwapEngine(
            own, bounded, limit_bytes=most * slot_bytes, slot_blocks=slot_blocks, slots=most, path=path, cost=model,
            device=device, staging_bytes=most * slot_bytes,
        )
        for path in PATHS
    }  # fmt: skip
    try:
        for engine in engines.values():
            _batch(engine, most, slot_blocks)
        model.clear()
        for number, spread in enumerate(_CONTENTS):
            _fill(own, spread, number)
            for repeat, engine in product(range(_REPEATS), engines.values()):
                if repeat and time.monotonic() > deadline:
                    break
                for count in counts:
                    _batch(engine, count, slot_blocks)
    finally:
        for engine in engines.values():
            engine.close()
    model.refit_all()
    model.forget_share()
    return model


def _batch(engine: SwapEngine, count: int, slot_blocks: int) -> None:
    """Out and back; what it took is in the engine's model then."""
    slots = np.arange(count)
    blocks = np.arange(count * slot_blocks).reshape(count, slot_blocks)
    engine.wait([engine.store(blocks, slots)])
    engine.wait([engine.load(slots, blocks)])
    engine.poll()
    engine.free(slots)


def _cache_like(planes: Sequence[Plane], blocks: int) -> tuple[Plane, ...]:
    """Planes of the same shape and kind, over memory of their own."""
    made = []
    for plane in planes:
        shape = (blocks, *plane.block_shape)
        made.append(replace(plane, values=torch.zeros(shape, dtype=plane.values.dtype, device=plane.values.device)))
    return tuple(made)


def _bounded(coding: Coding) -> Coding:
    """The same coding with bounds that need no measurement."""
    bound = Bound(kind="abs", value=1.0)
    return replace(
        coding,
        by_plane=tuple(one if one.bound is None else replace(one, bound=bound) for one in coding.by_plane),
    )


def _fill(planes: Sequence[Plane], spread: float, seed: int) -> None:
    for number, plane in enumerate(planes):
        if not plane.coded:
            continue
        most = _MOST_FLOAT16 if plane.values.dtype == torch.float16 else spread
        generator = torch.Generator(plane.values.device).manual_seed(seed * len(planes) + number)
        plane.values.normal_(0.0, min(spread, most), generator=generator)
