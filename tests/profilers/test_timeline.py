"""Tests of the table made of an nsys export: every figure worked out by hand from events in microseconds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fake_run import codec_case, finished, tensor
from nsys_export import D2D, D2H, H2D, P2P, Copy, Kernel, Range, write_export

from kvbench.errors import KvbenchError
from kvbench.profilers.intervals import union
from kvbench.profilers.timeline import timeline_rows
from kvbench.profilers.trace import read_trace

CASE = codec_case(tensor(0, "k"))
SAMPLE = f"{CASE.id}/encode_call/sample"


def rows_of(path: Path, **events: object):
    return timeline_rows(read_trace(write_export(path / "export.sqlite", **events)), [finished(CASE)])


def test_times_of_a_phase_on_the_gpu(tmp_path):
    (row,) = rows_of(
        tmp_path,
        ranges=[
            Range(f"{CASE.id} {CASE.label}", 0, 500),
            Range(f"{CASE.id}/encode_call", 0, 500),
            Range(SAMPLE, 100, 200),
            Range(SAMPLE, 300, 400),
        ],
        kernels=[
            Kernel("encode_kernel", 110, 140),
            Kernel("encode_kernel", 310, 340),
            Kernel("bound_kernel", 130, 150),  # beside the first for 10 us
            Kernel("before", 20, 60),
        ],
        copies=[Copy(D2H, 4000, 145, 165), Copy(D2H, 6000, 340, 360), Copy(H2D, 500, 390, 410)],
    )
    assert (row.case, row.phase, row.ranges) == (CASE.label, "encode_call", 2)
    assert row.wall_s == pytest.approx(200e-6)
    assert row.kernel_s == pytest.approx(70e-6)
    assert row.kernel_launches == 3
    assert (row.d2h_bytes, row.d2h_s) == (10_000, pytest.approx(40e-6))
    assert row.d2h_gbps == pytest.approx(10_000 / 40e-6 / 1e9)
    assert (row.h2d_bytes, row.h2d_s) == (500, pytest.approx(10e-6))  # what lies in the phase
    assert row.overlap_s == pytest.approx(5e-6)
    assert row.idle_s == pytest.approx((200 - (55 + 30 + 20 + 10)) * 1e-6)
    assert row.left_out_s == 0
    assert (row.d2d_bytes, row.other_copy_bytes, row.d2d_gbps) == (None, None, None)
    assert [(top.name, top.launches) for top in row.top_kernels] == [("encode_kernel", 2), ("bound_kernel", 1)]
    assert row.top_kernels[0].total_s == pytest.approx(60e-6)


def test_the_recorded_time_stands_beside(tmp_path):
    (row,) = rows_of(tmp_path, ranges=[Range(SAMPLE, 0, 10)])
    timed = finished(CASE).phases["encode_call"]
    assert row.calls_per_range == timed.calls_per_sample
    assert row.recorded_s == timed.median_s


def test_what_kvbench_adds_is_named_and_left_out(tmp_path):
    spin = "at::cuda::(anonymous namespace)::spin_kernel(long)"
    (row,) = rows_of(
        tmp_path,
        ranges=[Range(SAMPLE, 0, 100)],
        kernels=[
            Kernel("spin_kernel", 0, 40, spin),
            Kernel("flush_l2_cache", 40, 50),
            Kernel("encode_kernel", 50, 70),
        ],
    )
    assert (row.kernel_s, row.kernel_launches) == (pytest.approx(20e-6), 1)
    assert [(out.name, out.launches) for out in row.left_out] == [("spin", 1), ("cache flush", 1)]
    assert row.left_out_s == pytest.approx(50e-6)
    assert row.idle_s == pytest.approx(30e-6)
    assert [top.name for top in row.top_kernels] == ["encode_kernel"]


def test_every_direction_of_a_copy(tmp_path):
    kinds = {"h2d": H2D, "d2h": D2H, "d2d": D2D, "other_copy": P2P}
    copies = [Copy(kind, 1000 * (place + 1), 10 * place, 10 * place + 4) for place, kind in enumerate(kinds.values())]
    (row,) = rows_of(tmp_path, ranges=[Range(SAMPLE, 0, 100)], copies=copies)
    for place, name in enumerate(kinds):
        assert getattr(row, f"{name}_bytes") == 1000 * (place + 1)
        assert getattr(row, f"{name}_s") == pytest.approx(4e-6)


def test_other_domains_open_ranges_and_warm_up_do_not_count(tmp_path):
    rows = rows_of(
        tmp_path,
        domains=[("kvbench", 1, 7), ("torch", 2, 7), ("kvbench", 3, 8)],
        ranges=[
            Range(f"{CASE.id}/encode_call/warmup", 0, 10),
            Range(SAMPLE, 10, 20, domain_id=2),
            Range(SAMPLE, 10, None),
            Range(SAMPLE, 20, 30, registered=False),
            Range(f"{CASE.id}/load", 40, 45, domain_id=3, process=8),
            Range(f"{CASE.id}/load", 50, 55, domain_id=1, process=8),  # number 1 is another domain there
            Range("measured", 0, 100),
            Range(f"{CASE.id} {CASE.label}", 0, 100),
        ],
    )
    assert [(row.phase, row.ranges) for row in rows] == [("encode_call", 1), ("load", 1)]
    assert rows[0].wall_s == pytest.approx(10e-6)


def test_without_gpu_work_its_figures_are_unknown_and_not_zero(tmp_path):
    (row,) = rows_of(tmp_path, ranges=[Range(SAMPLE, 0, 10)])
    assert (row.kernel_s, row.kernel_launches, row.idle_s, row.overlap_s) == (None, None, None, None)


def test_a_memset_is_work_and_no_gap(tmp_path):
    (row,) = rows_of(tmp_path, ranges=[Range(SAMPLE, 0, 100)], memsets=[(10, 30)])
    assert (row.idle_s, row.kernel_s) == (pytest.approx(80e-6), 0)


def test_a_graph_traced_as_a_whole_is_one_kernel(tmp_path):
    path = write_export(tmp_path / "x.sqlite", ranges=[Range(SAMPLE, 0, 100)])
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE (start INTEGER, end INTEGER, graphId INTEGER)")
        database.execute("INSERT INTO CUPTI_ACTIVITY_KIND_GRAPH_TRACE VALUES (10000, 30000, 1)")
        database.commit()
    (row,) = timeline_rows(read_trace(path), [])
    assert (row.case, row.kernel_s) == ("", pytest.approx(20e-6))
    assert row.top_kernels[0].name == "CUDA graph"


def test_an_export_without_any_range_has_no_rows(tmp_path):
    assert rows_of(tmp_path, domains=[]) == []


@pytest.mark.parametrize("content", [b"", b"no database at all"])
def test_what_is_no_export(tmp_path, content):
    path = tmp_path / "x.sqlite"
    path.write_bytes(content)
    if content:
        with pytest.raises(KvbenchError, match="is not what nsys exports"):
            read_trace(path)
    else:
        assert read_trace(path).ranges.empty


def test_a_column_that_a_version_lacks_is_one_line(tmp_path):
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE NVTX_EVENTS (start INTEGER, end INTEGER, text TEXT)")
        database.execute("INSERT INTO NVTX_EVENTS VALUES (1, 2, 'x')")
        database.commit()
    with pytest.raises(KvbenchError, match="globalTid"):
        read_trace(path)


def test_intervals():
    some = union([30, 0, 5, 20], [40, 10, 8, 20])
    assert (some.start.tolist(), some.end.tolist(), some.total_ns) == ([0, 30], [10, 40], 20)
    assert some.within(union([5], [35])) == 10
    assert some.within(union([], [])) == 0
    assert union([], []).within(some) == 0
    assert some.holding([0, 10, 29, 30, 39, 40, -1]).tolist() == [True, False, False, True, True, False, False]
    assert union([0, 10], [10, 20]).start.tolist() == [0]
