"""Tests of where a page of several runs may go: not over foreign files, not into a run."""

from __future__ import annotations

import pytest
from fake_run import make_run

from kvbench.errors import UsageError
from kvbench.report.destination import plots_beside
from kvbench.report.page import MADE_BY


def test_figures_lie_beside_the_page_whose_folder_is_made(tmp_path):
    page = tmp_path / "new" / "two runs.html"
    assert plots_beside(page) == tmp_path / "new" / "two runs-plots"
    assert page.parent.is_dir()
    assert not page.exists()


def test_a_page_of_ours_is_replaced_with_its_figures(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html>\n{MADE_BY}")
    (tmp_path / "page-plots").mkdir()
    (tmp_path / "page-plots" / "old.png").touch()
    assert plots_beside(page) == tmp_path / "page-plots"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("page.pdf", "ending in .html"),
        ("run/page.html", "is a run folder"),
        ("foreign.html", "was not made by kvbench report"),
        ("folder.html", "was not made by kvbench report"),
        ("taken.html", "which holds other files"),
        ("file/page.html", "cannot be written"),
    ],
)
def test_whatever_is_not_ours_is_left_alone(tmp_path, name, reason):
    make_run(tmp_path / "run", [])
    (tmp_path / "foreign.html").write_text("<p>mine</p>")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "taken-plots").mkdir()
    (tmp_path / "taken-plots" / "photo.png").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=reason) as refused:
        plots_beside(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before
