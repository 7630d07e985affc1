"""Owns what differs in vLLM's offloading classes from release to release, found by looking, never by version."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from kvbench.errors import UnavailableError

_SUPPORTED = "kvbench's plugin knows the offloading of vLLM 0.24 to 0.33"


@dataclass(frozen=True)
class ManagerNames:
    """How a CPUOffloadingManager calls things; from 0.27 to 0.33 blocks became chunks, one name after the other."""

    count: str  # keyword of its constructor for how many slots there are
    keywords: frozenset[str]  # all of them
    free_method: str
    allocate_method: str
    room_method: str
    slot: str  # attribute of what a policy keeps: the slot's number


def manager_names(manager: type[Any], status: type[Any]) -> ManagerNames:
    """Of vLLM's manager class and the class of its policies' entries. Raises UnavailableError for unknown ones."""
    keywords = frozenset(inspect.signature(manager.__init__).parameters) - {"self"}
    free, allocate, room = (
        _found(manager.__dict__, f"{verb}_chunk{plural}", f"{verb}_block{plural}")
        for verb, plural in (("_free", ""), ("_allocate", "s"), ("_get_num_free", "s"))
    )
    return ManagerNames(
        count=_found(keywords, "num_chunks", "num_blocks"),
        keywords=keywords,
        free_method=free,
        allocate_method=allocate,
        room_method=room,
        slot=_found({name for name, *_ in status._fields_}, "chunk_id", "block_id"),
    )


def evictable_name(manager: object) -> str:
    """The attribute of a manager that counts what could be evicted. Raises UnavailableError where there is none."""
    return _found(vars(manager), "_num_evictable_cache_chunks", "_num_evictable_cache_blocks")


def blocks_of_slot(spec: Any) -> int:
    """GPU blocks that one slot holds, of an OffloadingSpec."""
    for name in ("blocks_per_chunk", "block_size_factor"):
        if hasattr(spec, name):
            return int(getattr(spec, name))
    raise UnavailableError(f"{type(spec).__name__} does not say how many blocks it offloads as one; {_SUPPORTED}")


def ranks_of(spec: Any) -> tuple[int, int]:
    """This process's rank among the workers, and how many there are, of an OffloadingSpec."""
    config = getattr(spec, "config", None)
    if config is not None:
        return int(config.parallel.rank), int(config.parallel.world_size)
    parallel = spec.vllm_config.parallel_config
    return int(parallel.rank), int(parallel.world_size)


def result_class() -> type[Any]:
    """What vLLM wants a finished transfer told as."""
    from vllm.v1.kv_offload import base

    home = base if hasattr(base, "TransferResult") else import_module("vllm.v1.kv_offload.worker.worker")
    found: type[Any] = home.TransferResult
    return found


def status_class() -> type[Any]:
    """What a policy keeps of each key."""
    from vllm.v1.kv_offload.cpu.policies import base

    found: type[Any] = base.ChunkStatus if hasattr(base, "ChunkStatus") else base.BlockStatus
    return found


def _found(where: Any, *names: str) -> str:
    for name in names:
        if name in where:
            return name
    raise UnavailableError(f"vLLM's offloading manager has neither {' nor '.join(names)}; {_SUPPORTED}")
