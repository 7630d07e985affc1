"""Owns the page's table of cases: a readable choice of columns, a row a case."""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.record.checked_on import checked_on
from kvbench.record.pareto import pareto_marks
from kvbench.record.schema import METRIC_UNITS, CaseResult
from kvbench.record.table import all_flags, phase_gbps
from kvbench.report.axis import binary_size, bound_number
from kvbench.report.copies import copy_phase, copy_words
from kvbench.report.page_table import Cell, Column, Table, make_table, microseconds, number_cell, text_cell
from kvbench.report.runs import run_name
from kvbench.report.scored import kl_interval


def case_table(results: Sequence[CaseResult]) -> Table:
    """Every case, failed and skipped ones included; a column that is empty or the same in all of them is left out."""
    on_front = {case_id for case_id, marked in pareto_marks(results).items() if marked}
    numbers: dict[str, Column[CaseResult]] = {
        **_NUMBERS,
        **{_metric_head(name): _metric(name) for name in METRIC_UNITS if name not in _KNOWN_METRICS},
        "front": lambda result: Cell("\N{BLACK STAR}", 1) if result.case_id in on_front else Cell(""),
        "flags": lambda result: Cell(", ".join(all_flags(result))),
        "status": lambda result: Cell(result.status),
    }
    return make_table(
        results, {**WHAT, "bound checked on": _checked_on}, numbers, lambda result: result.status, FILTERS
    )


def _metric_head(name: str) -> str:
    """`scratch bytes`, `some share`: a metric's own name, with its unit where the name does not say it."""
    unit = METRIC_UNITS[name]
    words = name.replace("_gbps", "").replace("_", " ")
    return words if unit in ("1", "count", "byte", "value") else f"{words} {unit}"


def _bound(result: CaseResult) -> Cell:
    bound = result.case.bound
    return Cell("") if bound is None else Cell(f"{bound.kind} {bound_number(bound.value)}", bound.value)


def _checked_on(result: CaseResult) -> Cell:
    side = checked_on(result)
    return Cell("" if side is None else _SIDES[side])


def _tensor(result: CaseResult) -> Cell:
    tensor = result.case.tensor
    return Cell("") if tensor is None else Cell(f"{tensor.source} {tensor.tensor}")


def _codec(result: CaseResult) -> str:
    return "" if result.case.direction else result.case.codec


def _size(result: CaseResult) -> Cell:
    if result.case.direction:
        return Cell(binary_size(result.case.raw_bytes), result.case.raw_bytes)
    return Cell("\N{MULTIPLICATION SIGN}".join(map(str, result.case.shape)), result.case.elements)


def _metric(name: str, form: str = "") -> Column[CaseResult]:
    whole = METRIC_UNITS.get(name) in ("byte", "count")
    return lambda result: number_cell(result.metrics.get(name), ".0f" if whole else form)


def _kl_interval(result: CaseResult) -> Cell:
    kl = kl_interval(result)
    return Cell("") if kl is None or kl.low == kl.high else Cell(f"{kl.low:.2g} to {kl.high:.2g}", kl.low)


def _speed(phase: str) -> Column[CaseResult]:
    def column(result: CaseResult) -> Cell:
        timed = result.phases.get(phase)
        return number_cell(None if timed is None else phase_gbps(timed))

    return column


def _copy(result: CaseResult) -> Cell:
    return Cell(copy_words(result) if result.case.direction else "")


def _copy_microseconds(result: CaseResult) -> Cell:
    phase = copy_phase(result)
    if phase is None or phase.median_s is None:
        return Cell("")
    return Cell(microseconds(phase.median_s), phase.median_s)


def _copy_interval(result: CaseResult) -> Cell:
    phase = copy_phase(result)
    if phase is None or phase.ci_low_s is None or phase.ci_high_s is None:
        return Cell("")
    words = f"{microseconds(phase.ci_low_s)} to {microseconds(phase.ci_high_s)}"
    return Cell(words, phase.ci_high_s - phase.ci_low_s)


def _copy_speed(result: CaseResult) -> Cell:
    phase = copy_phase(result)
    return Cell("") if phase is None else number_cell(phase_gbps(phase))


# What the case is; shared with the table of times.
WHAT: dict[str, Column[CaseResult]] = {
    "run": lambda result: Cell(run_name(result)),
    "copy": _copy,
    "codec": lambda result: Cell(_codec(result)),
    "mode": lambda result: text_cell(result.case.mode),
    "bound": _bound,
    "policy": lambda result: text_cell(result.case.codec_params.get("bound_policy")),
    "tensor": _tensor,
    "transforms": lambda result: text_cell(result.case.before_codec or None),
    "layout": lambda result: text_cell(None if result.case.direction else result.case.layout),
    "dtype": lambda result: text_cell(result.case.dtype),
    "size": _size,
    "device": lambda result: text_cell(None if result.case.direction else result.case.device),
}
_SIDES = {
    "float32": "float32, no cast",
    "before_cast": "float32 before the cast",
    "coded": "float32 that the codec saw",
}
FILTERS = {
    "run": run_name,
    "status": lambda result: result.status,
    "codec": _codec,
    "mode": lambda result: result.case.mode or "",
}
_NUMBERS: dict[str, Column[CaseResult]] = {
    "ratio": _metric("ratio", ".2f"),
    "bits a value": _metric("bits_per_value", ".2f"),
    "max error": _metric("max_abs_error"),
    "NRMSE": _metric("nrmse"),
    "PSNR dB": _metric("psnr_db", ".1f"),
    "violations": _metric("violations", "d"),
    "violations after cast": _metric("violations_after_cast", "d"),
    "non-finite": _metric("non_finite_count", "d"),
    "KL nat": _metric("kl_mean", ".2g"),
    "KL, 95 % interval": _kl_interval,
    "encode GB/s": _speed("encode_call"),
    "decode GB/s": _speed("decode_call"),
    "effective GB/s": _metric("effective_gbps"),
    "break-even GB/s": _metric("break_even_gbps"),
    "median \N{GREEK SMALL LETTER MU}s": _copy_microseconds,
    "95 % interval": _copy_interval,
    "GB/s": _copy_speed,
}
# Metrics that have a column above, or are left to summary.csv; any other gets a column under its own name.
_KNOWN_METRICS = {
    "ratio",
    "bits_per_value",
    "max_abs_error",
    "nrmse",
    "psnr_db",
    "kl_mean",
    "kl_mean_ci_low",
    "kl_mean_ci_high",
    "violations",
    "non_finite_count",
    "effective_gbps",
    "break_even_gbps",
    "effective_error_bound",
    "quantizer_error_bound",
    "value_range",
    "stream_bytes",
    "compressed_bytes",
    "mean_abs_error",
    "rmse",
    "violations_after_cast",
    "max_excess",
    "effective_out_gbps",
    "effective_in_gbps",
    "break_even_out_gbps",
    "break_even_in_gbps",
}
