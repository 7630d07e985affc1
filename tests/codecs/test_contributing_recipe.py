"""Owns the test that CONTRIBUTING.md's recipe for a codec works as it is written there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _fenced(text: str, language: str) -> str:
    found = re.search(rf"^   ```{language}\n(.*?)^   ```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return "\n".join(line[3:] for line in found[1].split("\n"))


@pytest.fixture(name="run")
def _run(tmp_path: Path):
    """Run Python with the recipe's distribution on its path; gives what it printed."""
    recipe = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Add a codec")[2]
    package, info = tmp_path / "site" / "my_codecs", tmp_path / "site" / "my_codecs-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "half.py").write_text(_fenced(recipe, "python"))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-codecs\nVersion: 1.0\n")
    entry = _fenced(recipe, "toml").replace('[project.entry-points."kvbench.codecs"]', "[kvbench.codecs]")
    (info / "entry_points.txt").write_text(entry.replace('"', ""))

    def run(*arguments: str, cwd: Path = tmp_path) -> str:
        path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_codec_is_listed_and_measured(run, tmp_path: Path) -> None:
    assert "my-codecs 1.0" in run("-m", "kvbench", "codecs")
    tensors = ["--source", "gaussian", "--tensor-size", "4096", "--dtype", "float32", "--iterations", "2"]
    run("-m", "kvbench", "sweep", "--codec", "half", *tensors, "--output", "table.json")
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [(row["codec"], row["status"], row["ratio"]) for row in rows] == [("half", "ok", 2.0)] * 2


def test_the_tests_of_every_codec_hold_for_it(run) -> None:
    printed = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "half", "tests/codecs/test_every_codec.py", cwd=ROOT
    )
    assert re.search(r"[1-9]\d* passed", printed)
    assert "failed" not in printed
