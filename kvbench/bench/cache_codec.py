"""Owns a codec's pass over a whole prefix cache: every layer's K and V through it, timed, checked and put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from kvbench.bench.case_codec import require_fit
from kvbench.bench.coding import Coding, CodingOf
from kvbench.bench.context import BenchContext
from kvbench.bench.device import require_memory
from kvbench.bench.verify import Checked, check
from kvbench.codecs.base import Encoded
from kvbench.models.prefix import LayerKV
from kvbench.plan import permutation
from kvbench.record.schema import Case, LayerFigures, PhaseSamples
from kvbench.tensors.base import KVView

COPIES = 6  # of the cache that a case holds at most: views, room for streams, decoded, put back, what it came from


@dataclass
class CodedCache:
    """What came back, in the cache's element type on its device, and what it took."""

    prefix: list[LayerKV] = field(default_factory=list)
    phases: dict[str, PhaseSamples] = field(default_factory=dict)
    metrics: dict[str, float | int | None] = field(default_factory=dict)
    layers: LayerFigures | None = None
    flags: list[str] = field(default_factory=list)
    # Values that break what their codec promised: its bound, every bit, or at least to be finite or not as before.
    beyond_bound: int = 0
    beyond_compatible_bound: int = 0  # under a policy that only tries
    inexact: int = 0
    special_mismatches: int = 0


@dataclass(frozen=True)
class _Slot:
    """One tensor on its way: what it goes through, and the memory that encoding and decoding write to."""

    coding: Coding
    view: KVView
    out: torch.Tensor
    decoded: torch.Tensor


def code_cache(case: Case, coding_of: CodingOf, context: BenchContext, prefix: Sequence[LayerKV]) -> CodedCache:
    """Encode and decode the whole cache, a stream a layer and K or V.

    The times are of the calls for all tensors one after the other, in the case's layout: laying them out is not part
    of it, transforms are. Raises CaseFailed like `check`, CaseSkipped where a transform cannot take a tensor.
    """
    require_memory(COPIES * case.raw_bytes)
    slots = []
    for layer, pair in enumerate(prefix):
        slots.append(_slot(coding_of(layer, "k"), _view(pair.keys, case, context, layer, "k")))
        slots.append(_slot(coding_of(layer, "v"), _view(pair.values, case, context, layer, "v")))
    coded = CodedCache(phases=_timed(case, context, slots))
    checked = [check(slot.coding.codec, slot.view, slot.out, slot.decoded, slot.coding.bound) for slot in slots]
    tensors = [tensor for pair in prefix for tensor in pair]
    back = [_put_back(slot, tensor) for slot, tensor in zip(slots, tensors, strict=True)]
    coded.prefix = [LayerKV(*pair) for pair in zip(back[::2], back[1::2], strict=True)]
    for slot, one in zip(slots, checked, strict=True):
        _count_broken(coded, slot.coding, one)
    coded.flags = sorted({flag for one in checked for flag in one.encoded.flags})
    coded.metrics = _metrics(case, checked)
    figures = [_figures(slot, one) for slot, one in zip(slots, checked, strict=True)]
    coded.layers = LayerFigures(k=_by_metric(figures[::2]), v=_by_metric(figures[1::2]))
    return coded


def _count_broken(coded: CodedCache, coding: Coding, checked: Checked) -> None:
    if coding.bound is not None and getattr(coding.codec, "bound_policy", "strict") == "compatible":
        coded.beyond_compatible_bound += checked.mismatches
    elif coding.bound is not None:
        coded.beyond_bound += checked.mismatches
    elif coding.codec.lossless:
        coded.inexact += checked.mismatches
    else:
        coded.special_mismatches += checked.errors.special_mismatches


def _view(tensor: torch.Tensor, case: Case, context: BenchContext, layer: int, kv: Literal["k", "v"]) -> KVView:
    device = torch.device("cpu") if case.device == "cpu" else torch.device("cuda", context.device_id)
    ordered = tensor.permute(permutation("thd", case.layout)).contiguous()
    return KVView(tensor=ordered.to(device), layer=layer, kv=kv, layout=case.layout)


def _slot(coding: Coding, view: KVView) -> _Slot:
    require_fit(coding.codec, view)
    capacity = coding.codec.capacity(view.tensor.numel(), view.tensor.dtype)
    out = torch.empty(capacity, dtype=torch.uint8, device=view.tensor.device)
    return _Slot(coding, view, out, torch.empty_like(view.tensor))


def _timed(case: Case, context: BenchContext, slots: Sequence[_Slot]) -> dict[str, PhaseSamples]:
    def encode() -> list[Encoded]:
        return [slot.coding.codec.encode(slot.view, slot.out, slot.coding.bound) for slot in slots]

    clock = context.clocks(case).call
    phases = {"encode_call": context.sample(case, "encode_call", encode, clock)}
    encoded = encode()

    def decode() -> None:
        for one, slot in zip(encoded, slots, strict=True):
            slot.coding.codec.decode(one, slot.decoded)

    return {**phases, "decode_call": context.sample(case, "decode_call", decode, clock)}


def _put_back(slot: _Slot, tensor: torch.Tensor) -> torch.Tensor:
    """What was decoded, [tokens, heads, values] as `tensor` and on its device."""
    return slot.decoded.permute(permutation(slot.view.layout, "thd")).to(tensor.device).contiguous()


def _figures(slot: _Slot, checked: Checked) -> dict[str, float | None]:
    """What is kept of one layer's K or V alone, to five digits: a record has many of them."""
    tensor, nrmse = slot.view.tensor, checked.metrics()["nrmse"]
    ratio = tensor.numel() * tensor.itemsize / checked.encoded.nbytes()
    return {"ratio": float(f"{ratio:.5g}"), "nrmse": None if nrmse is None else float(f"{nrmse:.5g}")}


def _by_metric(figures: Sequence[dict[str, float | None]]) -> dict[str, list[float | None]]:
    return {name: [one[name] for one in figures] for name in figures[0]}


def _metrics(case: Case, checked: Sequence[Checked]) -> dict[str, float | int | None]:
    """Sums over the tensors, and the largest error of any; what is undefined for one is undefined for all.

    Not so `max_excess` and `coded_max_abs_error`: they are the largest of those tensors that have one.
    """
    compressed_bytes = sum(one.encoded.nbytes() for one in checked)
    errors = [one.metrics() for one in checked]

    def all_of(name: str) -> list[float | int]:
        known = [found for one in errors if (found := one.get(name)) is not None]
        return known if len(known) == len(errors) else []

    metrics: dict[str, float | int | None] = {
        "stream_bytes": sum(one.encoded.stream_bytes for one in checked),
        "compressed_bytes": compressed_bytes,
        "ratio": case.raw_bytes / compressed_bytes,
        "bits_per_value": 8 * compressed_bytes / case.elements,
        "max_abs_error": max(all_of("max_abs_error"), default=None),
    }
    for name in ("violations", "violations_after_cast", "non_finite_count"):
        found = all_of(name)
        metrics[name] = sum(found) if found else None
    for name in ("max_excess", "coded_max_abs_error"):
        metrics[name] = max((value for one in errors if (value := one.get(name)) is not None), default=None)
    if metrics["coded_max_abs_error"] is not None:
        beyond = [one.get("tensor_violations", one["violations"]) for one in errors]
        metrics["tensor_violations"] = None if None in beyond else sum(one for one in beyond if one is not None)
    return metrics
