"""Tests the text form of a KV cache's shape and the sizes that follow from it."""

from __future__ import annotations

import pytest

from kvbench.errors import UsageError
from kvbench.geometry import KNOWN_GEOMETRIES, KVGeometry, parse_dtype, parse_geometry


def test_a_full_spec() -> None:
    geometry = parse_geometry("layers=32,heads=8,head_dim=128,dtype=bf16,tokens=4096")
    assert geometry == KVGeometry(layers=32, heads=8, head_dim=128, dtype="bfloat16", tokens=4096)


def test_sizes_follow_from_the_shape() -> None:
    geometry = KVGeometry(layers=2, heads=3, head_dim=64, dtype="float32", tokens=10)
    assert geometry.elements_per_tensor == 10 * 3 * 64
    assert geometry.cache_elements == 2 * 2 * 10 * 3 * 64
    assert geometry.bytes_per_token == 2 * 2 * 3 * 64 * 4
    assert geometry.bytes_per_token * geometry.tokens == 4 * geometry.cache_elements


def test_llama_8b_takes_128_kib_a_token() -> None:
    assert KNOWN_GEOMETRIES["llama-3.1-8b"].bytes_per_token == 128 * 1024


def test_a_model_name_with_changes() -> None:
    geometry = parse_geometry("Llama-3.1-8B, tokens=512, dtype=fp16")
    assert (geometry.layers, geometry.tokens, geometry.dtype) == (32, 512, "float16")


@pytest.mark.parametrize("name", KNOWN_GEOMETRIES)
def test_every_known_name_parses(name: str) -> None:
    assert parse_geometry(name) == KNOWN_GEOMETRIES[name]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("gpt-9", "unknown geometry 'gpt-9'"),
        ("", "unknown geometry ''"),
        ("llama-3.1-8b,tokens=0", "tokens"),
        ("llama-3.1-8b,tokens=many", "tokens"),
        ("llama-3.1-8b,tokens", "'tokens' is not one of"),
        ("layers=2,heads=3", "head_dim"),
        ("layers=2,heads=3,head_dim=64,colour=red", "'colour=red' is not one of"),
        ("layers=2,heads=3,head_dim=64,dtype=int8", "unknown dtype 'int8'"),
        ("layers=-1,heads=3,head_dim=64", "layers"),
        ("layers=2,layers=3,heads=3,head_dim=64", "'layers' is given twice"),
        ("layers=1,heads=8,head_dim=128,tokens=137438953473", "281474976712704 elements is above 281474976710656"),
    ],
)
def test_a_bad_spec_names_its_part(text: str, named: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_geometry(text)
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("text", "name"), [("BF16", "bfloat16"), (" half ", "float16"), ("f32", "float32")])
def test_dtype_aliases(text: str, name: str) -> None:
    assert parse_dtype(text) == name


def test_an_unknown_dtype_lists_what_exists() -> None:
    with pytest.raises(UsageError, match="unknown dtype 'float64'; use one of float32, bfloat16, float16"):
        parse_dtype("float64")
