"""`kvbench capture` as typed: its options, its last line, and what a bad value does."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import in_place

from kvbench.cli import app


@pytest.fixture
def line(fake_model: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "text.txt").write_text("some words " * 10)
    output = tmp_path / "out.safetensors"
    return [
        *("capture", "--model", str(fake_model), "--text", str(tmp_path / "text.txt")),
        *("--tokens", "12", "--output", str(output)),
    ]


def test_the_last_line_says_what_was_written(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run([*line, "--layers", "0", "2", "--pre-rope", "--dtype", "bf16"]) == 0
    said = capsys.readouterr().out
    assert "6 tensors of 12 tokens, bfloat16" in said
    assert "perplexity of the text 256" in said
    assert (tmp_path / "out.safetensors").is_file()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--layers", "0", "3"], "--layers 3"),
        (["--layers", "x"], "--layers x: give a whole number from 0"),
        (["--layers", "-1"], "--layers -1: give a whole number from 0"),
        (["--dtype", "int8"], "'int8'"),
        (["--tokens", "0"], "--tokens 0: give a whole number from 1"),
        (["--device", "tpu"], "tpu'"),
        (["--gguf", "x.gguf"], "x.gguf"),
        (["--model", "no/such/folder.gguf", "--output", "nofolder/x.safetensors"], "nofolder"),
    ],
)
def test_a_bad_value_is_named_in_one_line(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    assert app.run(in_place(line, options)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert named in said
    assert not (tmp_path / "out.safetensors").exists()
