"""`kvbench quality` as typed: its options, its table, its run folder, and what a bad value does."""

from __future__ import annotations

import csv
import inspect
import json
from pathlib import Path

import pytest
from command_line import in_place
from fake_model import FakeCache, FakeModel, bytes_tokenizer, fake_config

from kvbench.cli import app
from kvbench.cli.options import FIELD_OPTIONS
from kvbench.cli.quality import TAKEN, quality
from kvbench.cli.quality_table import quality_table
from kvbench.config import MODEL_FIELDS, fields_of
from kvbench.models import forward, load
from kvbench.models.texts import TEXTS
from kvbench.record.schema import QUALITY_UNITS


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A command line that a model which ignores its cache can answer."""
    folder = tmp_path / "fake-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(load, "load_config", lambda place: fake_config())
    monkeypatch.setattr(load, "load_tokenizer", lambda place: bytes_tokenizer)
    monkeypatch.setattr(load, "load_model", lambda place, device: FakeModel())
    monkeypatch.setattr(load, "new_cache", FakeCache)
    monkeypatch.setattr(forward, "new_cache", FakeCache)
    monkeypatch.chdir(tmp_path)
    sizes = ["--prefix-tokens", "200", "--score-tokens", "40", "--greedy-tokens", "4", "--iterations", "1"]
    return ["quality", "--model", str(folder), "--device", "cpu", *sizes]


def test_it_takes_what_its_experiment_may_hold() -> None:
    own = inspect.signature(quality).parameters.keys() - FIELD_OPTIONS.keys()
    assert own == MODEL_FIELDS | {"config", "output", "resume", "dry_run", "chrome_trace"}
    assert TAKEN | MODEL_FIELDS | {"command"} == fields_of("quality")


def test_help_names_every_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["quality", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert [name for name in (*TEXTS, "needle") if name not in words] == []


def test_a_run_has_its_table_its_columns_and_goes_on(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["--text", "xz-faq", "needle", "--error-bound", "0.1", "--keep-first", "0", "4", "--layout", "hdt"]
    assert app.run([*line, *grid, "--output", "run"]) == 0
    out = capsys.readouterr().out
    assert "cuszp plain hdt keep 4" in out
    assert "KL" in out
    assert "needle: share of the hidden passwords" in out
    assert "No setting changed what the model says" in out
    rows = list(csv.DictReader(Path("run/summary.csv").read_text().splitlines()))
    assert [(row["source"], row["codec"], row["keep_first"], row["status"]) for row in rows] == [
        (text, codec, kept, "ok")
        for text in ("xz-faq", "needle")
        for codec, kept in (("raw", ""), ("cuszp", ""), ("cuszp", "4"))
    ]
    assert set(QUALITY_UNITS) <= rows[0].keys()
    assert (rows[0]["kl_mean"], rows[0]["needle_score"], rows[3]["needle_score"]) == ("0.0", "", "0.0")
    assert Path("run/report.html").exists()
    lines = Path("run/cases.jsonl").read_text().splitlines()
    Path("run/cases.jsonl").write_text("\n".join(lines[:4]) + "\n")
    assert app.run(["quality", "--resume", "run"]) == 0
    again = [json.loads(one)["case_id"] for one in Path("run/cases.jsonl").read_text().splitlines()]
    assert again == [json.loads(one)["case_id"] for one in lines]


def test_a_dry_run_loads_no_weights(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "load_model", lambda place, device: pytest.fail("weights were read"))
    assert app.run([*line, "--dry-run"]) == 0
    assert "4 cases to run, 0 skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--text", "nofile"], "--text nofile: no such file; texts known by name: moby-dick"),
        (["--keep-first", "200"], "--keep-first 200"),
        (["--keep-first", "-1"], "--keep-first: '-1' must be at least 0"),
        (["--prefix-tokens", "0"], "--prefix-tokens: '0' must be above 0"),
        (["--score-tokens", "many"], "--score-tokens: 'many' is not a whole number"),
        (["--source", "kv"], "--source"),
    ],
)
def test_a_bad_value_is_named_in_one_line(
    line: list[str], capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    assert app.run(in_place(line, options)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert named in said


def test_without_transformers_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("{}")

    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("kvbench.models.load.importlib.import_module", missing)
    assert app.run(["quality", "--model", str(tmp_path), "--device", "cpu"]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a model needs the package transformers" in said
    assert "pip install" in said


def test_a_sweep_refuses_what_only_a_model_uses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("command: sweep\nprefix_tokens: 4\n")
    assert app.run(["sweep", "--config", str(config)]) == 2
    assert "`kvbench sweep` does not use prefix_tokens; remove it" in capsys.readouterr().err
    config.write_text("command: quality\ntensor_size: 4\n")
    assert app.run(["quality", "--config", str(config)]) == 2
    assert "`kvbench quality` does not use tensor_size; remove it" in capsys.readouterr().err


def test_a_table_without_finished_cases_is_none() -> None:
    assert quality_table([]) == (None, [])
