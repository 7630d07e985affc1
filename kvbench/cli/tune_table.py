"""Owns the printed table of `tune`: predicted, on the calibration text and on the held-out ones, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvbench.cli.tables import empty_table, number
from kvbench.record.schema import CaseResult
from kvbench.report.scored import text_name
from kvbench.report.tuned import TunedPoint, tuned

if TYPE_CHECKING:
    from rich.table import Table

NOTES = (
    "predicted: from the codec's bytes and error and the model's sensitivity on the calibration text",
    "held out: texts the profile never saw, mean KL and ratio of all their bytes; the target is judged by them",
    "KL: mean over the scored tokens, nat; ratio: against the cache's own bytes, kept tokens and headers counted",
)


def tune_table(results: Sequence[CaseResult]) -> tuple[Table | None, list[str]]:
    """A row a target, and the notes under the table; None where no target has a result."""
    found = tuned(results)
    if not found:
        return None, []
    heads = [f"{what}\n{place}" for place in ("predicted", "calibration", "held out") for what in ("ratio", "KL")]
    table = empty_table(["profile", "target"], heads, ["verdict"])
    for one in found:
        points = (one.predicted, one.on_calibration, one.on_held_out)
        table.add_row(one.profile, one.target, *(text for point in points for text in _texts(point)), one.verdict)
    roles = [f"calibration: {text_name(found[0].calibration)}"]
    roles += [f"held out: {', '.join(text_name(result) for result in found[0].held_out)}"] if found[0].held_out else []
    return table, ["; ".join(roles), *NOTES]


def _texts(point: TunedPoint | None) -> tuple[str, str]:
    return ("-", "-") if point is None else (number(point.ratio), number(point.kl, 2))
