"""Tests of drawing: what is written, that nulls and failures show, that it needs no display and repeats itself."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from fake_run import baseline_results, codec_case, finished, make_run, result, tensor

from kvbench.record.table import write_tables
from kvbench.report import draw
from kvbench.report.against_bound import draw_ratio
from kvbench.report.series import make_grid

FIGURES = [
    "effective_gbps_vs_bound",
    "break_even_vs_bound",
    "stages",
    "speed_vs_ratio",
    "ratio_vs_bound",
    "ratio_vs_error",
    "ratio_per_layer",
    "error_per_layer",
    "error_histogram",
]
NAMES = [f"plots/{figure}.{ending}" for figure in FIGURES for ending in ("png", "svg")] + ["report.html"]


def texts(svg: Path) -> list[str]:
    """The texts of an SVG: with `svg.fonttype none` they stay text."""
    space = "{http://www.w3.org/2000/svg}"
    return ["".join(node.itertext()) for node in ET.parse(svg).iter(f"{space}text")]


def test_a_sweep_gets_every_figure_as_png_and_svg_and_a_page(sweep):
    for name in NAMES:
        content = (sweep.path / name).read_bytes()
        assert len(content) > 5000
        assert name.endswith("html") or content.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")
    assert sorted(path.name for path in (sweep.path / "plots").iterdir()) == sorted(Path(n).name for n in NAMES[:-1])


def test_axes_have_names_and_units(sweep):
    words = {figure: texts(sweep.path / "plots" / f"{figure}.svg") for figure in FIGURES}
    for figure in ("ratio_vs_bound", "effective_gbps_vs_bound", "break_even_vs_bound"):
        assert "error bound, fraction of max \N{MINUS SIGN} min" in words[figure]
        assert {"1e-3", "1e-2", "1e-1"} <= set(words[figure])
    assert "compression ratio" in words["ratio_vs_bound"]
    assert {"NRMSE", "compression ratio"} <= set(words["ratio_vs_error"])
    assert "effective GB/s" in words["effective_gbps_vs_bound"]
    assert "link, nothing compressed" in words["effective_gbps_vs_bound"]
    assert {"link: 25 GB/s", "break-even link speed, GB/s"} <= set(words["break_even_vs_bound"])
    assert {"codec speed, GB/s", "pays above, link: 25 GB/s"} <= set(words["speed_vs_ratio"])
    assert {"\N{GREEK SMALL LETTER MU}s per MB", "rest of the call", "link, computed"} <= set(words["stages"])
    assert {"layer", "0", "29", "none"} <= set(words["ratio_per_layer"])
    assert any("25 GB/s each way (assumed)" in line for line in words["effective_gbps_vs_bound"])
    assert "error / effective bound" in words["error_histogram"]


def test_lines_are_told_apart_without_colour(sweep):
    """Every line of the legend has a marker or dashes of its own."""
    from kvbench.report.style import line_look

    looks = [(look["marker"], str(look["linestyle"])) for look in map(line_look, range(7))]
    assert len(set(looks)) == 7
    words = texts(sweep.path / "plots" / "ratio_vs_bound.svg")
    assert {"cuszp fixed sample", "cuszp plain sample", "cuszp outlier sample", "raw"} <= set(words)


def test_null_groups_are_drawn_and_named_and_failed_cells_listed(sweep):
    for figure in FIGURES:
        words = texts(sweep.path / "plots" / f"{figure}.svg")
        if figure != "stages":  # a bar is about K and V together
            titles = [line.partition(" \N{MIDDLE DOT} ")[0] for line in words]
            assert {"K", "V", "K/V: none"} <= set(titles)
        assert "Not drawn: 1 failed, 1 skipped." in words
        assert any(line.startswith("\N{BULLET} failed: cuszp plain rel 0.01 sample:layers.3.k") for line in words)
    assert any("bound_exceeded" in line for line in texts(sweep.path / "plots" / "ratio_vs_bound.svg"))


def test_a_null_mode_and_a_null_bound_are_lines_named_none(tmp_path):
    spec = tensor(0, "k")
    cases = [codec_case(spec, "plain", bound) for bound in (1e-2, 1e-3)]
    no_mode = codec_case(spec, "plain", 1e-2).model_copy(update={"mode": None})
    no_bound = finished(codec_case(spec, "plain", 1e-2)).model_copy()
    no_bound.case = no_bound.case.model_copy(update={"bound": None})
    no_bound.case_id = no_bound.case.id
    numbers = finished(cases[0]).model_dump(include={"metrics", "phases", "histogram"})
    folder = make_run(tmp_path / "run", [*map(finished, cases), result(no_mode, **numbers), no_bound])
    words = texts(draw_ratio(tmp_path, make_grid(folder.manifest(), folder.results()), []).svg)
    assert {"plain", "mode none", "plain bound none"} <= set(words)


def test_copies_are_drawn_with_units(baseline):
    assert [path.name for path in sorted((baseline.path / "plots").iterdir())] == ["copy_speed.png", "copy_speed.svg"]
    words = texts(baseline.path / "plots" / "copy_speed.svg")
    assert {"GB/s", "size of one copy", "GPU to host, pinned", "host to GPU, pageable"} <= set(words)
    assert "within host memory, 1 thread" in words
    assert any("GB = 1e9 bytes" in line for line in words)


def test_a_grid_with_two_bound_kinds_has_both_axes(tmp_path):
    from kvbench.bound import Bound

    spec = tensor(0, "v")
    bounds = [Bound(kind="rel", value=1e-2), Bound(kind="abs", value=0.5), Bound(kind="abs", value=2.0)]
    cases = [codec_case(spec).model_copy(update={"bound": bound}) for bound in bounds]
    folder = make_run(tmp_path / "run", map(finished, cases))
    words = texts(draw_ratio(tmp_path, make_grid(folder.manifest(), folder.results()), []).svg)
    assert {"error bound, in the tensor's unit", "error bound, fraction of max \N{MINUS SIGN} min"} <= set(words)
    assert {"5e-1", "2"} <= set(words)


@pytest.mark.parametrize(
    "results",
    [
        [],
        [result(codec_case(tensor(0, "k")), status="failed", reason_code="error", reason="MemoryError: no")],
        baseline_results(gpu=False)[:1],
        [finished(codec_case(tensor(0, "k"), None, None))],
        [finished(codec_case(tensor(0, "k")), samples=1)],
    ],
    ids=["no case", "only a failed one", "only an unresolved copy", "only raw", "one sample"],
)
def test_poor_runs_are_drawn_too(tmp_path, results):
    folder = make_run(tmp_path / "run", results)
    assert draw(folder)[-1] == folder.path / "report.html"
    for one in results:
        assert (one.reason or one.case.dtype) in (folder.path / "report.html").read_text()


def test_constant_tensors_without_nrmse_do_not_break_the_figures(tmp_path):
    one = finished(codec_case(tensor(0, "k")))
    one.metrics |= {"nrmse": None, "psnr_db": None, "rmse": 0.0, "value_range": 0.0}
    folder = make_run(tmp_path / "run", [one], link=None)
    drawn = {path.name for path in draw(folder)}
    assert "ratio_vs_bound.png" in drawn
    assert "ratio_vs_error.png" not in drawn


def test_a_run_without_link_has_no_figure_about_one(tmp_path):
    folder = make_run(tmp_path / "run", [finished(codec_case(tensor(0, "k")))], link=None)
    drawn = {path.stem for path in draw(folder)}
    assert drawn == {"stages", "speed_vs_ratio", "ratio_vs_bound", "ratio_vs_error", "error_histogram", "report"}


def test_journal_and_manifest_alone_give_the_same_bytes_again(sweep, tmp_path):
    write_tables(sweep)
    copy = make_run(tmp_path / "copy", [])
    for name in ("cases.jsonl", "manifest.json"):
        (copy.path / name).write_bytes((sweep.path / name).read_bytes())
    made = [*write_tables(copy), *draw(copy)]
    names = [str(path.relative_to(copy.path)) for path in made]
    assert sorted(names) == sorted([*NAMES, "summary.csv", "summary.json", "measurements.parquet"])
    for name in names:
        assert (copy.path / name).read_bytes() == (sweep.path / name).read_bytes(), name


def test_no_display_and_a_window_backend_do_not_matter(tmp_path):
    """A server's shell: no DISPLAY, and an MPLBACKEND that would open windows."""
    failed = {"status": "failed", "reason_code": "error", "reason": "MemoryError: no room"}
    no_kv = finished(codec_case(tensor(None, None)))
    folder = make_run(tmp_path / "run", [no_kv, result(codec_case(tensor(0, "k")), **failed)], link=None)
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    code = "from pathlib import Path; from kvbench.record.store import RunFolder; from kvbench.report import draw\n"
    code += f"draw(RunFolder.open(Path({str(folder.path)!r})))\nimport sys; print('matplotlib.pyplot' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"MPLBACKEND": "TkAgg"},
    )
    assert ended.stdout.strip() == "False"
    assert (folder.path / "plots" / "ratio_vs_bound.png").read_bytes().startswith(b"\x89PNG")
    words = texts(folder.path / "plots" / "ratio_vs_bound.svg")
    assert "K/V: none" in words
    assert any("MemoryError: no room" in line for line in words)


