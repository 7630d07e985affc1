"""Tests of the long table: nothing measured is missing, and its types do not depend on what a run holds."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from fake_run import baseline_results, codec_case, finished, sweep_results, tensor

from kvbench.record import measurements as module
from kvbench.record.measurements import MEASUREMENT_COLUMNS, measurements, write_measurements
from kvbench.record.schema import METRIC_UNITS


def test_every_sample_and_metric_has_its_row():
    one = finished(codec_case(tensor(0, "k")))
    rows = measurements([one], "r").to_pylist()
    for name, timed in one.phases.items():
        times = [row for row in rows if row["phase"] == name and row["metric"] == "time"]
        assert [row["value"] for row in times] == timed.samples_s
        assert [row["sample"] for row in times] == list(range(len(timed.samples_s)))
        assert {row["unit"] for row in times} == {"s"}
        work = next(row for row in rows if row["phase"] == name and row["metric"] == "work_bytes")
        assert work["value"] == timed.work_bytes
    metrics = {row["metric"]: row for row in rows if row["phase"] is None}
    assert {name: row["value"] for name, row in metrics.items()} == one.metrics
    assert all(row["unit"] == METRIC_UNITS[name] for name, row in metrics.items())
    assert metrics["max_excess"]["value"] is None
    assert {row["case"] for row in rows} == {one.case_id}


@pytest.mark.parametrize("results", [[], baseline_results(gpu=False), sweep_results(bounds=(1e-2,))])
def test_types_are_the_same_for_every_run(tmp_path, results):
    schema = pq.read_schema(write_measurements(tmp_path / "m.parquet", results, "r"))
    assert {field.name: str(field.type) for field in schema} == MEASUREMENT_COLUMNS
    assert list(tmp_path.iterdir()) == [tmp_path / "m.parquet"]


def test_a_long_run_is_written_in_groups_with_nothing_lost(tmp_path, monkeypatch):
    results = sweep_results(bounds=(1e-2,))
    monkeypatch.setattr(module, "_CASES_A_GROUP", 5)
    found = pq.ParquetFile(write_measurements(tmp_path / "m.parquet", results, "r"))
    assert found.num_row_groups > 1
    assert found.read().equals(measurements(results, "r"))
