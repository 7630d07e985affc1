"""Owns what a text becomes for scoring: tokens, the cache of its prefix, and what is asked of the model after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from kvbench.bench.context import BenchContext
from kvbench.config import Experiment
from kvbench.errors import CaseFailed, UsageError
from kvbench.measure.blocks import block_mean_interval, share_interval
from kvbench.models import load
from kvbench.models.needle import NEEDLE, Question, make_haystack
from kvbench.models.prefix import LayerKV, prefix_cache
from kvbench.models.score import Reference, make_reference, says, score
from kvbench.models.texts import SCORING, TEXTS, load_text
from kvbench.record.schema import Case, TensorSpec
from kvbench.tensors.layout import torch_dtype

Metrics = dict[str, float | int | None]


class Task(Protocol):
    """A prefix's cache, and what is measured of a model that has another in its place."""

    @property
    def prefix(self) -> Sequence[LayerKV]:
        """The cache as the model left it, in the cache's element type."""

    def metrics(self, changed: Sequence[LayerKV]) -> Metrics:
        """Columns of QUALITY_UNITS with `changed` in place of `prefix`. Raises CaseFailed for output without sense."""


@dataclass(frozen=True)
class Continuation:
    """The text's next tokens."""

    model: Any
    prefix: Sequence[LayerKV]
    reference: Reference

    def metrics(self, changed: Sequence[LayerKV]) -> Metrics:
        """KL, perplexity and agreement over the scored tokens; perplexity is exp of their mean nll."""
        found = score(self.model, changed, self.reference)
        kl, top1, topk = found.kl.numpy(), found.top1.numpy(), found.topk.numpy()
        log_change = (found.nll - found.reference_nll).numpy()
        change = _with_interval("perplexity_change", log_change)
        return {
            **_with_interval("kl_mean", kl),
            "kl_p99": float(np.quantile(kl, 0.99)),
            "perplexity": _or_none(math.exp, float(found.nll.mean())),
            **{name: _or_none(math.expm1, value) for name, value in change.items()},
            **_with_interval("top1_agreement", top1),
            **_with_interval("topk_agreement", topk),
            "greedy_match_tokens": found.greedy_match,
        }


