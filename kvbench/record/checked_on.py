"""Owns which values a verdict on a bound is about: those before the cast to a 16-bit dtype, never those after it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from kvbench.geometry import DTYPE_BYTES, DType
from kvbench.record.schema import CaseResult

CheckedOn = Literal["float32", "before_cast", "coded"]


def is_cast(dtype: DType) -> bool:
    """Are decoded float32 values rounded once more to become values of this type?"""
    return DTYPE_BYTES[dtype] < DTYPE_BYTES["float32"]


def checked_on(result: CaseResult) -> CheckedOn | None:
    """The values that `violations` counts; None where there was no bound to check.

    `float32`: the decoded values, which are the tensor's own type. `before_cast`: the decoded float32 values, before
    they are rounded to the tensor's 16-bit type. `coded`: float32 as the codec saw them, before transforms that change
    values are undone.
    """
    if result.metrics.get("violations") is None:
        return None
    if result.metrics.get("coded_max_abs_error") is not None:
        return "coded"
    return "before_cast" if is_cast(result.case.dtype) else "float32"


def side_words(dtype: DType, *, coded: bool) -> str:
    """`checked on the float32 values, before the cast to bfloat16`: for the reason of a broken bound."""
    if coded:
        return "checked on the float32 values that the codec saw, before transforms are undone"
    cast = f", before the cast to {dtype}" if is_cast(dtype) else ""
    return f"checked on the float32 values{cast}"


def cast_lines(results: Sequence[CaseResult]) -> list[str]:
    """Which side of the cast the verdicts are about, and what the other side counts; none without 16-bit tensors."""
    checked = [result for result in results if checked_on(result) is not None and is_cast(result.case.dtype)]
    if not checked:
        return []
    dtypes = " or ".join(dict.fromkeys(result.case.dtype for result in checked))
    before = "the float32 values before the cast"
    if any(checked_on(result) == "coded" for result in checked):
        before += " (with transforms, on those that the codec saw)"
    after = sum(result.metrics.get("violations_after_cast") or 0 for result in checked)
    sentence = f"The bound is checked on {before} to {dtypes}: {_broken(checked)}."
    return [f"{sentence} After the cast {after:.0f} are beyond it, which fails no case."]


def _broken(checked: Sequence[CaseResult]) -> str:
    """`0 of 900 values break it`; of several bound policies for each, as one promises what another does not."""
    groups: dict[str, list[CaseResult]] = defaultdict(list)
    for result in checked:
        groups[str(result.case.codec_params.get("bound_policy") or "no policy")].append(result)
    counts = []
    for policy, members in groups.items():
        count = sum(result.metrics.get("violations") or 0 for result in members)
        under = f" under {policy}" if len(groups) > 1 else ""
        counts.append(f"{count:.0f} of {sum(result.case.elements for result in members)} values break it{under}")
    return ", ".join(counts)
