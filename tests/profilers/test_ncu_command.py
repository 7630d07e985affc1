"""Tests of `kvbench ncu` with stand-ins for ncu on PATH, and of the table made of its CSV."""

from __future__ import annotations

import json

import pytest
from stub_profiler import make_stub

from kvbench.cli import profiled
from kvbench.cli.app import run
from kvbench.errors import KvbenchError
from kvbench.profilers.kernels import kernel_rows
from kvbench.profilers.ncu import codec_kernels
from kvbench.record.profile import KernelRow
from kvbench.report.roofline import points

LINE = ["compress", "--device", "cuda", "--tensor-size", "1024"]
STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
RANGE = "thread Domain:Push/Pop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg"
COLUMNS = {  # name: unit, value
    "ID": ("", "0"),
    "Kernel Name": ("", "compress_kernel"),
    "Block Size": ("", "(256, 1, 1)"),
    "Grid Size": ("", "(132, 1, 1)"),
    RANGE: ("", '"kvbench:0123456789ab/encode_kernel/sample:none:none:none:none:registered:x"'),
    "gpu__time_duration.sum": ("nsecond", "20,000"),
    "dram__bytes_read.sum": ("byte", "30,000,000"),
    "dram__bytes_write.sum": ("byte", "10,000,000"),
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": ("%", "62.5"),
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": ("%", "70.25"),
    "sm__warps_active.avg.pct_of_peak_sustained_active": ("%", "48"),
    "launch__registers_per_thread": ("register/thread", "64"),
    "smsp__inst_executed.sum": ("inst", "8,000,000"),
    "sm__inst_executed.avg.per_cycle_elapsed": ("inst/cycle", "2"),
    STALL.format("selected"): ("inst", "9"),
    STALL.format("barrier"): ("inst", "1.5"),
    STALL.format("long_scoreboard"): ("inst", "4.5"),
    STALL.format("long_scoreboard_not_issued"): ("inst", "8"),
}


def raw_page(columns: dict[str, tuple[str, str]] = COLUMNS, launches: int = 1) -> str:
    """A raw page as ncu prints it: messages, the head, the units, the launches."""

    def line(cells):
        return ",".join('"{}"'.format(cell.replace('"', '""')) for cell in cells) + "\n"

    units, values = zip(*columns.values(), strict=True)
    return "==PROF== a message\n" + line(columns) + line(units) + line(values) * launches


PROFILES = """
if "--import" in args:
    print(Path({page!r}).read_text(), end="")
else:
    run_of({folder!r})
    Path({folder!r}, "seen.txt").write_text("\\n".join(args))
    Path(option("--log-file")).write_text({log!r})
    if {writes}:
        Path(option("--export") + ".ncu-rep").write_text("report")
    sys.exit({code})
"""


@pytest.fixture
def stub(tmp_path, a_run, monkeypatch):
    """Makes the stand-in; the machine is taken to have a GPU."""
    monkeypatch.setattr(profiled, "uses_cuda", lambda target: None)
    page = tmp_path / "page.csv"
    page.write_text(raw_page(launches=2))

    def make(log: str = "", writes: bool = True, code: int = 0) -> None:
        body = PROFILES.format(page=str(page), folder=str(a_run.path), log=log, writes=writes, code=code)
        make_stub(tmp_path / "bin", "ncu", body)

    return make


