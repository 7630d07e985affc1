"""A codec's pass over a whole cache: what comes back where, and what it is said to take."""

from __future__ import annotations

import math

import pytest
import torch
from fake_bench import CALL_S, Shifting, context

from kvbench.bench.cache_codec import code_cache
from kvbench.bench.case_codec import codec_of_case
from kvbench.bench.coding import Coding, coding_of, the_same
from kvbench.bound import Bound
from kvbench.codecs.base import Encoded
from kvbench.codecs.raw import Raw
from kvbench.models.prefix import LayerKV
from kvbench.record.schema import Case
from kvbench.tensors.base import KVView

TOKENS, HEADS, HEAD_DIM, LAYERS = 200, 2, 8, 3  # enough that a stream is shorter than its tensor
ELEMENTS = LAYERS * 2 * TOKENS * HEADS * HEAD_DIM


def cache(dtype: torch.dtype = torch.bfloat16) -> list[LayerKV]:
    generator = torch.Generator().manual_seed(0)
    shape = (TOKENS, HEADS, HEAD_DIM)
    return [
        LayerKV(*(torch.randn(shape, generator=generator).to(dtype) * (1 + layer) for _ in "kv"))
        for layer in range(LAYERS)
    ]


def case(**fields: object) -> Case:
    given = {"codec": "cuszp", "mode": "plain", "codec_params": {"mode": "plain"}, "bound": Bound(value=1e-2)}
    given |= {"command": "quality", "layout": "thd", "dtype": "bfloat16", "elements": ELEMENTS, "device": "cpu"}
    return Case.model_validate({**given, "keep_first": 0, **fields})


class Noting(Raw):
    """Notes the views it is given."""

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Encoded:
        SEEN.append(view)
        return super().encode(view, out, bound)


SEEN: list[KVView] = []


@pytest.mark.parametrize("layout", ["thd", "htd", "hdt"])
def test_every_value_comes_back_to_its_place(layout: str) -> None:
    prefix = cache()
    one = case(codec="raw", codec_params={}, mode=None, bound=None, layout=layout)
    SEEN.clear()
    coded = code_cache(one, the_same(Noting(), None), context(), prefix)
    for before, after in zip(prefix, coded.prefix, strict=True):
        assert torch.equal(before.keys, after.keys)
        assert torch.equal(before.values, after.values)
        assert after.keys.dtype == torch.bfloat16
    assert coded.inexact == 0
    assert coded.metrics["ratio"] == 1.0
    shape = {"thd": (TOKENS, 2, 8), "htd": (2, TOKENS, 8), "hdt": (2, 8, TOKENS)}[layout]
    last = SEEN[-2 * LAYERS :]
    assert [(view.layer, view.kv) for view in last] == [(layer, kv) for layer in range(LAYERS) for kv in "kv"]
    assert {(view.layout, view.token_start, tuple(view.tensor.shape)) for view in last} == {(layout, 0, shape)}


@pytest.mark.parametrize("layout", ["thd", "hdt"])
def test_a_lossy_codec_keeps_its_bound_in_every_layout_and_the_first_tokens_exactly(layout: str) -> None:
    prefix = cache(torch.float32)
    bound = Bound(kind="abs", value=1e-2)
    one = case(bound=bound, layout=layout, dtype="float32", keep_first=4)
    coded = code_cache(one, coding_of(one), context(), prefix)
    for before, after in zip(prefix, coded.prefix, strict=True):
        for tensor, back in zip(before, after, strict=True):
            assert torch.equal(tensor[:4], back[:4])
            error = (tensor - back).abs().max().item()
            assert 0 < error <= 1e-2
    assert coded.metrics["violations"] == coded.beyond_bound == 0


