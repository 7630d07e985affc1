"""Owns the tables printed in a terminal: measured cases, and the cases of a dry run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kvbench.cli.rows import Row, constant, rows_of, varying
from kvbench.record.checked_on import cast_lines
from kvbench.record.pareto import pareto_marks
from kvbench.record.schema import Case, CaseResult

if TYPE_CHECKING:
    from rich.table import Table

    from kvbench.codecs.registry import CodecInfo

# More rows than this do not help a reader of a terminal; the rest is in summary.csv.
MOST_ROWS = 40
ALWAYS_SHOWN = ("codec", "bound", "kv")
NAMES = {"elements": "values"}
BITS = "bits/\nvalue"
ROOM_FOR_BITS = 5  # settings in a row; with more, the ratio has to say it
MEASURES: dict[str, Callable[[Row], float | None]] = {
    "ratio": lambda row: row.ratio,
    BITS: lambda row: row.bits_per_value,
    "error/\nbound": lambda row: row.worst_error_over_bound,
    "PSNR\ndB": lambda row: row.mean_psnr_db,
    "encode\nGB/s": lambda row: row.gbps("encode_call"),
    "decode\nGB/s": lambda row: row.gbps("decode_call"),
    "break-\neven": lambda row: row.break_even_gbps,
}
ENCODED_OTHERWISE = {"stored_raw", "constant", "non_finite"}
LEGEND = (
    "error/bound: largest error of a float32 value, before any cast to a 16-bit dtype, as a fraction of its bound",
    "break-even: GB/s of the link below which compressing, out and back, is quicker; -: it never is",
    "*: on the Pareto front of ratio against RMSE on its tensor; (*): on that of some tensors of the row",
)


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, as an exponent only when very small or large; a dash for none."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def case_table(results: Sequence[CaseResult]) -> tuple[Table | None, list[str]]:
    """The measured cases of `compress` or `sweep` (None where there are none), and notes to print under the table."""
    marks = pareto_marks(results)
    rows, notes = _rows_to_print(results, marks)
    if not rows:
        return None, []
    present = {name for name in ALWAYS_SHOWN if any(row.settings.get(name) for row in rows)}
    shown = [name for name in rows[0].settings if name in present.union(varying(rows))]
    two_kinds = "bound kind" in shown
    if two_kinds:
        shown.remove("bound kind")
    measures = {name: call for name, call in MEASURES.items() if len(shown) <= ROOM_FOR_BITS or name != BITS}
    remarks = [_remarks(row) for row in rows]
    last_headers = ["*", "notes"] if any(remarks) else ["*"]
    table = empty_table([NAMES.get(name, name) for name in shown], list(measures), last_headers)
    for row, remark in zip(rows, remarks, strict=True):
        numbers = [number(measure(row)) for measure in measures.values()]
        last = [remark] if any(remarks) else []
        texts = [row.settings.get(name) or "-" for name in shown]
        if two_kinds and row.settings.get("bound"):
            texts[shown.index("bound")] = f"{row.settings['bound kind']} {row.settings['bound']}"
        table.add_row(*texts, *numbers, _star(row, marks), *last)
    same = ", ".join(f"{NAMES.get(name, name)} {value}" for name, value in constant(rows).items())
    return table, [f"same in all rows, where it applies: {same}", *notes, *LEGEND, *cast_lines(results)]


def _rows_to_print(results: Sequence[CaseResult], marks: Mapping[str, bool]) -> tuple[list[Row], list[str]]:
    rows = rows_of([result for result in results if result.metrics])
    notes = []
    if len(rows) > MOST_ROWS:
        front = [row for row in rows if _star(row, marks)]
        notes.append(f"{len(rows) - len(front)} rows without a Pareto mark are left out here; summary.csv has all")
        rows = front
    if any(len(row.results) > 1 for row in rows):
        notes.append(
            "a row with several tensors: ratio, bits and speeds of all together, PSNR their mean, error their worst; "
            "each alone is in summary.csv"
        )
    return rows, notes


def _remarks(row: Row) -> str:
    """What is not as usual about a row: its status, or a tensor that was not simply encoded."""
    flags = {flag for result in row.results for flag in result.flags}
    left_out = [f"PSNR: {row.exact} exact left out"] if row.exact and row.mean_psnr_db is not None else []
    words = [*sorted({result.status for result in row.results} - {"ok"}), *sorted(flags & ENCODED_OTHERWISE), *left_out]
    return ", ".join(words).replace("_", " ")


def plan_table(cases: Sequence[Case]) -> Table:
    """The cases that would be run."""
    table = empty_table(["#", "case"], ["values", "bytes"], ["device"])
    for position, case in enumerate(cases, start=1):
        table.add_row(str(position), case.label, str(case.elements), str(case.raw_bytes), case.device)
    return table


def codec_table(infos: Sequence[CodecInfo]) -> Table:
    """The registered codecs, those that cannot be used here with the reason in place of the summary."""
    table = empty_table(["codec", "runs on"], [], ["what it does"])
    for info in infos:
        lines = [info.summary if info.unavailable is None else f"cannot be used here: {info.unavailable}"]
        for title, words in (("axes", info.axes), ("parameters", info.parameters)):
            lines += [f"{title}: {', '.join(words)}"] if words else []
        table.add_row(info.name, ", ".join(info.devices) or "-", "\n".join([*lines, f"from {info.origin}"]))
    return table


def empty_table(texts: Sequence[str], numbers: Sequence[str], more_texts: Sequence[str]) -> Table:
    """An empty table: texts to the left, numbers to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    two_lines = any("\n" in name for name in numbers)
    for names, justify in ((texts, "left"), (numbers, "right"), (more_texts, "left")):
        for name in names:
            header = f"\n{name}" if two_lines and "\n" not in name else name
            # Where room is short, texts wrap and numbers stay whole.
            table.add_column(header, justify=justify, no_wrap=names is numbers, overflow="fold")  # type: ignore[arg-type]
    return table


def _star(row: Row, marks: Mapping[str, bool]) -> str:
    found = [marks.get(result.case_id, False) for result in row.results]
    if all(found):
        return "*"
    return "(*)" if any(found) else ""
