"""Tests of where a single table may be written: not into a run, not over a foreign file."""

from __future__ import annotations

import os

import pytest
from fake_run import make_run, sweep_results

from kvbench.errors import UsageError
from kvbench.record.table import check_single_table, write_single_table
from kvbench.record.table_file import check_table_file
from kvbench.report.comparison.columns import COLUMNS


@pytest.mark.parametrize("name", ["manifest.json", "summary.csv", "new.json", "plots/x.csv"])
@pytest.mark.parametrize("left", ["manifest.json", "cases.jsonl"])
def test_nothing_is_written_into_a_run(tmp_path, name, left):
    run = make_run(tmp_path / "run", []).path
    (run / "plots").mkdir()
    (run / ({"manifest.json", "cases.jsonl"} - {left}).pop()).unlink()
    (tmp_path / "link").symlink_to(run)
    for folder in ("run", "link"):
        with pytest.raises(UsageError, match=r"lies in the run folder .*/run; give a file outside of it"):
            check_single_table(tmp_path / folder / name)


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_an_earlier_table_and_an_empty_file_are_replaced(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    path.touch()
    check_single_table(path)
    write_single_table(path, sweep_results(bounds=(1e-2,)), "r")
    check_single_table(path)
    with pytest.raises(UsageError, match="exists and is no such table of kvbench"):
        check_table_file(path, COLUMNS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", b'{"a": 1}'),
        ("x.json", b'[{"a": 1}]'),
        ("x.json", b"[1]"),
        ("x.json", b"not json"),
        ("x.json", b"[" * 100_000),
        ("x.json", b"\xff\xfe"),
        ("x.csv", b"a,b\n1,2\n"),
        ("x.csv", b"\n"),
        ("x.csv", b"\xff\xfe"),
        ("x.csv", b"run," + b"x" * 200_000),
    ],
)
def test_a_foreign_file_is_left_alone(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"exists and is no such table of kvbench; give another with --output"):
        check_single_table(path)
    assert path.read_bytes() == content


def test_what_is_no_file_is_left_alone(tmp_path):
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(UsageError, match="is no such table"):
        check_single_table(tmp_path / "x.json")
