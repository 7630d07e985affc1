"""Owns which case of side A belongs to which of side B: those that agree in every axis but the ones compared across."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kvbench.errors import UsageError
from kvbench.record.schema import Case, CaseResult
from kvbench.report.comparison.sides import Side

# Axes that some codecs do not have. Across codecs, a case without one fits every value of it.
CODEC_AXES = ("mode", "bound_kind", "error_bound", "bound_policy", "threads")
IMPLIED = {"codec": {"codec_params"}, "tensor": {"layer", "kv", "tensor_params"}, "source": {"tensor_params"}}


@dataclass(frozen=True)
class Cell:
    """One case of a side: its result in each run of the side that has it."""

    case: Case
    results: Sequence[CaseResult]


@dataclass(frozen=True)
class Matched:
    """A cell of A and one of B that belong together; one is None where the other side has nothing like it."""

    a: Cell | None
    b: Cell | None

    @property
    def case(self) -> Case:
        """A's case, else B's."""
        cell = self.a or self.b
        assert cell is not None
        return cell.case


def match(a: Side, b: Side) -> list[Matched]:
    """Every cell of both sides in one Matched, in A's order, then what only B has.

    Raises UsageError where several cells of A fit several of B, so that no pairing is the right one.
    """
    across = set(a.chosen) | set(b.chosen)
    cells_a, cells_b = cells(a), cells(b)
    by_key: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells_b:
        by_key[_key(cell.case, across)].append(cell)
    partners = [
        [other for other in by_key[_key(cell.case, across)] if _fit(cell.case, other.case, across)] for cell in cells_a
    ]
    _require_one_way(cells_a, partners)
    found = [
        Matched(cell, other) for cell, others in zip(cells_a, partners, strict=True) for other in (others or (None,))
    ]
    taken = {id(other) for others in partners for other in others}
    return found + [Matched(None, cell) for cell in cells_b if id(cell) not in taken]


def cells(side: Side) -> list[Cell]:
    """The side's chosen cases, each once, in the order of its runs."""
    found: dict[str, list[CaseResult]] = defaultdict(list)
    for run in side.runs:
        for result in side.results(run):
            found[_key(result.case, set())].append(result)
    return [Cell(results[0].case, results) for results in found.values()]


def axes_of(case: Case) -> dict[str, Any]:
    """Everything that makes a case another one, flat; whoever adds a field to Case adds an axis here."""
    fields = case.model_dump(mode="json", exclude={"command", "shape"})
    bound, tensor, params = fields.pop("bound"), fields.pop("tensor") or {}, dict(fields.pop("codec_params"))
    params.pop("mode", None)
    kept = {name: tensor.get(name) for name in ("source", "tensor", "layer", "kv", "source_layout")}
    rest = {name: value for name, value in tensor.items() if name not in kept}
    return {
        **fields,
        **kept,
        "bound_kind": bound and bound["kind"],
        "error_bound": bound and bound["value"],
        "bound_policy": params.pop("bound_policy", None),
        "codec_params": params,
        "tensor_params": rest,
    }


def taken_along(axis: str) -> set[str]:
    """The axis, and those that need not agree either where sides are compared across it."""
    return {axis} | IMPLIED.get(axis, set()) | (set(CODEC_AXES) if axis == "codec" else set())


def differing_axes(a: Case, b: Case) -> list[str]:
    """The axes in which two cases are not alike."""
    axes_b = axes_of(b)
    return [axis for axis, value in axes_of(a).items() if value != axes_b[axis]]


def _iter_key(case: Case, across: set[str]) -> Iterator[tuple[str, Any]]:
    left_out = across.union(*map(taken_along, across))  # those of a codec are looked at by _fit
    for axis, value in sorted(axes_of(case).items()):
        if axis not in left_out:
            yield axis, value


def _key(case: Case, across: set[str]) -> str:
    return json.dumps(list(_iter_key(case, across)))


def _fit(a: Case, b: Case, across: set[str]) -> bool:
    if "codec" not in across:
        return True
    values_a, values_b = axes_of(a), axes_of(b)
    wild = [axis for axis in CODEC_AXES if axis not in across]
    return all(values_a[axis] == values_b[axis] or values_a[axis] is None or values_b[axis] is None for axis in wild)


def _require_one_way(cells_a: Sequence[Cell], partners: Sequence[Sequence[Cell]]) -> None:
    how_often: dict[int, int] = defaultdict(int)
    for others in partners:
        for other in others:
            how_often[id(other)] += 1
    for cell, others in zip(cells_a, partners, strict=True):
        if len(others) > 1 and any(how_often[id(other)] > 1 for other in others):
            raise UsageError(
                f"{cell.case.label} of A fits {len(others)} cases of B, such as {others[0].case.label} and "
                f"{others[1].case.label}, and those fit others: choose one with --a or --b, such as --b mode=plain"
            )