def test_sizes_are_sums_with_the_kept_tokens_raw() -> None:
    one = case(keep_first=4)
    codec = codec_of_case(one)
    alone = codec_of_case(case())
    prefix = cache()
    coded = code_cache(one, coding_of(one), context(), prefix)
    stored, without_kept = 0, 0
    for pair in prefix:
        for tensor in pair:
            out = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8)
            stored += codec.encode(KVView(tensor, layout="thd"), out, one.bound).nbytes()
            without_kept += alone.encode(KVView(tensor[4:].contiguous()), out, one.bound).stream_bytes
    kept_bytes = LAYERS * 2 * 4 * HEADS * HEAD_DIM * 2
    assert stored > without_kept + kept_bytes
    assert coded.metrics["compressed_bytes"] == stored
    assert coded.metrics["ratio"] == 2 * ELEMENTS / stored
    assert coded.metrics["bits_per_value"] == 8 * stored / ELEMENTS
    assert coded.layers is not None
    ratios = [*coded.layers.k["ratio"], *coded.layers.v["ratio"]]
    alone_bytes = [2 * TOKENS * HEADS * HEAD_DIM / ratio for ratio in ratios if ratio]
    assert len(alone_bytes) == 2 * LAYERS
    assert sum(alone_bytes) == pytest.approx(stored, rel=1e-4)
    assert set(coded.phases) == {"encode_call", "decode_call"}
    for phase in coded.phases.values():
        assert (phase.work_bytes, phase.median_s) == (2 * ELEMENTS, CALL_S)


def test_errors_are_of_all_tensors_together() -> None:
    one = case(codec="shifting")
    coded = code_cache(one, the_same(Shifting(shift=2.0), one.bound), context(), cache())
    assert coded.beyond_bound == coded.metrics["violations"] == ELEMENTS
    assert coded.metrics["max_excess"] == pytest.approx(2.0, rel=1e-5)
    lost = code_cache(one, the_same(Shifting(shift=math.inf), one.bound), context(), cache())
    assert lost.metrics["max_abs_error"] is None
    unbounded = code_cache(one, the_same(Shifting(shift=0.25), None), context(), cache(torch.float32))
    assert unbounded.metrics["violations"] is None
    assert unbounded.metrics["max_abs_error"] == pytest.approx(0.25, rel=1e-5)


def test_with_transforms_the_verdict_is_about_what_the_codec_saw() -> None:
    one = case(bound=Bound(kind="abs", value=1e-2), transforms="hadamard")
    coded = code_cache(one, coding_of(one), context(), cache())
    assert coded.metrics["violations"] == 0
    assert coded.metrics["max_excess"] is None
    largest = coded.metrics["coded_max_abs_error"]
    assert largest is not None
    assert 0 < largest <= 1e-2
    beyond = coded.metrics["tensor_violations"]
    assert beyond is not None
    assert 0 < beyond < ELEMENTS
    without = code_cache(case(), coding_of(case()), context(), cache())
    assert without.metrics["coded_max_abs_error"] is None
    assert "tensor_violations" not in without.metrics


def test_each_layers_keys_and_values_may_go_through_another_codec() -> None:
    bound = Bound(kind="abs", value=0.5)

    def of_layer(layer: int, kv: str) -> Coding:
        return Coding(Shifting(shift=2.0 * layer), bound) if kv == "k" else Coding(Raw(), None)

    prefix = cache(torch.float32)
    coded = code_cache(case(codec="profile", bound=None), of_layer, context(), prefix)
    assert coded.layers is not None
    assert coded.layers.v == {"ratio": [1.0] * LAYERS, "nrmse": [0.0] * LAYERS}
    assert coded.layers.k["nrmse"][0] == 0
    assert all(coded.layers.k["nrmse"][1:])
    for layer, (before, after) in enumerate(zip(prefix, coded.prefix, strict=True)):
        assert torch.equal(after.values, before.values)
        assert torch.equal(after.keys, before.keys) == (layer == 0)
    assert coded.beyond_bound == 2 * TOKENS * HEADS * HEAD_DIM  # the keys of layers 1 and 2
    assert coded.inexact == 0
