"""Owns the tables that `kvbench nsys` and `kvbench ncu` print: those of the page, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from kvbench.report import page_table

MOST_ROWS = 60


def printed(shown: page_table.Table, file: str) -> list[Table | str]:
    """The table and what is the same in all its rows; `file` has the rows that are too many to print."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head, numeric in zip(shown.heads, shown.numeric, strict=True):
        table.add_column(head, justify="right" if numeric else "left", no_wrap=True)
    for row in shown.rows[:MOST_ROWS]:
        table.add_row(*(cell.text or "-" for cell in row))
    parts: list[Table | str] = ["", table, ""]
    if shown.common:
        parts.append(f"same in all rows: {', '.join(f'{head} {text}' for head, text in shown.common)}")
    left = len(shown.rows) - MOST_ROWS + shown.left_out
    if left > 0:
        parts.append(f"and {left} more rows: {file}")
    return parts
