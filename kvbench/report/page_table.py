"""Owns the tables of a page: cells that know the number to sort by, columns that say something, rows to filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kvbench.report.axis import measured_number

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """What a reader sees, and the number to sort by where there is one. A cell without text has no value."""

    text: str
    number: float | None = None


Column = Callable[[T], Cell]


@dataclass(frozen=True)
class Filter:
    """A choice over the rows: its name, and each row's value in the table's order."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Heads and rows. `statuses` has one entry a row, `common` what is the same in every row and so has no column.

    `left_out` counts rows that the page does not show.
    """

    common: tuple[tuple[str, str], ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    statuses: tuple[str, ...]
    filters: tuple[Filter, ...] = ()
    left_out: int = 0

    def row_filters(self, place: int) -> list[tuple[str, str]]:
        """The name and value of every filter for one row."""
        return [(choice.name, choice.values[place]) for choice in self.filters]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For every column: does it hold numbers?"""
        return tuple(any(row[place].number is not None for row in self.rows) for place in range(len(self.heads)))


def make_table(
    subjects: Sequence[T],
    what: Mapping[str, Column[T]],
    numbers: Mapping[str, Column[T]],
    status: Callable[[T], str],
    filters: Mapping[str, Callable[[T], str]],
    most_rows: int | None = None,
) -> Table:
    """A row a subject. A column without any value is left out; one of `what` that never varies moves to `common`.

    A filter is kept where it has a choice.
    """
    shown = subjects[:most_rows]
    columns = {**what, **numbers}
    rows = [[column(subject) for column in columns.values()] for subject in shown]
    texts = {head: {row[place].text for row in rows} for place, head in enumerate(columns)}
    common = [head for head in what if len(rows) > 1 and len(texts[head]) == 1 and texts[head] != {""}]
    kept = [place for place, head in enumerate(columns) if texts[head] - {""} and head not in common]
    choices = [Filter(name, tuple(value(subject) for subject in shown)) for name, value in filters.items()]
    return Table(
        common=tuple((head, next(iter(texts[head]))) for head in common),
        heads=tuple(list(columns)[place] for place in kept),
        rows=tuple(tuple(row[place] for place in kept) for row in rows),
        statuses=tuple(status(subject) for subject in shown),
        filters=tuple(choice for choice in choices if len(set(choice.values)) > 1),
        left_out=len(subjects) - len(shown),
    )


def text_cell(value: object) -> Cell:
    """A word; nothing for None."""
    return Cell("" if value is None else str(value))


def number_cell(value: float | None, form: str = "") -> Cell:
    """A number, as `form` says or else with three digits; nothing for None."""
    if value is None:
        return Cell("")
    return Cell(format(value, form) if form else measured_number(value), float(value))


def microseconds(seconds: float) -> str:
    """`12.34`: a time in microseconds, four digits of it."""
    return f"{seconds * 1e6:.4g}" if seconds < 1e-2 else f"{seconds * 1e6:.0f}"
