"""Owns the check after the timing: what came back, compared value by value with what went in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from kvbench.bound import Bound
from kvbench.codecs.base import Codec, Encoded
from kvbench.errors import CaseFailed
from kvbench.measure.errors import ErrorMeter
from kvbench.measure.statistics import finite_std, finite_width
from kvbench.tensors.base import KVView

# A codec may add up a standard deviation in another order; min, max and their difference leave no such freedom.
STD_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Checked:
    """One tensor encoded, decoded and compared."""

    encoded: Encoded
    effective_error_bound: float | None  # inf under `rel` where max - min overflows float32
    errors: ErrorMeter  # of the tensor's own values
    coded: ErrorMeter | None = None  # of what the codec saw, where the bound is about that

    @property
    def judged(self) -> ErrorMeter:
        """The errors that the bound is about."""
        return self.errors if self.coded is None else self.coded

    @property
    def mismatches(self) -> int:
        """Values that break the verdict: beyond the bound where it holds, or non-finite ones that changed."""
        return self.judged.mismatches + (0 if self.coded is None else self.errors.special_mismatches)

    def metrics(self) -> dict[str, float | int | None]:
        """The error columns: of the tensor's values, but `violations` and `max_excess` of what the bound is about."""
        found = self.errors.metrics()
        if self.coded is None:
            return found
        coded = self.coded.metrics()
        return {
            **found,
            "violations": None if self.effective_error_bound is None else self.mismatches,
            "max_excess": coded["max_excess"],
            "coded_max_abs_error": coded["max_abs_error"],
            "coded_rmse": coded["rmse"],
            "tensor_violations": found["violations"],
        }


def check(codec: Codec, view: KVView, out: torch.Tensor, decoded: torch.Tensor, bound: Bound | None) -> Checked:
    """Encode into `out`, decode into `decoded` (the view's shape and dtype), and compare every value.

    The verdict is on the codec's float32 values, where transforms change values on those it saw; `decoded` must hold
    the same values rounded to its dtype, and is filled with a value that is not in the tensor first, so that a place
    left unwritten shows. The tensor's device does the arithmetic, in float64.
    Raises CaseFailed where decoding skips places or contradicts itself, or the codec names another bound.
    """
    original = view.tensor.reshape(-1)
    effective = None if bound is None else effective_error_bound(bound, codec.bounded_part(view))
    encoded = codec.encode(view, out, bound)
    _require_same_bound(encoded.effective_error_bound, effective)
    decoded.fill_(-torch.finfo(decoded.dtype).max)
    codec.decode(encoded, decoded)
    errors = ErrorMeter(effective, view.tensor.dtype)
    came_back = decoded.reshape(-1)
    position = 0
    for first, values in codec.float32_chunks(encoded, tuple(view.tensor.shape)):
        if first != position or values.dtype != torch.float32:
            raise CaseFailed("decode_incomplete", f"decoding gave element {first} where {position} was due")
        position += values.numel()
        values = values.to(original.device)
        if not _same(came_back[first:position], values.to(decoded.dtype)):
            raise CaseFailed(
                "decode_mismatch",
                f"decoding to {decoded.dtype} and to float32 disagree within elements {first} to {position - 1}",
            )
        errors.add(original[first:position], values)
    if position != original.numel():
        raise CaseFailed("decode_incomplete", f"decoding gave {position} of {original.numel()} values")
    return Checked(encoded, effective, errors, _coded_errors(codec, view, encoded, effective))


def effective_error_bound(bound: Bound, values: torch.Tensor) -> float:
    """The absolute bound for one tensor, worked out here and not taken from the codec under test."""
    std = finite_std(values) if bound.kind == "std" else None
    return bound.absolute(value_range=finite_width(values) if bound.kind == "rel" else 0.0, std=std)


def _coded_errors(codec: Codec, view: KVView, encoded: Encoded, effective: float | None) -> ErrorMeter | None:
    pair = codec.coded_values(view, encoded)
    if pair is None:
        return None
    errors = ErrorMeter(effective, torch.float32)
    errors.add(*pair)
    return errors


def _require_same_bound(named: float | None, effective: float | None) -> None:
    if effective is None or (named is None and math.isinf(effective)):
        return
    if named is None or not math.isclose(named, effective, rel_tol=STD_TOLERANCE):
        raise CaseFailed("bound_mismatch", f"the codec took the effective bound as {named}; it is {effective!r}")


def _same(ours: torch.Tensor, expected: torch.Tensor) -> bool:
    if torch.equal(ours, expected):
        return True
    both_nan = torch.isnan(ours) & torch.isnan(expected)
    return bool(((ours == expected) | both_nan).all())
