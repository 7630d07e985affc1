"""Owns the plans of an engine: tables of planes for the kernels, one for raw and one for each step of the bounds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kvbench import kv_blocks
from kvbench.swap.bounds import absolute_bounds, needs_values, quantizer_bound
from kvbench.swap.coding import RAW, Coding, PlaneCoding
from kvbench.swap.device import Device
from kvbench.swap.planes import Plane

logger = logging.getLogger(__name__)
RAW_PLAN = 0
_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16", torch.uint8: "uint8"}


@dataclass(frozen=True)
class Plan:
    """One table of planes: where the kernels find it, and each plane's mode and absolute bound (None: raw)."""

    address: int
    modes: tuple[str, ...]
    bounds: tuple[float | None, ...]
    keep: object

    @property
    def coded(self) -> bool:
        """Whether any plane is coded."""
        return any(mode != "raw" for mode in self.modes)


class Plans:
    """Plan 0 is raw, plan 1 + i has the coding's bounds times `factors[i]`.

    Bounds that are fractions of values are measured once, at `settle`, and stay for as long as the engine lives: what
    is stored, restored and stored again would drift otherwise.
    """

    def __init__(self, planes: Sequence[Plane], coding: Coding, device: Device, factors: Sequence[float]) -> None:
        self._planes, self._coding, self._device, self._factors = planes, coding, device, factors
        self.dtype = _DTYPES[planes[0].values.dtype]
        self._means = [None if one.means is None else device.upload(one.means.numpy()) for one in coding.by_plane]
        self._plans = [self._table([RAW] * len(planes), [None] * len(planes))]
        self.notes: list[str] = []
        if not needs_values(coding.by_plane):
            self._add_coded(absolute_bounds(coding.by_plane, planes, None))

    def __getitem__(self, number: int) -> Plan:
        return self._plans[number]

    @property
    def settled(self) -> bool:
        """Whether the bounds are known."""
        return len(self._plans) > 1

    def settle(self, blocks: NDArray[np.int64] | None, of_what: str) -> None:
        """Measure these blocks (None: all) for the bounds that are fractions of values. Waits for the device."""
        bounds = absolute_bounds(self._coding.by_plane, self._planes, blocks)
        self._add_coded(bounds)
        known = [bound for bound in bounds if bound is not None]
        kinds = sorted({one.bound.kind for one in self._coding.by_plane if one.bound is not None})
        note = (
            f"bounds of kind {' and '.join(kinds)} are absolute from now on, measured on {of_what}: "
            f"{min(known):.4g} to {max(known):.4g} over {len(known)} planes"
        )
        self.notes.append(note)
        logger.info("%s", note)

    def _add_coded(self, bounds: Sequence[float | None]) -> None:
        for factor in self._factors:
            loosened = [None if bound is None else bound * factor for bound in bounds]
            self._plans.append(self._table(self._coding.by_plane, loosened))

    def _table(self, codings: Sequence[PlaneCoding], bounds: Sequence[float | None]) -> Plan:
        records = np.zeros(len(self._planes), dtype=kv_blocks.PLANE)
        for number, (plane, coding, bound) in enumerate(zip(self._planes, codings, bounds, strict=True)):
            record, values = records[number], plane.values
            record["values"] = values.data_ptr()
            record["block_stride"], record["token_stride"], record["head_stride"] = values.stride()[:3]
            record["tokens"], record["heads"], record["head_size"] = plane.block_shape
            record["form"] = kv_blocks.FORMS[coding.form]
            record["layout"] = kv_blocks.LAYOUTS[coding.layout]
            if bound is not None:
                means = self._means[number]
                record["means"] = 0 if means is None else means[0]
                record["error_bound"], record["limit"] = quantizer_bound(bound), _float32_below(bound)
        address, keep = self._device.upload(records)
        modes = tuple(coding.form for coding in codings)
        return Plan(address, modes, tuple(bounds), (keep, self._means))


def _float32_below(value: float) -> float:
    """The largest float32 that is not above a number."""
    rounded = np.float32(value)
    return float(rounded) if float(rounded) <= value else float(np.nextafter(rounded, np.float32(0)))
