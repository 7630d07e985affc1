"""Tests of `kvbench compare`, from the typed line to the table, the files and the exit code."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from fake_comparison import cases, folder, results

from kvbench.cli.app import run
from kvbench.cli.compare import EXIT_GATE


@pytest.fixture(autouse=True)
def _two_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    slow = results(2, {"encode_call": 1.2})
    slow[0].metrics["compressed_bytes"] = 1001
    folder(tmp_path / "a", results(1))
    folder(tmp_path / "b", slow[:-1], {"packages": {"numpy": "2.5.0"}})
    for number in (2, 3):
        folder(tmp_path / f"a{number}", results(10 + number, run_shift=0.002 * number))
        again = results(20 + number, {"encode_call": 1.2}, run_shift=0.002 * number)
        again[0].metrics["compressed_bytes"] = 1001
        folder(tmp_path / f"b{number}", again[:-1], {"packages": {"numpy": "2.5.0"}})


SIX = ["a", "b", "--more-a", "a2", "a3", "--more-b", "b2", "b3"]


def test_the_table_says_it_all(capsys):
    assert run(["compare", *SIX]) == 0
    printed = capsys.readouterr()
    assert "slower" in printed.out
    assert "compressed_bytes" in printed.out
    assert "only in A: raw" in printed.out
    assert "margin 5 %: 4 slower" in printed.out
    assert "ratio of the median times" in printed.out
    assert "cpu, cuszp: runs of the same code differ by" in " ".join(printed.out.split())
    assert "1 changed, 1 missing" in printed.out
    assert "package numpy: 2.4.6 in A, 2.5.0 in B" in printed.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["slower:5%"], EXIT_GATE),
        (["changed"], EXIT_GATE),
        (["faster,missing"], EXIT_GATE),
        (["slower:30%"], EXIT_GATE),  # a case is missing in B
        (["slower:30%", "faster", "added", "--allow-incomplete"], 0),
        (["slower", "--allow-incomplete"], EXIT_GATE),
    ],
)
def test_the_gate(words, code, capsys):
    assert run(["compare", *SIX, "--fail-on", *words]) == code
    assert ("kvbench: gate: " in capsys.readouterr().err) == (code != 0)


def test_files(tmp_path, capsys):
    for name in ("x.json", "x.csv"):
        assert run(["compare", *SIX, "--output", name]) == 0
        assert f"table: {name}" in capsys.readouterr().out
    rows = json.loads((tmp_path / "x.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert {row["verdict"] for row in rows} >= {"slower", "changed", "missing"}
    with (tmp_path / "x.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["verdict"] for row in read] == [row["verdict"] for row in rows]
    assert list(read[0]) == list(rows[0])


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["a", "nowhere"], "no run at nowhere"),
        (["a", "b", "--margin", "none"], "--margin none: give a number of per cent"),
        (["a", "b", "--margin", "1000"], "--margin 1000: give a number of per cent above 0 and below 1000"),
        (["a", "b", "--margin", "5", "--margin=7"], "--margin is given twice, with 5 and 7; give it once"),
        (["a", "b", "--fail-on", "slower:"], "--fail-on 'slower:': give a number of per cent"),
        (["a", "b", "--fail-on", "worse"], "--fail-on worse: use slower"),
        (["a", "b", "--output", "x.txt"], "--output x.txt: a comparison is one table"),
        (["a", "b", "--a", "codec"], "--a codec: give axis=value"),
        (["a", "b", "--fail-on", "slower"], "--fail-on slower: one run a side cannot tell"),
        (["a", "a"], "run a of B is given twice, in A already"),
        (["a", "b", "--more-b", "b2", "../TMP/b2"], "of B is given twice, in B already"),
    ],
)
def test_bad_lines_are_one_line(words, problem, capsys):
    words = [word.replace("TMP", Path.cwd().name) for word in words]
    assert run(["compare", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert problem in line


def test_unlike_runs_want_to_be_told(tmp_path, capsys):
    folder(tmp_path / "c", results(3), {"cpu": "Another CPU"})
    assert run(["compare", "a", "c"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "--allow-unlike" in line
    assert run(["compare", "a", "c", "--allow-unlike"]) == 0
    assert "unlike: cpu" in capsys.readouterr().err


def test_one_run_a_side_is_shown_and_not_judged(capsys):
    assert run(["compare", "a", "b"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "unclear: one run a side" in printed
    assert "say nothing of what another run would show" in printed
    assert run(["compare", "a", "b", "--fail-on", "changed"]) == EXIT_GATE


def test_two_codecs(capsys):
    assert run(["compare", "a", "a2", "--a", "codec=cuszp", "--b", "codec=raw"]) == 0
    assert "cuszp | raw" in capsys.readouterr().out


def test_a_run_is_not_overwritten(tmp_path, capsys):
    before = (tmp_path / "b" / "manifest.json").read_bytes()
    assert run(["compare", *SIX, "--output", "b/manifest.json"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "output b/manifest.json lies in the run folder" in line
    assert (tmp_path / "b" / "manifest.json").read_bytes() == before


def test_a_table_of_ours_is_overwritten(capsys):
    for _ in range(2):
        assert run(["compare", *SIX, "--output", "x.csv"]) == 0


def test_an_ab_run_and_a_plain_one_have_nothing_in_common(tmp_path, capsys):
    one, other = cases()[0], cases()[4]
    pair = [one.against(other, "a"), other.against(one, "b")]
    folder(tmp_path / "ab", results(1, of=pair))
    for words in (["ab", "a"], ["a", "ab"]):
        assert run(["compare", *words]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert "has another rival; compare a run of --ab with another of the same pair" in line
