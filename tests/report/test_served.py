"""What the report says of servers: B against A with its interval, agreement, and silence where nothing counts."""

from __future__ import annotations

import pytest

from kvbench.bound import Bound
from kvbench.record.schema import Case, CaseResult, PhaseSamples, RunManifest
from kvbench.report.runs import Run
from kvbench.report.served import against_a, served_answer
from kvbench.report.served_table import served_table

NOISE = [0.98, 1.01, 0.99, 1.02, 1.0, 1.03, 0.97, 1.0, 1.01, 0.99, 1.02, 0.98]


def start(arm: str, trial: int, ttft_s: float, status: str = "ok", same: float | None = None) -> CaseResult:
    """A start whose requests took about `ttft_s`."""
    case = Case(
        command="e2e",
        codec="cuszp" if arm == "B" else "raw",
        mode="plain" if arm == "B" else None,
        bound=Bound(kind="rel", value=1e-2) if arm == "B" else None,
        elements=0,
        device="cuda",
        arm=arm,
        trial=trial,
        workload="two-pass",
        budget="capacity",
        serving={},
    )
    samples = [ttft_s * noise for noise in NOISE]
    return CaseResult(
        case_id=case.id,
        case=case,
        status=status,
        reason_code=None if status == "ok" else "contaminated",
        metrics={"loaded_bytes": 5e6 if arm == "B" else 10e6, "same_answers": same},
        phases={"ttft": PhaseSamples(samples_s=samples, work_bytes=0, median_s=ttft_s)},
        started_at="",
        elapsed_s=1.0,
    )


def starts(arm: str, *ttft_s: float, **more) -> list[CaseResult]:
    return [start(arm, trial, one, **more) for trial, one in enumerate(ttft_s, start=1)]


def test_a_clear_gain_is_told_with_its_interval() -> None:
    results = [*starts("A", 1.0, 1.01, 0.99, 1.0), *starts("B", 0.5, 0.505, 0.495, 0.5, same=0.75)]
    (found,) = against_a(results)
    assert found.verdict == "faster"
    assert found.contrast is not None
    assert found.contrast.ratio == pytest.approx(0.5, rel=0.01)
    text = " ".join(served_answer(results))
    assert "B (cuszp plain rel 0.01) against A (two-pass, capacity): 0.500 times as long (95 % interval 0.4" in text
    assert "restored 5 MB against 10" in text
    assert "answered 75 % of probes as A first did" in text
    assert "4 starts of A alone differ by 2.0 %" in text


def test_starts_of_a_that_differ_as_much_leave_it_unclear() -> None:
    (found,) = against_a([*starts("A", 1.0, 0.6, 1.0, 0.6), *starts("B", 0.6, 0.6, 0.6, 0.6)])
    assert found.verdict == "unclear"


def test_no_ratio_where_starts_do_not_count() -> None:
    results = [*starts("A", 1.0, 1.0), *starts("B", 0.5, 0.5, status="invalid")]
    assert against_a(results)[0].contrast is None
    text = " ".join(served_answer(results))
    assert "no speed-up is told, as 0 of 2 starts of B (cuszp plain rel 0.01) count (contaminated)" in text
    assert "times as long" not in text
    assert "MB against" not in text


def test_one_start_a_side_is_too_few() -> None:
    assert against_a([*starts("A", 1.0), *starts("B", 0.5)])[0].contrast is None


def test_the_table_has_means_of_the_starts_that_count() -> None:
    results = [*starts("A", 1.0, 1.0), *starts("B", 0.5, 0.5, status="invalid")]
    manifest = RunManifest(run_id="r", command="e2e", argv=[], experiment={}, seed=0, started_at="")
    table = served_table([Run(name="", manifest=manifest, results=results)])
    rows = [dict(zip(table.heads, [cell.text for cell in row], strict=True)) for row in table.rows]
    assert [(row["arm"], row["starts that count"], row["restored MB"]) for row in rows] == [
        ("A", "2 of 2", "10"), ("B (cuszp plain rel 0.01)", "0 of 2", ""),
    ]  # fmt: skip
