"""The bench of `quality`: what it plans, what it refuses, and how it judges. Real models are in test_quality_llama."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from fake_bench import LosslessShifting, Shifting, context
from fake_model import HEAD_DIM, HEADS, LAYERS, FakeCache, FakeModel, bytes_tokenizer, fake_config

from kvbench.bench import quality
from kvbench.bench.coding import the_same
from kvbench.bench.context import Preparation
from kvbench.bench.outcome import Outcome
from kvbench.codecs.base import Codec
from kvbench.config import build_experiment
from kvbench.errors import CaseFailed, UnavailableError, UsageError
from kvbench.models import forward, load
from kvbench.models.texts import SCORING
from kvbench.record.schema import Case

NO_GPU = "no NVIDIA driver"
SMALL = {"prefix_tokens": 40, "score_tokens": 36, "greedy_tokens": 5, "iterations": 2}


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "fake-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(load, "load_config", lambda place: fake_config())
    monkeypatch.setattr(load, "load_tokenizer", lambda place: bytes_tokenizer)
    monkeypatch.setattr(load, "load_model", lambda place, device: FakeModel())
    monkeypatch.setattr(load, "new_cache", FakeCache)
    monkeypatch.setattr(forward, "new_cache", FakeCache)
    return folder


def prepared(model: Path, **fields: Any) -> Preparation:
    return quality.prepare(build_experiment("quality", {"model": str(model), **SMALL, **fields}), NO_GPU)


def outcomes(model: Path, **fields: Any) -> list[tuple[Case, Outcome]]:
    shared = context()
    return [(case, quality.run(case, shared)) for case in prepared(model, **fields).plan.cases]


def test_the_grid_is_of_texts_codecs_layouts_and_kept_tokens(model: Path) -> None:
    plan = prepared(model, error_bound=[1e-1, 1e-2], layout=["thd", "hdt"], keep_first=[0, 4]).plan
    texts = [case.tensor.source for case in plan.cases if case.tensor is not None]
    assert texts == [SCORING[0]] * 9 + [SCORING[1]] * 9  # text by text, so that each one's own pass is made once
    first = plan.cases[0]
    assert (first.codec, first.bound, first.layout, first.keep_first) == ("raw", None, "thd", None)
    assert len({case.id for case in plan.cases}) == 18
    assert {case.dtype for case in plan.cases} == {"bfloat16"}
    assert {case.elements for case in plan.cases} == {LAYERS * 2 * 40 * HEADS * HEAD_DIM}
    assert {(case.layout, case.keep_first) for case in plan.cases[1:9]} == {
        (layout, kept) for layout in ("thd", "hdt") for kept in (None, 4)
    }


def test_the_same_floor_is_not_measured_twice(model: Path) -> None:
    plan = prepared(model, codec=["cuszp", "raw"], layout=["thd", "hdt"], text=["xz-faq"]).plan
    assert [case.codec for case in plan.cases] == ["raw", "cuszp", "cuszp"]


def test_notes_tell_where_a_text_is_from_and_which_tokens_count(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("x" * 100)
    notes = prepared(model, text=["xz-faq", str(own), "needle"], prefix_tokens=50).notes
    assert any("xz-faq: XZ Utils 5.4.1, doc/faq.txt (public domain; held out)" in note for note in notes)
    assert any(
        "own.txt: a file; the cache of tokens 0 to 49 is replaced, 50 to 85 are scored" in note for note in notes
    )
    assert any("text needle: 50 tokens made from seed 0" in note for note in notes)
    assert any("blocks of 16 tokens" in note for note in notes)


def test_the_floor_of_a_model_that_ignores_its_cache(model: Path) -> None:
    for case, outcome in outcomes(model, error_bound=0.3, text=["xz-faq"]):
        assert (outcome.status, outcome.reason) == ("ok", None)
        assert outcome.metrics["kl_mean"] == outcome.metrics["kl_p99"] == 0
        assert outcome.metrics["perplexity"] == pytest.approx(256)
        assert outcome.metrics["perplexity_change"] == 0
        assert outcome.metrics["top1_agreement"] == outcome.metrics["topk_agreement"] == 1
        assert outcome.metrics["greedy_match_tokens"] == 5
        assert "needle_score" not in outcome.metrics
        assert set(outcome.phases) == {"encode_call", "decode_call"}
        assert (outcome.metrics["ratio"] == 1) == (case.codec == "raw")


def test_the_retrieval_task_has_its_own_score(model: Path) -> None:
    for _, outcome in outcomes(model, text=["needle"], prefix_tokens=400):
        assert outcome.metrics["needle_score"] == 0  # every token is alike to the fake
        assert outcome.metrics["needle_score_ci_low"] == 0
        assert "kl_mean" not in outcome.metrics


def test_a_model_is_loaded_once_and_a_texts_own_pass_is_made_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, prefilled = [], []
    prefill = forward.prefill
    monkeypatch.setattr(load, "load_model", lambda place, device: loaded.append(1) or FakeModel())
    monkeypatch.setattr("kvbench.models.prefix.prefill", lambda *args: prefilled.append(1) or prefill(*args))
    outcomes(model, error_bound=[1e-1, 1e-2])
    assert (len(loaded), len(prefilled)) == (1, 2)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"keep_first": [0, 40]}, "--keep-first 40: the prefix has 40 tokens"),
        ({"text": ["xz-faq"], "score_tokens": 1960}, "--prefix-tokens 40: with what follows that is 2001 tokens"),
        ({"text": ["nofile"]}, "--text nofile: no such file"),
        ({"text": ["needle"]}, "--prefix-tokens 40: the text `needle` needs at least 48"),
        ({"codec": ["nosuch"]}, "unknown codec 'nosuch'"),
    ],
)
def test_what_cannot_be_scored_is_refused(model: Path, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        prepared(model, **fields)


def test_without_a_model_there_is_nothing_to_score() -> None:
    with pytest.raises(UsageError, match="give --model DIR"):
        quality.prepare(build_experiment("quality", {}), NO_GPU)


def test_a_model_without_attention_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SimpleNamespace(model_type="mamba", num_hidden_layers=2, max_position_embeddings=None)
    monkeypatch.setattr(load, "load_config", lambda place: config)
    with pytest.raises(UsageError, match="a mamba model keeps no K and V"):
        prepared(model)


def test_a_cache_unlike_the_configuration_fails_the_case(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = fake_config()
    config.v_head_dim = 6
    monkeypatch.setattr(load, "load_config", lambda place: config)
    [floor, _] = prepared(model, text=["xz-faq"]).plan.cases
    assert floor.elements == LAYERS * 40 * HEADS * (HEAD_DIM + 6)
    with pytest.raises(CaseFailed, match=f"the cache holds {LAYERS * 40 * HEADS * 2 * HEAD_DIM} values"):
        quality.run(floor, context())


def test_a_short_text_is_refused_with_its_length(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("x" * 76)
    with pytest.raises(UsageError, match=r"own.txt gives 76 tokens, 77 are needed"):
        prepared(model, text=[str(own)])
    own.write_text("x" * 77)
    [floor, _] = prepared(model, text=[str(own)]).plan.cases
    own.write_text("y" * 77)
    with pytest.raises(CaseFailed, match="is not what it was when the run was planned"):
        quality.run(floor, context())


def test_a_gpu_that_is_not_there_is_one_line(model: Path) -> None:
    with pytest.raises(UnavailableError, match=f"cuda: unavailable: {NO_GPU}"):
        prepared(model, device="cuda")


class Unbounded(Shifting):
    """Lossy, without a bound to keep."""

    axes: ClassVar[frozenset[str]] = frozenset()


def judged(model: Path, monkeypatch: pytest.MonkeyPatch, codec: Codec) -> Outcome:
    monkeypatch.setattr(quality, "coding_of", lambda case: the_same(codec, case.bound))
    [_, case] = prepared(model, text=["xz-faq"]).plan.cases
    if "bound" not in codec.axes:
        case = case.model_copy(update={"bound": None})
    return quality.run(case, context())


def test_the_verdict_is_the_codecs_and_the_numbers_stay(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = judged(model, monkeypatch, Shifting(shift=2.0))
    assert (broken.status, broken.reason_code) == ("failed", "bound_broken")
    assert broken.metrics["kl_mean"] == 0
    assert broken.reason is not None
    assert broken.reason.endswith(
        "break the bound rel 0.01; checked on the float32 values, before the cast to bfloat16"
    )
    assert judged(model, monkeypatch, Shifting(shift=2.0, bound_policy="compatible")).status == "invalid"
    assert judged(model, monkeypatch, LosslessShifting(shift=0.5)).reason_code == "not_lossless"
    assert judged(model, monkeypatch, Shifting(shift=0.5)).status == "ok"
    unbounded = Unbounded(shift=math.inf)
    assert judged(model, monkeypatch, unbounded).reason_code == "non_finite_changed"
    assert judged(model, monkeypatch, Unbounded(shift=0.5)).status == "ok"


def test_chains_are_an_axis_and_the_floor_goes_through_none(model: Path) -> None:
    plan = prepared(model, text=["xz-faq"], transform=["none", "center,layout"], keep_first=[0, 4]).plan
    assert [(case.codec, case.transforms, case.keep_first) for case in plan.cases] == [
        ("raw", None, None),
        *[("cuszp", chain, kept) for chain in (None, "center=block,layout=hdt") for kept in (None, 4)],
    ]
    for case in plan.cases:
        assert quality.run(case, context()).status == "ok"


def test_a_profile_stands_in_the_place_of_the_codecs(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "tuned.yaml"
    path.write_text("rules:\n- {kv: k, transforms: center, bound: 0.2}\n- {codec: groupwise}\n")
    shared = prepared(model, text=["xz-faq"], profile=str(path))
    floor, tuned = shared.plan.cases
    assert (floor.codec, tuned.codec, tuned.bound, tuned.transforms) == ("raw", "profile", None, None)
    assert tuned.profile is not None
    assert tuned.profile.startswith("tuned.yaml ")
    outcome = quality.run(tuned, context())
    assert outcome.status == "ok"
    assert outcome.metrics["kl_mean"] == 0
    path.write_text("rules:\n- {bound: 0.2}\n")
    with pytest.raises(CaseFailed, match="when the run was planned"):
        quality.run(tuned, context())


def test_a_profile_without_a_rule_for_a_layer_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("rules:\n- {kv: k, bound: 0.2}\n")
    with pytest.raises(UsageError, match="no rule for layer 0 v"):
        prepared(model, profile=str(tmp_path / "short.yaml"))
