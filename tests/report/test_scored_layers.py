"""The heat maps of a scored run: which settings and layers they show, and that a page has them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from fake_run import make_run, result

from kvbench.bound import Bound
from kvbench.record.schema import Case, CaseResult, LayerFigures, TensorSpec
from kvbench.report import draw
from kvbench.report.scored_layers import _rows, _without_shared, by_layer, draw_scored_ratio
from kvbench.report.style import NARROW, on_sheet

LAYERS = 4


def scored(
    codec: str, ratio: float, text: str = "prose", bound: float | None = None, layers: int = LAYERS
) -> CaseResult:
    """A case whose layer N has `ratio` + N for K, twice that for V, and no error in layer 0."""
    spec = TensorSpec(source=text, tensor="tiny", dtype="bfloat16", shape=(1000,))
    case = Case(
        command="quality",
        codec=codec,
        bound=None if bound is None else Bound(value=bound),
        tensor=spec,
        layout="hdt",
        dtype="bfloat16",
        elements=1000,
        device="cpu",
    )
    k: list[float | None] = [ratio + layer for layer in range(layers)]
    v: list[float | None] = [2 * (ratio + layer) for layer in range(layers)]
    nrmse: list[float | None] = [None, *[0.01 * layer for layer in range(1, layers)]]
    found = LayerFigures(k={"ratio": k, "nrmse": nrmse}, v={"ratio": v, "nrmse": nrmse})
    metrics: dict[str, float | int | None] = {"ratio": ratio, "compressed_bytes": 500, "kl_mean": 1e-3}
    return result(case, metrics=metrics, layers=found)


GRID = [
    scored(*one) for one in (("raw", 1.0), ("fp8", 2.0), ("cuszp", 3.0, "prose", 1e-2), ("cuszp", 5.0, "docs", 1e-2))
]


def texts(svg: Path) -> list[str]:
    return ["".join(node.itertext()) for node in ET.parse(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_row_is_a_setting_and_a_cell_the_mean_of_its_texts() -> None:
    rows = _rows(by_layer(GRID), "ratio")
    assert [row.label for row in rows] == ["fp8 hdt", "cuszp hdt rel 1e-2"]
    assert rows[1].cells == {"k": [4.0, 5.0, 6.0, 7.0], "v": [8.0, 10.0, 12.0, 14.0]}
    assert rows[0].cells["k"] == [2.0, 3.0, 4.0, 5.0]
    [fp8, _] = _rows(by_layer(GRID), "nrmse")
    assert fp8.cells["v"] == [None, 0.01, 0.02, 0.03]


def test_words_of_all_rows_are_said_once() -> None:
    rows, shared = _without_shared(_rows(by_layer(GRID), "ratio"))
    assert ([row.label for row in rows], shared) == (["fp8", "cuszp rel 1e-2"], "hdt")
    assert _without_shared(rows[:1])[1] == ""


def test_what_has_no_layers_is_not_drawn() -> None:
    assert by_layer([GRID[0]]) == []  # the floor
    assert by_layer([scored("fp8", 2.0, layers=1)]) == []
    assert by_layer([GRID[1].model_copy(update={"layers": None})]) == []


def test_a_scored_run_gets_both_maps_on_its_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", GRID, command="quality")
    draw(folder)
    for name in ("quality_ratio_per_layer", "quality_error_per_layer"):
        words = texts(folder.path / "plots" / f"{name}.svg")
        assert {"K", "V", "layer", "0", "3", "fp8", "cuszp rel 1e-2"} <= set(words)
        assert any("In every row: hdt." in line for line in words)
        assert f"{name}-title" in (folder.path / "report.html").read_text()


def test_labels_that_do_not_fit_are_numbers_with_a_key(tmp_path: Path) -> None:
    long = [scored("cuszp", 2.0 + number, bound=1e-2) for number in range(2)]
    for number, one in enumerate(long):
        params = {"a_parameter_with_a_long_name": number, "another_of_them": number}
        one.case = one.case.model_copy(update={"codec_params": params})
    with on_sheet(NARROW):
        narrow = draw_scored_ratio(tmp_path, long, [])
    assert {"1", "2"} <= set(texts(narrow.svg))
    assert "Rows: 1: a_parameter_with_a_long_name=0 another_of_them=0; 2: a_parameter" in narrow.caption
    assert "Rows:" not in draw_scored_ratio(tmp_path, long, []).caption


def test_more_settings_than_fit_are_counted(tmp_path: Path) -> None:
    many = [scored("cuszp", 2.0, bound=10.0**-power) for power in range(1, 43)]
    drawn = draw_scored_ratio(tmp_path, many, [])
    assert "2 more settings are not drawn." in drawn.caption
