"""Stand-ins for vLLM's offloading manager, in the words of 0.24 (blocks) and of 0.33 (chunks)."""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Output:
    keys_to_store: list[Any]
    store_spec: Any
    evicted_keys: list[Any]


class Stats:
    """Like OffloadingConnectorStats, as far as the plugin writes to it."""

    def __init__(self) -> None:
        self.counters: dict[tuple[str, tuple[str, ...]], float] = {}
        self.gauges: dict[tuple[str, tuple[str, ...]], float] = {}

    def increase_counter(self, name: str, amount: float, labels: tuple[str, ...] = ()) -> None:
        self.counters[name, labels] = self.counters.get((name, labels), 0) + amount

    def set_gauge(self, name: str, value: float, labels: tuple[str, ...] = ()) -> None:
        self.gauges[name, labels] = value


class BlockStatus(ctypes.Structure):
    _fields_ = (("ref_cnt", ctypes.c_int32), ("block_id", ctypes.c_int64))

    def __init__(self, number: int) -> None:
        super().__init__(-1, number)

    @property
    def is_ready(self) -> bool:
        return self.ref_cnt >= 0


class ChunkStatus(ctypes.Structure):
    _fields_ = (("ref_cnt", ctypes.c_int32), ("chunk_id", ctypes.c_int64))

    def __init__(self, number: int) -> None:
        super().__init__(-1, number)

    @property
    def is_ready(self) -> bool:
        return self.ref_cnt >= 0


@dataclass
class LruPolicy:
    """The least recently stored or loaded entry goes first."""

    entries: dict[Any, Any] = field(default_factory=dict)
    idle: OrderedDict[Any, None] = field(default_factory=OrderedDict)

    def get(self, key: Any) -> Any:
        return self.entries.get(key)

    def remove(self, key: Any) -> None:
        del self.entries[key]
        self.idle.pop(key, None)

    def evict(self, count: int, protected: set[Any]) -> list[tuple[Any, Any]] | None:
        chosen = [key for key in self.idle if key not in protected][:count]
        if len(chosen) < count:
            return None
        gone = [(key, self.entries[key]) for key in chosen]
        for key in chosen:
            self.remove(key)
        return gone


class Common:
    """What both releases' managers do, with the pool's methods left to them."""

    _status: type[Any]

    def _begin(self, count: int, enable_events: bool) -> None:
        self.medium = "CPU"
        self._count, self._fresh = count, 0
        self._free_list: list[int] = []
        self._policy = LruPolicy()
        self.events: list[Any] | None = [] if enable_events else None

    def _unused(self) -> int:
        return len(self._free_list) + self._count - self._fresh

    def _take(self, keys: list[Any]) -> list[Any]:
        taken = []
        for _ in keys:
            if self._fresh < self._count:
                taken.append(self._status(self._fresh))
                self._fresh += 1
            else:
                taken.append(self._status(self._free_list.pop()))
        return taken

    def lookup(self, key: Any, context: Any) -> bool | None:
        entry = self._policy.get(key)
        return False if entry is None else (True if entry.is_ready else None)

    def prepare_load(self, keys: list[Any], context: Any) -> list[Any]:
        entries = [self._policy.get(key) for key in keys]
        for key, entry in zip(keys, entries, strict=True):
            assert entry.is_ready
            if entry.ref_cnt == 0:
                del self._policy.idle[key]
                self._idle(-1)
            entry.ref_cnt += 1
        return entries

    def complete_load(self, keys: list[Any], context: Any) -> None:
        for key in keys:
            entry = self._policy.get(key)
            entry.ref_cnt -= 1
            if entry.ref_cnt == 0:
                self._policy.idle[key] = None
                self._idle(1)

    def _store(self, keys: list[Any], unused: Any, free: Any, allocate: Any, idle: int) -> Output | None:
        new = [key for key in keys if self._policy.get(key) is None]
        if not new:
            return Output([], None, [])
        missing, gone = len(new) - unused(), []
        if missing > 0:
            found = self._policy.evict(missing, set(keys)) if missing <= idle else None
            if found is None:
                return None
            self._idle(-len(found))
            for key, entry in found:
                free(entry)
                gone.append(key)
        for key, entry in zip(new, allocate(new), strict=True):
            self._policy.entries[key] = entry
        return Output(new, None, gone)

    def _complete(self, keys: list[Any], success: bool, free: Any) -> None:
        for key in keys:
            entry = self._policy.get(key)
            if entry is None or entry.is_ready:
                continue
            if success:
                entry.ref_cnt = 0
                self._policy.idle[key] = None
                self._idle(1)
            else:
                self._policy.remove(key)
                free(entry)

    def get_stats(self) -> Stats:
        return Stats()

    def _idle(self, by: int) -> None:
        raise NotImplementedError

    def _clear(self) -> None:
        self._policy = LruPolicy()
        self._free_list.clear()
        self._fresh = 0


class ManagerOfBlocks(Common):
    """In 0.24's words."""

    _status = BlockStatus

    def __init__(self, num_blocks: int, cache_policy: str = "lru", enable_events: bool = False) -> None:
        self._begin(num_blocks, enable_events)
        self._num_evictable_cache_blocks = 0

    def _idle(self, by: int) -> None:
        self._num_evictable_cache_blocks += by

    def _get_num_free_blocks(self) -> int:
        return self._unused()

    def _allocate_blocks(self, keys: list[Any]) -> list[Any]:
        return self._take(keys)

    def _free_block(self, block: Any) -> None:
        self._free_list.append(block.block_id)

    def prepare_store(self, keys: list[Any], context: Any) -> Output | None:
        idle = self._num_evictable_cache_blocks
        return self._store(keys, self._get_num_free_blocks, self._free_block, self._allocate_blocks, idle)

    def complete_store(self, keys: list[Any], context: Any, success: bool = True) -> None:
        self._complete(keys, success, self._free_block)

    def reset_cache(self) -> None:
        self._clear()
        self._num_evictable_cache_blocks = 0


class ManagerOfChunks(Common):
    """In 0.33's words."""

    _status = ChunkStatus

    def __init__(
        self, num_chunks: int, cache_policy: str = "lru", enable_events: bool = False, info: object = None
    ) -> None:
        self._begin(num_chunks, enable_events)
        self._num_evictable_cache_chunks = 0

    def _idle(self, by: int) -> None:
        self._num_evictable_cache_chunks += by

    def _get_num_free_chunks(self) -> int:
        return self._unused()

    def _allocate_chunks(self, keys: list[Any]) -> list[Any]:
        return self._take(keys)

    def _free_chunk(self, chunk: Any) -> None:
        self._free_list.append(chunk.chunk_id)

    def prepare_store(self, keys: list[Any], context: Any) -> Output | None:
        idle = self._num_evictable_cache_chunks
        return self._store(keys, self._get_num_free_chunks, self._free_chunk, self._allocate_chunks, idle)

    def complete_store(self, keys: list[Any], context: Any, success: bool = True) -> None:
        self._complete(keys, success, self._free_chunk)

    def reset_cache(self) -> None:
        self._clear()
        self._num_evictable_cache_chunks = 0
