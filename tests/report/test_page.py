"""Tests of report.html: it stands alone, holds every case, and lets no text of a run become markup."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from fake_run import HOST, codec_case, finished, make_run, result, tensor

from kvbench.config import Experiment, build_experiment
from kvbench.report import draw
from kvbench.report.facts import config_yaml, machine_lines

VOID = {"meta", "input", "br", "hr", "link", "img"}


class Outline(HTMLParser):
    """Collects ids, links and text, and whether tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.rows = 0
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        fields = dict(attrs)
        self.ids += [fields["id"]] if "id" in fields else []
        self.links += [str(fields[name]) for name in ("href", "src", "xlink:href") if name in fields]
        self.rows += tag == "tr"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def body_of(page: str, table: str) -> str:
    """The rows of one of the page's tables."""
    return page.partition(f'id="{table}"')[2].partition("<tbody>")[2].partition("</tbody>")[0]


@pytest.fixture(scope="module")
def page(sweep):
    return (sweep.path / "report.html").read_text()


def test_it_needs_no_network(page):
    outline = Outline(page)
    outside = [link for link in outline.links if not link.startswith(("#", "plots/"))]
    assert outside == []
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|<script src|<link", page)


def test_it_is_well_formed_with_unique_ids(page):
    outline = Outline(page)
    assert (outline.wrong, outline.open) == ([], [])
    assert len(set(outline.ids)) == len(outline.ids)
    inside = {link[1:] for link in outline.links if link.startswith("#")}
    assert inside <= set(outline.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(outline.ids)


def test_links_lead_to_files(page, sweep):
    links = [link for link in Outline(page).links if link.startswith("plots/")]
    assert len(links) == 18
    assert all((sweep.path / link).is_file() for link in links)


def test_every_case_has_a_row_and_every_unwell_one_its_reason(page, sweep):
    results = sweep.results()
    assert Outline(body_of(page, "cases")).rows == len(results)
    assert Outline(body_of(page, "times")).rows == sum(len(one.phases) for one in results)
    for one in results:
        if one.status != "ok":
            assert html.escape(one.reason) in page
            assert f"<code>{one.reason_code}</code>" in page


def test_it_says_question_answer_machine_units_and_how_to_repeat(page):
    for text in (
        "Over a link of 25 GB/s each way (assumed)",
        "What was asked",
        "0.1 0.03 0.01 0.003 0.001 0.0001",
        "Made-up CPU 9000, 8 cores, 16 threads",
        "unavailable: no NVIDIA driver",
        "GB = 1e9 bytes",
        "rel: fraction of max - min of the tensor",
        "kvbench sweep --error-bound 1e-1 1e-2",
        "device cpu: no NVIDIA driver was found",
    ):
        assert text in page


def test_colours_of_figures_follow_the_theme(page):
    figures = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "var(--line-0)" in figures
    maps = re.compile(r'<svg[^>]*"(?:wide|narrow)-\w+_per_layer-title".*?</svg>', re.DOTALL)
    assert len(maps.findall(page)) == 4  # whose colours are the data
    assert not re.search(r"#[0-9a-f]{6}", maps.sub("", figures))
    defined = set(re.findall(r"(--[\w-]+):", page))
    assert set(re.findall(r"var\((--[\w-]+)\)", page)) <= defined
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_text_of_a_run_never_becomes_markup(tmp_path):
    nasty = "<script>alert('x')</script>&\"quoted\""
    spec = tensor(0, "k", source=nasty)
    failed = {"status": "failed", "reason_code": "error", "reason": f"cannot read {nasty}"}
    results = [finished(codec_case(spec)), result(codec_case(tensor(0, "v")), **failed)]
    folder = make_run(tmp_path / "run", results, link=None)
    manifest = folder.manifest()
    manifest.argv.append(nasty)
    manifest.notes.append(nasty)
    folder.write_manifest(manifest)
    draw(folder)
    text = (folder.path / "report.html").read_text()
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    outline = Outline(text)
    assert (outline.wrong, outline.open) == ([], [])


def test_columns_that_say_nothing_are_left_out(baseline, page):
    text = (baseline.path / "report.html").read_text()
    heads = re.findall(r'<th scope="col"[^>]*>([^<]*)', text.partition('id="cases"')[2].partition("</thead>")[0])
    assert heads == ["copy", "size", "median \N{GREEK SMALL LETTER MU}s", "95 % interval", "GB/s", "flags", "status"]
    assert "In every row: policy" not in page
    assert "dtype bfloat16, device cpu." in page


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_is_valid(page, tmp_path):
    script = tmp_path / "page.js"
    script.write_text(re.search(r"<script>(.*)</script>", page, re.DOTALL)[1])
    subprocess.run(["node", "--check", str(script)], check=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"command": "sweep", "codec": ["cuszp", {"name": "cuszp", "chunk": 7}], "error_bound": [1e-3, 1e-5], "seed": 3},
        {"command": "baseline", "tensor_size": [64, 1024], "iterations": 5},
    ],
    ids=["sweep", "baseline"],
)
def test_the_shown_file_asks_for_the_same_experiment(tmp_path, fields):
    asked = Experiment.model_validate(fields)
    folder = make_run(tmp_path / "run", [], **asked.model_dump(mode="json"))
    path = tmp_path / "again.yaml"
    path.write_text(config_yaml(folder.manifest().model_copy(update={"command": asked.command})))
    assert build_experiment(asked.command, {}, path) == asked


def test_machine_lines_name_a_gpu_and_skip_what_is_not_known():
    gpu = {
        "name": "Card",
        "memory_bytes": 80_000_000_000,
        "driver": "580.1",
        "cuda_driver": "13.0",
        "pcie_generation": 5,
        "pcie_generation_max": 5,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "sm_clock_mhz": 1980,
        "sm_clock_max_mhz": 1980,
        "throttle_reasons": ["gpu_idle"],
    }
    lines = dict(machine_lines({**HOST, "cuda": "available", "cuda_reason": None, "gpus": [gpu, {"name": "Old"}]}))
    assert lines["GPU 0"] == (
        "Card, 80.0 GB, driver 580.1, CUDA 13.0, PCIe gen 5 of 5, x16 of 16, SM 1980 of 1980 MHz, "
        "clock reasons: gpu_idle"
    )
    assert lines["GPU 1"] == "Old"
    assert lines["CUDA"] == "available"
    assert dict(machine_lines({})) == {}
