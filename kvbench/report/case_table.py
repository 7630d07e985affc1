"""Owns the page's table: a readable choice of columns, a row a case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kvbench.record.pareto import pareto_marks
from kvbench.record.schema import CaseResult
from kvbench.record.table import all_flags, phase_gbps
from kvbench.report.axis import binary_size, bound_number
from kvbench.report.copies import copy_words


@dataclass(frozen=True)
class Cell:
    """What a reader sees, and the number to sort by where there is one."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class CaseTable:
    """Heads and rows; `statuses` has one entry a row, `common` what is the same in every row and so has no column."""

    common: tuple[tuple[str, str], ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    statuses: tuple[str, ...]


Column = Callable[[CaseResult], Cell]


def case_table(results: Sequence[CaseResult]) -> CaseTable:
    """Every case, failed and skipped ones included; a column that is empty or the same in all of them is left out."""
    on_front = {case_id for case_id, marked in pareto_marks(results).items() if marked}
    columns: dict[str, Column] = {
        **_WHAT,
        **_NUMBERS,
        "front": lambda result: Cell("\N{BLACK STAR}", 1) if result.case_id in on_front else Cell(""),
        "status": lambda result: Cell(" ".join([result.status, *all_flags(result)])),
    }
    rows = [[column(result) for column in columns.values()] for result in results]
    texts = {head: {row[number].text for row in rows} for number, head in enumerate(columns)}
    common = [head for head in _WHAT if len(rows) > 1 and len(texts[head]) == 1 and texts[head] != {""}]
    kept = [number for number, head in enumerate(columns) if texts[head] - {""} and head not in common]
    return CaseTable(
        common=tuple((head, next(iter(texts[head]))) for head in common),
        heads=tuple(list(columns)[number] for number in kept),
        rows=tuple(tuple(row[number] for number in kept) for row in rows),
        statuses=tuple(result.status for result in results),
    )


def _text(value: object) -> Cell:
    return Cell("" if value is None else str(value))


def _number(value: float | None, form: str = ".3g") -> Cell:
    return Cell("") if value is None else Cell(format(value, form), float(value))


def _bound(result: CaseResult) -> Cell:
    bound = result.case.bound
    return Cell("") if bound is None else Cell(f"{bound.kind} {bound_number(bound.value)}", bound.value)


def _tensor(result: CaseResult) -> Cell:
    tensor = result.case.tensor
    return Cell("") if tensor is None else Cell(f"{tensor.source} {tensor.tensor}")


def _codec(result: CaseResult) -> Cell:
    return Cell("" if result.case.direction else result.case.codec)


def _size(result: CaseResult) -> Cell:
    if result.case.direction:
        return Cell(binary_size(result.case.raw_bytes), result.case.raw_bytes)
    return Cell("\N{MULTIPLICATION SIGN}".join(map(str, result.case.shape)), result.case.elements)


def _metric(name: str, form: str = ".3g") -> Column:
    return lambda result: _number(result.metrics.get(name), form)


def _speed(*phases: str) -> Column:
    def column(result: CaseResult) -> Cell:
        timed = [result.phases[phase] for phase in phases if phase in result.phases]
        return _number(phase_gbps(timed[0]) if timed else None)

    return column


def _copy(result: CaseResult) -> Cell:
    return Cell(copy_words(result) if result.case.direction else "")


def _copy_microseconds(result: CaseResult) -> Cell:
    phase = result.phases.get(result.case.direction or "")
    if phase is None or phase.median_s is None:
        return Cell("")
    return Cell(_microseconds(phase.median_s), phase.median_s)


def _copy_interval(result: CaseResult) -> Cell:
    phase = result.phases.get(result.case.direction or "")
    if phase is None or phase.ci_low_s is None or phase.ci_high_s is None:
        return Cell("")
    words = f"{_microseconds(phase.ci_low_s)} to {_microseconds(phase.ci_high_s)}"
    return Cell(words, phase.ci_high_s - phase.ci_low_s)


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.4g}" if seconds < 1e-2 else f"{seconds * 1e6:.0f}"


def _copy_speed(result: CaseResult) -> Cell:
    return _speed(result.case.direction)(result) if result.case.direction else Cell("")


_WHAT: dict[str, Column] = {
    "copy": _copy,
    "codec": _codec,
    "mode": lambda result: _text(result.case.mode),
    "bound": _bound,
    "policy": lambda result: _text(result.case.codec_params.get("bound_policy")),
    "tensor": _tensor,
    "layout": lambda result: _text(None if result.case.direction else result.case.layout),
    "dtype": lambda result: _text(result.case.dtype),
    "size": _size,
}
_NUMBERS: dict[str, Column] = {
    "ratio": _metric("ratio", ".2f"),
    "bits a value": _metric("bits_per_value", ".2f"),
    "max error": _metric("max_abs_error"),
    "NRMSE": _metric("nrmse"),
    "PSNR dB": _metric("psnr_db", ".1f"),
    "violations": _metric("violations", "d"),
    "non-finite": _metric("non_finite_count", "d"),
    "encode GB/s": _speed("encode_call"),
    "decode GB/s": _speed("decode_call"),
    "effective GB/s": _metric("effective_gbps"),
    "break-even GB/s": _metric("break_even_gbps"),
    "median \N{GREEK SMALL LETTER MU}s": _copy_microseconds,
    "95 % interval": _copy_interval,
    "GB/s": _copy_speed,
}
