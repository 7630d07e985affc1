"""Scores of a changed prefix, by a model simple enough to know the answers."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_model import FakeCache

from kvbench.errors import CaseFailed, UsageError
from kvbench.models import forward, load
from kvbench.models.prefix import LayerKV, cache_of, prefix_cache
from kvbench.models.score import TOP_K, make_reference, says, score

VOCABULARY = 8


class Reader:
    """Its logits are the values of the cache's first token, then each token it reads moves the likeliest on by one."""

    dtype = torch.float32

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, input_ids: torch.Tensor, cache: FakeCache, use_cache: bool) -> Any:
        return self.forward(input_ids, cache, use_cache)

    def forward(self, input_ids: torch.Tensor, cache: FakeCache, use_cache: bool) -> Any:
        self.calls += 1
        first = cache.layers[0].values[0, :, 0].reshape(-1)
        logits = torch.stack([torch.roll(first, int(token) + 1) for token in input_ids[0]])
        cache.add(0, torch.zeros(1, 2, input_ids.shape[1], 4), torch.zeros(1, 2, input_ids.shape[1], 4))
        return SimpleNamespace(logits=logits[None])


@pytest.fixture(autouse=True)
def fake_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "new_cache", FakeCache)
    monkeypatch.setattr(forward, "new_cache", FakeCache)


def prefix(*values: float) -> list[LayerKV]:
    tensor = torch.tensor([values, [0.0] * VOCABULARY]).reshape(2, 2, 4)
    return [LayerKV(torch.zeros(2, 2, 4), tensor)]


BEFORE = (5.0, 4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0)
AFTER = (4.0, 5.0, 3.0, 2.0, 0.0, 1.0, -1.0, -2.0)
IDS = torch.tensor([0, 1, 2, 3, 4])


def test_a_prefix_that_stays_the_same_changes_nothing() -> None:
    reference = make_reference(Reader(), prefix(*BEFORE), IDS, 6)
    found = score(Reader(), prefix(*BEFORE), reference)
    assert found.kl.tolist() == [0.0] * 4
    assert torch.equal(found.nll, found.reference_nll)
    assert found.top1.tolist() == found.topk.tolist() == [1.0] * 4
    assert found.greedy_match == 6
    # Token t makes t + 1 the likeliest: the true tokens are what the model would write.
    p = torch.softmax(torch.tensor(BEFORE, dtype=torch.float64), 0)
    assert found.nll.tolist() == pytest.approx([-math.log(p[0])] * 4)
    assert reference.greedy.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_changed_prefix_scores_as_by_hand() -> None:
    reference = make_reference(Reader(), prefix(*BEFORE), IDS, 6)
    found = score(Reader(), prefix(*AFTER), reference)
    p, q = (torch.softmax(torch.tensor(one, dtype=torch.float64), 0) for one in (BEFORE, AFTER))
    assert found.kl.tolist() == pytest.approx([float((p * (p / q).log()).sum())] * 4, rel=1e-6)
    assert found.nll.tolist() == pytest.approx([-math.log(q[0])] * 4, rel=1e-6)
    assert found.top1.tolist() == [0.0] * 4
    assert found.topk.tolist() == pytest.approx([(TOP_K - 1) / TOP_K] * 4)  # one of the five left the five
    assert found.greedy_match == 0


def test_greedy_words_count_up_to_the_first_other_one() -> None:
    reference = make_reference(Reader(), prefix(*BEFORE), IDS, 6)
    other = dataclasses.replace(reference, greedy=torch.tensor([1, 2, 3, 6, 7, 0]))
    assert score(Reader(), prefix(*BEFORE), other).greedy_match == 3


def test_without_greedy_tokens_there_is_no_match() -> None:
    model = Reader()
    reference = make_reference(model, prefix(*BEFORE), IDS, 0)
    assert (len(reference.greedy), model.calls) == (0, 1)
    assert score(model, prefix(*BEFORE), reference).greedy_match is None
    assert model.calls == 2


def test_a_long_continuation_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "CHUNK_TOKENS", 3)
    ids = torch.arange(80) % VOCABULARY
    found = score(Reader(), prefix(*AFTER), make_reference(Reader(), prefix(*BEFORE), ids, 0))
    assert len(found.kl) == 79
    assert found.kl.std() < 1e-12


def test_a_word_the_model_rules_out_adds_nothing() -> None:
    closed = (*BEFORE[:-1], -math.inf)
    reference = make_reference(Reader(), prefix(*closed), IDS[:2], 0)
    assert score(Reader(), prefix(*closed), reference).kl.tolist() == [0.0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_output_without_sense_fails_the_case(value: float) -> None:
    reference = make_reference(Reader(), prefix(*BEFORE), IDS, 0)
    with pytest.raises(CaseFailed, match="not finite") as failure:
        score(Reader(), prefix(value, *BEFORE[1:]), reference)
    assert failure.value.reason_code == "non_finite_output"


def test_an_answer_counts_only_whole() -> None:
    question = torch.tensor([7, 3])
    assert says(Reader(), prefix(*BEFORE), question, torch.tensor([4, 5, 6]))
    assert not says(Reader(), prefix(*BEFORE), question, torch.tensor([4, 5, 7]))
    assert not says(Reader(), prefix(*AFTER), question, torch.tensor([4]))


def test_the_prefix_comes_in_the_caches_dtype_and_goes_back_in_the_models(fake_model: object) -> None:
    model = load.load_model(None, torch.device("cpu"))  # type: ignore[arg-type]
    ids = [3, 200, 77]
    found = prefix_cache(model, ids, torch.bfloat16, torch.device("cpu"), 2 * 3 * 3 * 2 * 4)
    whole = forward.prefill(model, ids, torch.device("cpu"))
    for layer, pair in enumerate(found):
        keys, values = forward.kv_of_layer(whole, layer, 3)
        assert pair.keys.shape == (3, 2, 4)
        assert torch.equal(pair.keys, keys.bfloat16())
        assert torch.equal(pair.values, values.bfloat16())
    back = cache_of(found, model.dtype)
    assert back.layers[1].keys.dtype == torch.float32
    assert torch.equal(back.layers[1].values[0].transpose(0, 1), found[1].values.float())


def test_a_cache_of_another_size_or_kind_is_refused(fake_model: object) -> None:
    model = load.load_model(None, torch.device("cpu"))  # type: ignore[arg-type]
    with pytest.raises(CaseFailed, match="holds 144 values where the configuration promised 145"):
        prefix_cache(model, [1, 2, 3], torch.bfloat16, torch.device("cpu"), 145)
    with pytest.raises(UsageError, match="does not keep K and V of every token"):
        forward.kv_of_layer(forward.prefill(model, [1, 2], torch.device("cpu")), 0, 3)
