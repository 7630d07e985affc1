"""Owns what is asked of a server: passes of requests made from natural text, the same for every arm."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kvbench.errors import UsageError

WorkloadName = Literal["two-pass", "multi-turn", "shared-prefix", "trace"]
QUESTIONS_A_PREFIX = 4  # of shared-prefix, the first among them
TURNS = 4  # of multi-turn
_WARM_UPS = 2
_MOST_OUTPUT = 1 << 20
_QUESTIONS = (
    "What is this text about? Answer:",
    "What does the writer want the reader to know? Answer:",
    "Which words matter most here, and why? Answer:",
    "How does the text go on from here? Answer:",
)


@dataclass(frozen=True)
class Request:
    """One prompt, and how many tokens are to be written after it."""

    prompt: str
    output_tokens: int


@dataclass(frozen=True)
class Workload:
    """Passes of requests. What `reuse` shares with `cold` has to be restored from the host where it left the GPU.

    `cold` shares nothing within itself, so that no cache may help it; it is empty where all requests are given. The
    GPU's own prefix cache is emptied before `reuse` where `reset` says so.
    """

    warm_up: tuple[Request, ...]
    cold: tuple[Request, ...]
    reuse: tuple[Request, ...]
    probes: tuple[Request, ...]  # whose answers are compared between arms, one at a time
    reset: bool


@dataclass(frozen=True)
class Shape:
    """Sizes of a workload that is made from text."""

    documents: int
    prefix_tokens: int
    output_tokens: int
    probes: int
    seed: int


def make(name: WorkloadName, shape: Shape, text: str, characters_a_token: float) -> Workload:
    """The workload of that name, `trace` apart; `characters_a_token` is what the model's tokenizer makes of the text.

    The same arguments give the same requests.
    """
    writer = _Writer(text, characters_a_token, shape.seed)
    documents = [writer.document(place, shape.prefix_tokens) for place in range(shape.documents)]
    warm_up = [writer.document(-1 - place, shape.prefix_tokens) for place in range(_WARM_UPS)]
    asked = {place: _ask(document, place, shape) for place, document in enumerate(documents)}
    if name == "two-pass":
        cold, reuse = (
            list(asked.values()),
            [_ask(document, place + 1, shape) for place, document in enumerate(documents)],
        )
        writer.shuffle(reuse)
    elif name == "shared-prefix":
        cold = list(asked.values())
        reuse = [
            _ask(document, place + turn, shape)
            for place, document in enumerate(documents)
            for turn in range(1, QUESTIONS_A_PREFIX)
        ]
        writer.shuffle(reuse)
    else:
        cold, reuse = _conversations(documents, shape, writer)
    probed = [_ask(document, place + 2, shape) for place, document in enumerate(documents[: shape.probes])]
    return Workload(
        warm_up=tuple(_ask(document, 0, shape) for document in warm_up),
        cold=tuple(cold),
        reuse=tuple(reuse),
        probes=tuple(probed),
        reset=name == "two-pass",
    )


def read_trace(path: Path, output_tokens: int) -> Workload:
    """The requests of a JSONL file, {"prompt": ..., "output_tokens": ...} a line, the latter optional; sent in order.

    Raises UsageError that names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--workload trace {path} cannot be read: {error}; give a file of JSON lines") from None
    requests = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            prompt, tokens = given["prompt"], given.get("output_tokens", output_tokens)
            if not (isinstance(prompt, str) and prompt and isinstance(tokens, int) and 0 < tokens <= _MOST_OUTPUT):
                raise ValueError(line)  # noqa: TRY301
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(
                f'--workload trace {path}, line {number}: no request; write {{"prompt": "...", "output_tokens": 16}}'
            ) from None
        requests.append(Request(prompt, tokens))
    if not requests:
        raise UsageError(f"--workload trace {path} has no request; write one JSON object a line")
    return Workload((), (), tuple(requests), (), reset=False)


def _conversations(documents: Sequence[str], shape: Shape, writer: _Writer) -> tuple[list[Request], list[Request]]:
    """A document as opening and TURNS questions, answered by text that is the same for every server."""
    histories = [f"{document}\n\nQ: {_question(place)}" for place, document in enumerate(documents)]
    cold = [Request(history, shape.output_tokens) for history in histories]
    reuse = []
    for turn in range(1, TURNS):
        histories = [
            f"{history} {writer.passage(shape.output_tokens)}\n\nQ: {_question(place + turn)}"
            for place, history in enumerate(histories)
        ]
        later = [Request(history, shape.output_tokens) for history in histories]
        writer.shuffle(later)
        reuse += later
    return cold, reuse


def _ask(document: str, place: int, shape: Shape) -> Request:
    return Request(f"{document}\n\nQ: {_question(place)}", shape.output_tokens)


def _question(place: int) -> str:
    return _QUESTIONS[place % len(_QUESTIONS)]


class _Writer:
    """Documents of sentences of a text in random order; no two of them begin alike."""

    def __init__(self, text: str, characters_a_token: float, seed: int) -> None:
        self._sentences = [one for one in re.split(r"(?<=[.!?;])\s+", " ".join(text.split())) if len(one) > 20]
        self._characters_a_token = characters_a_token
        self._random = random.Random(seed)  # noqa: S311

    def document(self, place: int, tokens: int) -> str:
        """About so many tokens. Its number comes first, so that no block of its cache equals one of another's."""
        kind = "Note" if place < 0 else "Document"
        return f"{kind} {abs(place)}. {self.passage(tokens)}"

    def passage(self, tokens: int) -> str:
        """About so many tokens of text."""
        characters = int(tokens * self._characters_a_token)
        words: list[str] = []
        length = 0
        while length < characters:
            words.append(self._random.choice(self._sentences))
            length += len(words[-1]) + 1
        return " ".join(words)[:characters]

    def shuffle(self, requests: list[Request]) -> None:
        """In random order: a cycle through more than a cache holds would never hit an LRU."""
        self._random.shuffle(requests)
