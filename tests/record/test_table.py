"""Tests of the summary: its columns, what is undefined, the Pareto front, and that its guide explains every column."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from fake_run import baseline_results, codec_case, copy_case, finished, make_run, phase, result, sweep_results, tensor

from kvbench.errors import KvbenchError, UsageError
from kvbench.record.axes import AXES
from kvbench.record.measurements import MEASUREMENT_COLUMNS
from kvbench.record.pairs import PAIR_COLUMNS
from kvbench.record.pareto import pareto_marks
from kvbench.record.schema import E2E_UNITS, METRIC_UNITS, QUALITY_UNITS, SWAP_UNITS, TUNE_UNITS
from kvbench.record.table import (
    PHASE_COLUMNS,
    PHASES,
    VERDICT_COLUMNS,
    check_single_table,
    summary_columns,
    summary_rows,
    write_single_table,
    write_tables,
)

GUIDE = Path(__file__).parents[2] / "results" / "README.md"
# As the design gives them; other columns may stand between.
DOCUMENTED_ORDER = re.findall(
    r"\w+",
    """
    run case command codec codec_params bound_kind error_bound source layer kv source_layout layout dtype shape elements
    raw_bytes device effective_error_bound stream_bytes compressed_bytes ratio bits_per_value max_abs_error
    mean_abs_error rmse nrmse psnr_db violations violations_after_cast non_finite_count effective_gbps
    break_even_gbps pareto status reason_code reason flags encode_call_median_s encode_call_ci_low_s
    encode_call_ci_high_s encode_call_samples encode_call_gbps decode_call_median_s
    """,
)


@pytest.fixture(scope="module")
def results():
    return sweep_results()


@pytest.fixture(scope="module")
def rows(results):
    return summary_rows(results, "the-run")


def test_columns_come_in_the_documented_order(results, rows):
    columns = summary_columns(results)
    assert [column for column in columns if column in DOCUMENTED_ORDER] == DOCUMENTED_ORDER
    assert len(set(columns)) == len(columns)
    assert all(list(row) == columns for row in rows)


def test_every_case_has_a_row_whatever_its_status(results, rows):
    assert [row["case"] for row in rows] == [one.case_id for one in results]
    assert {row["status"] for row in rows} == {"ok", "failed", "invalid", "skipped"}
    skipped = next(row for row in rows if row["status"] == "skipped")
    assert (skipped["reason_code"], skipped["ratio"], skipped["encode_call_samples"]) == ("no_layout", None, None)
    assert skipped["flags"] == ["noisy"]


def test_a_row_says_what_the_case_was(rows):
    row = rows[0]
    assert {name: row[name] for name in ("run", "codec", "mode", "bound_kind", "error_bound", "bound_policy")} == {
        "run": "the-run",
        "codec": "cuszp",
        "mode": "fixed",
        "bound_kind": "rel",
        "error_bound": 0.1,
        "bound_policy": "strict",
    }
    assert (row["source"], row["layer"], row["kv"], row["shape"]) == ("sample", 0, "k", [512, 3, 64])
    assert (row["elements"], row["raw_bytes"]) == (512 * 3 * 64, 2 * 512 * 3 * 64)
    assert row["codec_params"] == {"mode": "fixed", "bound_policy": "strict"}


def test_a_phase_has_median_interval_samples_and_speed(results):
    timed = phase(2e-3, 4_000_000, rng=np.random.default_rng(0))
    timed.median_s = 2e-3
    row = summary_rows([result(codec_case(tensor(0, "k")), phases={"encode_call": timed})], "r")[0]
    assert row["encode_call_gbps"] == pytest.approx(2.0)
    assert (row["encode_call_median_s"], row["encode_call_samples"]) == (2e-3, 12)
    assert row["encode_call_ci_low_s"] < row["encode_call_ci_high_s"]


def test_one_sample_has_a_median_but_no_interval(rows):
    row = next(row for row in rows if row["encode_call_samples"] == 1)
    assert row["encode_call_median_s"] > 0
    assert (row["encode_call_ci_low_s"], row["encode_call_ci_high_s"]) == (None, None)
    assert row["flags"] == ["few_samples"]


def test_what_the_clock_cannot_resolve_has_no_speed():
    rows = summary_rows(baseline_results(gpu=False), "r")
    short = [row for row in rows if row["elements"] == 64]
    assert [row["host_copy_gbps"] for row in short] == [None, None]
    assert [row["host_copy_samples"] for row in short] == [12, 12]
    assert all(row["flags"] == ["unresolved"] for row in short)
    # Even where a median is there, the flag wins.
    timed = phase(1e-9, 256, rng=np.random.default_rng(0), flags=["unresolved"])
    assert (
        summary_rows([result(copy_case("host_copy", 64), phases={"host_copy": timed})], "r")[0]["host_copy_gbps"]
        is None
    )


def test_phases_that_were_not_timed_have_no_columns():
    columns = summary_columns(baseline_results())
    phases = [column.removesuffix("_median_s") for column in columns if column.endswith("_median_s")]
    assert phases == ["d2h", "h2d", "host_copy"]


def test_a_phase_nobody_listed_comes_last():
    timed = phase(1e-3, 1000, rng=np.random.default_rng(0))
    one = result(codec_case(tensor(0, "k")), phases={"brand_new": timed, "range": timed})
    assert summary_columns([one])[-2 * len(PHASE_COLUMNS) :: len(PHASE_COLUMNS)] == [
        "range_median_s",
        "brand_new_median_s",
    ]


def test_csv_and_json_hold_the_same(tmp_path, results, rows):
    write_single_table(tmp_path / "t.csv", results, "the-run")
    write_single_table(tmp_path / "t.json", results, "the-run")
    refuse = {"parse_constant": lambda word: pytest.fail(f"{word} is not strict JSON")}
    assert json.loads((tmp_path / "t.json").read_text(), **refuse) == rows
    text = (tmp_path / "t.csv").read_text()
    assert not re.search(r"\b(nan|inf|None|NaN)\b", text, re.IGNORECASE)
    for found, row in zip(csv.DictReader(io.StringIO(text)), rows, strict=True):
        assert list(found) == list(row)
        for column, value in row.items():
            if value is None:
                assert found[column] == ""
            elif isinstance(value, str):
                assert found[column] == value
            else:
                assert json.loads(found[column]) == value


def test_undefined_psnr_is_null_and_empty(tmp_path):
    exact = finished(codec_case(tensor(0, "k"), None, None))
    write_single_table(tmp_path / "t.json", [exact], "r")
    assert json.loads((tmp_path / "t.json").read_text())[0]["psnr_db"] is None
    write_single_table(tmp_path / "t.csv", [exact], "r")
    assert next(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))["psnr_db"] == ""


def test_tables_of_a_run_without_cases_have_their_columns(tmp_path):
    folder = make_run(tmp_path / "run", [])
    names = [path.name for path in write_tables(folder)]
    assert names == ["summary.csv", "summary.json", "measurements.parquet"]
    metrics = [name for name in METRIC_UNITS if name not in {**QUALITY_UNITS, **SWAP_UNITS, **TUNE_UNITS, **E2E_UNITS}]
    assert (folder.path / "summary.csv").read_text() == ",".join([*AXES, *metrics, *VERDICT_COLUMNS]) + "\n"
    assert json.loads((folder.path / "summary.json").read_text()) == []


def test_a_table_is_replaced_whole_or_not_at_all(tmp_path, results, monkeypatch):
    path = tmp_path / "t.json"
    path.write_text("old")

    def full(*_arguments, **_named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_text", full)
        with pytest.raises(KvbenchError, match=r"the disk is full: cannot write .*t\.json"):
            write_single_table(path, results, "r")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("t.json", "old")]
    write_single_table(path, results[:1], "r")
    assert len(json.loads(path.read_text())) == 1


def test_a_single_table_that_cannot_be_written_is_told_before_any_work(tmp_path, results):
    check_single_table(tmp_path / "new.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match=r"cannot be written: No such file or directory"):
        check_single_table(tmp_path / "missing" / "t.json")
    with pytest.raises(UsageError, match="is a folder"):
        check_single_table(tmp_path)
    with pytest.raises(UsageError, match=r"\.json or \.csv"):
        write_single_table(tmp_path / "t.xlsx", results, "r")


def _case(ratio: float | None, rmse: float | None, name: str = "k", **fields):
    """A case whose bound serves only to make its id unlike the others'."""
    _case.bound = getattr(_case, "bound", 1e-3) * 1.01
    metrics = {"ratio": ratio, "rmse": rmse}
    return result(codec_case(tensor(0, name), bound=_case.bound, **fields.pop("axes", {})), metrics=metrics, **fields)


