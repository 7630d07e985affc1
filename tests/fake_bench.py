"""Owns the clock, codecs and cases that the tests of the benches use in place of real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from kvbench.bench.context import BenchContext
from kvbench.bound import Bound, BoundPolicy
from kvbench.codecs.base import Codec, Encoded
from kvbench.measure.clock import Clocks
from kvbench.measure.sampling import StopRule
from kvbench.record.schema import Link
from kvbench.tensors.base import KVView

CALL_S = 0.25


class SteadyClock:
    """Makes every call and says it took CALL_S; an empty call takes nothing."""

    name: Literal["host"] = "host"
    resolution_s = 1e-9
    minimum_sample_s = 1e-3

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        for _ in range(calls):
            call()
        return 0.0 if getattr(call, "__name__", "") == "_nothing" else CALL_S * calls

    def take_flags(self) -> list[str]:
        return []


def steady_clocks(device: str, device_id: int) -> Clocks:
    return Clocks(work=SteadyClock(), call=SteadyClock())


def context(**fields: object) -> BenchContext:
    link = Link(out_gbps=25.0, in_gbps=25.0, origin="assumed")
    made = BenchContext(rule=StopRule(iterations=2), link=link, clocks_of=steady_clocks)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@dataclass(frozen=True)
class Stored:
    """What the stand-in codecs give back: float32 values, and whatever sizes a test wants."""

    values: torch.Tensor
    effective_error_bound: float | None
    non_finite_count: int = 0
    flags: tuple[str, ...] = ()
    stream_bytes: int = 10
    quantizer_error_bound: float | None = None

    def nbytes(self) -> int:
        return 16


class Shifting(Codec):
    """Gives every value back `shift` bounds too high. Its faults are switched on by name."""

    name: ClassVar[str] = "shifting"
    summary: ClassVar[str] = "for tests"
    axes: ClassVar[frozenset[str]] = frozenset({"bound"})

    shift: float = 0.5
    fault: str = ""
    bound_policy: BoundPolicy = "strict"

    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        return 64

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Stored:
        values = view.tensor.float().reshape(-1)
        if bound is None:
            return Stored(values + self.shift, None)
        finite = values[torch.isfinite(values)]
        width = float(finite.max() - finite.min())
        effective = bound.absolute(value_range=width, std=float(finite.double().std(correction=0)))
        named = effective * 2 if self.fault == "names another bound" else effective
        return Stored(values + self.shift * effective, named, flags=("constant",) if width == 0 else ())

    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        assert isinstance(encoded, Stored)
        flat = out.reshape(-1)
        if self.fault == "leaves the last value unwritten":
            flat[:-1] = encoded.values[:-1]
        else:
            flat.copy_(encoded.values)

    def stages(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Mapping[str, Callable[[], object]]:
        return {"range": view.tensor.max, "encode_kernel": lambda: self.encode(view, out, bound)}

    def float32_chunks(self, encoded: Encoded, shape: tuple[int, ...]) -> Iterator[tuple[int, torch.Tensor]]:
        assert isinstance(encoded, Stored)
        values, half = encoded.values, encoded.values.numel() // 2
        yield 0, values[:half]
        if self.fault == "stops half-way":
            return
        if self.fault == "skips a value":
            yield half + 1, values[half + 1 :]
            return
        yield half, values[half:]


class BoundlessShifting(Shifting):
    """Has a size, not a bound: nothing is promised about its errors."""

    axes: ClassVar[frozenset[str]] = frozenset()


class LosslessShifting(Shifting):
    """Says it is lossless; it is where `shift` is 0."""

    lossless: ClassVar[bool] = True
    axes: ClassVar[frozenset[str]] = frozenset()
