"""Owns the order behind every figure: which cases share a panel, a line, a point, and what a line is called."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kvbench.record.schema import CaseResult, RunManifest
from kvbench.report.runs import run_name

NONE = "none"
MAX_LINES = 6  # in one panel; more are spread over rows of panels
KV_NAMES = {"k": "K", "v": "V", NONE: "K/V: none"}


@dataclass(frozen=True)
class Point:
    """The cases of one line at one bound: one a tensor. `bound` is None for a codec without bounds."""

    bound: float | None
    results: tuple[CaseResult, ...]

    @property
    def invalid(self) -> bool:
        """Does some case here have numbers that do not count, such as an error over the bound?"""
        return any(result.status == "invalid" for result in self.results)


@dataclass(frozen=True)
class Line:
    """Points by growing bound. `style` picks colour, marker and dashes, the same in every figure of a run."""

    label: str
    style: int
    points: tuple[Point, ...]

    @property
    def bounded(self) -> bool:
        return self.points[0].bound is not None


@dataclass(frozen=True)
class Panel:
    """Lines that share axes: one kind of bound, K or V or none, and in a large run one value of some axes more."""

    row: str
    column: str
    bound_kind: str | None
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Grid:
    """Panels row by row; every row has all columns, a panel without lines where there is nothing."""

    columns: tuple[str, ...]
    panels: tuple[tuple[Panel, ...], ...]

    @property
    def filled(self) -> list[Panel]:
        """The panels with lines, row by row."""
        return [panel for row in self.panels for panel in row if panel.lines]

    @property
    def results(self) -> list[CaseResult]:
        """Every case in the grid, once."""
        found = {
            result.case_id: result
            for row in self.panels
            for panel in row
            for line in panel.lines
            for point in line.points
            for result in point.results
        }
        return list(found.values())

    def bounds(self, kind: str | None) -> list[float]:
        """The bounds of this kind in any panel, ascending."""
        bounds = [result.case.bound for result in self.results]
        return sorted({bound.value for bound in bounds if bound is not None and bound.kind == kind})


def drawable(results: Iterable[CaseResult]) -> list[CaseResult]:
    """Cases with numbers fit for a figure: `ok`, and `invalid` ones, which are drawn hollow."""
    return [result for result in results if result.status in ("ok", "invalid") and (result.metrics or result.phases)]


def text(value: object) -> str:
    """A group's value as a label; a null group is called `none`."""
    return NONE if value is None else str(value)


def _codec(result: CaseResult) -> str:
    if result.case.profile is not None:
        return f"profile {result.case.profile}"
    named_apart = ("mode", "bound_policy", "threads")
    params = {name: value for name, value in result.case.codec_params.items() if name not in named_apart}
    return f"{result.case.codec} {json.dumps(params, sort_keys=True)}" if params else result.case.codec


def _source(result: CaseResult) -> str:
    return NONE if result.case.tensor is None else result.case.tensor.source.rsplit("/", 1)[-1]


def _policy(result: CaseResult) -> str:
    policy = text(result.case.codec_params.get("bound_policy"))
    return "" if policy == "strict" else _own(result, policy)  # the default goes without saying


def _own(result: CaseResult, word: str) -> str:
    """A setting's word; none where a profile sets it for each tensor."""
    return "" if result.case.profile is not None else word


# What may tell two lines apart, in the order of a label's words.
_AXES: dict[str, Callable[[CaseResult], str]] = {
    "run": run_name,
    "codec": _codec,
    "mode": lambda result: _own(result, text(result.case.mode)),
    "bound": lambda result: NONE if result.case.bound is None else "",
    "policy": _policy,
    "transforms": lambda result: _own(result, result.case.before_codec or "untransformed"),
    "dtype": lambda result: result.case.dtype,
    "layout": lambda result: result.case.layout,
    "source": _source,
    "elements": lambda result: str(result.case.elements),
    "device": lambda result: result.case.device,
    "threads": lambda result: text(result.case.threads),
}
_WITHIN_A_RUN = ("device", "threads")  # the run's name says enough where these differ from another run's
# Which of them become rows of panels, first to last, when a panel would hold too many lines.
_ROW_AXES = ("source", "elements", "dtype", "layout")


