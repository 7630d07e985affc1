"""`kvbench swap` as typed: its options, tables, run folder and page, and what a bad value does."""

from __future__ import annotations

import csv
import inspect
import json
from pathlib import Path

import pytest
from command_line import in_place

from kvbench.cli import app
from kvbench.cli.options import FIELD_OPTIONS, RUN_OPTIONS
from kvbench.cli.swap import TAKEN, swap
from kvbench.cli.swap_table import swap_table
from kvbench.config import SWAP_FIELDS, fields_of
from kvbench.record.schema import SWAP_UNITS, Case, CaseResult
from kvbench.report.swapped import against_raw, swap_answer

LINE = ["swap", "--device", "cpu", "--blocks", "8", "--block-bytes", "2048", "--planes", "4", "--beside", "nothing"]
QUICK = ["--iterations", "2", "--path", "raw", "fused"]


def test_it_takes_what_its_experiment_may_hold() -> None:
    own = inspect.signature(swap).parameters.keys() - FIELD_OPTIONS.keys()
    assert own == SWAP_FIELDS | RUN_OPTIONS.keys()
    assert TAKEN | SWAP_FIELDS | {"command"} == fields_of("swap")


def test_a_run_from_line_to_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "180")
    assert app.run([*LINE, *QUICK, "--error-bound", "1e-2", "--checksum", "--output", "run"]) == 0
    out = capsys.readouterr().out
    for text in ("cuszp plain rel 0.01", "x raw", "fused", "paged"):
        assert text in out
    with (tmp_path / "run" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["direction"], row["path"], row["planes"]) for row in rows] == [
        ("out", "raw", "4"), ("in", "raw", "4"), ("out", "fused", "4"), ("in", "fused", "4"),
    ]  # fmt: skip
    assert float(rows[2]["out_wall_median_s"]) > 0
    assert float(rows[2]["paged_ratio"]) >= 1
    assert rows[2]["checksum"] == "true"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "swap out, fused, cuszp plain rel 0.01" in page
    assert (tmp_path / "run" / "plots" / "swap_speed.png").exists()
    assert app.run(["report", "run"]) == 0


def test_a_soak_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.run([*LINE, "--soak", "200", "--path", "fused", "raw", "--output", "run"]) == 0
    assert "checked" in capsys.readouterr().out
    results = [json.loads(line) for line in (tmp_path / "run" / "cases.jsonl").read_text().splitlines()]
    assert [result["metrics"]["mismatches"] for result in results] == [0, 0]
    assert [result["case"]["codec"] for result in results] == ["cuszp", "raw"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--path", "quick"], "quick"),
        (["--soak", "long"], "soak 'long' is no amount of traffic"),
        (["--codec", "lossless"], "--codec lossless: the swap engine moves blocks as cuszp or raw"),
        (["--planes", "0"], "planes"),
        (["--beside", "music"], "music"),
    ],
)
def test_bad_values_are_one_line(options: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.run(in_place(LINE, options)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_dry_run_tells_what_would_be_skipped(capsys) -> None:
    assert app.run(["swap", "--device", "cpu", "--blocks", "8", "--dry-run"]) == 0
    assert "no GPU is used here" in capsys.readouterr().out


def result(path: str, seconds: float, **metrics: float) -> CaseResult:
    codec = "raw" if path == "raw" else "cuszp"
    case = Case(command="swap", codec=codec, elements=1 << 20, device="cuda", path=path, direction="out", beside="gemm",
                blocks=64, block_bytes=32768, planes=64, dtype="bfloat16")  # fmt: skip
    timed = {"samples_s": [seconds], "work_bytes": case.raw_bytes, "median_s": seconds}
    return CaseResult.model_validate(
        {
            "case_id": case.id, "case": case, "status": "ok", "started_at": "2026-01-01T00:00:00Z", "elapsed_s": 1.0,
            "phases": {"out_wall": timed}, "metrics": {"thread_blocks": 32, **metrics}, "flags": [f"took_{path}"],
        }
    )  # fmt: skip


def test_the_table_compares_with_raw_and_tells_what_runs_beside() -> None:
    results = [result("raw", 4e-3, ratio=1.0), result("fused", 1e-3, ratio=5.0, beside_slowdown=0.11, sm_share=0.24)]
    assert against_raw(results) == {results[1].case_id: 4.0}
    table, notes = swap_table(results)
    cells = {column.header: list(column.cells) for column in table.columns}
    assert cells["x raw"] == ["-", "4.00"]
    assert cells["slower"] == ["-", "11.0 %"]
    assert cells["SMs"] == ["-", "24.0 %"]
    assert any("slower" in note for note in notes)
    assert {"beside_slowdown", "sm_share"} <= SWAP_UNITS.keys()


def test_the_answer_names_the_quickest_and_where_auto_was_slowest() -> None:
    results = [result("raw", 4e-3), result("fused", 1e-3), result("auto", 5e-3)]
    quickest, slowest = swap_answer(results)
    assert quickest == (
        "Quickest out: 2.097 GB/s of uncompressed blocks, 2 MiB a batch (fused, cuszp, beside gemm), 4 times raw."
    )
    assert slowest.startswith("auto was at its slowest 0.8 times raw: swap out, auto, cuszp, beside gemm, 2 MiB")
    assert swap_answer([]) == ["No swap was timed, so there is no speed to tell."]
