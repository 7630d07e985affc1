"""Tests of `kvbench nsys` with stand-ins for nsys on PATH: absent, without a report, with one, hanging, killed."""

from __future__ import annotations

import csv
import json

import pytest
from nsys_export import Kernel, Range, write_export
from stub_profiler import make_stub

from kvbench.cli.app import run
from kvbench.profilers import process

LINE = ["compress", "--device", "cpu", "--tensor-size", "1024"]
RECORDS = """
if args[0] == "profile":
    run_of({folder!r})
    Path(option("--output") + ".nsys-rep").write_text("report")
    Path({folder!r}, "seen.txt").write_text("\\n".join(args))
elif {export!r}:
    Path(option("--output")).write_bytes(Path({export!r}).read_bytes())
else:
    print("Exportation error: the report was made by a newer version"); sys.exit(1)
"""


@pytest.fixture
def export(tmp_path, a_run):
    (case,) = a_run.results()
    name = f"{case.case_id}/encode_call"
    return write_export(
        tmp_path / "prepared.sqlite",
        ranges=[Range("measured", 0, 900), Range(f"{name}/sample", 0, 100), Range(f"{name}/sample", 100, 200)],
        kernels=[Kernel("compress_kernel", 10, 60), Kernel("compress_kernel", 110, 160)],
    )


