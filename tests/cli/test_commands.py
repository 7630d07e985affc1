"""Tests the commands that run an experiment, from the typed line to the files and the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvbench.cli import app
from kvbench.errors import KvbenchError
from kvbench.record.schema import CaseResult
from kvbench.record.store import RunFolder

Refused = Callable[..., str]
QUICK = ["--iterations", "2"]
SMALL = ["--source", "gaussian", "--tensor-size", "4096", *QUICK]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own_and_without_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("kvbench.report.draw", lambda folder: [])


def run_of(*args: str, code: int = 0) -> RunFolder:
    """Run a command line that makes one run folder in `run`."""
    assert app.run([*args, "--output", "run"]) == code
    return RunFolder.open(Path("run"))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command line that must be refused with a code; gives the one line, having checked that no file changed."""

    def refuse(*args: str, code: int = app.EXIT_USAGE) -> str:
        before = {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()}
        capsys.readouterr()
        assert app.run(list(args)) == code
        printed = capsys.readouterr()
        assert printed.out == ""
        assert {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()} == before
        [line] = printed.err.splitlines()
        assert line.startswith("kvbench: error: ")
        return line

    return refuse


# What a run leaves.


def test_options_reach_the_cases() -> None:
    run = run_of(
        *["compress", *SMALL, "--mode", "fixed", "outlier", "--bound", "abs", "std", "--error-bound", "0.25"],
        *["--bound-policy", "compatible", "--dtype", "bf16", "fp16", "--threads", "1", "--seed", "7"],
    )
    cells = {
        (
            case.mode,
            case.bound and case.bound.kind,
            case.dtype,
            case.threads,
            case.seed,
            case.codec_params["bound_policy"],
        )
        for case in (result.case for result in run.results())
    }
    assert cells == {
        (mode, kind, dtype, 1, 7, "compatible")
        for mode in ("fixed", "outlier")
        for kind in ("abs", "std")
        for dtype in ("bfloat16", "float16")
    }


def test_files_are_read_and_layouts_are_applied() -> None:
    np.save("cache.npy", np.random.default_rng(0).normal(size=(2, 64, 16)).astype(np.float32))
    run = run_of("compress", "--input", "cache.npy", "--source-layout", "htd", "--layout", "thd", "hdt", *QUICK)
    assert {result.case.shape for result in run.results()} == {(64, 2, 16), (2, 16, 64)}


def test_the_manifest_tells_what_the_user_was_told() -> None:
    manifest = run_of("compress", *SMALL, "--link-gbps", "50").manifest()
    assert manifest.link is not None
    assert (manifest.link.out_gbps, manifest.link.origin) == (50.0, "option")
    assert any(note.startswith("device: ") for note in manifest.notes)
    assert any("50 GB/s" in note for note in manifest.notes)
    assert manifest.status == "finished"
    assert manifest.cases_done == manifest.cases_planned == 2


def test_a_csv_table_beside_the_usual_folder_is_replaced() -> None:
    Path("table.csv").write_text("run,case,command\nold,,\n", encoding="utf-8")
    assert app.run(["compress", *SMALL, "--output", "table.csv"]) == 0
    assert "old" not in Path("table.csv").read_text(encoding="utf-8")
    assert Path("table.csv").read_text(encoding="utf-8").startswith("run,case,")
    assert len(list(Path("results").iterdir())) == 1


def test_a_file_that_is_no_table_is_left_alone_and_nothing_runs(refused: Refused) -> None:
    Path("mine.json").write_text('{"a": 1}', encoding="utf-8")
    assert "output mine.json exists and is no such table" in refused("compress", *SMALL, "--output", "mine.json")
    assert Path("mine.json").read_text(encoding="utf-8") == '{"a": 1}'


def test_invalid_cases_are_told_and_are_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).uniform(1e4, 1e5, 50_000).astype(np.float32)
    np.save("large.npy", values)
    line = "compress --input large.npy --bound abs --error-bound 1.1e-2 --bound-policy compatible"
    run = run_of(*line.split(), *QUICK)
    [result] = run.results()
    assert (result.status, result.reason_code) == ("invalid", "bound_exceeded")
    printed = capsys.readouterr().out
    assert "invalid" in printed
    assert str(result.metrics["violations"]) in printed


def test_a_tensor_stored_raw_is_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    """C01: a bound far below the spacing of such values cannot be kept by quantising."""
    np.save("ramp.npy", np.arange(1, 100_001, dtype=np.float32))
    line = "compress --input ramp.npy --mode plain --bound abs --error-bound 1e-2"
    [result] = run_of(*line.split(), *QUICK).results()
    assert result.metrics["violations"] == 0
    assert "stored_raw" in result.flags
    assert "stored raw" in capsys.readouterr().out