def test_pareto_front():
    best, cheap, exact = _case(4.0, 0.1), _case(9.0, 0.5), _case(1.0, 0.0)
    beaten, equal_error, equal_ratio, twin = _case(3.9, 0.2), _case(3.0, 0.1), _case(4.0, 0.11), _case(4.0, 0.1)
    marks = pareto_marks([beaten, best, equal_error, cheap, equal_ratio, exact, twin])
    assert {case.case_id for case in (best, cheap, exact, twin)} == {name for name, front in marks.items() if front}
    assert len(marks) == 7


def test_pareto_competes_only_within_a_tensor_and_dtype_and_only_ok_cases():
    lone, other = _case(1.1, 9.0, "v"), _case(5.0, 0.1)
    single = _case(1.0, 5.0, axes={"dtype": "float32"})
    broken, missing = _case(99.0, 0.0, status="invalid"), _case(99.0, None)
    marks = pareto_marks([lone, other, single, broken, missing])
    assert marks == {lone.case_id: True, other.case_id: True, single.case_id: True}
    rows = summary_rows([lone, broken], "r")
    assert [row["pareto"] for row in rows] == [True, None]


def test_columns_of_a_models_output_are_there_only_where_one_was_scored():
    plain = summary_columns([_case(2.0, 0.1)])
    assert not QUALITY_UNITS.keys() & set(plain)
    scored = result(codec_case(tensor(0, "k")), metrics={"kl_mean": 1e-3})
    assert set(summary_columns([scored])) == {*plain, *QUALITY_UNITS}


def test_pareto_of_scored_cases_is_of_ratio_against_kl():
    cases = [
        result(codec_case(tensor(0, "k"), bound=bound), metrics={"ratio": ratio, "kl_mean": kl, "rmse": rmse})
        for bound, ratio, kl, rmse in ((1e-3, 2.0, 1e-3, 9.0), (1e-2, 3.0, 1e-2, 8.0), (1e-1, 2.5, 2e-2, 0.0))
    ]
    assert list(pareto_marks(cases).values()).count(True) == 2
    assert not pareto_marks(cases)[cases[2].case_id]


def _explained(text: str, heading: str) -> list[str]:
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_the_guide_explains_every_column_and_no_other():
    text = GUIDE.read_text()
    phase_columns = [f"<phase>_{column}" for column in PHASE_COLUMNS]
    pair_columns = [f"<phase>_{column}" for column in PAIR_COLUMNS]
    expected = [*AXES, *METRIC_UNITS, *VERDICT_COLUMNS, *phase_columns, *pair_columns, *PHASES]
    assert _explained(text, "summary.csv and summary.json") == expected
    own = [column for column in MEASUREMENT_COLUMNS if column not in AXES and column != "status"]
    assert _explained(text, "measurements.parquet") == own
