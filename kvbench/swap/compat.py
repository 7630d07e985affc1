"""Owns the names under which compressed swap was known before: thin functions over one engine a pair of tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike

from kvbench.bound import Bound
from kvbench.config import Mode
from kvbench.errors import UsageError
from kvbench.swap.coding import cuszp_coding, raw_coding
from kvbench.swap.engine import SwapEngine
from kvbench.swap.planes import guessed_axes, planes_of
from kvbench.swap.slab import PAGE_BYTES
from kvbench.swap.state import geometry_of

# The switches, each with the name it once had. Newer vLLM refuses names with VLLM_ that it does not know.
ALIASES = {
    "KVBENCH_ENABLE_COMPRESSION": "VLLM_ENABLE_COMPRESSION",
    "KVBENCH_COMPRESSION_ERROR_BOUND": "VLLM_COMPRESSION_ERROR_BOUND",
    "KVBENCH_COMPRESSION_MODE": "VLLM_COMPRESSION_MODE",
}
_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Settings:
    """What compressed swap was asked to do."""

    enable_compression: bool = True
    error_bound: float = 1e-4
    use_relative_error: bool = True
    encoding_mode: Mode = "plain"
    device_id: int = 0

    @property
    def bound(self) -> Bound:
        """Relative: a fraction of max - min of the first blocks that are swapped out."""
        return Bound(kind="rel" if self.use_relative_error else "abs", value=self.error_bound)


def translated(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the switches under kvbench's names alone, for a server that refuses the old ones.

    A switch under both names keeps the value of kvbench's.
    """
    kept = {name: value for name, value in environment.items() if name not in ALIASES.values()}
    return {ours: environment[old] for ours, old in ALIASES.items() if old in environment} | kept


def with_environment(settings: Settings, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings as the switches in the environment change them; a switch that is set wins.

    Raises UsageError for a value that cannot be read.
    """
    found = translated(os.environ if environment is None else environment)
    enable, bound, mode = (found.get(name, "").strip() for name in ALIASES)
    if enable:
        if enable.lower() not in (*_ON, *_OFF):
            raise UsageError(f"KVBENCH_ENABLE_COMPRESSION={enable!r} is neither yes nor no; use 1 or 0")
        settings = replace(settings, enable_compression=enable.lower() in _ON)
    if bound:
        try:
            settings = replace(settings, error_bound=float(bound))
        except ValueError:
            raise UsageError(f"KVBENCH_COMPRESSION_ERROR_BOUND={bound!r} is no number; try 1e-2") from None
    return _checked(replace(settings, encoding_mode=cast("Mode", mode)) if mode else settings)


class CompressedSwapManager:
    """Swaps blocks between cache tensors and host tensors, which are keys alone: nothing is written to them.

    A cache tensor is [2, blocks, tokens, heads, size] (K and V), [blocks, 2, ...] or [blocks, ...]; the host tensor has
    the same form. Every pair of tensors has an engine whose memory holds all blocks of the host tensor, even raw.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = _checked(settings)
        self._engines: dict[tuple[int, int], SwapEngine] = {}

    @property
    def enable_compression(self) -> bool:
        """Whether blocks are coded; else they are moved as they are."""
        return self.settings.enable_compression

    def swap_out_blocks_to_host_compressed(
        self,
        src_cache: torch.Tensor,
        dst_cache: torch.Tensor,
        src_block_indices: ArrayLike,
        dst_block_indices: ArrayLike,
    ) -> None:
        """Keep blocks of `src_cache` under their indices in the host tensor; returns when they are kept.

        Raises UsageError for tensors that do not fit each other and for indices that are not there.
        """
        engine = self._engine(src_cache, dst_cache)
        slots = np.asarray(dst_block_indices, dtype=np.int64).reshape(-1)
        held = [slot for slot in slots.tolist() if 0 <= slot < engine.slots and engine.slot(slot).state]
        if held:
            engine.free(np.unique(held))
        engine.wait([engine.store(np.asarray(src_block_indices).reshape(-1), slots)])
        engine.poll()

    def swap_in_blocks_from_host_compressed(
        self,
        src_cache: torch.Tensor,
        dst_cache: torch.Tensor,
        src_block_indices: ArrayLike,
        dst_block_indices: ArrayLike,
    ) -> None:
        """Put blocks that were kept under indices of the host tensor `src_cache` into `dst_cache`; returns when done.

        Raises UsageError for blocks that were never kept, or can no longer be read.
        """
        engine = self._engine(dst_cache, src_cache)
        slots = np.asarray(src_block_indices, dtype=np.int64).reshape(-1)
        job = engine.load(slots, np.asarray(dst_block_indices).reshape(-1))
        engine.wait([job])
        engine.poll()
        if job.failed.any():
            raise UsageError(f"block {job.slots[job.failed][0]} of the host cache cannot be read any more")

    def close(self) -> None:
        """Give all memory back."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()

    def _engine(self, cache: torch.Tensor, host: torch.Tensor) -> SwapEngine:
        key = (cache.data_ptr(), host.data_ptr())
        if key not in self._engines:
            self._engines[key] = self._make(cache, host)
        return self._engines[key]

    def _make(self, cache: torch.Tensor, host: torch.Tensor) -> SwapEngine:
        axes = guessed_axes(cache)
        place = axes.index("b")
        if host.dim() != cache.dim() or _without(host.shape, place) != _without(cache.shape, place):
            raise UsageError(
                f"a cache of shape {tuple(cache.shape)} and a host tensor of {tuple(host.shape)}: they may differ in "
                "the number of blocks alone"
            )
        if cache.is_cuda and cache.device.index != self.settings.device_id:
            raise UsageError(
                f"a cache on {cache.device}, compressed swap was initialised for device_id {self.settings.device_id}"
            )
        planes, slots = planes_of(cache, axes), host.shape[place]
        coding = raw_coding(planes)
        if self.enable_compression:
            coding = cuszp_coding(planes, self.settings.bound, self.settings.encoding_mode)
        limit = slots * geometry_of(planes, 1).slot_pages * PAGE_BYTES
        return SwapEngine(planes, coding, limit_bytes=limit, slots=slots, path="fused")


_manager: CompressedSwapManager | None = None


def initialize_compressed_swap(
    enable_compression: bool = True,
    error_bound: float = 1e-4,
    use_relative_error: bool = True,
    encoding_mode: str = "plain",
    device_id: int = 0,
) -> CompressedSwapManager:
    """Start compressed swap anew with these settings, as the switches in the environment change them.

    Raises UsageError for a value that cannot be used.
    """
    global _manager
    asked = Settings(enable_compression, error_bound, use_relative_error, cast("Mode", encoding_mode), device_id)
    settings = with_environment(asked)
    if _manager is not None:
        _manager.close()
    _manager = CompressedSwapManager(settings)
    return _manager


def get_compressed_swap_manager() -> CompressedSwapManager:
    """The manager that `initialize_compressed_swap` made last, or one with default settings."""
    return _manager if _manager is not None else initialize_compressed_swap()


def _checked(settings: Settings) -> Settings:
    if settings.encoding_mode not in get_args(Mode):
        raise UsageError(f"encoding_mode {settings.encoding_mode!r} is not known; use {', '.join(get_args(Mode))}")
    try:
        settings.bound  # noqa: B018  its own check
    except ValueError:
        raise UsageError(f"error_bound {settings.error_bound} is not a finite number above 0; try 1e-2") from None
    return settings


def _without(shape: Sequence[int], place: int) -> tuple[int, ...]:
    return (*shape[:place], *shape[place + 1 :])
