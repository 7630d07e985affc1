"""Tests of packing: panels without holes, whatever the rows have, and phones get one column."""

from __future__ import annotations

import pytest
from fake_run import codec_case, finished, make_run, tensor

from kvbench.bound import Bound
from kvbench.report import style
from kvbench.report.histogram import draw_error_histogram
from kvbench.report.layers import has_layers
from kvbench.report.panels import abreast, grid_panels, in_panels
from kvbench.report.series import make_grid


@pytest.mark.parametrize(
    ("in_rows", "expected"),
    [([2], 2), ([3], 3), ([2, 2, 2], 2), ([2, 1], 3), ([2, 2, 1], 2), ([1], 1), ([1, 1, 1], 3), ([1] * 4, 2), ([], 1)],
)
def test_as_many_stand_side_by_side_as_leave_no_hole(in_rows, expected):
    assert abreast(in_rows) == expected
    with style.on_sheet(style.NARROW):
        assert abreast(in_rows) == 1


@pytest.fixture
def mixed(tmp_path):
    """K and V of one source, a flat tensor of another, so many lines that the sources get rows of their own."""
    specs = [tensor(0, "k"), tensor(1, "v"), tensor(None, None, source="values.npy")]
    cases = [
        codec_case(spec, mode, bound, dtype=dtype)
        for spec in specs
        for mode in ("fixed", "plain", "outlier")
        for dtype in ("bfloat16", "float32")
        for bound in (1e-2, 1e-3)
    ]
    folder = make_run(tmp_path / "run", map(finished, cases))
    return make_grid(folder.manifest(), folder.results())


def test_a_mixed_run_leaves_no_panel_empty(mixed, tmp_path, monkeypatch):
    assert [bool(panel.lines) for row in mixed.panels for panel in row].count(False) > 0
    all_axes = grid_panels(mixed)[1]
    assert len(list(in_panels(all_axes, mixed))) == len(mixed.filled)
    assert all(axes.get_visible() for row in all_axes for axes in row)
    saved = []
    monkeypatch.setattr(style, "save", lambda figure, *rest, **named: saved.append(figure))
    draw_error_histogram(tmp_path, mixed, [])
    [histogram] = saved
    visible = [axes for axes in histogram.axes if axes.get_visible()]
    assert len(visible) == sum(len(panel.lines) for panel in mixed.filled)
    assert all(axes.has_data() for axes in visible)
    assert all(axes.get_ylim()[1] >= max(patch.get_data().values.max() for patch in axes.patches) for axes in visible)


def test_layers_need_two_with_a_number(tmp_path):
    def grid_of(name, *cases):
        folder = make_run(tmp_path / name, map(finished, cases))
        return make_grid(folder.manifest(), folder.results())

    assert has_layers(grid_of("two", codec_case(tensor(0, "k")), codec_case(tensor(7, "k"))))
    assert not has_layers(grid_of("one", codec_case(tensor(0, "k")), codec_case(tensor(0, "v"))))
    assert not has_layers(grid_of("none", codec_case(tensor(0, "k")), codec_case(tensor(None, None))))
    assert not has_layers(grid_of("raw", codec_case(tensor(0, "k"), None), codec_case(tensor(1, "k"), None)))


def test_more_layers_than_have_room_for_numbers_get_a_scale(tmp_path, monkeypatch):
    from kvbench.report.layers import draw_ratio_per_layer

    cases = [codec_case(tensor(layer, "k")) for layer in range(64)]
    folder = make_run(tmp_path / "run", map(finished, cases))
    legends = []
    monkeypatch.setattr(style, "save", lambda figure, folder, name, legend, **named: legends.append(legend))
    draw_ratio_per_layer(tmp_path, make_grid(folder.manifest(), folder.results()), [])
    ratios = [one.metrics["ratio"] for one in folder.results()]
    assert next(iter(legends[0])) == f"{min(ratios):.2f}"
    assert [*legends[0]][-1] == f"{max(ratios):.2f}"


def test_kinds_of_bound_keep_the_names_of_their_axes(tmp_path):
    from kvbench.report.panels import label_panels

    cases = [
        codec_case(tensor(0, kv)).model_copy(update={"bound": Bound(kind=kind, value=0.5)})
        for kv in ("k", "v")
        for kind in ("rel", "abs")
    ]
    folder = make_run(tmp_path / "run", map(finished, cases))
    grid = make_grid(folder.manifest(), folder.results())
    all_axes = grid_panels(grid)[1]
    for axes, panel in in_panels(all_axes, grid):
        axes.set_xlabel(str(panel.bound_kind))
    label_panels(all_axes, grid, "ratio")
    assert [[axes.get_xlabel() for axes in row] for row in all_axes] == [["abs", "abs"], ["rel", "rel"]]
    assert [row[0].get_ylabel() for row in all_axes] == ["ratio", "ratio"]
