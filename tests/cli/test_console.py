"""Tests progress lines and tables where there is no terminal."""

from __future__ import annotations

import pytest
from rich.table import Table

from kvbench.cli import console
from kvbench.record.schema import Case, CaseResult
from kvbench.runner import Progress

CASE = Case(command="baseline", codec="raw", elements=64, device="cpu", direction="host_copy")


def test_a_line_every_few_seconds_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(console, "monotonic", lambda: now[0])
    with console.progress("baseline") as tell:
        for done in range(2, 10):
            tell(Progress(done, 12, CASE, None))
            now[0] += 2.0
            tell(Progress(done + 1, 12, CASE, finished()))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "5 of 12 cases, about 14 s left",
        "8 of 12 cases, about 8 s left",
    ]


def finished() -> CaseResult:
    return CaseResult(case_id=CASE.id, case=CASE, status="ok", started_at="2026-01-01T00:00:00Z", elapsed_s=2.0)


def wide_table() -> Table:
    table = Table(title="many columns")
    for number in range(20):
        table.add_column(f"column_{number}")
    table.add_row(*("value_of_some_length" for _ in range(20)))
    return table


def test_without_a_terminal_a_wide_table_keeps_its_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    console.show(wide_table(), "one line")
    printed = capsys.readouterr().out.splitlines()
    assert any(line.count("value_of_some_length") == 20 for line in printed)
    assert "one line" in printed


@pytest.mark.parametrize("columns", ["90", "40"])
def test_columns_takes_padding_away_but_breaks_no_cell(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    console.show(wide_table())
    free = max(map(len, capsys.readouterr().out.splitlines()))
    monkeypatch.setenv("COLUMNS", columns)
    console.show(wide_table(), "words " * 60)
    printed = capsys.readouterr().out.splitlines()
    assert any(line.count("value_of_some_length") == 20 and len(line) < free for line in printed)
