"""Tests of --chrome-trace: the ranges by name in a file that trace viewers read, and what is refused."""

from __future__ import annotations

import json

import pytest

from kvbench.cli.app import run
from kvbench.record.store import RunFolder

LINE = ["compress", "--device", "cpu", "--source", "gaussian", "--tensor-size", "1024", "--iterations", "2"]


def test_the_trace_holds_kvbenchs_ranges_and_torchs_operators(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kvbench.report.draw", lambda folder: [])
    assert run([*LINE, "--chrome-trace", "trace.json", "--output", "run"]) == 0
    assert "trace: trace.json" in capsys.readouterr().out
    names = [event.get("name") for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]]
    folder = RunFolder.open(tmp_path / "run")
    for result in folder.results():
        assert names.count(f"{result.case_id}/encode_call/sample") == 2
    assert any(str(name).startswith("aten::") for name in names)
    assert any("--chrome-trace" in note for note in folder.manifest().notes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "trace.json"]


@pytest.mark.parametrize("name", ["trace.txt", "there.json", "missing/trace.json"])
def test_a_file_that_cannot_be_made_is_refused_first(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.json").write_text("mine")
    assert run([*LINE, "--chrome-trace", name]) == 2
    assert f"--chrome-trace {name}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]
    assert (tmp_path / "there.json").read_text() == "mine"
