"""Checks the arithmetic of a link by what break-even means, and where the link's speed comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbench.bench.breakeven import GB, Transfer, link_note, resolve_link
from kvbench.config import Experiment
from kvbench.errors import UsageError
from kvbench.record.schema import METRIC_UNITS, Case, CaseResult, Link, PhaseSamples
from kvbench.record.store import RunFolder

seconds = st.floats(1e-6, 10.0)
speeds = st.floats(0.1, 1000.0)


latencies = st.floats(0.0, 1e-3)


def link(out_gbps: float, in_gbps: float, out_latency_s: float = 0.0, in_latency_s: float = 0.0) -> Link:
    return Link(
        out_gbps=out_gbps,
        in_gbps=in_gbps,
        out_latency_s=out_latency_s,
        in_latency_s=in_latency_s,
        origin="option",
    )


def known(value: float | None) -> float:
    assert value is not None
    return value


@given(st.integers(1000, 10**10), st.floats(0.01, 0.95), seconds, seconds)
def test_at_break_even_both_ways_take_equal_time(raw: int, share: float, encode_s: float, decode_s: float) -> None:
    compressed = int(raw * share)
    columns = Transfer(raw, compressed, encode_s, decode_s).metrics(link(1.0, 1.0))
    out = known(columns["break_even_out_gbps"]) * GB
    assert encode_s + compressed / out == pytest.approx(raw / out)
    inward = known(columns["break_even_in_gbps"]) * GB
    assert decode_s + compressed / inward == pytest.approx(raw / inward)
    both = known(columns["break_even_gbps"]) * GB
    assert encode_s + decode_s + 2 * compressed / both == pytest.approx(2 * raw / both)


@given(st.integers(1000, 10**10), st.floats(0.01, 0.95), seconds, seconds, speeds)
def test_below_break_even_it_is_quicker_than_raw_and_above_it_is_not(
    raw: int, share: float, encode_s: float, decode_s: float, gbps: float
) -> None:
    columns = Transfer(raw, int(raw * share), encode_s, decode_s).metrics(link(gbps, gbps))
    for way in ("", "_out", "_in"):
        limit = known(columns[f"break_even{way}_gbps"])
        effective = known(columns[f"effective{way}_gbps"])
        if gbps < limit * (1 - 1e-9):
            assert effective > gbps
        elif gbps > limit * (1 + 1e-9):
            assert effective < gbps


@given(st.integers(1000, 10**10), st.floats(0.01, 0.95), seconds, seconds, speeds, latencies, latencies)
def test_a_latency_slows_both_and_leaves_break_even_where_it_is(
    raw: int, share: float, encode_s: float, decode_s: float, gbps: float, out_s: float, in_s: float
) -> None:
    transfer = Transfer(raw, int(raw * share), encode_s, decode_s)
    slower, without = transfer.metrics(link(gbps, gbps, out_s, in_s)), transfer.metrics(link(gbps, gbps))
    for way, latency_s in (("_out", out_s), ("_in", in_s)):
        assert slower[f"break_even{way}_gbps"] == without[f"break_even{way}_gbps"]
        raw_gbps = raw / (latency_s + raw / gbps / GB) / GB
        limit, effective = known(slower[f"break_even{way}_gbps"]), known(slower[f"effective{way}_gbps"])
        assert effective <= known(without[f"effective{way}_gbps"])
        if gbps < limit * (1 - 1e-6):
            assert effective > raw_gbps * (1 - 1e-9)
        elif gbps > limit * (1 + 1e-6):
            assert effective < raw_gbps * (1 + 1e-9)


def test_a_case_with_latencies_by_hand() -> None:
    # As below, and half a second a transfer out, a quarter in: 2 + 0.5 + 2.5 s out, 1 + 0.25 + 5 s in.
    columns = Transfer(100 * 10**9, 25 * 10**9, 2.0, 1.0).metrics(link(10.0, 5.0, 0.5, 0.25))
    assert columns["effective_out_gbps"] == pytest.approx(100 / 5)
    assert columns["effective_in_gbps"] == pytest.approx(100 / 6.25)
    assert columns["effective_gbps"] == pytest.approx(200 / 11.25)
    assert columns["break_even_gbps"] == pytest.approx(50.0)


def test_a_case_by_hand() -> None:
    # 100 GB become 25 GB; 2 s to encode, 1 s to decode; 10 GB/s out, 5 GB/s in: 2 + 2.5 s out, 1 + 5 s in.
    columns = Transfer(100 * 10**9, 25 * 10**9, 2.0, 1.0).metrics(link(10.0, 5.0))
    assert columns == pytest.approx(
        {
            "effective_gbps": 200 / 10.5,
            "effective_out_gbps": 100 / 4.5,
            "effective_in_gbps": 100 / 6,
            "break_even_gbps": 50.0,
            "break_even_out_gbps": 37.5,
            "break_even_in_gbps": 75.0,
        }
    )
    assert set(columns) <= set(METRIC_UNITS)


@pytest.mark.parametrize("compressed", [1000, 1001])
def test_what_saves_no_bytes_never_pays(compressed: int) -> None:
    columns = Transfer(1000, compressed, 1e-3, 1e-3).metrics(link(25, 25))
    assert [columns[f"break_even{way}_gbps"] for way in ("", "_out", "_in")] == [None, None, None]
    assert known(columns["effective_gbps"]) < 25


def test_an_unknown_time_leaves_its_columns_undefined() -> None:
    columns = Transfer(1000, 100, 1e-3, None).metrics(link(25, 25))
    assert columns["effective_out_gbps"] is not None
    assert columns["break_even_out_gbps"] is not None
    for name in ("effective_gbps", "effective_in_gbps", "break_even_gbps", "break_even_in_gbps"):
        assert columns[name] is None


def experiment(**fields: object) -> Experiment:
    return Experiment.model_validate({"command": "sweep", **fields})


def copy_result(
    direction: str, elements: int, gbps: float, memory: str = "pinned", status: str = "ok", latency_s: float = 0.0
) -> CaseResult:
    case = Case.model_validate(
        {
            "command": "baseline",
            "codec": "raw",
            "elements": elements,
            "device": "cuda",
            "direction": direction,
            "memory": memory,
        }
    )
    median_s = latency_s + case.raw_bytes / gbps / GB
    phase = PhaseSamples(samples_s=6 * [median_s], work_bytes=case.raw_bytes, median_s=median_s)
    return CaseResult.model_validate(
        {
            "case_id": case.id,
            "case": case,
            "status": status,
            "phases": {f"{direction}_wall": phase},
            "started_at": "2026-01-01T00:00:00Z",
            "elapsed_s": 1.0,
        }
    )


def run_of(path: Path, results: list[CaseResult]) -> Path:
    with RunFolder.create(path, "baseline", [], experiment={}) as folder:
        for result in results:
            folder.append(result)
    return path


def test_without_a_word_the_link_is_assumed_and_says_so() -> None:
    found = resolve_link(experiment())
    assert (found.out_gbps, found.in_gbps, found.origin) == (25.0, 25.0, "assumed")
    assert "assumed 25 GB/s" in link_note(found)


def test_the_option_wins_over_the_assumption() -> None:
    found = resolve_link(experiment(link_gbps=50))
    assert (found.out_gbps, found.in_gbps, found.origin) == (50.0, 50.0, "option")
    assert "50 GB/s" in link_note(found)


def test_a_baseline_gives_the_fit_of_its_pinned_copies(tmp_path: Path) -> None:
    sizes = (1 << 14, 1 << 18, 1 << 22, 1 << 26)
    results = [copy_result("d2h", size, 54.0, latency_s=8e-6) for size in sizes]
    results += [copy_result("h2d", size, 53.0, latency_s=9e-6) for size in sizes]
    results += [copy_result("h2d", size, 5.0, memory="pageable") for size in sizes]
    found = resolve_link(experiment(baseline=run_of(tmp_path / "run", results)))
    assert (found.out_gbps, found.in_gbps) == (pytest.approx(54.0, rel=1e-3), pytest.approx(53.0, rel=1e-3))
    assert found.out_latency_s == pytest.approx(8e-6, rel=1e-3)
    assert found.in_latency_s == pytest.approx(9e-6, rel=1e-3)
    assert found.origin == "baseline"
    note = link_note(found)
    assert "54 GB/s (1e9 bytes) to the host and 8 us a transfer, 53 to the GPU and 9 us a transfer" in note
    assert note.endswith("fitted to the pinned copies of run")


def test_a_baseline_of_too_few_sizes_gives_its_largest_pinned_copies_and_says_so(tmp_path: Path) -> None:
    run = run_of(
        tmp_path / "run",
        [
            copy_result("d2h", 1 << 16, 9.0),
            copy_result("d2h", 1 << 24, 54.0),
            copy_result("d2h", 1 << 26, 11.0, memory="pageable"),
            copy_result("h2d", 1 << 24, 53.0),
            copy_result("h2d", 1 << 26, 1.0, status="failed"),
        ],
    )
    found = resolve_link(experiment(baseline=run))
    assert found.out_gbps == pytest.approx(54.0)
    assert found.in_gbps == pytest.approx(53.0)
    assert found.origin == "baseline"
    assert "54 GB/s" in link_note(found)
    assert (found.out_latency_s, found.in_latency_s) == (0.0, 0.0)
    assert "53 to the GPU; largest pinned copies of run, which has too few sizes to fit a latency" in link_note(found)


def test_a_baseline_without_transfers_is_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", [copy_result("d2h", 1 << 16, 9.0)])
    with pytest.raises(UsageError, match=r"no pinned copies.*--link-gbps"):
        resolve_link(experiment(baseline=run))


def test_a_baseline_of_single_samples_gives_no_link_and_says_what_it_takes(tmp_path: Path) -> None:
    results = [copy_result(way, size, 54.0) for way in ("d2h", "h2d") for size in (1 << 14, 1 << 18, 1 << 22)]
    for result in results:
        [timed] = result.phases.values()
        timed.samples_s = timed.samples_s[:1]
    with pytest.raises(UsageError, match=r"whose times count; run .*, 6 samples or more, or give --link-gbps"):
        resolve_link(experiment(baseline=run_of(tmp_path / "run", results)))


def test_a_baseline_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        resolve_link(experiment(baseline=tmp_path / "nowhere"))
