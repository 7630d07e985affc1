"""Tests transforms, kept tokens and profiles from the typed line to the cases, the frame and the refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kvbench.cli import app
from kvbench.codecs import calibration
from kvbench.record.schema import CaseResult
from kvbench.record.store import RunFolder

QUICK = ["--iterations", "2", "--layers", "14"]

PROFILE = """\
calibration: means.safetensors
rules:
  - {layers: 14, kv: k, mode: outlier, transforms: "keep-first=4,center=calibrated,layout=hdt", bound: 0.3}
  - {kv: v, mode: fixed, bound: 0.05}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kvbench.report.draw", lambda folder: [])


def results(*args: str, code: int = 0) -> list[CaseResult]:
    assert app.run([*args, "--output", "run"]) == code
    return list(RunFolder.open(Path("run")).results())


def refusal(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    capsys.readouterr()
    assert app.run(list(args)) == app.EXIT_USAGE
    [line] = capsys.readouterr().err.splitlines()
    return line


def write_profile(text: str = PROFILE) -> None:
    means = {(14, "k", "mean"): torch.zeros(3, 64)}
    calibration.write(Path("means.safetensors"), means)
    Path("p.yaml").write_text(text)


def test_chains_and_kept_tokens_are_axes() -> None:
    found = results(
        *[
            "sweep",
            *QUICK,
            "--codec",
            "cuszp",
            "raw",
            "--transform",
            "none",
            "center,layout=hdt",
            "center=block,layout",
        ],
        *["--keep-first", "0", "4", "--mode", "outlier"],
    )
    cells = [(one.case.codec, one.case.transforms, one.case.keep_first) for one in found if one.case.tensor.kv == "k"]
    chain = "center=block,layout=hdt"
    cuszp = [(None, None), (None, 4), (chain, None), (chain, 4)]  # two ways to write a chain are one
    assert cells == [*(("cuszp", *cell) for cell in cuszp), ("raw", None, None)]
    assert {one.status for one in found} == {"ok"}
    by_cell = {(one.case.transforms, one.case.keep_first): one.metrics for one in found[:4]}
    assert by_cell[chain, None]["ratio"] > 1.2 * by_cell[None, None]["ratio"]
    assert by_cell[chain, None]["coded_max_abs_error"] <= by_cell[chain, None]["effective_error_bound"]
    assert by_cell[chain, None]["violations"] == 0
    assert "coded_max_abs_error" not in by_cell[None, 4]
    assert by_cell[None, 4]["effective_error_bound"] <= by_cell[None, None]["effective_error_bound"]


def test_the_error_in_the_tensor_stands_beside_the_verdict() -> None:
    [one] = results("compress", *QUICK, "--tensor", "*", "--transform", "scale,hadamard", "--bound", "abs")[:1]
    assert one.status == "ok"
    assert one.metrics["violations"] == 0
    assert one.metrics["tensor_violations"] > 0
    assert one.metrics["max_abs_error"] > one.metrics["effective_error_bound"]


def test_a_frame_with_transforms_is_decompressed(capsys: pytest.CaptureFixture[str]) -> None:
    source = ["compress", *QUICK, "--input", "in.safetensors", "--source-layout", "thd"]
    tensor = torch.randn(300, 2, 64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    save_file({"layers.14.k": tensor}, "in.safetensors")
    results(*source, "--transform", "hadamard", "--keep-first", "3", "--bound", "abs", "--save-frame", "x.cszp")
    assert app.run(["decompress", "x.cszp", "--output", "back.safetensors"]) == 0
    [back] = load_file("back.safetensors").values()
    assert torch.equal(back[:3], tensor[:3])
    assert 0 < float((back - tensor).abs().max()) < 0.1


def test_a_frame_that_names_calibrated_means_needs_their_profile(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_profile("calibration: means.safetensors\nrules: [{kv: k, transforms: center=calibrated, bound: 0.3}]")
    calibration.write(Path("means.safetensors"), {(14, "k", "mean"): torch.full((3, 64), 0.25)})
    save_file({"layers.14.k": torch.randn(300, 3, 64, generator=torch.Generator().manual_seed(0))}, "k.safetensors")
    source = ["--input", "k.safetensors", "--source-layout", "thd"]
    results("compress", *QUICK, *source, "--profile", "p.yaml", "--save-frame", "k.cszp")
    monkeypatch.setattr(calibration, "_VECTORS", {})  # as in another process
    line = refusal(capsys, "decompress", "k.cszp", "--output", "k.npy")
    assert "--profile FILE" in line
    assert app.run(["decompress", "k.cszp", "--output", "k.npy", "--profile", "p.yaml"]) == 0
    assert np.abs(np.load("k.npy") - load_file("k.safetensors")["layers.14.k"].numpy()).max() < 0.301


def test_what_does_not_fit_is_skipped_with_its_reason() -> None:
    np.save("flat.npy", np.random.default_rng(0).standard_normal(4096, dtype=np.float32))
    flat = ["--input", "flat.npy", "--iterations", "2", "--codec", "cuszp"]
    found = results("sweep", *flat, "--transform", "none", "center")
    assert [one.status for one in found] == ["skipped", "ok"]
    assert found[0].reason_code == "no_layout"
    manifest = RunFolder.open(Path("run")).manifest()
    assert manifest.cases_skipped == 1
    assert "flat" in next(iter(manifest.reasons))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--transform", "centre"], ["--transform", "'centre'", "center"]),
        (["--transform", "keep-first=2", "--keep-first", "3"], ["both keep tokens"]),
        (["--transform", "hadamard=3"], ["--transform", "not a power of two"]),
        (["--transform", "center=calibrated"], ["--profile"]),
        (["--keep-first", "-1"], ["--keep-first", "'-1'"]),
        (["--profile", "gone.yaml"], ["gone.yaml", "No such file"]),
        (["--profile", "p.yaml", "--codec", "fp8"], ["p.yaml chooses codec"]),
        (["--profile", "p.yaml", "--transform", "center"], ["p.yaml chooses transform"]),
        (["--profile", "bad.yaml"], ["bad.yaml line 2", "rules.0.bound"]),
        (["--profile", "short.yaml"], ["no rule for layer 14 v"]),
    ],
)
def test_a_bad_line_is_refused(capsys: pytest.CaptureFixture[str], args: list[str], words: list[str]) -> None:
    write_profile()
    Path("bad.yaml").write_text("rules:\n- {bound: none}")
    Path("short.yaml").write_text("rules:\n- {kv: k, bound: 1}")
    line = refusal(capsys, "sweep", *QUICK, *args)
    assert [word for word in words if word not in line] == []


def test_a_profile_gives_every_tensor_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    write_profile()
    found = results("sweep", *QUICK, "--profile", "p.yaml")
    printed = capsys.readouterr().out
    keys, values = found
    assert keys.case.transforms.startswith("keep-first=4,center=")
    assert keys.case.transforms.endswith(",layout=hdt")
    assert (keys.case.mode, keys.case.bound.kind, keys.case.bound.value) == ("outlier", "abs", 0.3)
    assert (values.case.mode, values.case.transforms, values.case.bound.value) == ("fixed", None, 0.05)
    assert keys.case.profile == values.case.profile
    assert keys.case.profile.startswith("p.yaml ")
    assert {one.status for one in found} == {"ok"}
    assert "codec profile p.yaml" in printed


def test_a_run_with_a_profile_is_resumed() -> None:
    write_profile()
    results("sweep", *QUICK, "--profile", "p.yaml")
    assert app.run(["sweep", "--resume", "run"]) == 0
