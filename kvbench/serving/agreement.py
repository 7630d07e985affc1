"""Owns how much two servers say the same: answers to the same prompts, one at a time, compared token by token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.serving.server import Server
from kvbench.serving.workload import Request

_ALTERNATIVES = 5  # log-probabilities asked for at each token


@dataclass(frozen=True)
class Answer:
    """The tokens of one answer, and at each the log-probabilities of the likeliest ones, where the API gives them."""

    tokens: list[str]
    top_logprobs: list[dict[str, float]]


@dataclass(frozen=True)
class Agreement:
    """Over all probes; None where nothing can be compared."""

    exact: float | None  # share of answers that are the same
    tokens: float | None  # share of tokens before the first difference of their answer
    first_divergence_tokens: float | None  # mean number of equal tokens where answers differ; None: none does
    logprob_distance: float | None  # nat: mean |difference| over tokens that both name, where all before is equal


def ask(server: Server, model: str, probes: Sequence[Request], seed: int) -> list[Answer]:
    """Greedy answers, one request at a time; [] where one is refused."""
    answers = []
    for probe in probes:
        body = {
            "model": model,
            "prompt": probe.prompt,
            "max_tokens": probe.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "seed": seed,
            "logprobs": _ALTERNATIVES,
        }
        given = server.post("/v1/completions", body)
        try:
            assert given is not None
            choice = given["choices"][0]
            logprobs = choice.get("logprobs") or {}
            tokens = logprobs.get("tokens") or choice["text"].split()
            tops = [
                {name: float(value) for name, value in (one or {}).items()}
                for one in logprobs.get("top_logprobs") or []
            ]
        except (AssertionError, KeyError, IndexError, TypeError, AttributeError):
            return []
        answers.append(Answer([str(token) for token in tokens], tops))
    return answers


def compare(reference: Sequence[Answer], answers: Sequence[Answer]) -> Agreement:
    """How far `answers` agree with `reference`; nothing is compared where their numbers differ."""
    if not reference or len(reference) != len(answers):
        return Agreement(None, None, None, None)
    pairs = list(zip(reference, answers, strict=True))
    alike = [_alike(a.tokens, b.tokens) for a, b in pairs]
    lengths = [max(len(a.tokens), len(b.tokens)) for a, b in pairs]
    parted = [same for same, length in zip(alike, lengths, strict=True) if same < length]
    distances = [one for (a, b), same in zip(pairs, alike, strict=True) for one in _distances(a, b, same)]
    return Agreement(
        exact=1 - len(parted) / len(pairs),
        tokens=sum(alike) / sum(lengths) if sum(lengths) else None,
        first_divergence_tokens=sum(parted) / len(parted) if parted else None,
        logprob_distance=sum(distances) / len(distances) if distances else None,
    )


def _alike(a: Sequence[str], b: Sequence[str]) -> int:
    """Equal tokens before the first difference."""
    for place, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return place
    return min(len(a), len(b))


def _distances(a: Answer, b: Answer, same: int) -> list[float]:
    """Up to the first different token, which both chose after the same text."""
    found = []
    for tops_a, tops_b in zip(a.top_logprobs[: same + 1], b.top_logprobs[: same + 1], strict=False):
        found += [abs(tops_a[name] - tops_b[name]) for name in tops_a.keys() & tops_b.keys()]
    return [one for one in found if math.isfinite(one)]