def test_the_users_own_matplotlib_settings_do_not_matter(baseline, tmp_path):
    import matplotlib as mpl

    mine = make_run(tmp_path / "mine", baseline.results(), command="baseline", link=None)
    with mpl.rc_context({"font.size": 30, "axes.grid": False, "svg.fonttype": "path", "lines.linewidth": 9}):
        draw(mine)
        assert mpl.rcParams["font.size"] == 30
    for name in ("plots/copy_speed.svg", "plots/copy_speed.png"):
        assert (mine.path / name).read_bytes() == (baseline.path / name).read_bytes()


def test_a_bound_looks_the_same_in_every_panel_of_the_histogram(tmp_path, monkeypatch):
    """A line with fewer bounds than another must not shift the styles the legend explains."""
    from matplotlib.axes import Axes

    from kvbench.report.histogram import draw_error_histogram

    cells = [codec_case(tensor(0, "k"), "fixed", bound) for bound in (1e-1, 1e-2, 1e-3)]
    cells.append(codec_case(tensor(0, "k"), "plain", 1e-2))
    folder = make_run(tmp_path / "run", map(finished, cells))
    looks: dict[str, set[str]] = {}
    really_draw = Axes.stairs

    def record(self, *arguments, label, color, **named):
        looks.setdefault(label, set()).add(color)
        return really_draw(self, *arguments, label=label, color=color, **named)

    monkeypatch.setattr(Axes, "stairs", record)
    draw_error_histogram(tmp_path, make_grid(folder.manifest(), folder.results()), [])
    assert sorted(looks) == ["bound rel 1e-1", "bound rel 1e-2", "bound rel 1e-3"]
    assert all(len(colours) == 1 for colours in looks.values())
    assert len(set.union(*looks.values())) == 3


def test_errors_beyond_the_bound_are_counted_in_the_histogram(tmp_path):
    from kvbench.report.histogram import draw_error_histogram

    one = finished(codec_case(tensor(0, "k")))
    one.histogram.below, one.histogram.above = 3, 4
    folder = make_run(tmp_path / "run", [one])
    figure = draw_error_histogram(tmp_path, make_grid(folder.manifest(), folder.results()), [])
    assert "7 beyond the bound" in texts(figure.svg)