def one_error(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kvbench: error:")]
    return line


def test_counters_become_a_table_a_roofline_and_a_section_of_the_page(stub, a_run, capsys):
    stub()
    assert run(["ncu", *LINE]) == 0
    assert "compress_kernel" in capsys.readouterr().out
    profile = json.loads((a_run.path / "kernels.json").read_text())
    assert profile["copy_gbps"] == 2500.0
    assert [row["launch"] for row in profile["rows"]] == [0, 1]
    assert (a_run.path / "kernels.csv").is_file()
    assert (a_run.path / "ncu.ncu-rep").read_text() == "report"
    assert (a_run.path / "plots" / "roofline.png").is_file()
    page = (a_run.path / "report.html").read_text()
    assert "long scoreboard (4.5)" in page
    assert "roof: copies at 2500 GB/s" in page
    seen = (a_run.path / "seen.txt").read_text().splitlines()
    assert {"--kernel-name=regex:cuszp", "--launch-skip=0", "--launch-count=2", "--profile-from-start=off"} <= set(seen)
    assert "--section=SpeedOfLight" in seen


def test_the_choice_of_launches_and_counters_is_passed_on(stub, a_run, not_drawn):
    stub()
    own = ["--kernel", "range_.*", "--launch-skip", "3", "--launch-count", "4", "--set", "full"]
    assert run(["ncu", *own, *LINE]) == 0
    seen = (a_run.path / "seen.txt").read_text().splitlines()
    assert {"--kernel-name=regex:range_.*", "--launch-skip=3", "--launch-count=4", "--set=full"} <= set(seen)
    assert not any(word.startswith("--section") for word in seen)


@pytest.mark.parametrize("code", [0, 1])
def test_counters_that_may_not_be_read_are_one_line_and_the_run_is_kept(stub, a_run, capsys, code):
    stub("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission\n", writes=False, code=code)
    assert run(["ncu", *LINE]) == 3
    error = one_error(capsys)
    assert "ERR_NVGPUCTRPERM" in error
    assert "NVreg_RestrictProfilingToAdminUsers=0" in error
    assert a_run.results()


def test_no_kernel_that_matches(stub, capsys):
    stub("==WARNING== No kernels were profiled.\n", writes=False)
    assert run(["ncu", "--kernel", "nothing", *LINE]) == 1
    assert "no launch of a kernel whose name matches 'nothing'" in one_error(capsys)


def test_no_report_shows_the_command_and_what_ncu_said(stub, capsys):
    stub("==PROF== Connected\n==ERROR== LibraryNotLoaded\n==PROF== Disconnected\n", writes=False)
    assert run(["ncu", *LINE]) == 1
    error = one_error(capsys)
    assert "left no report; it ran: " in error
    assert "==ERROR== LibraryNotLoaded" in error


def test_the_device_must_be_a_gpu(tmp_path, capsys):
    make_stub(tmp_path / "bin", "ncu", "")
    assert run(["ncu", "compress", "--device", "cpu"]) == 3
    assert "ncu profiles kernels of a GPU, and the device is cpu" in one_error(capsys)


def test_absent_is_one_line_at_once(capsys):
    assert run(["ncu", *LINE]) == 3
    assert "ncu was not found; looked in PATH" in one_error(capsys)


def test_a_pattern_that_is_none(capsys):
    assert run(["ncu", "--kernel", "(", *LINE]) == 2
    assert "--kernel '(' is no regular expression" in one_error(capsys)


def test_a_row_of_the_table():
    (row,) = kernel_rows(raw_page())
    assert (row.duration_s, row.dram_gbps) == (pytest.approx(20e-6), pytest.approx(2000))
    assert row == KernelRow(
        name="compress_kernel",
        launch=0,
        case_id="0123456789ab",
        phase="encode_kernel",
        grid="(132, 1, 1)",
        block="(256, 1, 1)",
        duration_s=row.duration_s,
        dram_bytes=4e7,
        dram_gbps=row.dram_gbps,
        dram_percent=62.5,
        sm_percent=70.25,
        occupancy_percent=48,
        registers=64,
        top_stall="long scoreboard",
        top_stall_cycles=4.5,
        warp_instructions=8e6,
        issue_percent=50,
    )
    ((_, intensity, rate),) = points([row])
    assert (intensity, rate) == (pytest.approx(0.2), pytest.approx(400))


def test_counters_that_are_absent_or_no_numbers_are_unknown():
    few = {name: COLUMNS[name] for name in ("ID", "Kernel Name")}
    (row,) = kernel_rows(raw_page(few | {"sm__throughput.avg.pct_of_peak_sustained_elapsed": ("%", "n/a")}))
    assert row == KernelRow(name="compress_kernel", launch=0)
    assert points([row]) == []


def test_a_unit_that_is_not_known_is_no_number():
    (row,) = kernel_rows(raw_page(COLUMNS | {"gpu__time_duration.sum": ("fortnight", "1")}))
    assert (row.duration_s, row.dram_gbps) == (None, None)


def test_output_that_is_no_page():
    with pytest.raises(KvbenchError, match="Kernel Name"):
        kernel_rows("==ERROR== nothing\n")


def test_the_default_kernels_are_the_codecs():
    assert codec_kernels(["cuszp"]) == "cuszp"
    assert codec_kernels(["cuszp", "cuszp-original"]) == "cuszp|cuSZp"
    assert codec_kernels(["cuszp", "fp8"]) == codec_kernels(["fp8"]) != "cuszp"
