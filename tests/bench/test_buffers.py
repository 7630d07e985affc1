"""Checks that calls on a GPU start with a cold cache, and that it is said where they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest
import torch
from fake_bench import Shifting, Stored, context

from kvbench.bench import buffers, compress
from kvbench.bench.buffers import Turns, buffer_sets, cache_state
from kvbench.bound import Bound
from kvbench.codecs.base import Encoded
from kvbench.config import build_experiment
from kvbench.tensors.base import KVView

L2_BYTES = 1 << 20


class Watching(Shifting):
    """Notes which memory each call is about, in order."""

    used: ClassVar[list[tuple[str, int]]] = []

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Stored:
        self.used.append(("encode_call", view.tensor.data_ptr()))
        return super().encode(view, out, bound)

    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        self.used.append(("decode_call", out.data_ptr()))
        super().decode(encoded, out)

    def stages(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Mapping[str, Callable[[], object]]:
        return {"encode_kernel": lambda: self.used.append(("encode_kernel", view.tensor.data_ptr()))}


def view_of(raw_bytes: int) -> KVView:
    return KVView(torch.arange(raw_bytes // 4, dtype=torch.float32))


def bytes_between_uses(addresses: list[int], raw_bytes: int) -> int:
    """The least bytes of other buffers that are used between two uses of the same one."""
    last: dict[int, int] = {}
    distances = []
    for position, address in enumerate(addresses):
        if address in last:
            distances.append(position - last[address] - 1)
        last[address] = position
    return min(distances) * raw_bytes


@pytest.mark.parametrize("raw_bytes", [1 << 14, 1 << 18, 3 << 18, 1 << 20, 3 << 20])
def test_sets_are_equal_but_apart_and_together_exceed_the_cache(raw_bytes: int) -> None:
    view = view_of(raw_bytes)
    sets = buffer_sets(Shifting(), view, L2_BYTES)
    assert cache_state(sets, L2_BYTES) == "cold"
    assert sum(one.view.tensor.nbytes for one in sets) >= 2 * L2_BYTES
    assert sets[0].view is view
    assert len({one.view.tensor.data_ptr() for one in sets}) == len(sets)
    assert len({one.decoded.data_ptr() for one in sets} | {one.out.data_ptr() for one in sets}) == 2 * len(sets)
    assert all(torch.equal(one.view.tensor, view.tensor) for one in sets)


def test_a_tensor_of_several_caches_needs_no_copy() -> None:
    sets = buffer_sets(Shifting(), view_of(2 * L2_BYTES), L2_BYTES)
    assert (len(sets), cache_state(sets, L2_BYTES)) == (1, "cold")


def test_sets_are_limited_and_what_is_warm_then_is_called_so() -> None:
    sets = buffer_sets(Shifting(), view_of(64), L2_BYTES)
    assert len(sets) == buffers.MOST_SETS
    assert cache_state(sets, L2_BYTES) == "warm"


def test_host_memory_and_an_empty_tensor_have_one_set() -> None:
    assert len(buffer_sets(Shifting(), view_of(1 << 16), 0)) == 1
    assert len(buffer_sets(Shifting(), KVView(torch.empty(0)), L2_BYTES)) == 1
    assert cache_state(buffer_sets(Shifting(), view_of(1 << 16), 0), 0) == "warm"


def test_turns_go_round() -> None:
    made: list[int] = []
    turns = Turns([lambda number=number: made.append(number) for number in range(3)])
    for _ in range(7):
        turns()
    assert made == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(("l2_bytes", "cache"), [(L2_BYTES, "cold"), (0, "warm")])
def test_a_phase_whose_cache_was_warmed_by_its_own_last_call_is_called_warm(
    monkeypatch: pytest.MonkeyPatch, l2_bytes: int, cache: str
) -> None:
    monkeypatch.setattr(compress.codecs, "make", lambda name, params: Watching())
    monkeypatch.setattr(compress, "l2_bytes_of", lambda tensor: l2_bytes)
    Watching.used.clear()
    experiment = build_experiment("sweep", {"source": "gaussian", "tensor_size": 1 << 16})
    [case, _] = compress.prepare(experiment, "no GPU").plan.cases
    outcome = compress.run(case, context())
    for phase in ("encode_kernel", "encode_call", "decode_call"):
        assert outcome.phases[phase].cache == cache
        addresses = [address for name, address in Watching.used if name == phase]
        # What is encoded or decoded after the timing, to look at the result, is the first set again.
        timed = addresses[: -2 if phase == "encode_call" else -1 if phase == "decode_call" else None]
        assert (bytes_between_uses(timed, case.raw_bytes) >= L2_BYTES) == (cache == "cold")
