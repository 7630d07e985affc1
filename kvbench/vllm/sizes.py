"""Owns one rank's share of the host memory: its pages, and how many slots there are to number."""

from __future__ import annotations

from dataclasses import dataclass

from kvbench.errors import UsageError
from kvbench.vllm.settings import Settings

PAGE_BYTES = 4096
"""Of the swap engine's slab."""


@dataclass(frozen=True)
class Budget:
    """What one rank has, and what a slot may need at most."""

    limit_bytes: int
    pages: int
    slot_pages: int
    slots: int


def budget_of(settings: Settings, ranks: int, slot_bytes: int) -> Budget:
    """One of `ranks` equal shares, for slots of `slot_bytes` raw bytes. A fixed pool has as many slots as fit raw.

    Raises UsageError for a share that holds no slot.
    """
    limit = settings.cpu_bytes_to_use // ranks
    pages, slot_pages = limit // PAGE_BYTES, max(1, -(-slot_bytes // PAGE_BYTES))
    raw = pages // slot_pages
    if raw < 1:
        raise UsageError(
            f"cpu_bytes_to_use {settings.cpu_bytes_to_use} is too little: each of {ranks} ranks needs "
            f"{slot_pages * PAGE_BYTES} bytes for one block at least"
        )
    ratio = settings.most_ratio if settings.pool == "paged" and settings.codec == "cuszp" else 1.0
    return Budget(limit, pages, slot_pages, int(raw * ratio))