def test_failed_cases_make_the_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from kvbench.bench import compress

    def fail(*_: object) -> None:
        raise RuntimeError("the codec broke")

    monkeypatch.setattr(compress, "run", fail)
    run = run_of("compress", *SMALL, code=app.EXIT_CASES_FAILED)
    assert {result.status for result in run.results()} == {"failed"}
    assert "failed: cuszp plain rel 0.01" in capsys.readouterr().out


# Dry runs, configs, frames.


def test_a_dry_run_shows_the_cases_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    line = "sweep --source gaussian --tensor-size 100 --layout thd hdt --mode fixed plain --dry-run --output table.json"
    assert app.run(line.split()) == 0
    assert list(Path.cwd().iterdir()) == []
    printed = capsys.readouterr().out
    assert "6 cases to run, 6 skipped; nothing was run or written" in printed
    assert "layout hdt needs a tensor of tokens, heads and head size" in printed


def test_a_config_runs_and_options_win() -> None:
    Path("my.yaml").write_text(
        "command: sweep\nmode: [fixed, plain]\nsource: gaussian\ntensor_size: 64\n", encoding="utf-8"
    )
    run = run_of("sweep", "--config", "my.yaml", "--mode", "outlier", *QUICK)
    assert {result.case.mode for result in run.results()} == {"outlier", None}


def test_a_saved_frame_decompresses_within_the_bound() -> None:
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    np.save("values.npy", values)
    run_of(
        "compress", "--input", "values.npy", "--bound", "abs", "--error-bound", "0.01", *QUICK, "--save-frame", "v.cszp"
    )
    assert app.run(["decompress", "v.cszp", "--output", "back.npy"]) == 0
    assert np.abs(np.load("back.npy").astype(np.float64) - values).max() <= 0.01
    [result] = RunFolder.open(Path("run")).results()
    assert Path("v.cszp").stat().st_size == result.metrics["compressed_bytes"]


def test_a_baseline_run_gives_no_link_without_a_gpu(refused: Refused) -> None:
    assert app.run(["baseline", "--device", "cpu", "--tensor-size", "64", *QUICK, "--output", "copies"]) == 0
    assert "--baseline copies" in refused("sweep", *SMALL, "--baseline", "copies")


def test_codecs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["codecs"]) == 0
    printed = capsys.readouterr().out
    for word in ("cuszp", "raw", "bound_policy", "mode=plain"):
        assert word in printed


# Resuming.