@dataclass(frozen=True)
class Retrieval:
    """Questions about sentences hidden in the prefix."""

    model: Any
    prefix: Sequence[LayerKV]
    questions: Sequence[Question]
    device: torch.device

    def metrics(self, changed: Sequence[LayerKV]) -> Metrics:
        """The share of the questions that are answered exactly."""
        hits = sum(
            says(self.model, changed, self._tensor(one.question), self._tensor(one.answer)) for one in self.questions
        )
        low, high = share_interval(hits, len(self.questions))
        return {
            "needle_score": hits / len(self.questions),
            "needle_score_ci_low": low,
            "needle_score_ci_high": high,
        }

    def _tensor(self, token_ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor(token_ids, device=self.device)


def text_specs(experiment: Experiment, *, on_gpu: bool) -> tuple[TensorSpec, ...]:
    """The prefix cache of every text in every cache dtype, from the model's configuration and tokenizer alone.

    Raises UsageError where no model is named, a text is too short, or the model cannot take that many tokens.
    """
    if experiment.model is None:
        raise UsageError("quality needs a model: give --model DIR, or a name on the hub")
    place = load.locate(experiment.model, experiment.gguf, experiment.revision)
    config = load.load_config(place)
    _require_positions(config, experiment)
    tokenizer = load.load_tokenizer(place)
    heads, head_values = _head_shape(config)
    shape = (config.num_hidden_layers, experiment.prefix_tokens, heads, head_values)
    specs = []
    for name in experiment.text or SCORING:
        params: dict[str, Any] = {
            **{key: value for key in ("model", "gguf", "revision") if (value := getattr(experiment, key)) is not None},
            "prefix_tokens": experiment.prefix_tokens,
            "model_device": "cuda" if on_gpu else "cpu",
            **_what_is_asked(name, tokenizer, experiment),
        }
        specs += [
            TensorSpec(source=name, tensor=place.name, dtype=dtype, shape=shape, params=params)
            for dtype in experiment.dtype or ("bfloat16",)
        ]
    return tuple(specs)


def text_notes(experiment: Experiment) -> Iterator[str]:
    """A line a text: where it is from, which of its tokens are used and for what."""
    prefix, scored = experiment.prefix_tokens, experiment.score_tokens
    for name in experiment.text or SCORING:
        if name == NEEDLE:
            yield f"text {name}: {prefix} tokens made from seed {experiment.seed}; the share of exact answers is scored"
            continue
        known = TEXTS.get(name)
        what = f"{known.source} ({known.licence}; {known.role.replace('_', ' ')})" if known else "a file"
        yield (
            f"text {name}: {what}; the cache of tokens 0 to {prefix - 1} is replaced, "
            f"{prefix} to {prefix + scored - 1} are scored"
        )


def scoring_task(case: Case, context: BenchContext) -> Task:
    """The case's text, run once through the model and kept by the context until another text comes."""
    assert case.tensor is not None
    params = case.tensor.params
    key = f"{case.tensor.model_dump_json()} {case.seed}"
    if context.kept.get("task_key") != key:
        context.kept.pop("task", None)  # before the next is made, so that two are never held
        model = _model(params, context)
        context.kept["task"] = _make_task(case, case.tensor, model, _device(params, context))
        context.kept["task_key"] = key
    task: Task = context.kept["task"]
    return task


def _make_task(case: Case, spec: TensorSpec, model: Any, device: torch.device) -> Task:
    params, dtype = spec.params, torch_dtype(spec.dtype)
    tokenizer = load.load_tokenizer(_place(params))
    prefix_tokens: int = params["prefix_tokens"]
    if spec.source == NEEDLE:
        haystack = make_haystack(tokenizer, prefix_tokens, case.seed)
        prefix = prefix_cache(model, haystack.token_ids, dtype, device, spec.elements)
        return Retrieval(model, prefix, haystack.questions, device)
    text = load_text(spec.source)
    if text.sha256 != params["text_sha256"]:
        raise CaseFailed("text_changed", f"text {spec.source} is not what it was when the run was planned")
    token_ids = _token_ids(tokenizer, text.content)
    prefix = prefix_cache(model, token_ids[:prefix_tokens], dtype, device, spec.elements)
    following = torch.tensor(token_ids[prefix_tokens : prefix_tokens + params["score_tokens"] + 1], device=device)
    return Continuation(model, prefix, make_reference(model, prefix, following, params["greedy_tokens"]))


def _what_is_asked(name: str, tokenizer: Any, experiment: Experiment) -> dict[str, Any]:
    if name == NEEDLE:
        return {"needles": len(make_haystack(tokenizer, experiment.prefix_tokens, experiment.seed).questions)}
    text = load_text(name)
    needed = experiment.prefix_tokens + experiment.score_tokens + 1  # every scored token has a next one
    found = len(_token_ids(tokenizer, text.content))
    if found < needed:
        raise UsageError(
            f"--text {name} gives {found} tokens, {needed} are needed: "
            "give a longer text, or fewer --prefix-tokens or --score-tokens"
        )
    return {
        "text_sha256": text.sha256,
        "score_tokens": experiment.score_tokens,
        "greedy_tokens": experiment.greedy_tokens,
    }


def _require_positions(config: Any, experiment: Experiment) -> None:
    longest = getattr(config, "max_position_embeddings", None)
    needed = experiment.prefix_tokens + max(experiment.score_tokens, experiment.greedy_tokens) + 1
    if longest is not None and needed > longest:
        raise UsageError(
            f"--prefix-tokens {experiment.prefix_tokens}: with what follows that is {needed} tokens, "
            f"and the model was made for {longest} positions at most"
        )


def _head_shape(config: Any) -> tuple[int, int]:
    """KV heads, and the values that K and V of one head hold together for one token.

    Raises UsageError for a model without attention. Where the cache turns out otherwise, `prefix_cache` says so.
    """
    query_heads = getattr(config, "num_attention_heads", None)
    if query_heads is None:
        raise UsageError(f"--model: a {config.model_type} model keeps no K and V of its tokens; choose another")
    heads = getattr(config, "num_key_value_heads", None) or query_heads
    common = getattr(config, "head_dim", None) or config.hidden_size // query_heads
    return heads, (getattr(config, "qk_head_dim", None) or common) + (getattr(config, "v_head_dim", None) or common)


def _model(params: dict[str, Any], context: BenchContext) -> Any:
    """Loaded at the first case; a run has one model."""
    if "model" not in context.kept:
        context.kept["model"] = load.load_model(_place(params), _device(params, context))
    return context.kept["model"]


def _place(params: dict[str, Any]) -> load.ModelPlace:
    return load.locate(params["model"], params.get("gguf"), params.get("revision"))


def _device(params: dict[str, Any], context: BenchContext) -> torch.device:
    return torch.device("cuda", context.device_id) if params["model_device"] == "cuda" else torch.device("cpu")


def _token_ids(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text)["input_ids"]]


def _with_interval(name: str, values: np.ndarray[Any, np.dtype[np.float64]]) -> Metrics:
    interval = block_mean_interval(values)
    low, high = (None, None) if interval is None else interval
    return {name: float(values.mean()), f"{name}_ci_low": low, f"{name}_ci_high": high}


def _or_none(function: Callable[[float], float], value: float | None) -> float | None:
    """function(value); None where that overflows."""
    try:
        return None if value is None else function(value)
    except OverflowError:
        return None