def one_error(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kvbench: error:")]
    return line


def test_absent_is_one_line_at_once(capsys, tmp_path):
    assert run(["nsys", *LINE]) == 3
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "nsys was not found; looked in PATH" in said[0]
    assert not list(tmp_path.iterdir())


def test_the_report_becomes_a_table_in_the_run_folder_and_its_page(capsys, tmp_path, a_run, export):
    make_stub(tmp_path / "bin", "nsys", RECORDS.format(folder=str(a_run.path), export=str(export)))
    assert run(["nsys", "--osrt", *LINE]) == 0
    printed = capsys.readouterr().out
    assert "encode_call" in printed
    assert "timeline.csv" in printed
    assert (a_run.path / "nsys.nsys-rep").read_text() == "report"
    timeline = json.loads((a_run.path / "timeline.json").read_text())
    assert timeline["profiler"]["version"] == "2031.2.3.4"
    assert timeline["profiler"]["command"][-len(LINE) :] == LINE
    (row,) = timeline["rows"]
    assert (row["ranges"], row["kernel_s"]) == (2, pytest.approx(100e-6))
    with (a_run.path / "timeline.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["phase"], float(line["wall_s"])) == ("encode_call", pytest.approx(200e-6))
    page = (a_run.path / "report.html").read_text()
    assert "nsys 2031.2.3.4, report nsys.nsys-rep" in page
    assert "compress_kernel x 2" in page
    seen = (a_run.path / "seen.txt").read_text().splitlines()
    assert {"--trace=cuda,nvtx,osrt", "--trace-fork-before-exec=true", "--capture-range-end=stop"} <= set(seen)
    assert {"--capture-range=nvtx", "--nvtx-capture=measured@kvbench"} <= set(seen)
    assert not list((tmp_path / "results").glob(".profile*"))


def test_a_damaged_table_is_one_line(a_run, capsys):
    (a_run.path / "timeline.json").write_text("{}")
    assert run(["report", str(a_run.path)]) == 2
    assert "timeline.json: profiler: Field required; move it away" in one_error(capsys)


def test_a_second_report_does_not_overwrite_the_first(tmp_path, a_run, export, capsys, not_drawn):
    (a_run.path / "nsys.nsys-rep").write_text("first")
    make_stub(tmp_path / "bin", "nsys", RECORDS.format(folder=str(a_run.path), export=str(export)))
    assert run(["nsys", *LINE]) == 0
    assert (a_run.path / "nsys.nsys-rep").read_text() == "first"
    assert (a_run.path / "nsys-2.nsys-rep").read_text() == "report"
    capsys.readouterr()
    assert run(["nsys", "sweep", "--resume", str(a_run.path)]) == 2
    assert "was profiled before" in one_error(capsys)


def test_exit_0_without_a_report_is_a_failure_that_shows_the_command(tmp_path, a_run, capsys):
    make_stub(tmp_path / "bin", "nsys", f"run_of({str(a_run.path)!r})")
    assert run(["nsys", *LINE]) == 1
    error = one_error(capsys)
    assert "nsys ended with exit code 0 and left no report; it ran: " in error
    assert f"{tmp_path / 'bin' / 'nsys'} profile --trace=cuda,nvtx" in error
    assert "-m kvbench compress --device cpu --tensor-size 1024" in error


def test_killed(tmp_path, capsys):
    make_stub(tmp_path / "bin", "nsys", "os.kill(os.getpid(), 9)")
    assert run(["nsys", *LINE]) == 1
    assert "nsys was ended by signal 9 and left no report" in one_error(capsys)


def test_hanging_ends_at_the_limit(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(process, "GRACE_S", 0.2)
    make_stub(tmp_path / "bin", "nsys", "signal.signal(2, signal.SIG_IGN); time.sleep(60)")
    assert run(["nsys", "--limit", "1", *LINE]) == 1
    assert "nsys was stopped after 1 s (--limit) and left no report" in one_error(capsys)


def test_a_report_that_this_nsys_cannot_read_is_kept_and_told_of(tmp_path, a_run, capsys):
    make_stub(tmp_path / "bin", "nsys", RECORDS.format(folder=str(a_run.path), export=""))
    assert run(["nsys", *LINE]) == 1
    error = one_error(capsys)
    assert "nsys 2031.2.3.4 cannot read" in error
    assert "made by a newer version" in error
    assert (a_run.path / "nsys.nsys-rep").is_file()


def test_a_report_without_ranges_is_a_failure(tmp_path, a_run, capsys, not_drawn):
    empty = write_export(tmp_path / "empty.sqlite", domains=[])
    make_stub(tmp_path / "bin", "nsys", RECORDS.format(folder=str(a_run.path), export=str(empty)))
    assert run(["nsys", *LINE]) == 1
    assert "holds no phase of a case" in one_error(capsys)


def test_a_stream_is_made_into_a_report_by_the_importer_beside_nsys(tmp_path, a_run, export, capsys, not_drawn):
    body = RECORDS.format(folder=str(a_run.path), export=str(export)).replace(".nsys-rep", ".qdstrm")
    home = tmp_path / "nsight"
    make_stub(home / "target-linux-x64", "nsys", body)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nsys").symlink_to(home / "target-linux-x64" / "nsys")
    assert run(["nsys", *LINE]) == 1
    assert "could not make a report of it" in one_error(capsys)
    assert len(list((tmp_path / "results").glob(".profile*/nsys.qdstrm"))) == 1
    importer = 'Path(args[args.index("--output-file") + 1]).write_text("made")'
    make_stub(home / "host-linux-x64", "QdstrmImporter", importer)
    assert run(["nsys", *LINE]) == 0
    assert (a_run.path / "nsys.nsys-rep").read_text() == "made"


def test_a_command_that_refuses_its_work_is_left_to_say_so(tmp_path, capsys):
    make_stub(tmp_path / "bin", "nsys", "sys.exit(2)")
    assert run(["nsys", *LINE]) == 2
    told = capsys.readouterr().err
    assert "error" not in told
    assert "nsys ended with exit code 2 and left no report; it ran: " in told
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["e3e", "--model", "M"], "no command 'e3e'; kvbench nsys takes baseline, compress"),
        (["codecs"], "kvbench codecs measures nothing"),
        (["compress", "--error-bound", "abc"], "--error-bound: 'abc' is not a number"),
        (["compress", "--no-such", "3"], "No such option: --no-such"),
        (["compress", "--dry-run"], "--dry-run measures nothing"),
        (["compress", "--resume", "nowhere"], "no run at nowhere"),
        (["--no-such", "compress"], "No such option: --no-such"),
        (["--limit", "--osrt", "compress"], "--limit needs a value, not '--osrt'"),
        ([], "Missing argument"),
    ],
)
def test_the_line_is_checked_before_anything_starts(tmp_path, capsys, words, said):
    make_stub(tmp_path / "bin", "nsys", 'Path("started").write_text("")')
    assert run(["nsys", *words]) == 2
    assert said in one_error(capsys)
    assert not (tmp_path / "started").exists()


def test_help_of_the_command_is_its_own(capsys):
    assert run(["nsys", "compress", "--help"]) == 0
    assert "Usage: kvbench nsys" not in (printed := capsys.readouterr().out)
    assert "kvbench compress" in printed
    assert run(["nsys", "--help"]) == 0
    assert "--osrt" in capsys.readouterr().out


def test_what_stands_behind_the_command_is_the_commands(tmp_path, a_run, export, not_drawn):
    """--limit is an option of nsys; behind COMMAND it would be one of compress, which has none."""
    make_stub(tmp_path / "bin", "nsys", RECORDS.format(folder=str(a_run.path), export=str(export)))
    assert run(["nsys", *LINE, "--limit", "3"]) == 2
    several = [*LINE, "--error-bound", "1e-1", "1e-2", "--time-limit", "0.1"]
    assert run(["nsys", "--limit=30", *several]) == 0
    assert (a_run.path / "seen.txt").read_text().splitlines()[-len(several) :] == several
