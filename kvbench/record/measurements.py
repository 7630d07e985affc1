"""Owns the long table: every sample and every metric of a run, one number a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvbench.record.axes import AXES, axis_values, cell_text
from kvbench.record.files import replacing
from kvbench.record.schema import METRIC_UNITS, CaseResult

if TYPE_CHECKING:
    import pyarrow as pa

# Column -> type. Explicit, so that a column which is empty in one run has the same type as in the next.
MEASUREMENT_COLUMNS: dict[str, str] = {
    **AXES,
    "status": "string",
    "phase": "string",
    "metric": "string",
    "unit": "string",
    "sample": "int64",
    "value": "double",
}
_CASES_A_GROUP = 256  # bounds the memory of writing, whatever the run's length


def measurements(results: Sequence[CaseResult], run_id: str) -> pa.Table:
    """The long table of these results, columns MEASUREMENT_COLUMNS.

    A timing row has its phase, metric `time` in s and the sample's number from 0; `calls_per_sample` and `work_bytes`
    of the phase follow it. A metric row has neither phase nor sample; an undefined metric has a null value.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in MEASUREMENT_COLUMNS}
    for result in results:
        axes = {name: cell_text(value) for name, value in axis_values(result, run_id).items()}
        axes["status"] = result.status
        numbers = list(_numbers(result))
        for name, value in axes.items():
            columns[name].extend([value] * len(numbers))
        for number in numbers:
            for name, value in zip(("phase", "metric", "unit", "sample", "value"), number, strict=True):
                columns[name].append(value)
    return pa.table(columns, schema=_schema())


def write_measurements(path: Path, results: Sequence[CaseResult], run_id: str) -> Path:
    """Write the long table as Parquet, replacing what is there. Raises KvbenchError when the disk refuses."""
    from pyarrow.parquet import ParquetWriter

    with replacing(path) as temporary, ParquetWriter(temporary, _schema()) as writer:
        for start in range(0, len(results), _CASES_A_GROUP):
            writer.write_table(measurements(results[start : start + _CASES_A_GROUP], run_id))
    return path


def _numbers(result: CaseResult) -> Iterator[tuple[str | None, str, str, int | None, float | None]]:
    for phase, timed in result.phases.items():
        for sample, seconds in enumerate(timed.samples_s):
            yield phase, "time", "s", sample, seconds
        yield phase, "calls_per_sample", "count", None, float(timed.calls_per_sample)
        yield phase, "work_bytes", "byte", None, float(timed.work_bytes)
    for metric, value in result.metrics.items():
        yield None, metric, METRIC_UNITS[metric], None, None if value is None else float(value)


def _schema() -> pa.Schema:
    import pyarrow as pa

    types = {"string": pa.string(), "double": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}
    return pa.schema([(name, types[kind]) for name, kind in MEASUREMENT_COLUMNS.items()])
