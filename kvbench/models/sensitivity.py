"""Owns how much a model minds an error in each value of its cache: one backward pass a probe."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from kvbench.errors import CaseFailed
from kvbench.models import forward
from kvbench.models.prefix import LayerKV, Prefix, cache_of
from kvbench.models.score import Reference

PROBES = 4


class Gradients(NamedTuple):
    """Probes of one layer, each float32 [probes, tokens, heads, values of a head], scaled as `probe` says."""

    keys: torch.Tensor
    values: torch.Tensor


def probe(model: Any, prefix: Prefix, reference: Reference, seed: int, probes: int = PROBES) -> list[Gradients]:
    """Gradients g such that an error d of the cache changes the output by KL = mean over probes of (sum g d)^2.

    KL is the mean over the scored tokens, to second order in d: KL = 1/2 d^T F d, with F the Fisher information of the
    next-token distributions about the cache, E[g g^T] with g the gradient of log p(y) and y drawn from p (Martens,
    "New insights and perspectives on the natural gradient method", 2020, section 9). A probe draws every token's y, by
    `seed`, and needs one backward pass: gradients of different tokens are not correlated, so the square of their sum
    estimates the sum of their squares. Raises CaseFailed where the output does not depend on the cache.
    """
    model.requires_grad_(False)
    leaves = [tensor.to(model.dtype, copy=True).requires_grad_() for layer in prefix for tensor in layer]
    pairs = [LayerKV(*pair) for pair in zip(leaves[::2], leaves[1::2], strict=True)]
    ids = reference.ids[:-1].clone()
    cache = cache_of(pairs, model.dtype)
    log_p = torch.cat(
        [
            torch.log_softmax(forward.run_chunk(model, chunk, cache).float(), dim=-1)
            for chunk in torch.split(ids, forward.CHUNK_TOKENS)
        ]
    )
    if not log_p.requires_grad:
        raise CaseFailed("cache_unused", "what this model says does not depend on its cache; there is nothing to tune")
    chance = log_p.detach().double().exp().cpu()
    generator = torch.Generator().manual_seed(seed)
    found: list[list[torch.Tensor]] = [[] for _ in leaves]
    for _ in range(probes):
        drawn = torch.multinomial(chance, 1, generator=generator).to(log_p.device)
        likelihood = log_p.gather(1, drawn).sum() * (2 * len(ids)) ** -0.5
        for kept, gradient in zip(found, torch.autograd.grad(likelihood, leaves, retain_graph=True), strict=True):
            kept.append(gradient.float())
    stacked = [torch.stack(kept) for kept in found]
    return [Gradients(*pair) for pair in zip(stacked[::2], stacked[1::2], strict=True)]
