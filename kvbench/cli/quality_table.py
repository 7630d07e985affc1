"""Owns the printed table of `quality`: ratio, what the model makes of it, and speed, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kvbench.cli.tables import empty_table, number
from kvbench.record.checked_on import cast_lines
from kvbench.record.pareto import pareto_marks
from kvbench.record.schema import CaseResult
from kvbench.record.table import phase_gbps
from kvbench.report.scored import bound_words, kl_interval, setting_words, text_name

if TYPE_CHECKING:
    from rich.table import Table

MOST_ROWS = 60
LEGEND = (
    "KL: mean over the scored tokens, nat; range: its 95 % interval; p99: of single tokens",
    "ppl: perplexity with the decoded cache; change: of it, with its 95 % interval in summary.csv",
    "top-1, top-5: share of the likeliest tokens that stay; greedy: tokens written alike before the first other one",
    "needle: share of the hidden passwords that are found exactly",
    "GB/s: uncompressed bytes of the whole cache; *: on its text's Pareto front of ratio against KL",
)


def quality_table(results: Sequence[CaseResult]) -> tuple[Table | None, list[str]]:
    """A row a case that ran, and the notes under the table; None where there is none."""
    ran = [result for result in results if result.metrics]
    if not ran:
        return None, []
    marks = pareto_marks(results)
    measures = {head: call for head, call in _MEASURES.items() if any(call(result) != "-" for result in ran)}
    several = len({text_name(result) for result in ran}) > 1
    table = empty_table(["text"] * several + ["codec", "bound"], list(measures), ["*", "status"])
    for result in ran[:MOST_ROWS]:
        bound = "-" if result.case.bound is None else bound_words(result.case.bound)
        settings = [text_name(result)] * several + [setting_words(result), bound]
        star = "*" if marks.get(result.case_id) else ""
        status = "" if result.status == "ok" else result.status
        table.add_row(*settings, *(call(result) for call in measures.values()), star, status)
    left_out = [f"{len(ran) - MOST_ROWS} more rows are in summary.csv"] if len(ran) > MOST_ROWS else []
    return table, [*left_out, *LEGEND, *cast_lines(ran)]


def _metric(name: str, digits: int = 3) -> Callable[[CaseResult], str]:
    return lambda result: number(result.metrics.get(name), digits)


def _range(result: CaseResult) -> str:
    kl = kl_interval(result)
    return "-" if kl is None or kl.low == kl.high else f"{number(kl.low, 2)} to {number(kl.high, 2)}"


def _percent(name: str) -> Callable[[CaseResult], str]:
    def text(result: CaseResult) -> str:
        value = result.metrics.get(name)
        return "-" if value is None else f"{100 * value:+.2f} %"

    return text


def _count(name: str) -> Callable[[CaseResult], str]:
    def text(result: CaseResult) -> str:
        value = result.metrics.get(name)
        return "-" if value is None else f"{value:.0f}"

    return text


def _speed(phase: str) -> Callable[[CaseResult], str]:
    def text(result: CaseResult) -> str:
        timed = result.phases.get(phase)
        return number(None if timed is None else phase_gbps(timed))

    return text


_MEASURES: dict[str, Callable[[CaseResult], str]] = {
    "ratio": _metric("ratio"),
    "bits/\nvalue": _metric("bits_per_value"),
    "KL": _metric("kl_mean", 2),
    "range": _range,
    "p99": _metric("kl_p99", 2),
    "ppl": _metric("perplexity"),
    "change": _percent("perplexity_change"),
    "top-1": _metric("top1_agreement"),
    "top-5": _metric("topk_agreement"),
    "greedy": _count("greedy_match_tokens"),
    "needle": _metric("needle_score"),
    "encode\nGB/s": _speed("encode_call"),
    "decode\nGB/s": _speed("decode_call"),
}
