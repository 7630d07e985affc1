"""Owns the retrieval task: made-up sentences with passwords among them at several depths, and their questions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from kvbench.errors import UsageError

NEEDLE = "needle"  # its name among the texts
MOST_NEEDLES = 16
TOKENS_A_NEEDLE = 48  # of the haystack, so that a short one gets fewer

_ADJECTIVES = ["old", "quiet", "narrow", "bright", "heavy", "distant", "wooden", "careful", "plain", "broken"]
_NOUNS = ["river", "teacher", "garden", "letter", "market", "engine", "bridge", "farmer", "window", "painter"]
_VERBS = ["follows", "remembers", "crosses", "describes", "repairs", "watches", "leaves", "finds", "carries", "visits"]
_PLACES = ["in the morning", "near the station", "before the rain", "after dinner", "by the road", "in winter"]
_PASSWORDS = ["apple", "tiger", "copper", "violet", "falcon", "marble", "cotton", "ginger", "rocket", "anchor"]
_PASSWORDS += ["coffee", "thunder", "paper", "eagle", "sugar", "diamond", "turtle", "castle", "butter", "dragon"]
_THINGS = ["lighthouse", "cabinet", "violin", "umbrella", "bicycle", "lantern", "compass", "teapot", "piano", "ladder"]
_THINGS += ["mirror", "guitar", "basket", "camera", "blanket", "hammer"]


@dataclass(frozen=True)
class Question:
    """Tokens of the question, those of the right answer, and where in the haystack it stands, from 0 to 1."""

    question: tuple[int, ...]
    answer: tuple[int, ...]
    depth: float


@dataclass(frozen=True)
class Haystack:
    """Tokens of the prefix, and what is asked after it."""

    token_ids: tuple[int, ...]
    questions: tuple[Question, ...]


def make_haystack(tokenizer: Any, tokens: int, seed: int) -> Haystack:
    """Exactly `tokens` tokens of made-up sentences; the same seed and tokenizer give the same ones.

    Up to MOST_NEEDLES sentences tell a password of one word each, every one another, at equal distances; a question
    repeats such a sentence up to its password. Raises UsageError where `tokens` are too few for one.
    """
    count = min(MOST_NEEDLES, tokens // TOKENS_A_NEEDLE)
    if count == 0:
        raise UsageError(f"--prefix-tokens {tokens}: the text `needle` needs at least {TOKENS_A_NEEDLE}")
    random = Random(seed)  # noqa: S311  a test's content, not a secret
    needles = [
        (f"The password of the {thing} is", f" {word}")
        for thing, word in zip(random.sample(_THINGS, count), random.sample(_PASSWORDS, count), strict=True)
    ]
    filler = [_sentence(random) for _ in range(tokens)]  # a sentence has more than one token
    depths = [(number + 0.5) / count for number in range(count)]

    def token_ids(sentences: int) -> list[int]:
        text = _mixed(filler[:sentences], needles, depths)
        return [int(token) for token in tokenizer(text)["input_ids"]]

    enough = bisect_left(range(len(filler)), tokens, key=lambda sentences: len(token_ids(sentences)))
    questions = tuple(
        _question(tokenizer, asked, answer, depth) for (asked, answer), depth in zip(needles, depths, strict=True)
    )
    return Haystack(tuple(token_ids(enough)[:tokens]), questions)


def _sentence(random: Random) -> str:
    first, second = random.choice(_ADJECTIVES), random.choice(_ADJECTIVES)
    subject, target = random.sample(_NOUNS, 2)
    return f"The {first} {subject} {random.choice(_VERBS)} the {second} {target} {random.choice(_PLACES)}."


def _mixed(filler: Sequence[str], needles: Sequence[tuple[str, str]], depths: Sequence[float]) -> str:
    sentences = list(filler)
    for (asked, answer), depth in reversed(list(zip(needles, depths, strict=True))):
        sentences.insert(int(depth * len(filler)), f"{asked}{answer}.")
    return " ".join(sentences)


def _question(tokenizer: Any, asked: str, answer: str, depth: float) -> Question:
    """The tokens before the first that the answer changes are the question."""

    def of(text: str) -> list[int]:
        return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]

    question, whole = of(f"\n{asked}"), of(f"\n{asked}{answer}")
    shared = next((at for at, token in enumerate(question) if whole[at] != token), len(question))
    return Question(tuple(whole[:shared]), tuple(whole[shared:]), depth)
