"""Checks the printed table of kernels on a GPU."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from kvbench.bound import Bound
from kvbench.cli.speed_table import KERNEL_LEGEND, MOST_ROWS, speed_table
from kvbench.record.schema import Case, CaseResult, PhaseSamples, TensorSpec


def timed(median_s: float | None, raw_bytes: int, clock: str = "cuda_graph") -> PhaseSamples:
    return PhaseSamples.model_validate(
        {"samples_s": [1e-5], "work_bytes": raw_bytes, "median_s": median_s, "clock": clock}
    )


def result(elements: int = 1 << 20, mode: str = "plain", device: str = "cuda", **fields: Any) -> CaseResult:
    spec = TensorSpec(source="kv", tensor="layers.0.k", kv="k", dtype="float32", shape=(elements,))
    case = Case.model_validate(
        {
            "command": "sweep",
            "codec": "cuszp",
            "mode": mode,
            "bound": Bound(value=1e-3),
            "tensor": spec,
            "elements": elements,
            "device": device,
        }
    )
    phases = {
        "encode_kernel": timed(8e-6, case.raw_bytes),
        "encode_library": timed(1.2e-5, case.raw_bytes, "host"),
        "encode_call": timed(2.5e-5, case.raw_bytes, "host"),
        "decode_kernel": timed(None, case.raw_bytes),
    }
    metrics = {"device_copy_gbps": 2990.0, "encode_floor_share": 0.876, "decode_floor_share": None}
    given: dict[str, Any] = {"phases": phases, "metrics": metrics, "status": "ok"} | fields
    return CaseResult(case_id=case.id, case=case, started_at="2026-01-01T00:00:00Z", elapsed_s=1.0, **given)


def printed(results: list[CaseResult]) -> tuple[str, list[str]]:
    table, notes = speed_table(results)
    assert table is not None
    text = io.StringIO()
    Console(file=text, width=130).print(table)
    return text.getvalue(), notes


def test_every_column_of_a_kernel_is_there() -> None:
    text, notes = printed([result(), result(mode="fixed"), result(elements=1 << 22)])
    [row, *_] = [line.split() for line in text.splitlines() if "1048576" in line]
    assert row == ["plain", "fp32", "1048576", "8.00", "524", "88", "%", "12.0", "25.0", "-", "-", "-", "-", "-"]
    for word in ("mode", "dtype", "values", "encode", "decode", "kernel us", "GB/s", "of floor", "library us"):
        assert word in text
    assert any("2990 GB/s" in note for note in notes)
    assert KERNEL_LEGEND in notes
    assert len([line for line in text.splitlines() if " fp32 " in line]) == 3


def test_only_kernels_on_a_gpu_count() -> None:
    assert speed_table([]) == (None, [])
    assert speed_table([result(device="cpu")]) == (None, [])
    assert speed_table([result(phases={}, status="failed", reason_code="error", reason="no")]) == (None, [])


def test_a_long_table_says_what_it_leaves_out() -> None:
    _, notes = printed([result(elements=1024 + number) for number in range(MOST_ROWS + 3)])
    assert "3 more rows are in summary.csv" in notes
