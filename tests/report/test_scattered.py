"""Checks the figures of copies: which is drawn from what, and what their words say."""

from __future__ import annotations

from typing import Any

import numpy as np
from fake_run import copy_case, make_run, phase, result

from kvbench.record.schema import CaseResult
from kvbench.report import draw
from kvbench.report.copies import copy_speed, copy_words, draw_copies
from kvbench.report.copies_of_runs import draw_copies_of_runs
from kvbench.report.scattered import draw_scattered
from kvbench.report.style import HOLLOW


def copied(direction: str, elements: int, gbps: float, start_s: float = 8e-6, **fields: Any) -> CaseResult:
    case = copy_case(direction, elements, fields.pop("memory", "pinned")).model_copy(update=fields)
    rng = np.random.default_rng(elements)
    wall = phase(start_s + case.raw_bytes / gbps / 1e9, case.raw_bytes, rng)
    return result(
        case, phases={direction: phase(case.raw_bytes / gbps / 1e9, case.raw_bytes, rng), f"{direction}_wall": wall}
    )


def scattered(direction: str, method: str, blocks: int) -> CaseResult:
    size = {"blocks": blocks, "block_bytes": 32768}
    return copied(direction, blocks * 8192, {"async_copies": 14.0, "zero_copy": 52.0}[method], method=method, **size)


def test_speeds_are_by_the_clock_that_counts_launching() -> None:
    one = copied("d2h", 1 << 20, 50.0)
    speed = copy_speed(one)
    assert speed is not None
    assert speed.value == one.case.raw_bytes / (one.phases["d2h_wall"].median_s or 0) / 1e9
    del one.phases["d2h_wall"]
    speed = copy_speed(one)
    assert speed is not None
    assert speed.value == one.case.raw_bytes / (one.phases["d2h"].median_s or 0) / 1e9


def test_words_tell_kinds_of_copies_apart() -> None:
    words = [
        copy_words(copied("both", 64, 50.0)),
        copy_words(copied("d2d", 64, 50.0, memory="device")),
        copy_words(copied("d2h", 64, 50.0, numa_node=1)),
        copy_words(scattered("h2d", "zero_copy", 32)),
    ]
    assert words == [
        "both at once, together, pinned",
        "within GPU memory",
        "GPU to host, pinned, node 1",
        "host to GPU, kernel on host memory, blocks of 32 KiB",
    ]


def test_whole_and_scattered_copies_have_a_figure_each(tmp_path) -> None:
    whole = [copied(way, 4**power, 55.0) for way in ("d2h", "h2d") for power in range(7, 13)]
    blocks = [
        scattered(way, method, count)
        for way in ("d2h", "h2d")
        for method in ("async_copies", "zero_copy")
        for count in (32, 128, 512)
    ]
    folder = make_run(tmp_path / "run", [*whole, *blocks], command="baseline", link=None)
    draw(folder)
    plots = folder.path / "plots"
    assert {path.name for path in plots.iterdir()} == {
        f"{name}.{ending}" for name in ("copy_speed", "scattered_copy_speed") for ending in ("png", "svg")
    }
    about_whole = " ".join((plots / "copy_speed.svg").read_text().split())
    assert "Fit of pinned copies: time" in about_whole
    assert "\N{GREEK SMALL LETTER MU}s + bytes" in about_whole
    about_blocks = (plots / "scattered_copy_speed.svg").read_text()
    for words in ("GPU to host, 32 KiB a block", "host to GPU, 32 KiB a block", "one copy a block", "kernel on host"):
        assert words in about_blocks, words


def test_scattered_copies_alone_are_drawn_and_an_unresolved_one_leaves_a_gap(tmp_path) -> None:
    blurred = scattered("d2h", "zero_copy", 32)
    for timed in blurred.phases.values():
        timed.median_s = None
        timed.flags.append("unresolved")
    folder = make_run(tmp_path / "run", [blurred, scattered("d2h", "zero_copy", 128)], command="baseline", link=None)
    draw(folder)
    assert (folder.path / "plots" / "scattered_copy_speed.svg").exists()
    assert not (folder.path / "plots" / "copy_speed.svg").exists()


def test_an_invalid_copy_is_hollow_and_told_in_every_figure_of_copies(tmp_path, monkeypatch) -> None:
    from matplotlib.axes import Axes

    hollow: list[object] = []
    really_plot = Axes.plot

    def record(self, x, y, *arguments, **named):
        if named.get("markerfacecolor") == HOLLOW["markerfacecolor"]:
            hollow.extend(x)
        return really_plot(self, x, y, *arguments, **named)

    monkeypatch.setattr(Axes, "plot", record)
    invalid = {"status": "invalid", "reason_code": "unresolved", "reason": "too short"}
    whole = [copied("d2h", 4**power, 55.0) for power in (8, 9)]
    blocks = [scattered("d2h", "zero_copy", count) for count in (32, 64)]
    for members in (whole, blocks):
        members[0] = members[0].model_copy(update=invalid)
    for draw_figure, members in ((draw_copies, whole), (draw_copies_of_runs, whole), (draw_scattered, blocks)):
        hollow.clear()
        caption = draw_figure(tmp_path, members, []).caption
        assert hollow == [members[0].case.raw_bytes]
        assert "Hollow marker: a case there is invalid (unresolved)." in caption
        assert "Hollow" not in draw_figure(tmp_path, members[1:], []).caption
