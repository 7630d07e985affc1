"""Owns the page's table of scored settings: size, what the model makes of it and speed, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.report.page_table import Cell, Column, Table, make_table, number_cell
from kvbench.report.runs import Run
from kvbench.report.scored import Scored, bound_words, is_scored, over_texts


@dataclass(frozen=True)
class _Row:
    run: str
    scored: Scored


def scored_table(runs: Sequence[Run]) -> Table:
    """The settings of each run that are `ok` on every text with a KL, over all of these; the floor included."""
    rows = [
        _Row(run.name, scored)
        for run in runs
        for scored in over_texts([result for result in run.results if is_scored(result)])
    ]
    return make_table(rows, _WHAT, _NUMBERS, lambda _: "ok", {"run": lambda row: row.run})


def _bound(row: _Row) -> Cell:
    bound = row.scored.bound
    return Cell("") if bound is None else Cell(bound_words(bound), bound.value)


def _kl_ends(row: _Row) -> Cell:
    kl = row.scored.kl
    return Cell("") if kl.low == kl.high else Cell(f"{kl.low:.2g} to {kl.high:.2g}", kl.low)


_WHAT: dict[str, Column[_Row]] = {
    "run": lambda row: Cell(row.run),
    "setting": lambda row: Cell(row.scored.label),
    "bound": _bound,
    "device": lambda row: Cell(row.scored.device),
}
_NUMBERS: dict[str, Column[_Row]] = {
    "ratio": lambda row: number_cell(row.scored.ratio, ".2f"),
    "bits a value": lambda row: number_cell(row.scored.bits_per_value, ".2f"),
    "KL nat": lambda row: number_cell(row.scored.kl.value, ".2g"),
    "KL, 95 % interval": _kl_ends,
    "encode GB/s": lambda row: number_cell(row.scored.encode_gbps),
    "decode GB/s": lambda row: number_cell(row.scored.decode_gbps),
}
