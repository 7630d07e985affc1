"""Owns the page's table of an A/B run: each phase of each pair, B against A, with the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.record.schema import Case
from kvbench.report.comparison.pairs import paired_rows
from kvbench.report.comparison.rows import Row
from kvbench.report.page_table import Cell, Column, Table, make_table, microseconds, number_cell, text_cell
from kvbench.report.runs import Run
from kvbench.report.scored import bound_words


@dataclass(frozen=True)
class _Pair:
    run: str
    row: Row


def pair_table(runs: Sequence[Run]) -> Table:
    """One row a phase that both codecs of a pair were timed in; no rows where no run is an A/B run."""
    pairs = [_Pair(run.name, row) for run in runs for row in paired_rows(run.results)]
    filters = {"run": lambda pair: pair.run, "phase": lambda pair: str(pair.row.phase), "verdict": _verdict}
    return make_table(pairs, _WHAT, _NUMBERS, lambda _: "ok", filters)


def _verdict(pair: _Pair) -> str:
    return pair.row.verdict


def _codec(case: Case) -> str:
    """`cuszp plain rel 1e-2`: what the two sides may differ in."""
    own = {name: value for name, value in case.codec_params.items() if name not in ("mode", "bound_policy")}
    params = [f"{name}={value}" for name, value in own.items()]
    policy = case.codec_params.get("bound_policy")
    bound = None if case.bound is None else bound_words(case.bound)
    words = [case.codec, *params, case.mode, bound, None if policy == "strict" else policy]
    return " ".join(word for word in words if word)


def _sides(pair: _Pair) -> tuple[Case, Case]:
    """A and B; a pair has both."""
    a, b = pair.row.matched.a, pair.row.matched.b
    assert a is not None
    assert b is not None
    return a.case, b.case


def _time(seconds: float | str | None) -> Cell:
    return Cell(microseconds(seconds), seconds) if isinstance(seconds, float) else Cell("")


def _ratio(pair: _Pair) -> Cell:
    return number_cell(None if pair.row.contrast is None else pair.row.contrast.ratio, ".3f")


def _interval(pair: _Pair) -> Cell:
    low, high = (None, None) if pair.row.contrast is None else pair.row.contrast.known_interval()
    return Cell("") if low is None or high is None else Cell(f"{low:.3f} to {high:.3f}", low)


def _tensor(pair: _Pair) -> Cell:
    tensor = _sides(pair)[0].tensor
    return text_cell(None if tensor is None else tensor.tensor)


_WHAT: dict[str, Column[_Pair]] = {
    "run": lambda pair: Cell(pair.run),
    "A": lambda pair: Cell(_codec(_sides(pair)[0])),
    "B": lambda pair: Cell(_codec(_sides(pair)[1])),
    "tensor": _tensor,
    "transforms": lambda pair: Cell(_sides(pair)[0].before_codec),
    "layout": lambda pair: Cell(_sides(pair)[0].layout),
    "dtype": lambda pair: Cell(_sides(pair)[0].dtype),
    "phase": lambda pair: text_cell(pair.row.phase),
}
_NUMBERS: dict[str, Column[_Pair]] = {
    "A \N{GREEK SMALL LETTER MU}s": lambda pair: _time(pair.row.a_value),
    "B \N{GREEK SMALL LETTER MU}s": lambda pair: _time(pair.row.b_value),
    "B / A": _ratio,
    "95 % interval": _interval,
    "verdict": lambda pair: Cell(_verdict(pair)),
    "reason": lambda pair: text_cell(pair.row.reason),
}
