"""What tensor names tell, and choosing among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbench.errors import UsageError
from kvbench.tensors.names import listed, parse_name, select


@pytest.mark.parametrize(
    ("name", "layer", "kv"),
    [
        ("layers.0.k", 0, "k"),
        ("layers.12.v", 12, "v"),
        ("layers.1.k_pre", 1, "k"),
        ("layer_3_key", 3, "k"),
        ("layer3.value", 3, "v"),
        ("model.layers.7.self_attn.v", 7, "v"),
        ("blk12-key", 12, "k"),
        ("key_cache.4", 4, "k"),
        ("past_key_values.2.value", 2, "v"),
        ("past_key_values.2.key", 2, "k"),
        ("K", None, "k"),
        ("tokens", None, None),
        ("tensor_3", None, None),
        ("model_v2", None, None),
        ("layers.5.norm", 5, None),
        ("arr_0", None, None),
        ("", None, None),
    ],
)
def test_parse_name(name: str, layer: int | None, kv: str | None) -> None:
    assert parse_name(name) == (layer, kv)


@given(st.integers(0, 999), st.sampled_from("kv"))
def test_captured_names_are_understood(layer: int, kv: str) -> None:
    assert parse_name(f"layers.{layer}.{kv}") == (layer, kv)


@given(st.text(max_size=40))
def test_no_name_is_too_odd(name: str) -> None:
    layer, kv = parse_name(name)
    assert layer is None or layer >= 0
    assert kv in (None, "k", "v")


NAMES = ["layers.0.k", "layers.0.v", "layers.1.k", "layers.1.v", "tokens"]


def test_select_by_glob_and_layer() -> None:
    assert select(NAMES, pattern="*", layers=(), where="f") == NAMES
    assert select(NAMES, pattern="*.k", layers=(), where="f") == ["layers.0.k", "layers.1.k"]
    assert select(NAMES, pattern="*", layers=(1,), where="f") == ["layers.1.k", "layers.1.v"]
    assert select(NAMES, pattern="*.v", layers=(1, 0), where="f") == ["layers.0.v", "layers.1.v"]


def test_a_glob_without_match_lists_the_names() -> None:
    with pytest.raises(UsageError, match=r"f holds no tensor matching 'x\*'; it has layers.0.k, .*tokens$"):
        select(NAMES, pattern="x*", layers=(), where="f")


def test_a_missing_layer_lists_the_layers() -> None:
    with pytest.raises(UsageError, match=r"f holds no layer 7; it has layers 0, 1$"):
        select(NAMES, pattern="*", layers=(0, 7), where="f")
    with pytest.raises(UsageError, match=r"no tensor's name tells its layer.*--tensor"):
        select(["a", "b"], pattern="*", layers=(0,), where="f")


def test_long_lists_are_shortened() -> None:
    assert listed(range(3)) == "0, 1, 2"
    assert listed(range(100)).endswith("11 and 88 more")
    assert listed([]) == "none"
