"""Owns the choice of cases nobody would give up: the Pareto front of ratio against error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kvbench.record.schema import CaseResult


def pareto_marks(results: Sequence[CaseResult]) -> dict[str, bool]:
    """By case id: is the case on its tensor's front? Cases that do not compete are absent.

    Cases compete when they saw the same tensor in the same dtype; codec, mode, bound, layout and device are free. A
    case is on the front when no other has a ratio at least as high and an RMSE at least as low, one of them strictly
    better. Equal cases are on it together. Only status `ok` with both numbers competes; a lossless codec does so with
    RMSE 0. Cases scored by a model compete by their mean KL in place of the RMSE.
    """
    groups: dict[tuple[str, str], list[tuple[float, float, str]]] = defaultdict(list)
    for result in results:
        ratio, rmse = result.metrics.get("ratio"), _loss(result)
        if result.status == "ok" and result.case.tensor is not None and ratio is not None and rmse is not None:
            seen = (result.case.tensor.model_dump_json() + f" seed {result.case.seed}", result.case.dtype)
            groups[seen].append((float(ratio), float(rmse), result.case_id))
    marks: dict[str, bool] = {}
    for members in groups.values():
        lowest_rmse = float("inf")
        lowest_at_ratio = (float("inf"), float("inf"))
        for ratio, rmse, case_id in sorted(members, key=lambda member: (-member[0], member[1])):
            marks[case_id] = rmse < lowest_rmse or (ratio, rmse) == lowest_at_ratio
            if rmse < lowest_rmse:
                lowest_rmse, lowest_at_ratio = rmse, (ratio, rmse)
    return marks


def _loss(result: CaseResult) -> float | int | None:
    return result.metrics.get("kl_mean" if "kl_mean" in result.metrics else "rmse")
