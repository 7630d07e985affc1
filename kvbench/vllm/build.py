"""Owns how a rank's engine is made from the settings and vLLM's cache."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kvbench.codecs import profile as profiles
from kvbench.swap.coding import Coding, cuszp_coding, profile_coding, raw_coding
from kvbench.swap.engine import SwapEngine, device_of
from kvbench.vllm.caches import Cache, require_codable
from kvbench.vllm.ranges import MarkedDevice
from kvbench.vllm.settings import Settings
from kvbench.vllm.transfer import TransferEngine

if TYPE_CHECKING:
    from kvbench.swap.device import Device

logger = logging.getLogger(__name__)


def transfers_of(
    cache: Cache, settings: Settings, *, limit_bytes: int, slots: int, slot_blocks: int, rank: int
) -> TransferEngine:
    """A rank's transfers; the engine's memory is taken here.

    Raises UsageError for settings that do not fit the cache, UnavailableError for memory that is not given.
    """
    require_codable(cache, settings.codec)
    coding = coding_of(cache, settings)
    device = cast("Device", MarkedDevice(device_of(cache.planes[0].values)))
    engine = SwapEngine(
        cache.planes,
        coding,
        limit_bytes=limit_bytes,
        slot_blocks=slot_blocks * cache.kernel_blocks,
        slots=slots,
        path="raw" if coding.raw else settings.way,
        verify=settings.verify,
        staging_bytes=settings.staging_bytes,
        numa_node=settings.numa_node,
        device=device,
    )
    logger.info(
        "kvbench: rank %d keeps up to %d slots of %d blocks in %.2f GB; %s",
        rank,
        slots,
        slot_blocks,
        engine.limit_bytes / 1e9,
        said_of(coding, settings),
    )
    return TransferEngine(engine, rank=rank, slot_blocks=slot_blocks, kernel_blocks=cache.kernel_blocks)


def coding_of(cache: Cache, settings: Settings) -> Coding:
    """What the planes are coded with; a cache whose values are not known stays raw, with one line that says why."""
    if settings.codec != "cuszp":
        return raw_coding(cache.planes)
    if cache.why_bytes is not None:
        logger.warning("kvbench: blocks are moved raw: %s", cache.why_bytes)
        return raw_coding(cache.planes)
    if settings.profile is not None:
        return profile_coding(cache.planes, profiles.load(Path(settings.profile)))
    return cuszp_coding(cache.planes, settings.bound, settings.mode or "plain")


def said_of(coding: Coding, settings: Settings) -> str:
    """The coding in a few words."""
    if coding.raw:
        return "raw"
    if settings.profile is not None:
        return f"cuszp by profile {settings.profile}, path {settings.way}"
    return (
        f"cuszp {settings.mode or 'plain'}, bound {settings.bound.kind} {settings.bound.value:g}, path {settings.way}"
    )
