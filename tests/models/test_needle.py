"""The retrieval task: its length, its needles, and what they are asked by."""

from __future__ import annotations

import pytest
from fake_model import bytes_tokenizer

from kvbench.errors import UsageError
from kvbench.models.needle import MOST_NEEDLES, TOKENS_A_NEEDLE, Haystack, make_haystack


def made(tokens: int, seed: int = 0) -> Haystack:
    return make_haystack(bytes_tokenizer, tokens, seed)


@pytest.mark.parametrize("tokens", [300, 1000, 4000])
def test_a_haystack_has_exactly_the_tokens_and_every_answer(tokens: int) -> None:
    haystack = made(tokens)
    text = bytes(haystack.token_ids).decode()
    assert len(haystack.token_ids) == tokens
    assert len(haystack.questions) == min(MOST_NEEDLES, tokens // TOKENS_A_NEEDLE)
    places = []
    for one in haystack.questions:
        question, answer = bytes(one.question).decode(), bytes(one.answer).decode()
        assert question.startswith("\nThe password of the ")
        assert answer.startswith(" ")
        sentence = f"{question.strip()}{answer}."
        assert text.count(sentence) == 1
        places.append(text.index(sentence) / tokens)
    assert places == sorted(places)
    assert all(abs(place - one.depth) < 0.2 for place, one in zip(places, haystack.questions, strict=True))
    assert len({one.answer for one in haystack.questions}) == len(haystack.questions)


def test_the_seed_decides_everything() -> None:
    assert made(1000) == made(1000)
    assert made(1000).token_ids != made(1000, seed=1).token_ids


def test_a_token_that_spans_question_and_answer_belongs_to_the_answer() -> None:
    def pairs(text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        whole = bytes_tokenizer(text)["input_ids"]
        return {"input_ids": [256 * a + b for a, b in zip(whole[::2], [*whole[1::2], 0], strict=False)]}

    haystack = make_haystack(pairs, 600, 0)
    for one in haystack.questions:
        joined = b"".join(bytes(divmod(token, 256)) for token in (*one.question, *one.answer)).rstrip(b"\0").decode()
        assert joined.startswith("\nThe password of the ")
        assert not bytes(divmod(one.question[-1], 256)).endswith(b"\0")


def test_too_few_tokens_are_refused() -> None:
    with pytest.raises(UsageError, match="--prefix-tokens 10: the text `needle` needs at least 48"):
        made(10)
