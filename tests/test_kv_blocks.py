"""Owns the tests of KV blocks on the CPU: the stored form, bounds, raw streams, restoring, damage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from paged_cache import PAGE_BYTES, POISON, PagedCache, random_planes

from kvbench import cuszp, kv_blocks
from kvbench.bound import Bound
from kvbench.codecs import calibration
from kvbench.codecs.payload import EncodedPayload
from kvbench.codecs.pipeline import Pipeline
from kvbench.errors import UsageError
from kvbench.tensors.base import KVView

BOUND = 0.05


def means_of(planes: list[torch.Tensor]) -> list[torch.Tensor | None]:
    return [p.float().mean(dim=(0, 1)).to(p.dtype).float().contiguous() for p in planes]


def inner_stream(view: torch.Tensor, transforms: str, mode: str) -> tuple[bytes, int]:
    """The stream that the codec `pipeline` makes of a block, trimmed, and how many elements are in it."""
    codec = Pipeline(codec="cuszp", params={"mode": mode, "bound_policy": "compatible"}, transforms=transforms)
    seen = KVView(view.contiguous(), 0, "k", "thd")
    out = torch.empty(codec.capacity(view.numel(), view.dtype), dtype=torch.uint8)
    encoded = codec.encode(seen, out, Bound(kind="abs", value=BOUND))
    assert isinstance(encoded, EncodedPayload)
    assert encoded.header.body_kind == "payload"
    n = codec.bounded_part(seen).numel()
    body = encoded.body.numpy().tobytes()
    blocks = -(-n // 32)
    payload = sum(record_bytes(b) for b in body[:blocks])
    start = cuszp.metadata_bytes(n)
    return body[:blocks] + body[start : start + payload], n


def record_bytes(metadata: int) -> int:
    first = (metadata >> 5 & 3) + 1 if metadata & 0x80 else 0
    return 0 if metadata == 0 else 4 + 4 * (metadata & 31) + first


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(("form", "layout", "keep", "centred"), [
    ("fixed", "thd", 0, False),
    ("outlier", "hdt", 0, True),
    ("outlier", "hdt", 4, True),
    ("plain", "hdt", 3, False),
    ("plain", "thd", 2, True),
])  # fmt: skip
def test_streams_are_those_of_the_pipeline(
    dtype: torch.dtype, form: str, layout: str, keep: int, centred: bool
) -> None:
    planes = random_planes(dtype=dtype)
    cache = PagedCache(planes)
    means = means_of(planes) if centred else None
    cache.describe(form=form, layout=layout, error_bound=BOUND, means=means)
    moves = cache.moves(keep)
    streams = cache.store(moves)
    for (block, index), stream in np.ndenumerate(streams):
        chain = [f"keep-first={keep}"] if keep else []
        if means is not None:
            mean = means[index]
            assert mean is not None
            chain.append(f"center={calibration.add(mean)}")
        expected, _ = inner_stream(planes[index][block], ",".join([*chain, f"layout={layout}"]), form)
        kept = planes[index][block][:keep].contiguous().view(torch.uint8).numpy().tobytes()
        assert (stream["status"], stream["stored_raw"]) == (kv_blocks.OK, 0)
        assert cache.stored(block, stream) == kept + expected


@pytest.mark.parametrize("shape", [(16, 3, 64), (16, 5, 7), (7, 1, 33), (1, 1, 1), (16, 8, 128)])
@pytest.mark.parametrize("layout", ["thd", "hdt"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_values_come_back_within_the_bound(shape: tuple[int, int, int], layout: str, dtype: torch.dtype) -> None:
    planes = random_planes(shape=shape, dtype=dtype)
    before = [p.clone() for p in planes]
    cache = PagedCache(planes)
    cache.describe(form="outlier", layout=layout, error_bound=BOUND, means=means_of(planes))
    moves = cache.moves(2)
    streams = cache.store(moves, checksum=True)
    for p in planes:
        p.zero_()
    assert (cache.load(moves, streams, checksum=True) == kv_blocks.OK).all()
    for new, old in zip(planes, before, strict=True):
        assert torch.equal(new[:, :2], old[:, :2])
        cast = 0 if dtype == torch.float32 else old.float().abs() * 2**-8
        assert ((new.float() - old.float()).abs() <= BOUND * 1.0001 + cast).all()


def test_strided_caches_hold_the_same_streams() -> None:
    plain = random_planes()
    strided = [p.permute(0, 2, 1, 3).contiguous().permute(0, 2, 1, 3) for p in plain]
    interleaved = list(torch.stack(plain, dim=3).unbind(3))
    found = []
    for planes in (plain, strided, interleaved):
        cache = PagedCache(planes)
        cache.describe(form="plain", layout="hdt", error_bound=BOUND)
        streams = cache.store(cache.moves(1))
        found.append([cache.stored(block, stream) for (block, _), stream in np.ndenumerate(streams)])
    assert found[0] == found[1] == found[2]


def test_what_does_not_get_smaller_or_breaks_its_limit_is_stored_raw() -> None:
    planes = random_planes(count=4)
    planes[1][1, 3, 1, 5] = float("nan")
    planes[2][2, 3, 1, 5] = float("inf")
    planes[3].copy_(torch.randint(-(2**15), 2**15, planes[3].shape, dtype=torch.int16).view(torch.bfloat16))
    before = [p.view(torch.int16).clone() for p in planes]
    cache = PagedCache(planes)
    cache.describe(form="plain", error_bound=BOUND, limit=BOUND * 1.001)
    moves = cache.moves()
    streams = cache.store(moves)
    assert streams["stored_raw"].tolist() == [[0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]]
    assert (streams["stored_bytes"][streams["stored_raw"] == 1] == cache.raw_bytes).all()
    for p in planes:
        p.zero_()
    assert (cache.load(moves, streams) == kv_blocks.OK).all()
    for (block, index), stream in np.ndenumerate(streams):
        if stream["stored_raw"]:
            assert torch.equal(planes[index].view(torch.int16)[block], before[index][block])


def test_the_limit_is_exact() -> None:
    values = torch.zeros(1, 1, 1, 64)
    values[0, 0, 0, 0] = 0.2  # decodes to 0.1875 with bound 2^-5, exactly
    error = float(values[0, 0, 0, 0].double() - 0.1875)
    cache = PagedCache([values])
    for limit, raw in ((error, 0), (np.nextafter(np.float32(error), np.float32(0)), 1)):
        cache.describe(form="fixed", error_bound=2**-5, limit=float(limit))
        assert cache.store(cache.moves())["stored_raw"].tolist() == [[raw]]


def test_bytes_of_any_type_are_stored_raw() -> None:
    values = torch.randint(0, 256, (3, 16, 2, 5), dtype=torch.uint8)
    before = values.clone()
    cache = PagedCache([values], "uint8")
    cache.describe(form="raw")
    streams = cache.store(cache.moves())
    assert cache.stored(1, streams[1, 0]) == before[1].numpy().tobytes()
    values.zero_()
    assert (cache.load(cache.moves(), streams) == kv_blocks.OK).all()
    assert torch.equal(values, before)


@pytest.mark.parametrize("layout", ["thd", "hdt"])
def test_storing_again_what_was_restored_changes_nothing(layout: str) -> None:
    planes = random_planes(dtype=torch.float32)
    cache = PagedCache(planes)
    cache.describe(form="outlier", layout=layout, error_bound=BOUND, means=[torch.full((3, 64), 0.5)] * 2)
    moves = cache.moves(1)
    first = cache.store(moves, checksum=True)
    cache.load(moves, first)
    values = [p.clone() for p in planes]
    second = cache.store(moves, checksum=True)
    assert (first == second).all()
    cache.load(moves, second)
    assert all(torch.equal(a, b) for a, b in zip(values, planes, strict=True))


def test_the_number_of_threads_changes_no_byte() -> None:
    planes = random_planes(count=6, blocks=20, shape=(16, 8, 64))
    found = []
    for threads in (1, 5):
        cache = PagedCache(planes)
        cache.describe(form="plain", layout="hdt", error_bound=BOUND)
        streams = cache.store(cache.moves(), checksum=True, threads=threads)
        found.append((streams.tobytes(), cache.slab.tobytes(), cache.cursors.tolist()))
    assert found[0] == found[1]
    assert found[0][2] == (-(-streams["stored_bytes"].astype(int) // 16) * 16).sum(axis=1).tolist()


def test_a_full_slot_says_so_and_nothing_is_written_past_it() -> None:
    planes = random_planes(count=3, blocks=2)
    cache = PagedCache(planes, slot_pages=14)
    cache.describe(form="plain", error_bound=BOUND)
    streams = cache.store(cache.moves())
    assert streams["status"].tolist() == [[0, kv_blocks.OUTPUT_TOO_SMALL, kv_blocks.OUTPUT_TOO_SMALL]] * 2
    assert (cache.cursors > 14 * PAGE_BYTES).all()
    used = kv_blocks.rounded(int(streams["stored_bytes"][0, 0]))
    assert (cache.slot_bytes(0)[used:] == POISON).all()
    before = [p.clone() for p in planes]
    assert (cache.load(cache.moves(), streams) == streams["status"]).all()
    assert torch.equal(planes[1], before[1])


def test_every_changed_byte_is_seen_by_the_checksum() -> None:
    cache = PagedCache(random_planes(count=1, blocks=1, shape=(4, 1, 8)))
    cache.describe(form="plain", error_bound=BOUND)
    moves = cache.moves()
    streams = cache.store(moves, checksum=True)
    for at in range(int(streams[0, 0]["stored_bytes"])):
        byte = cache.page_numbers[at // PAGE_BYTES] * PAGE_BYTES + at % PAGE_BYTES
        cache.slab[byte] ^= 0x10
        assert cache.load(moves, streams, checksum=True).tolist() == [[kv_blocks.CHECKSUM_MISMATCH]]
        cache.slab[byte] ^= 0x10
    assert cache.load(moves, streams, checksum=True).tolist() == [[kv_blocks.OK]]


def test_damaged_bytes_and_tables_give_a_status() -> None:
    planes = random_planes(count=2, blocks=2, shape=(16, 2, 24))
    cache = PagedCache(planes)
    cache.describe(form="outlier", layout="hdt", error_bound=BOUND)
    moves = cache.moves(1)
    streams = cache.store(moves)
    random = np.random.default_rng(4)
    known = set(range(10))
    for _ in range(400):
        damaged = streams.copy()
        for name in random.choice(["offset", "stored_bytes", "stored_raw"], 2):
            limit = {"offset": 2**13, "stored_bytes": 2**12, "stored_raw": 3}[name]
            damaged.reshape(-1)[random.integers(4)][name] = random.integers(limit)
        cache.slab[random.integers(cache.slab.size, size=20)] = random.integers(256, size=20)
        assert set(cache.load(moves, damaged).reshape(-1).tolist()) <= known
    damaged = streams.copy()
    damaged["offset"] = 8
    assert (cache.load(moves, damaged) == kv_blocks.INVALID_ARGUMENT).all()
    damaged["offset"] = 2**32 - 16
    assert (cache.load(moves, damaged) == 4).all()
    moves["slot"] = 2
    assert (cache.load(moves, streams) == kv_blocks.INVALID_ARGUMENT).all()


def test_what_makes_no_sense_is_refused_by_name() -> None:
    cache = PagedCache(random_planes())
    with pytest.raises(UsageError, match="form 'zip' does not exist: use one of fixed, plain, outlier, raw"):
        cache.describe(form="zip", error_bound=1.0)
    with pytest.raises(UsageError, match="error_bound 0"):
        cache.describe(form="plain")
    cache.describe(form="raw")
    call = cache.call(cache.moves())
    tables = (cache.table, cache.moves(), cache.slots, cache.page_numbers)
    with pytest.raises(UsageError, match="page_bytes 300 cannot be used"):
        kv_blocks.call_of(*tables, call.slab, 300, "float32")
    with pytest.raises(UsageError, match="align it to 16 bytes"):
        kv_blocks.call_of(*tables, call.slab + 8, 256, "float32")
    with pytest.raises(UsageError, match="the KV-block call cannot be made"):
        kv_blocks.store(call, 0, 0)
