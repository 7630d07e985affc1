"""Owns what a person sees while a command works: messages and progress on stderr, results on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kvbench.runner import Progress

SECONDS_BETWEEN_LINES = 5.0
UNLIMITED_COLUMNS = 100_000


def say(line: str) -> None:
    """One line for the person at the terminal, apart from the results."""
    typer.echo(line, err=True)


def show(*parts: RenderableType) -> None:
    """Results: lines as wide as the terminal or COLUMNS, tables at least as wide as they need.

    A table that is too wide loses its padding first. What is still too long is left to the terminal to wrap: a cell
    broken in two reads as another number.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, emoji=False, markup=False)
    width = console.width
    unlimited = console.options.update(max_width=UNLIMITED_COLUMNS)
    limited = console.is_terminal or bool(os.environ.get("COLUMNS"))
    for part in parts:
        console.width = width
        if isinstance(part, Table):
            if limited and console.measure(part, options=unlimited).maximum > width:
                part.padding = (0, 0, 0, 0)
            console.width = max(width, console.measure(part, options=unlimited).maximum)
        # A terminal gets lines wrapped at words, a file gets each whole.
        console.print(part, soft_wrap=isinstance(part, str) and not console.is_terminal)


@contextmanager
def progress(command: str) -> Iterator[Callable[[Progress], None]]:
    """Something to call as cases end: a bar with the time left on a terminal, else a line every few seconds."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[case]}"))
    with Bar(TextColumn(command), *columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(command, total=None, case="")

        def tell(now: Progress) -> None:
            bar.update(task, total=now.total, completed=now.done, case=now.case.label)

        yield tell


class _Lines:
    """Progress for logs and pipes."""

    def __init__(self) -> None:
        self._started_s = self._last_s = monotonic()
        self._done_at_start: int | None = None

    def __call__(self, now: Progress) -> None:
        if self._done_at_start is None:
            self._done_at_start = now.done
        now_s = monotonic()
        if now.result is None or now_s - self._last_s < SECONDS_BETWEEN_LINES:
            return
        self._last_s = now_s
        left_s = (now_s - self._started_s) / (now.done - self._done_at_start) * (now.total - now.done)
        say(f"{now.done} of {now.total} cases, about {left_s:.0f} s left; last: {now.case.label}")
