"""Tests the printed table of copies: one row each, no speed that was not resolved, and the fit under it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from kvbench.cli.copy_table import BOTH_LEGEND, CLOCKS_LEGEND, LATE_LEGEND, copy_table
from kvbench.record.schema import Case, CaseResult, PhaseSamples


def copy(direction: str, elements: int = 64, device: str = "cuda", **fields: Any) -> Case:
    given = {"command": "baseline", "codec": "raw", "elements": elements, "device": device, "memory": "pinned"}
    return Case.model_validate({**given, "direction": direction, **fields})


def timed(seconds: float, work_bytes: int = 256, **fields: Any) -> PhaseSamples:
    interval = {"ci_low_s": seconds / 2, "ci_high_s": seconds * 1.5}
    return PhaseSamples(samples_s=[seconds] * 6, work_bytes=work_bytes, median_s=seconds, **interval, **fields)


def result(case: Case, **fields: Any) -> CaseResult:
    times = {"case_id": case.id, "case": case, "started_at": "2026-01-01T00:00:00Z", "elapsed_s": 1.0}
    return CaseResult.model_validate({"status": "ok", **times, **fields})


def rows(table: Table) -> list[list[str]]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return [line.split() for line in captured.get().splitlines()]


def test_a_host_copy_has_one_clock_and_no_speed_that_was_not_resolved() -> None:
    case = copy("host_copy", device="cpu", memory="pageable", threads=1)
    good = result(case, phases={"host_copy": timed(2e-6)})
    bad = result(case, status="invalid", phases={"host_copy": timed(2e-6, flags=["unresolved"])})
    table, notes = copy_table([good, bad])
    found = rows(table)
    assert found[0] == ["copy", "memory", "threads", "bytes", "us", "95", "%", "interval", "GB/s", "notes"]
    assert found[-2] == ["host_copy", "pageable", "1", "256", "2.00", "1.00", "to", "3.00", "0.128"]
    assert found[-1][-2:] == ["-", "unresolved"]
    assert notes == []


def test_a_transfer_is_one_row_with_the_host_clock_first() -> None:
    # us, its interval and GB/s by the host's clock, then us and GB/s by the GPU's.
    expected = ["4.00", "2.00", "to", "6.00", "0.0640", "1.00", "0.256"]
    one = result(copy("d2h"), phases={"d2h": timed(1e-6), "d2h_wall": timed(4e-6)}, flags=["numa_unknown"])
    table, notes = copy_table([one])
    found = rows(table)
    assert found[0][-6:] == ["GB/s", "GPU", "us", "GPU", "GB/s", "notes"]
    assert found[-1] == ["d2h", "pinned", "256", *expected, "numa_unknown"]
    assert notes == [CLOCKS_LEGEND]


def test_launch_bound_times_are_explained() -> None:
    phases = {"d2h": timed(1e-6, flags=["launch_bound"]), "d2h_wall": timed(4e-6)}
    table, notes = copy_table([result(copy("d2h"), phases=phases)])
    assert rows(table)[-1][-1] == "launch_bound"
    assert notes == [CLOCKS_LEGEND, LATE_LEGEND]


def test_blocks_nodes_and_methods_have_columns_where_some_case_has_them() -> None:
    block = copy("h2d", method="zero_copy", blocks=32, block_bytes=8, numa_node=1)
    both = result(copy("both"), phases={"both": timed(1e-6, 512), "both_wall": timed(2e-6, 512)})
    table, notes = copy_table([both, result(block, phases={"h2d_wall": timed(4e-6)})])
    found = rows(table)
    assert found[0][:5] == ["copy", "memory", "method", "blocks", "node"]
    assert found[-1][:8] == ["h2d", "pinned", "zero_copy", "32", "x", "8", "1", "256"]
    assert found[-2][:5] == ["both", "pinned", "-", "-", "-"]
    assert BOTH_LEGEND in notes


def test_the_fit_is_told_under_the_table() -> None:
    results = [
        result(case, phases={"d2h_wall": timed(1e-5 + case.raw_bytes / 50e9, case.raw_bytes)})
        for case in (copy("d2h", elements) for elements in (1 << 14, 1 << 18, 1 << 22, 1 << 26))
    ]
    _, notes = copy_table(results)
    assert notes[-1].startswith(
        "fit of pinned copies, GPU to host: time = 10.0 us + bytes / 50.0 GB/s (95 %: 10.0 to 10.0 us, "
        "50.0 to 50.0 GB/s); farthest of 4 sizes: 0 %"
    )
