"""Tests of `kvbench report` and `kvbench env`."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from fake_run import codec_case, finished, make_run, sweep_results, tensor

from kvbench.cli.app import run

MADE = ["summary.csv", "summary.json", "measurements.parquet"]


@pytest.fixture
def folder(tmp_path):
    spec = tensor(0, "k", source="/home/someone/cache.safetensors")
    return make_run(tmp_path / "results" / "a-run", [finished(codec_case(spec))])


def test_report_makes_everything_again_and_prints_the_paths(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(["report", "a-run"]) == 0
    printed = capsys.readouterr().out
    assert "It pays over links slower than" in printed
    paths = [line for line in printed.splitlines() if line.startswith("results/a-run/")]
    assert [path.rpartition("/")[2] for path in (paths[0], paths[1], paths[2], paths[-1])] == [*MADE, "report.html"]
    assert all((tmp_path / path).is_file() for path in paths)


def test_report_of_what_is_no_run_is_one_line(tmp_path, capsys):
    for place in (tmp_path, tmp_path / "nowhere"):
        assert run(["report", str(place)]) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert str(place) in error


def test_publish_leaves_the_run_alone_and_scrubs_the_copy(folder, tmp_path, capsys):
    before = sorted(path.name for path in folder.path.iterdir())
    assert run(["report", str(folder.path), "--publish", str(tmp_path / "reference" / "x")]) == 0
    assert sorted(path.name for path in folder.path.iterdir()) == before
    for name in ("manifest.json", "cases.jsonl", "summary.csv", "report.html"):
        text = (tmp_path / "reference" / "x" / name).read_text()
        assert "/home/someone" not in text
        assert "fakehost" not in text


def test_several_runs_need_a_page_of_their_own(folder, tmp_path, capsys):
    other = make_run(tmp_path / "results" / "other", [finished(codec_case(tensor(0, "k")))])
    before = sorted(tmp_path.rglob("*"))
    assert run(["report", str(folder.path), str(other.path)]) == 2
    assert "say where with --output PAGE.html" in capsys.readouterr().err
    assert run(["report", str(folder.path), str(folder.path), "--output", str(tmp_path / "x.html")]) == 2
    assert "is given twice" in capsys.readouterr().err
    assert run(["report", str(folder.path), str(other.path), "--publish", str(tmp_path / "p")]) == 2
    assert "takes one run" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_page_elsewhere_leaves_the_runs_alone(folder, tmp_path, capsys):
    other = make_run(tmp_path / "results" / "other", [finished(codec_case(tensor(0, "k")))])
    before = sorted((tmp_path / "results").rglob("*"))
    page = tmp_path / "pages" / "both.html"
    assert run(["report", str(folder.path), str(other.path), "--output", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(page)
    assert lines[0].startswith(f"{folder.path}: Over a link of 25 GB/s")
    assert {path.name for path in page.parent.iterdir()} == {"both.html", "both-plots"}
    assert sorted((tmp_path / "results").rglob("*")) == before
    first = page.read_bytes()
    assert run(["report", str(folder.path), str(other.path), "--output", str(page)]) == 0
    assert page.read_bytes() == first


def test_env_shows_the_machine(capsys):
    assert run(["env"]) == 0
    shown = capsys.readouterr().out
    assert "cores_usable" in shown
    assert "kvbench.version" in shown


def test_env_as_json_is_strict(capsys):
    assert run(["env", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(word))
    assert facts["cuda"] in {"available", "unavailable"}


@pytest.mark.parametrize("number", [1e308, 1e-308])
def test_absurd_times_are_damage(folder, capsys, number):
    journal = folder.path / "cases.jsonl"
    fields = json.loads(journal.read_text())
    for timed in fields["phases"].values():
        timed["median_s"] = number
    journal.write_text(json.dumps(fields) + "\n")
    assert run(["report", str(folder.path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{journal} line 1 is damaged (phases." in line


def test_a_journal_that_lacks_cases_is_not_taken_for_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    whole = make_run(tmp_path / "run", sweep_results(bounds=(1e-2,)))
    journal = whole.path / "cases.jsonl"
    journal.write_text(journal.read_text().splitlines(keepends=True)[0])
    for words in (["report", "run"], ["report", "run", "--publish", "new"], ["compare", "run", "run"]):
        assert run(words) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert "run/cases.jsonl holds 1 of 22 recorded cases; restore it, or measure" in line
        assert line.endswith("kvbench sweep --resume run")
    assert {entry.name for entry in whole.path.iterdir()} == {"manifest.json", "cases.jsonl"}
    assert not (tmp_path / "new").exists()


def test_a_full_disk_says_that_the_cases_are_kept_and_how_to_go_on(folder, capsys, monkeypatch):
    def full(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", full)
        assert run(["report", str(folder.path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "the disk is full: cannot write" in line
    assert line.endswith(
        f"all finished cases are kept; make room or give access, then go on with: kvbench report {folder.path}"
    )
    assert run(["report", str(folder.path)]) == 0


@pytest.mark.parametrize("number", [1e308, 1e-308])
def test_absurd_numbers_are_told_in_words(folder, capsys, number):
    journal = folder.path / "cases.jsonl"
    fields = json.loads(journal.read_text())
    fields["metrics"]["ratio"] = number
    journal.write_text(json.dumps(fields) + "\n")
    assert run(["report", str(folder.path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kvbench: error: no whole report can be made of {folder.path} (")
    assert line.endswith(f"look for numbers in {journal} that no measurement gives")
