"""Tests of several runs on one page: names, cases that do not mix, one line a run, machines told apart."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from fake_run import HOST, LINK, baseline_results, codec_case, finished, make_run, result, tensor

from kvbench.errors import UsageError
from kvbench.record.store import RunFolder
from kvbench.report import draw_runs
from kvbench.report.runs import links, read_runs, run_name, side_by_side, together
from kvbench.report.series import make_grid


def one_case(path, seconds_factor: float = 1.0, link=LINK, **experiment):
    made = finished(codec_case(tensor(0, "k")))
    for phase in made.phases.values():
        phase.median_s *= seconds_factor
        phase.ci_low_s, phase.ci_high_s = phase.ci_low_s * seconds_factor, phase.ci_high_s * seconds_factor
    return make_run(path, [made], link=link, **experiment)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A page of two sweeps and a baseline; the second sweep is three times slower, over a faster link."""
    base = tmp_path_factory.mktemp("pair")
    failed = {"status": "failed", "reason_code": "error", "reason": "MemoryError: no room"}
    fast_link = LINK.model_copy(update={"out_gbps": 50.0, "in_gbps": 50.0, "origin": "option"})
    broken = result(codec_case(tensor(0, "v"), "plain", 1e-3), **failed)
    first = make_run(base / "ours", [finished(codec_case(tensor(0, "k"))), broken])
    second = one_case(base / "theirs", 3.0, fast_link)
    manifest = second.manifest()
    manifest.host = {**HOST, "cpu": "Another CPU 1"}
    second.write_manifest(manifest)
    copies = make_run(base / "copies", baseline_results(gpu=False)[:6], command="baseline", link=None)
    paths = draw_runs([first, second, copies], base / "page.html", base / "page-plots")
    return base, paths


def test_names_are_short_and_their_own(tmp_path):
    chosen = one_case(tmp_path / "results" / "x")
    renamed = tmp_path / "results" / chosen.manifest().run_id
    chosen.path.rename(renamed)
    folders = [RunFolder.open(renamed), one_case(tmp_path / "a" / "run"), one_case(tmp_path / "b" / "run")]
    runs = read_runs(folders)
    assert [run.name for run in runs] == ["sweep-abc123", "run #2", "run #3"]
    assert [run.name for run in read_runs(folders[:1])] == [""]
    with pytest.raises(UsageError, match="is given twice"):
        read_runs([folders[1], RunFolder.open(folders[1].path)])


def test_equal_cases_of_two_runs_stay_two(tmp_path):
    runs = read_runs([one_case(tmp_path / "a", tensor_size=[64]), one_case(tmp_path / "b", tensor_size=[64, 128])])
    results = side_by_side(runs)
    assert [run_name(one) for one in results] == ["a", "b"]
    assert len({one.case_id for one in results}) == 2
    assert together(runs).experiment["tensor_size"] == [64, 128]
    assert set(links(runs)) == {"a", "b"}
    [panel] = make_grid(together(runs), results).filled
    assert [line.label for line in panel.lines] == ["a: cuszp plain", "b: cuszp plain"]
    alone = read_runs([one_case(tmp_path / "alone")])
    assert side_by_side(alone) == list(alone[0].results)


def test_figures_have_a_line_a_run_and_each_link(pair):
    base, _ = pair
    words = {
        path.stem: {"".join(node.itertext()) for node in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")}
        for path in (base / "page-plots").glob("*.svg")
    }
    for figure in ("ratio_vs_bound", "effective_gbps_vs_bound", "break_even_vs_bound", "speed_vs_ratio"):
        assert {"ours: cuszp plain", "theirs: cuszp plain"} <= words[figure]
    assert {"ours: link: 25 GB/s", "theirs: link: 50 GB/s"} <= words["break_even_vs_bound"]
    assert {"ours: cuszp plain rel 1e-2", "theirs: cuszp plain rel 1e-2"} <= words["stages"]
    assert {"copies", "within host memory, 1 thread"} <= words["copy_speed"]
    assert any("Not drawn: 1 failed" in line for line in words["stages"])


def test_the_page_says_which_machine_is_which_and_answers_for_each(pair):
    base, paths = pair
    page = (base / "page.html").read_text()
    assert paths[-1] == base / "page.html"
    assert '<th scope="col">ours</th><th scope="col">theirs</th><th scope="col">copies</th>' in page
    row = re.search(r'<th scope="row">CPU</th>(.*?)</tr>', page)[1]
    assert [cell.partition(",")[0] for cell in re.findall(r"<td>(.*?)</td>", row)] == [
        "Made-up CPU 9000",
        "Another CPU 1",
        "Made-up CPU 9000",
    ]
    assert '<th scope="row">Python</th><td colspan="3" class="same">CPython 3.11.7</td>' in page
    answers = page.partition('id="answer"')[2].partition("</section>")[0]
    assert re.findall(r"<h2>(.*?)</h2>", answers) == ["ours", "theirs", "copies"]
    assert "Over a link of 25 GB/s" in answers
    assert "Over a link of 50 GB/s" in answers
    assert "Transfers to and from a GPU were not measured" in answers
    cases = page.partition('id="cases"')[2].partition("</table>")[0]
    assert re.findall(r'data-run="(\w+)"', cases) == ["ours", "ours", "theirs"] + ["copies"] * 6
    assert "page-plots/ratio_vs_bound.png" in page
