"""Owns the tests of chains as text: reading, writing, and what is refused."""

from __future__ import annotations

import pytest

from kvbench.codecs import calibration
from kvbench.codecs.transforms import chain as chains
from kvbench.errors import UsageError


@pytest.mark.parametrize("text", ["", "none", " none "])
def test_no_transform(text):
    assert chains.parse(text) == ()
    assert chains.canonical(()) == ""


def test_text_becomes_canonical():
    chain = chains.parse("keep-first=4, center ,derope=100000:pairing=interleaved,layout")
    assert chains.canonical(chain) == (
        "keep-first=4,center=block,derope=100000.0:pairing=interleaved:dims=0,layout=hdt"
    )
    assert chains.kept_tokens(chain) == 4
    assert chains.changes_values(chain)
    assert not chains.changes_values(chains.parse("keep-first,layout"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("centre", ["'centre'", "center", "hadamard", "none"]),
        ("center,,layout", ["unknown transform ''"]),
        ("center,center", ["center is given twice"]),
        ("center,keep-first=4", ["keep-first must come first"]),
        ("hadamard=48", ["48 is not a power of two"]),
        ("hadamard=x", ["hadamard", "size", "'x'"]),
        ("layout=dht", ["layout", "'dht'"]),
        ("keep-first=-1", ["keep-first", "'-1'"]),
        ("derope:base", ["'base' is no parameter", "name=value"]),
        ("derope:theta=3", ["no parameter 'theta'", "base, pairing, dims"]),
        ("derope=nan", ["derope", "base"]),
        ("center=median", ["center", "'median'"]),
    ],
)
def test_what_cannot_be_read_is_named(text, words):
    with pytest.raises(UsageError) as caught:
        chains.parse(text)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("text", "shape", "words"),
    [
        ("hadamard", (4, 2, 33), "even head size, this one is 33"),
        ("hadamard=32", (4, 2, 48), "does not divide head size 48"),
        ("derope", (4, 2, 7), "even number of channels, not 7"),
        ("derope:dims=8", (4, 2, 4), "turns 8 channels, a head has 4"),
        ("center=calibrated", (4, 2, 4), "--profile"),
        ("keep-first=2,hadamard", (4, 2, 1), "even head size"),
    ],
)
def test_a_block_that_does_not_fit_is_refused(text, shape, words):
    with pytest.raises(UsageError, match=words):
        chains.require_fit(chains.parse(text), shape)


def test_an_unknown_vector_is_refused_with_the_remedy():
    with pytest.raises(UsageError, match=r"0123456789abcdef is not known here.*--profile"):
        calibration.vector("0123456789abcdef")


def test_kept_tokens_are_asked_for_once():
    assert chains.with_kept("center", 0) == "center=block"
    assert chains.with_kept("center", 3) == "keep-first=3,center=block"
    with pytest.raises(UsageError, match="both keep tokens"):
        chains.with_kept("keep-first=2", 3)