def test_resume_takes_the_experiment_from_the_run_and_keeps_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["sweep", *SMALL, "--error-bound", "0.1", "0.01", "0.001"]
    run = run_of(*args)
    whole = Path("run/cases.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    torn = "".join(whole[:3]) + whole[3][:40]
    Path("run/cases.jsonl").write_text(torn, encoding="utf-8")
    capsys.readouterr()
    assert app.run(["sweep", "--resume", "run", "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert f"3 done before, {len(whole) - 3} cases to run, 0 skipped" in printed.out
    assert "--device-id" not in printed.err
    assert Path("run/cases.jsonl").read_text(encoding="utf-8") == torn
    assert app.run(["sweep", "--resume", "run", "--error-bound", "1e-1", "1e-2", "1e-3"]) == 0
    assert Path("run/cases.jsonl").read_text(encoding="utf-8").startswith("".join(whole[:3]))
    assert [result.case_id for result in run.results()] == [
        CaseResult.model_validate_json(line).case_id for line in whole
    ]
    assert run.manifest().status == "finished"


def test_resume_refuses_another_experiment_another_command_and_another_folder(refused: Refused) -> None:
    run_of("sweep", *SMALL)
    assert "--error-bound differs" in refused("sweep", "--resume", "run", "--error-bound", "0.5")
    assert "run of sweep" in refused("compress", "--resume", "run")
    assert "resumed run stays in its folder" in refused("sweep", "--resume", "run", "--output", "other")
    assert "no run at missing" in refused("sweep", "--resume", "missing")


def test_an_interrupt_before_the_first_case_says_how_to_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kvbench.cli.experiment.say", interrupt)
    run = run_of("sweep", *SMALL, code=app.EXIT_INTERRUPTED)
    assert run.manifest().status == "interrupted"
    assert "go on with: kvbench sweep --resume run" in capsys.readouterr().err


def test_a_resumed_manifest_with_a_bad_experiment_is_blamed_itself(refused: Refused) -> None:
    run = run_of("sweep", *SMALL)
    manifest = run.manifest()
    run.write_manifest(manifest.model_copy(update={"experiment": {**manifest.experiment, "threads": "several"}}))
    for extra in ([], ["--dry-run"]):
        line = refused("sweep", "--resume", "run", *extra)
        assert "run/manifest.json: threads: 'several' is not a whole number; restore the record" in line
        assert "--threads" not in line


def test_a_table_that_cannot_be_written_names_the_run_that_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kvbench.record import table

    really_write = table.write_whole

    def full(target: Path, text: str) -> Path:
        if target == Path("mine.json"):
            raise KvbenchError(f"the disk is full: cannot write {target}")
        return really_write(target, text)

    monkeypatch.setattr(table, "write_whole", full)
    assert app.run(["compress", *SMALL, "--output", "mine.json"]) == app.EXIT_ERROR
    [folder] = Path("results").iterdir()
    last = capsys.readouterr().err.splitlines()[-1]
    assert "cannot write mine.json" in last
    assert str(folder / "summary.json") in last
    assert (folder / "summary.json").exists()


# Bad input.


@pytest.mark.parametrize("bounds", [["0", "1e-3"], ["1e-3", "-1"], ["nan"], ["inf"], ["-inf"]])
def test_c03_a_bound_that_is_none_is_refused(bounds: list[str], refused: Refused) -> None:
    bad = next(bound for bound in bounds if bound != "1e-3")
    assert f"error bound {bad} is not a finite number above 0" in refused("sweep", "--error-bound", *bounds)


def test_c03_in_a_process_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kvbench", "sweep", "--error-bound", "0", "1e-3"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == "kvbench: error: --error-bound: error bound 0 is not a finite number above 0; try 1e-2\n"
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--tensor-size", "0"], ["--tensor-size", "0"]),
        (["--tensor-size", "-5"], ["-5"]),
        (["--tensor-size", "99999999999999999999"], ["99999999999999999999 is above 281474976710656 elements"]),
        (["--input", ""], ["--input needs a value, not ''"]),
        (["--config", ""], ["--config needs a value, not ''"]),
        (["--tensor-sizes", "64K"], ["'64K' is not a whole number"]),
        (["--mode", "fast"], ["'fast'", "fixed, plain or outlier"]),
        (["--codec", "zip"], ["'zip'", "cuszp", "raw"]),
        (["--codec", "cuszp", "zip", "--dry-run"], ["'zip'"]),
        (["--dtype", "int8"], ["'int8'", "bfloat16"]),
        (["--source", "nothing"], ["'nothing'", "gaussian", "sample"]),
        (["--input", "absent.npy"], ["absent.npy"]),
        (["--config", "absent.yaml"], ["absent.yaml"]),
        (["--baseline", "absent"], ["absent"]),
        (["--save-frame", "x.zip"], ["x.zip", ".cszp"]),
        (["--save-frame", "absent/x.cszp"], ["absent"]),
        (["--save-frame", "x.cszp", *SMALL], ["2 cases"]),
        (["--save-frame", "x.cszp", "--codec", "raw", "--source", "gaussian", "--tensor", "*.k"], ["'raw'", "cuszp"]),
        (["--source", "gaussian", "--tensor-size", "100", "--layout", "hdt"], ["nothing to run", "flat"]),
    ],
)
def test_bad_values_are_refused_in_one_line(args: list[str], words: list[str], refused: Refused) -> None:
    line = refused("compress", *args)
    assert [word for word in words if word not in line] == []


def test_an_output_that_cannot_be_is_refused(refused: Refused) -> None:
    run_of("compress", *SMALL)
    Path("file").write_text("", encoding="utf-8")
    Path("folder.json").mkdir()
    assert "already holds a run" in refused("compress", *SMALL, "--output", "run")
    assert "file" in refused("compress", *SMALL, "--output", "file")
    assert "file/inside" in refused("compress", *SMALL, "--output", "file/inside")
    assert "folder.json" in refused("compress", *SMALL, "--output", "folder.json")
    assert "absent/table.csv" in refused("compress", *SMALL, "--output", "absent/table.csv")


# Machines without a GPU.


def test_c12_without_a_driver_cuda_is_refused(monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    monkeypatch.setattr("kvbench.runner.cuda_facts", lambda device_id: "no NVIDIA driver (libcuda.so.1 is not found)")
    for command in ("baseline", "compress", "sweep"):
        assert "no NVIDIA driver" in refused(command, "--device", "cuda", code=app.EXIT_UNAVAILABLE)


def test_c11_c12_without_a_driver_and_a_display_cpu_work_goes_on() -> None:
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "DISPLAY": "", "MPLBACKEND": "TkAgg"}
    command = [sys.executable, "-m", "kvbench", "compress", "--device", "cpu", *SMALL, "--output", "run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=hidden)
    assert done.returncode == 0, done.stderr
    host: dict[str, Any] = RunFolder.open(Path("run")).manifest().host
    assert host["cuda"] == "unavailable"
    assert host["cuda_reason"]
    assert Path("run/report.html").exists()
    assert list(Path("run/plots").glob("*.png"))
