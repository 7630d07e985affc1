"""Tests of the order behind the figures: which cases share a line, and when lines are spread over panels."""

from __future__ import annotations

import pytest
from fake_run import codec_case, finished, make_run, sweep_results, tensor

from kvbench.report.axis import binary_size, bound_number, measured_number, plain_number, round_numbers
from kvbench.report.series import MAX_LINES, drawable, line_labels, make_grid
from kvbench.report.setting import settings


@pytest.fixture
def grid_of(tmp_path):
    def made(results, **experiment):
        folder = make_run(tmp_path / "run", results, **experiment)
        return make_grid(folder.manifest(), drawable(folder.results()))

    return made


def test_tensors_share_points_and_modes_have_lines(grid_of):
    specs = [tensor(layer, kv) for layer in (0, 1) for kv in ("k", "v")]
    cells = [codec_case(spec, mode, bound) for spec in specs for mode in ("fixed", "plain") for bound in (1e-3, 1e-2)]
    grid = grid_of([finished(cell) for cell in reversed(cells)])
    assert grid.columns == ("K", "V")
    ((k, v),) = grid.panels
    assert sorted(line.label for line in k.lines) == ["fixed", "plain"]
    for line in (*k.lines, *v.lines):
        assert [point.bound for point in line.points] == [1e-3, 1e-2]
        assert [len(point.results) for point in line.points] == [2, 2]
    assert {line.label: line.style for line in k.lines} == {line.label: line.style for line in v.lines}


def test_every_drawable_case_is_in_the_grid(grid_of):
    results = sweep_results()
    grid = grid_of(results)
    expected = {one.case_id for one in results if one.status in ("ok", "invalid")}
    assert {one.case_id for one in grid.results} == expected


def test_many_lines_become_rows_of_panels(grid_of):
    modes, dtypes, layouts = ("fixed", "plain", "outlier"), ("bfloat16", "float32"), ("thd", "htd", "hdt")
    cells = [
        codec_case(tensor(0, "k"), mode, 1e-2, dtype=dtype, layout=layout)
        for mode in modes
        for dtype in dtypes
        for layout in layouts
    ]
    grid = grid_of([finished(cell) for cell in cells])
    rows = [row[0] for row in grid.panels]
    assert [row.row for row in rows] == [f"dtype {dtype}, layout {layout}" for dtype in dtypes for layout in layouts]
    assert all(len(row.lines) == 3 <= MAX_LINES for row in rows)
    assert len(grid.results) == len(cells)


def test_sizes_are_lines_only_when_they_were_asked_for(tmp_path):
    results = [finished(codec_case(tensor(0, "k", tokens=tokens))) for tokens in (64, 128)]
    averaged = make_run(tmp_path / "averaged", results)
    assert set(line_labels(averaged.manifest(), results).values()) == {"cuszp plain"}
    asked = make_run(tmp_path / "asked", results, tensor_size=[12288, 24576])
    labels = set(line_labels(asked.manifest(), results).values())
    assert labels == {"12\N{THIN SPACE}288 elements", "24\N{THIN SPACE}576 elements"}


def test_codec_parameters_tell_lines_apart(tmp_path):
    cases = [
        codec_case(tensor(0, "k"), codec_params={"mode": "plain", "bound_policy": "strict", "level": n}) for n in (1, 2)
    ]
    folder = make_run(tmp_path / "run", map(finished, cases))
    labels = line_labels(folder.manifest(), folder.results())
    assert sorted(labels.values()) == ['cuszp {"level": 1} plain', 'cuszp {"level": 2} plain']


def test_numbers_are_written_as_a_reader_would():
    assert [bound_number(bound) for bound in (0.1, 0.03, 1e-4, 1.0, 25.0)] == ["1e-1", "3e-2", "1e-4", "1", "25"]
    assert [plain_number(number) for number in (0.01, 0.5, 12.0, 2e-4)] == ["0.01", "0.5", "12", "2e-4"]
    assert [measured_number(number) for number in (0.000577, 54.23, 1113.0, 99999.0)] == [
        "0.000577",
        "54.2",
        "1110",
        "100000",
    ]
    assert [binary_size(size) for size in (64, 65536, 3 * 2**20, 2**31)] == ["64 B", "64 KiB", "3 MiB", "2 GiB"]


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.1), (1.0, 1.003), (0.5, 20.0), (1e-5, 1e3), (3.0, 3.9)])
def test_axes_have_a_few_ticks_whatever_they_span(low, high):
    ticks = round_numbers(low, high)
    assert 3 <= len(ticks) <= 9
    assert all(low <= tick <= high for tick in ticks)
    assert ticks == sorted(ticks)


def test_transforms_tell_lines_apart(tmp_path):
    cases = [codec_case(tensor(0, "k"), transforms=chain) for chain in (None, "center=block")]
    folder = make_run(tmp_path / "run", map(finished, cases))
    labels = line_labels(folder.manifest(), folder.results())
    assert sorted(labels.values()) == ["center=block", "untransformed"]


def test_a_profile_is_one_line_whatever_it_sets(tmp_path):
    cases = [
        codec_case(tensor(layer, "k"), mode, 0.1 * (1 + layer), transforms=chain, profile="p.yaml 0a1b2c3d")
        for layer, (mode, chain) in enumerate([("fixed", None), ("outlier", "center=block")])
    ]
    folder = make_run(tmp_path / "run", map(finished, cases))
    labels = line_labels(folder.manifest(), folder.results())
    assert set(labels.values()) == {"profile p.yaml 0a1b2c3d"}
    [setting] = settings(folder.manifest(), folder.results())
    assert (str(setting), setting.bound, setting.tensors) == ("profile p.yaml 0a1b2c3d", None, 2)
