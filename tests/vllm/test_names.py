"""What differs between vLLM's releases is found by looking at the classes, and unknown ones are refused by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fake_vllm import BlockStatus, ChunkStatus, ManagerOfBlocks, ManagerOfChunks
from vllm_managers import Kit

from kvbench.errors import UnavailableError
from kvbench.vllm.names import blocks_of_slot, evictable_name, manager_names, ranks_of


def test_of_blocks() -> None:
    names = manager_names(ManagerOfBlocks, BlockStatus)
    assert (names.count, names.slot) == ("num_blocks", "block_id")
    assert evictable_name(ManagerOfBlocks(3)) == "_num_evictable_cache_blocks"
    assert (names.free_method, names.allocate_method, names.room_method) == (
        "_free_block",
        "_allocate_blocks",
        "_get_num_free_blocks",
    )
    assert "info" not in names.keywords


def test_of_chunks() -> None:
    names = manager_names(ManagerOfChunks, ChunkStatus)
    assert (names.count, names.slot) == ("num_chunks", "chunk_id")
    assert evictable_name(ManagerOfChunks(3)) == "_num_evictable_cache_chunks"
    assert names.free_method == "_free_chunk"
    assert "info" in names.keywords


def test_of_the_release_at_hand(kit: Kit) -> None:
    """A manager can be made, and has all that the names say."""
    manager = kit.manager(1, 10, 1, slots=10)
    names = manager._outside.names
    for name in (evictable_name(manager), names.free_method, names.allocate_method, names.room_method):
        assert hasattr(manager, name)


def test_an_unknown_manager() -> None:
    class Other:
        def __init__(self, num_blocks: int) -> None: ...

    with pytest.raises(UnavailableError, match=r"neither _free_chunk nor _free_block.*0\.24 to 0\.33"):
        manager_names(Other, BlockStatus)


def test_of_specs() -> None:
    old = SimpleNamespace(
        block_size_factor=4, vllm_config=SimpleNamespace(parallel_config=SimpleNamespace(rank=1, world_size=2))
    )
    new = SimpleNamespace(blocks_per_chunk=8, config=SimpleNamespace(parallel=SimpleNamespace(rank=3, world_size=4)))
    assert (blocks_of_slot(old), ranks_of(old)) == (4, (1, 2))
    assert (blocks_of_slot(new), ranks_of(new)) == (8, (3, 4))
    with pytest.raises(UnavailableError, match="how many blocks"):
        blocks_of_slot(SimpleNamespace())
