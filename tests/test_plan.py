"""Tests the step from an experiment to its cases."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kvbench.bound import Bound
from kvbench.config import CodecChoice, Experiment, build_experiment
from kvbench.plan import CodecFacts, expand, permutation, permuted_shape
from kvbench.record.schema import SourceLayout, TensorSpec

LOSSY = CodecFacts(axes=frozenset({"mode", "bound", "bound_policy", "threads"}), device="cpu")
PLAIN = CodecFacts(axes=frozenset(), device="cpu")
ABSENT = CodecFacts(axes=frozenset({"bound"}), device="cpu", unavailable="library zfp is not installed")
FACTS = {"cuszp": LOSSY, "raw": PLAIN, "zfp": ABSENT}
CACHE = TensorSpec(source="made", tensor="k.0", dtype="bfloat16", shape=(4, 3, 2), source_layout="thd")
FLAT = TensorSpec(source="made", tensor="x", dtype="float32", shape=(24,))


def facts(choice: CodecChoice) -> CodecFacts:
    return FACTS[choice.name]


def sweep(**fields: Any) -> Experiment:
    return build_experiment("sweep", fields)


def test_the_product_of_every_axis() -> None:
    experiment = sweep(
        mode=["fixed", "plain"],
        bound_kind=["rel", "abs"],
        error_bound=["1e-1", "1e-2", "1e-3"],
        bound_policy=["strict", "compatible"],
        dtype=["float32", "bfloat16"],
        layout=["thd", "htd", "hdt"],
    )
    plan = expand(experiment, [CACHE], facts)
    cells = {(c.mode, c.bound, c.codec_params["bound_policy"], c.dtype, c.layout) for c in plan.cases}
    bounds = [Bound(kind=kind, value=value) for kind in ("rel", "abs") for value in (1e-1, 1e-2, 1e-3)]
    policies = ("strict", "compatible")
    wanted = itertools.product(("fixed", "plain"), bounds, policies, ("float32", "bfloat16"), ("thd", "htd", "hdt"))
    assert cells == set(wanted)
    assert len(plan.cases) == len(cells) == 144
    assert len({case.id for case in plan.cases}) == 144
    assert plan.skipped == ()


def test_an_axis_a_codec_does_not_declare_is_one_cell() -> None:
    plan = expand(sweep(codec=["raw"], mode=["fixed", "plain"], error_bound=["1e-1", "1e-2"]), [CACHE], facts)
    [case] = plan.cases
    assert (case.mode, case.bound, case.codec_params, case.threads) == (None, None, {}, None)


def test_a_parameter_of_a_codec_wins_over_the_axis() -> None:
    experiment = sweep(codec=[{"name": "cuszp", "mode": "outlier"}], mode=["fixed", "plain"])
    [case] = expand(experiment, [CACHE], facts).cases
    assert (case.mode, case.codec_params) == ("outlier", {"mode": "outlier", "bound_policy": "strict"})


def test_the_order_is_that_of_the_options() -> None:
    plan = expand(sweep(codec=["raw", "cuszp"], error_bound=["1e-3", "1e-1"]), [CACHE, FLAT], facts)
    seen = [(case.codec, case.tensor.tensor if case.tensor else None, case.bound) for case in plan.cases]
    wide, narrow = Bound(value=1e-1), Bound(value=1e-3)
    assert seen == [
        ("raw", "k.0", None),
        ("raw", "x", None),
        ("cuszp", "k.0", narrow),
        ("cuszp", "k.0", wide),
        ("cuszp", "x", narrow),
        ("cuszp", "x", wide),
    ]


def test_dtype_defaults_to_the_tensors_own() -> None:
    assert [case.dtype for case in expand(sweep(), [CACHE, FLAT], facts).cases] == ["bfloat16", "float32"]


def test_a_codec_that_cannot_run_here_is_skipped_with_its_reason() -> None:
    plan = expand(sweep(codec=["zfp", "raw"]), [CACHE], facts)
    assert [case.codec for case in plan.cases] == ["raw"]
    [left_out] = plan.skipped
    assert left_out.reason_code == "codec_unavailable"
    assert left_out.reason == "codec 'zfp' cannot be used here: library zfp is not installed"


def test_a_flat_tensor_has_one_layout_and_the_others_are_skipped() -> None:
    plan = expand(sweep(layout=["thd", "hdt", "htd"]), [FLAT], facts)
    assert [case.layout for case in plan.cases] == ["flat"]
    assert [(skip.case.layout, skip.reason_code) for skip in plan.skipped] == [
        ("hdt", "no_layout"),
        ("htd", "no_layout"),
    ]


def test_a_flat_tensor_asked_for_in_another_layout_only_still_gives_a_skip() -> None:
    plan = expand(sweep(layout=["hdt"]), [FLAT], facts)
    assert plan.cases == ()
    assert len(plan.skipped) == 1


def test_threads_belong_to_codecs_that_declare_them() -> None:
    plan = expand(sweep(codec=["cuszp", "raw"], threads="2"), [CACHE], facts)
    assert {case.codec: case.threads for case in plan.cases} == {"cuszp": 2, "raw": None}


def test_equal_cells_are_one_case() -> None:
    plan = expand(sweep(codec=["cuszp", {"name": "cuszp", "mode": "plain"}]), [CACHE, CACHE], facts)
    assert len(plan.cases) == 1


def test_a_case_keeps_its_id_from_run_to_run_and_in_any_company() -> None:
    alone = expand(sweep(error_bound=["1e-3"]), [CACHE], facts).cases[0]
    among = expand(sweep(error_bound=["1e-1", "1e-3"], mode=["fixed", "plain"]), [FLAT, CACHE], facts).cases
    assert alone in among
    assert alone.id in {case.id for case in among}


@pytest.mark.parametrize("change", [{"seed": "1"}, {"threads": "1"}, {"error_bound": "0.1"}, {"bound_kind": "abs"}])
def test_every_field_is_in_the_id(change: dict[str, str]) -> None:
    assert expand(sweep(), [CACHE], facts).cases[0].id != expand(sweep(**change), [CACHE], facts).cases[0].id


LAYOUTS: tuple[SourceLayout, ...] = ("thd", "htd", "hdt")


@given(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS), st.permutations([2, 3, 5]))
def test_a_permutation_puts_tokens_heads_and_head_size_where_the_layout_says(
    stored: SourceLayout, seen: SourceLayout, sizes: list[int]
) -> None:
    by_letter = dict(zip("thd", sizes, strict=True))
    tensor = torch.zeros([by_letter[letter] for letter in stored])
    wanted = tuple(by_letter[letter] for letter in seen)
    assert tuple(tensor.permute(permutation(stored, seen)).shape) == wanted
    spec = TensorSpec(source="made", tensor="k", dtype="float32", shape=tuple(tensor.shape), source_layout=stored)
    assert permuted_shape(spec, seen) == wanted


def test_a_flat_shape_is_left_alone() -> None:
    assert permuted_shape(FLAT, "hdt") == (24,)
