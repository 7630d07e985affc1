"""Owns what a changed prefix cache does to the tokens after it, token by token, against the cache as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from kvbench.errors import CaseFailed
from kvbench.models import forward
from kvbench.models.prefix import Prefix, cache_of

TOP_K = 5
_ROWS = 32  # distributions compared at a time, in float64


@dataclass(frozen=True)
class Reference:
    """What the model says after the unchanged prefix.

    `ids` [n + 1] are the true tokens after the prefix; `logits` [n, vocabulary] are float32, after each of the first
    n; `greedy` [g] are the tokens it writes itself after the first of `ids`.
    """

    ids: torch.Tensor
    logits: torch.Tensor
    greedy: torch.Tensor


@dataclass(frozen=True)
class PerToken:
    """One number a scored token, float64 [n] on the CPU; and how many greedy tokens stayed the same.

    `kl` is in nat; `nll` and `reference_nll` are the negative log likelihood of the true next token; `top1` is 1 where
    the likeliest token is the same; `topk` is the share of the TOP_K likeliest that are the same.
    """

    kl: torch.Tensor
    nll: torch.Tensor
    reference_nll: torch.Tensor
    top1: torch.Tensor
    topk: torch.Tensor
    greedy_match: int | None


@torch.inference_mode()
def make_reference(model: Any, prefix: Prefix, ids: torch.Tensor, greedy_tokens: int) -> Reference:
    """Run the continuation once after the unchanged prefix, and let the model write `greedy_tokens` of its own."""
    logits = _continue(model, prefix, ids[:-1])
    greedy = [logits[0].argmax()]
    if greedy_tokens > 1:
        cache = cache_of(prefix, model.dtype)
        forward.run_chunk(model, ids[:1], cache)
        while len(greedy) < greedy_tokens:
            greedy.append(forward.run_chunk(model, greedy[-1][None], cache)[-1].argmax())
    return Reference(ids, logits, torch.stack(greedy)[:greedy_tokens])


@torch.inference_mode()
def score(model: Any, prefix: Prefix, reference: Reference) -> PerToken:
    """Run the same continuation after a changed prefix and compare every next-token distribution with the reference.

    KL(reference || changed) = sum p (log p - log q), in float64. Raises CaseFailed where the model gives something
    else than finite numbers.
    """
    logits = _continue(model, prefix, reference.ids[:-1])
    rows = zip(*(torch.split(one, _ROWS) for one in (reference.logits, logits, reference.ids[1:])), strict=True)
    columns = [torch.cat(pieces) for pieces in zip(*(_compare(*row) for row in rows), strict=True)]
    if not all(bool(torch.isfinite(column).all()) for column in columns):
        raise CaseFailed("non_finite_output", "with this cache the model's output is not finite")
    kl, nll, reference_nll, top1, topk = columns
    return PerToken(kl, nll, reference_nll, top1, topk, _greedy_match(model, prefix, reference))


@torch.inference_mode()
def says(model: Any, prefix: Prefix, question: torch.Tensor, answer: torch.Tensor) -> bool:
    """Does the model, writing greedily after prefix and question, write exactly the tokens of the answer?"""
    logits = _continue(model, prefix, torch.cat([question, answer[:-1]]))
    return torch.equal(logits[len(question) - 1 :].argmax(dim=-1), answer)


def _continue(model: Any, prefix: Prefix, ids: torch.Tensor) -> torch.Tensor:
    cache = cache_of(prefix, model.dtype)
    return torch.cat(
        [forward.run_chunk(model, chunk, cache).float() for chunk in torch.split(ids, forward.CHUNK_TOKENS)]
    )


def _compare(before: torch.Tensor, after: torch.Tensor, following: torch.Tensor) -> list[torch.Tensor]:
    p, q = (torch.log_softmax(logits.double(), dim=-1) for logits in (before, after))
    # A token that the reference rules out (-inf) adds nothing, whatever the other says.
    kl = torch.where(p.isneginf(), 0.0, p.exp() * (p - q)).sum(dim=-1).clamp_min(0.0)
    nll, reference_nll = (-log_p.gather(1, following[:, None])[:, 0] for log_p in (q, p))
    top1 = (before.argmax(dim=-1) == after.argmax(dim=-1)).double()
    count = min(TOP_K, before.shape[-1])
    best, other = (logits.topk(count, dim=-1).indices for logits in (before, after))
    topk = (best[:, :, None] == other[:, None, :]).any(dim=-1).double().mean(dim=-1)
    return [column.cpu() for column in (kl, nll, reference_nll, top1, topk)]


def _greedy_match(model: Any, prefix: Prefix, reference: Reference) -> int | None:
    """How many greedy tokens stay the same. Up to the first that differs the inputs are equal, so one pass tells."""
    expected = reference.greedy
    if len(expected) == 0:
        return None
    written = _continue(model, prefix, torch.cat([reference.ids[:1], expected[:-1]])).argmax(dim=-1)
    return int((written == expected).long().cumprod(dim=0).sum())
