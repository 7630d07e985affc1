"""The bench of `tune` on a tiny model with random weights: what it writes, what it refuses, what it never reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_bench import context
from tiny_model import saved

from kvbench.bench import quality, tune
from kvbench.bench.outcome import Outcome
from kvbench.bench.tune_choice import Curve, Point, at_slope, within_bytes, within_kl
from kvbench.bench.tune_curves import LEAST_KEPT, LEAST_WEIGHT, bearable_spread, tokens_to_keep
from kvbench.cli.app import run
from kvbench.cli.tune import TAKEN
from kvbench.codecs import profile as profiles
from kvbench.config import MODEL_FIELDS, TUNE_FIELDS, build_experiment, fields_of
from kvbench.errors import CaseFailed, UsageError
from kvbench.record.schema import Case
from kvbench.record.store import RunFolder
from kvbench.report.tuned import tuned

transformers = pytest.importorskip("transformers", reason="the extra `capture` is not installed")
NO_GPU = "no NVIDIA driver"
SMALL = {"prefix_tokens": 80, "score_tokens": 48, "greedy_tokens": 0, "iterations": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("tune") / "llama", "llama", initializer_range=0.5)


@pytest.fixture
def asked(model: Path, tmp_path: Path) -> dict[str, Any]:
    names = {}
    for name, step in (("seen", 7), ("other", 11)):
        names[name] = tmp_path / f"{name}.txt"
        names[name].write_text(" ".join(f"w{(index * index + step * index) % 61}" for index in range(140)))
    return {
        "model": str(model),
        "text": str(names["seen"]),
        "held_out": str(names["other"]),
        "save_profile": str(tmp_path / "tuned.yaml"),
        "max_kl": 0.02,
        **SMALL,
    }


def cases_of(asked: dict[str, Any]) -> tuple[Case, ...]:
    return tune.prepare(build_experiment("tune", asked), NO_GPU).plan.cases


def outcomes(asked: dict[str, Any]) -> list[tuple[Case, Outcome]]:
    shared = context()
    return [(case, tune.run(case, shared)) for case in cases_of(asked)]


def test_a_target_is_met_predicted_and_scored_on_both_texts(asked: dict[str, Any]) -> None:
    (_, floor), (_, seen), (_, other_floor), (case, other) = outcomes(asked)
    assert (floor.metrics["kl_mean"], other_floor.metrics["kl_mean"], floor.metrics["ratio"]) == (0, 0, 1)
    assert [seen.status, other.status] == ["ok", "ok"]
    assert 0 < float(seen.metrics["kl_mean"] or 0) <= 0.02
    assert 0.3 < float(seen.metrics["predicted_kl"] or 0) / float(seen.metrics["kl_mean"] or 1) < 3
    assert float(seen.metrics["predicted_ratio"] or 0) == pytest.approx(seen.metrics["ratio"], rel=1e-6)
    assert float(seen.metrics["ratio"] or 0) > 1
    assert "predicted_kl" not in other.metrics
    assert case.tensor is not None
    assert case.tensor.params["role"] == "held_out"


def test_the_profile_loads_and_quality_finds_the_same(asked: dict[str, Any]) -> None:
    _, (_, seen), *_ = outcomes(asked)
    profile = profiles.load(Path(asked["save_profile"]))
    assert {profile.choose(layer, kv).codec.name for layer in range(3) for kv in ("k", "v")} == {"cuszp"}
    given = {name: asked[name] for name in ("model", "text", *SMALL)} | {"profile": asked["save_profile"]}
    experiment = build_experiment("quality", given)
    shared = context()
    _, again = [quality.run(case, shared) for case in quality.prepare(experiment, NO_GPU).plan.cases]
    for name in ("kl_mean", "compressed_bytes"):
        assert again.metrics[name] == seen.metrics[name]


def test_the_same_seed_gives_the_same_files(asked: dict[str, Any]) -> None:
    def files() -> list[bytes]:
        outcomes(asked)
        path = Path(asked["save_profile"])
        return [path.read_bytes(), path.with_suffix(".safetensors").read_bytes()]

    assert files() == files()


def test_a_ratio_is_a_target_too_and_several_have_a_file_each(asked: dict[str, Any], tmp_path: Path) -> None:
    found = outcomes({**asked, "max_kl": [0.05], "min_ratio": [1.1]})
    assert [case.profile for case, _ in found] == [None, "tuned-kl0.05.yaml", "tuned-ratio1.1.yaml"] * 2
    assert float(found[2][1].metrics["ratio"] or 0) >= 1.1
    assert (tmp_path / "tuned-ratio1.1.yaml").read_text().startswith("# Tuned by kvbench tune, ")


@pytest.mark.parametrize("target", [{"max_kl": [1e-12]}, {"max_kl": [], "min_ratio": [500.0]}])
def test_what_cannot_be_met_is_said_with_the_nearest_point(asked: dict[str, Any], target: dict[str, Any]) -> None:
    shared = context()
    _, seen, _, other = cases_of({**asked, **target})
    with pytest.raises(CaseFailed, match=r"cannot be met: nearest is KL .* at ratio"):
        tune.run(seen, shared)
    assert not Path(asked["save_profile"]).exists()
    with pytest.raises(CaseFailed, match="there is no profile for this target"):
        tune.run(other, shared)


def test_held_out_words_change_no_profile(asked: dict[str, Any]) -> None:
    path = Path(asked["save_profile"])
    outcomes(asked)
    before = path.read_bytes()
    Path(asked["held_out"]).write_text(" ".join(f"w{(5 * index) % 59}" for index in range(140)))
    outcomes(asked)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_kl": []}, "needs a target"),
        ({"dtype": ["bfloat16", "float16"]}, "--dtype bfloat16 float16: a profile is for one"),
        ({"save_profile": None}, "needs a place for the profile"),
        ({"save_profile": "x.txt"}, r"x.txt: a profile is a .yaml file"),
        ({"save_profile": "nosuch/x.yaml"}, "there is no folder nosuch"),
        ({"text": "xz-faq"}, "xz-faq: that text is held out"),
        ({"text": ["moby-dick", "zlib-algorithm"]}, "calibrates on one text"),
        ({"held_out": ["moby-dick"], "text": "moby-dick"}, "--held-out moby-dick: the profile is calibrated on it"),
        ({"held_out": ["needle"]}, "needle: it has no next-token distributions"),
    ],
)
def test_what_cannot_be_tuned_is_refused(asked: dict[str, Any], fields: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        cases_of({**asked, **fields})


@pytest.mark.parametrize(("name", "value"), [("max_kl", 0), ("min_ratio", -1), ("max_kl", "nan")])
def test_a_target_that_is_none_is_refused(asked: dict[str, Any], name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name.replace("_", "[_-]")):
        cases_of({**asked, name: value})


def test_files_of_others_are_left_alone(asked: dict[str, Any]) -> None:
    path = Path(asked["save_profile"])
    path.write_text("rules:\n- {bound: 0.1}\n")
    with pytest.raises(UsageError, match="was not written by kvbench tune"):
        cases_of(asked)
    path.unlink()
    path.with_suffix(".safetensors").write_bytes(b"mine")
    with pytest.raises(UsageError, match="is there already"):
        cases_of(asked)


def test_the_command_prints_both_sides_and_its_exit_code_is_the_verdict(
    asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    folder = tmp_path / "run"
    code = run(["tune", *options, "--output", str(folder)])
    printed = " ".join(capsys.readouterr().out.split())
    [one] = tuned(RunFolder.open(folder).results())
    assert one.on_held_out is not None
    assert (code == 0) == (one.verdict == "met") == (one.on_held_out.kl <= 0.02)
    assert "the target, KL at most 0.02, is" in printed
    assert "on the calibration text KL" in printed
    assert "predicted_kl" in (folder / "summary.csv").read_text().partition("\n")[0]


def test_the_command_has_an_option_for_every_field_it_uses() -> None:
    assert TAKEN | MODEL_FIELDS | TUNE_FIELDS | {"command"} == fields_of("tune")


def _curve(*points: tuple[int, float]) -> Curve:
    return Curve(0, "k", 100, [Point("fixed", "none", 1.0, stored, kl) for stored, kl in points])


def test_the_choice_is_on_the_lower_hull_of_both_curves() -> None:
    curves = [_curve((80, 0.0), (40, 1.0), (30, 9.0)), _curve((80, 0.0), (40, 4.0), (39, 50.0))]
    assert at_slope(curves, 20.0).compressed_bytes == 120
    assert (within_kl(curves, 1.5).kl, within_kl(curves, 5.0).kl, within_kl(curves, 0.0).kl) == (1.0, 5.0, 0.0)
    assert within_kl(curves, 1e9).compressed_bytes == 69
    assert (within_bytes(curves, 85).compressed_bytes, within_bytes(curves, 10).compressed_bytes) == (80, 69)


def test_a_first_token_that_holds_the_weight_is_kept_and_steps_follow_the_weight() -> None:
    weights = torch.full((1000, 2, 4), 1e-3)
    assert tokens_to_keep(weights) == LEAST_KEPT
    weights[6] = 10.0
    assert tokens_to_keep(weights) == 7
    spread = bearable_spread(torch.tensor([1.0, 4.0]).expand(6, 1, 2))
    least = LEAST_WEIGHT * 2.5  # of the mean weight
    assert float(spread[0, 0] / spread[0, 1]) == pytest.approx(math.sqrt((4 + least) / (1 + least)))
