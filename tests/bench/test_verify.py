"""Checks that the check after the timing sees every way a codec can be wrong."""

from __future__ import annotations

import math

import pytest
import torch
from fake_bench import LosslessShifting, Shifting

from kvbench.bench.verify import Checked, check, effective_error_bound
from kvbench.bound import Bound
from kvbench.codecs.base import Codec
from kvbench.errors import CaseFailed
from kvbench.tensors.base import KVView

REL = Bound(kind="rel", value=0.01)


def values(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.linspace(-50, 50, 200).reshape(10, 4, 5).to(dtype)


def checked(codec: Codec, tensor: torch.Tensor | None = None, bound: Bound | None = REL) -> Checked:
    tensor = values() if tensor is None else tensor
    out = torch.empty(64, dtype=torch.uint8)
    return check(codec, KVView(tensor), out, torch.empty_like(tensor), bound)


def test_a_codec_that_keeps_its_bound() -> None:
    found = checked(Shifting(shift=0.5))
    assert found.effective_error_bound == pytest.approx(1.0)
    assert found.errors.mismatches == 0
    assert found.errors.max_abs_error == pytest.approx(0.5, rel=1e-5)


def test_a_codec_that_breaks_its_bound() -> None:
    assert checked(Shifting(shift=1.01)).errors.mismatches == 200


@pytest.mark.parametrize(
    ("fault", "reason_code"),
    [
        ("leaves the last value unwritten", "decode_mismatch"),
        ("stops half-way", "decode_incomplete"),
        ("skips a value", "decode_incomplete"),
        ("names another bound", "bound_mismatch"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_faults_of_a_codec_are_seen(fault: str, reason_code: str, dtype: torch.dtype) -> None:
    with pytest.raises(CaseFailed) as failure:
        checked(Shifting(fault=fault), values(dtype))
    assert failure.value.reason_code == reason_code


def test_an_unwritten_value_is_seen_where_the_tensor_has_nan_or_the_buffer_held_the_answer() -> None:
    tensor = values()
    tensor[-1, -1, -1] = math.nan
    codec = Shifting(fault="leaves the last value unwritten")
    with pytest.raises(CaseFailed, match="disagree"):
        check(codec, KVView(tensor), torch.empty(64, dtype=torch.uint8), tensor.clone(), REL)


def test_non_finite_values_that_stay_agree() -> None:
    tensor = values(torch.bfloat16)
    tensor[0, 0, 0], tensor[0, 0, 1] = math.nan, math.inf
    found = checked(Shifting(shift=0.1), tensor)
    assert found.errors.mismatches == 0
    assert found.errors.metrics()["non_finite_count"] == 2


def test_without_a_bound_every_difference_counts() -> None:
    assert checked(LosslessShifting(shift=0.0), bound=None).errors.mismatches == 0
    assert checked(LosslessShifting(shift=0.25), bound=None).errors.mismatches == 200


def test_effective_bounds_of_the_three_kinds() -> None:
    tensor = torch.tensor([0.0, 100.0, math.nan, 50.0, math.inf])
    assert effective_error_bound(Bound(kind="rel", value=1e-3), tensor) == 0.1
    assert effective_error_bound(Bound(kind="abs", value=1e-3), tensor) == 1e-3
    deviation = math.sqrt((50**2 + 50**2) / 3)
    assert effective_error_bound(Bound(kind="std", value=1e-3), tensor) == pytest.approx(1e-3 * deviation)
    assert effective_error_bound(Bound(kind="rel", value=1e-3), torch.ones(4)) == 0.0


def test_a_range_beyond_float32_leaves_no_bound_to_break() -> None:
    class Unbounded(Shifting):
        def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> object:  # type: ignore[override]
            return super().encode(view, out, None)

    found = checked(Unbounded(shift=0.0), torch.tensor([-3e38, 3e38, 0.0, 1.0]))
    assert found.effective_error_bound == math.inf
    assert found.errors.mismatches == 0
