"""Tests of the room around panels: nothing leaves the sheet, no two panels' words touch, at either width."""

from __future__ import annotations

from itertools import combinations

import pytest
from fake_run import LINK, codec_case, finished, make_run, tensor

from kvbench.report import style
from kvbench.report.against_bound import draw_effective_speed
from kvbench.report.against_error import draw_ratio_against_error
from kvbench.report.histogram import draw_error_histogram
from kvbench.report.layers import draw_ratio_per_layer
from kvbench.report.series import make_grid
from kvbench.report.stage_bars import draw_stages

DRAWINGS = {
    "effective": lambda folder, grid: draw_effective_speed(folder, grid, {"": LINK}, ["a note"]),
    "error": lambda folder, grid: draw_ratio_against_error(folder, grid, []),
    "histogram": lambda folder, grid: draw_error_histogram(folder, grid, []),
    "layers": lambda folder, grid: draw_ratio_per_layer(folder, grid, []),
    "stages": lambda folder, grid: draw_stages(folder, grid, {"": LINK}, []),
}


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    specs = [tensor(0, "k"), tensor(29, "k"), tensor(0, "v"), tensor(1000, "v"), tensor(None, None)]
    cases = [codec_case(spec, mode, bound) for spec in specs for mode in ("plain", "outlier") for bound in (1e-1, 1e-3)]
    folder = make_run(tmp_path_factory.mktemp("layout") / "run", map(finished, cases))
    return make_grid(folder.manifest(), folder.results())


@pytest.mark.parametrize("sheet", [style.WIDE, style.NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", DRAWINGS)
def test_words_stay_on_the_sheet_and_apart(name, sheet, grid, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **named: (saved.append(self), path.touch()))
    with style.on_sheet(sheet):
        DRAWINGS[name](tmp_path, grid)
    figure = saved[-1]
    assert figure.get_size_inches()[0] == sheet.width
    boxes = [axes.get_tightbbox() for axes in figure.axes if axes.get_visible()]
    slack = 2  # dots
    for box in boxes:
        assert figure.bbox.x0 - slack <= box.x0
        assert box.x1 <= figure.bbox.x1 + slack
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
    for one, other in combinations(boxes, 2):
        apart_x = min(one.x1, other.x1) - max(one.x0, other.x0)
        apart_y = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(apart_x, apart_y) <= slack, (name, one, other)
    legends = [legend.get_window_extent() for legend in figure.legends]
    assert all(legend.y1 <= min(box.y0 for box in boxes) + slack for legend in legends)
