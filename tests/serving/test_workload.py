"""Workloads: the same for all arms, distinct prefixes, and what the second pass shares with the first."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from kvbench.errors import UsageError
from kvbench.serving.workload import QUESTIONS_A_PREFIX, TURNS, Shape, make, read_trace

TEXT = " ".join(f"This is sentence number {number} of a text." for number in range(50))
SHAPE = Shape(documents=6, prefix_tokens=50, output_tokens=4, probes=2, seed=3)


def _prefix(prompt: str) -> str:
    return prompt.rpartition("\n\nQ:")[0]


@pytest.mark.parametrize("name", ["two-pass", "shared-prefix", "multi-turn"])
def test_the_second_pass_asks_for_all_prefixes_again_in_another_order(name) -> None:
    made = make(name, SHAPE, TEXT, 4.0)
    assert made == make(name, SHAPE, TEXT, 4.0)
    assert made != make(name, Shape(6, 50, 4, 2, 4), TEXT, 4.0)
    cold = [_prefix(one.prompt) for one in made.cold]
    assert len({one[:13] for one in cold}) == len(cold) == 6  # they part within the first block
    times = {"two-pass": 1, "shared-prefix": QUESTIONS_A_PREFIX - 1, "multi-turn": TURNS - 1}[name]
    assert len(made.reuse) == 6 * times
    owners = [next(place for place, one in enumerate(cold) if two.prompt.startswith(one)) for two in made.reuse]
    assert sorted(owners) == sorted(list(range(6)) * times)
    assert owners[:6] != list(range(6))
    assert not {one.prompt for one in made.reuse} & {one.prompt for one in made.cold}
    assert made.reset == (name == "two-pass")
    warm = {_prefix(one.prompt)[:13] for one in made.warm_up}
    assert not warm & {one[:13] for one in cold}
    assert len(made.probes) == 2


def test_the_length_follows_the_tokenizer() -> None:
    short, long = (make("two-pass", SHAPE, TEXT, rate).cold[0].prompt for rate in (2.0, 6.0))
    assert abs(len(_prefix(short)) - 100) < 20
    assert abs(len(_prefix(long)) - 300) < 20


def test_turns_go_on_from_each_other() -> None:
    made = make("multi-turn", SHAPE, TEXT, 4.0)
    first = made.cold[0].prompt
    turns = sorted((one.prompt for one in made.reuse if one.prompt.startswith(first)), key=len)
    assert len(turns) == TURNS - 1
    assert all(later.startswith(earlier) for earlier, later in pairwise(turns))


@pytest.mark.parametrize("line", ["[]", "{", '{"prompt": ""}', '{"prompt": "a", "output_tokens": 0}', "{}"])
def test_a_bad_line_of_a_trace_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(f'{{"prompt": "good"}}\n{line}\n')
    with pytest.raises(UsageError, match="line 2"):
        read_trace(path, 4)