def make_grid(manifest: RunManifest, results: Sequence[CaseResult]) -> Grid:
    """Arrange drawable cases in panels: a column for K, V and none, a row for each kind of bound."""
    axes = _line_axes(manifest)
    row_axes: list[str] = []
    for axis in _ROW_AXES:
        if _line_count(results, [name for name in axes if name not in row_axes]) <= MAX_LINES:
            break
        if axis in axes and len({_AXES[axis](result) for result in results}) > 1:
            row_axes.append(axis)
    line_axes = [axis for axis in axes if axis not in row_axes]
    labels = _labels(results, line_axes)
    styles = {label: number for number, label in enumerate(dict.fromkeys(labels.values()))}
    kinds: list[str | None] = [*sorted({result.case.bound.kind for result in results if result.case.bound})] or [None]
    row_values = list(dict.fromkeys(tuple(_AXES[axis](result) for axis in row_axes) for result in results))
    columns = [name for name in KV_NAMES if any(_kv(result) == name for result in results)]
    panels: list[tuple[Panel, ...]] = []
    for values in row_values:
        inside = [result for result in results if tuple(_AXES[axis](result) for axis in row_axes) == values]
        row = ", ".join(f"{axis} {value}" for axis, value in zip(row_axes, values, strict=True))
        for kind in kinds:
            chosen = [result for result in inside if result.case.bound is None or result.case.bound.kind == kind]
            panels.append(
                tuple(
                    Panel(
                        row=row,
                        column=KV_NAMES[column],
                        bound_kind=kind,
                        lines=_lines([result for result in chosen if _kv(result) == column], labels, styles),
                    )
                    for column in columns
                )
            )
    return Grid(
        columns=tuple(KV_NAMES[column] for column in columns),
        panels=tuple(panels),
    )


def line_labels(manifest: RunManifest, results: Sequence[CaseResult]) -> dict[str, str]:
    """By case id: the words that tell its settings, and where it matters its tensors, from those of the others."""
    return _labels(results, _line_axes(manifest))


def sizes_vary(manifest: RunManifest) -> bool:
    """Were several sizes asked for, so that each is a setting of its own?"""
    return len([*(manifest.experiment.get("tensor_size") or ()), *(manifest.experiment.get("geometry") or ())]) > 1


def _kv(result: CaseResult) -> str:
    return text(result.case.tensor.kv if result.case.tensor else None)


def _line_axes(manifest: RunManifest) -> list[str]:
    # Where sizes were not asked for, tensors of different length are averaged like any others.
    return [axis for axis in _AXES if axis != "elements" or sizes_vary(manifest)]


def _line_count(results: Sequence[CaseResult], axes: Sequence[str]) -> int:
    return len({tuple(_AXES[axis](result) for axis in axes) for result in results if result.case.bound})


def _labels(results: Sequence[CaseResult], axes: Sequence[str]) -> dict[str, str]:
    """By case id: the words that tell a line from the others, its run's name first where there are several runs.

    An axis counts where it varies within one codec; those in _WITHIN_A_RUN where it does so within one run.
    """
    codecs = {_codec(result) for result in results}
    values: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for result in results:
        for axis in axes:
            values[_scope(axis, result)].add(_AXES[axis](result))
    labels = {}
    for result in results:
        codec = _codec(result)
        varying = [axis for axis in axes if axis not in ("run", "codec") and len(values[_scope(axis, result)]) > 1]
        words = [_word(axis, _AXES[axis](result)) for axis in varying]
        if len(codecs) > 1 or not words:
            words.insert(0, codec)
        if not varying and result.case.mode is not None and result.case.profile is None:
            words.append(result.case.mode)
        run = run_name(result)
        labels[result.case_id] = _in_words([f"{run}:" if run else "", *words])
    return labels


def _scope(axis: str, result: CaseResult) -> tuple[str, str, str]:
    return axis, _codec(result), run_name(result) if axis in _WITHIN_A_RUN else ""


def _word(axis: str, value: str) -> str:
    if axis == "elements":
        return f"{int(value):,} elements".replace(",", "\N{THIN SPACE}")
    if axis == "threads" and value != NONE:
        return "all threads" if value == "0" else f"{value} threads"
    return f"{axis} {value}" if value == NONE else value


def _in_words(words: Iterable[str]) -> str:
    return " ".join(word for word in words if word)


def _lines(results: Sequence[CaseResult], labels: dict[str, str], styles: dict[str, int]) -> tuple[Line, ...]:
    cells: dict[str, dict[float | None, list[CaseResult]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        bound = None if result.case.bound is None else result.case.bound.value
        cells[labels[result.case_id]][bound].append(result)
    lines = []
    for label in sorted(cells, key=styles.__getitem__):
        bounded = {bound: found for bound, found in cells[label].items() if bound is not None}
        chosen = sorted(bounded.items()) if bounded else list(cells[label].items())
        lines.append(Line(label, styles[label], tuple(Point(bound, tuple(found)) for bound, found in chosen)))
    return tuple(lines)
