"""Tests the lines that people type from older notes: they work as they stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvbench.cli import app
from kvbench.record.store import RunFolder


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own_and_without_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("kvbench.report.draw", lambda folder: [])


def test_baseline_as_typed_in_older_notes(capsys: pytest.CaptureFixture[str]) -> None:
    line = (
        "baseline --device-id 0 --tensor-sizes 1024 4096 16384 65536 262144 1048576 --iterations 100 "
        "--device cpu --output baseline_results.json"
    )
    assert app.run(line.split()) == 0
    rows = json.loads(Path("baseline_results.json").read_text(encoding="utf-8"))
    assert {row["elements"] for row in rows} == {1024, 4096, 16384, 65536, 262144, 1048576}
    assert {row["direction"] for row in rows} == {"host_copy"}
    [folder] = Path("results").iterdir()
    assert {"manifest.json", "cases.jsonl", "summary.csv"} <= {path.name for path in folder.iterdir()}
    printed = capsys.readouterr()
    assert printed.err.count("--device-id 0 is ignored") == 1
    assert "1e9 bytes" in printed.err
    assert "GPU" in printed.err


def test_compress_as_typed_in_older_notes(capsys: pytest.CaptureFixture[str]) -> None:
    line = (
        "compress --device-id 0 --tensor-size 1048576 --error-bound 1e-4 --encoding-mode plain --iterations 100 "
        "--device cpu --output compression_results.json"
    )
    assert app.run(line.split()) == 0
    rows = json.loads(Path("compression_results.json").read_text(encoding="utf-8"))
    assert [(row["kv"], row["mode"], row["error_bound"], row["bound_kind"]) for row in rows] == [
        ("k", "plain", 1e-4, "rel"),
        ("v", "plain", 1e-4, "rel"),
    ]
    assert all(row["violations"] == 0 and row["ratio"] > 1 and row["encode_call_samples"] == 100 for row in rows)
    printed = capsys.readouterr()
    assert "rel: a fraction of max - min" in printed.err
    assert "assumed 25 GB/s" in printed.err
    assert "warning" not in printed.err
    assert "break-" in printed.out
    assert "Over a link of 25 GB/s" in printed.out
    assert max(len(line) for line in printed.out.splitlines() if line.startswith(("codec", "cuszp"))) <= 80


def test_sweep_as_typed_in_older_notes(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["sweep", "--error-bound", "1e-3", "1e-4", "1e-5", "--iterations", "1"]) == 0
    [folder] = Path("results").iterdir()
    results = RunFolder.open(folder).results()
    assert {result.case.codec for result in results} == {"cuszp", "raw"}
    bounds = {result.case.bound.value for result in results if result.case.bound is not None}
    assert bounds == {1e-3, 1e-4, 1e-5}
    assert {result.case.tensor.source for result in results if result.case.tensor} == {"sample"}
    assert {result.status for result in results} == {"ok"}
    assert "warning: rel 0.0001, 1e-05 on a 16-bit cache" in capsys.readouterr().err
