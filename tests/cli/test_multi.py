"""Tests list options typed with spaces."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from kvbench.cli.multi import ListOptionCommand, fold
from kvbench.errors import UsageError

MANY = {"--x", "--name"}
SINGLE = {"--seed"}


def folded(line: str) -> list[str]:
    return fold(line.split(), many=MANY, single=SINGLE)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--x 1 2 3", "--x=1 --x=2 --x=3"),
        ("--x=1 2", "--x=1 --x=2"),
        ("--x 1 --x 2 3", "--x=1 --x=2 --x=3"),
        ("--x 1 2 --flag", "--x=1 --x=2 --flag"),
        ("--x 1 2 --seed 3 --name a b", "--x=1 --x=2 --seed=3 --name=a --name=b"),
        ("--x -1 -2.5e-3 -inf -nan nan", "--x=-1 --x=-2.5e-3 --x=-inf --x=-nan --x=nan"),
        ("--x a=b c", "--x=a=b --x=c"),
        ("--x - 1", "--x=- --x=1"),
        ("--seed -1", "--seed=-1"),
        ("file --x 1", "file --x=1"),
        ("--x 1 -- file 2", "--x=1 -- file 2"),
        ("--seed 1 file", "--seed=1 file"),
        ("--other 1 2", "--other 1 2"),
        ("--flag 1 --x 2", "--flag 1 --x=2"),
        ("-- --x 1 2", "-- --x 1 2"),
        ("", ""),
    ],
)
def test_fold(typed: str, meant: str) -> None:
    assert folded(typed) == meant.split()


@pytest.mark.parametrize("line", ["--seed 1 --seed 2", "--seed=1 --x 3 --seed 2"])
def test_a_single_value_given_twice_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="--seed is given twice, with 1 and 2; give it once"):
        folded(line)


@pytest.mark.parametrize("line", ["--x", "--x --seed 1", "--seed", "--seed --x 1", "--x -- 1", "--x -h"])
def test_an_option_without_a_value_is_named(line: str) -> None:
    with pytest.raises(UsageError, match=r"--(x|seed) needs a value"):
        folded(line)


@pytest.mark.parametrize("words", [["--x", ""], ["--x="], ["--x", "1", ""], ["--seed", ""], ["--seed="]])
def test_an_empty_value_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"--(x|seed) needs a value, not ''"):
        fold(words, many={"--x"}, single={"--seed"})


app = typer.Typer(add_completion=False)


@app.command(cls=ListOptionCommand)
def echo(
    x: Annotated[list[str] | None, typer.Option("--x")] = None,
    name: Annotated[list[str] | None, typer.Option("--name")] = None,
) -> dict[str, list[str]]:
    return {"--x": list(x or []), "--name": list(name or [])}


COMMAND = typer.main.get_command(app)


def parsed(typed: list[str]) -> object:
    with COMMAND.make_context("echo", typed) as context:
        return COMMAND.invoke(context)


VALUE = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8).filter(
        lambda s: not s.startswith("-")
    ),
)


@given(
    groups=st.lists(st.tuples(st.sampled_from(sorted(MANY)), st.lists(VALUE, min_size=1, max_size=4), st.booleans()))
)
def test_any_grouping_gives_every_option_its_values_in_order(groups: list[tuple[str, list[str], bool]]) -> None:
    typed: list[str] = []
    wanted: dict[str, list[str]] = {"--x": [], "--name": []}
    for name, values, joined in groups:
        typed += [f"{name}={values[0]}", *values[1:]] if joined else [name, *values]
        wanted[name] += values

    assert parsed(typed) == wanted


@given(st.lists(st.text(st.sampled_from("-=x1. "), max_size=5)))
def test_fold_never_loses_or_invents_a_word(words: list[str]) -> None:
    """Whatever is typed either is refused or comes back with the same values in the same order."""
    try:
        result = fold(words, many={"--x"}, single=set())
    except UsageError:
        return
    assert fold(result, many={"--x"}, single=set()) == result
    plain = [word for word in words if not word.startswith("--x")]
    unfolded = [word.removeprefix("--x=") for word in result if word.startswith("--x=")]
    assert set(plain) <= set(result) | set(unfolded)
