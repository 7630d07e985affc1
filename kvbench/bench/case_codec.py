"""Owns what transforms and a profile mean for cases: which are planned, and the codec of each."""

from __future__ import annotations

from collections.abc import Callable

from kvbench.codecs import profile as profiles
from kvbench.codecs import registry as codecs
from kvbench.codecs.base import Codec
from kvbench.codecs.pipeline import Pipeline
from kvbench.codecs.transforms import chain as chains
from kvbench.codecs.transforms import laid_out
from kvbench.config import Experiment
from kvbench.errors import CaseSkipped, UsageError
from kvbench.plan import NO_TRANSFORM, Chosen
from kvbench.record.schema import Case, TensorSpec
from kvbench.tensors.base import KVView

TRANSFORM_NOTE = (
    "transforms: the bound is a fraction of the tensor without kept tokens, or absolute, and holds for what the codec "
    "sees; error columns are about the tensor"
)
Choose = Callable[[TensorSpec], Chosen]


def with_known_transforms(experiment: Experiment) -> Experiment:
    """The experiment with its chains in canonical form, so that two ways to write one make one case.

    Raises UsageError for a chain that cannot be read, keeps tokens beside --keep-first, or needs a profile.
    """
    try:
        for text, kept in ((text, kept) for text in experiment.transform for kept in experiment.keep_first):
            chains.with_kept(text, kept)
        parsed = [chains.with_calibration(chains.parse(text), {}) for text in experiment.transform]
    except UsageError as error:
        raise UsageError(f"--transform: {error}") from None
    texts = dict.fromkeys(chains.canonical(chain) or NO_TRANSFORM for chain in parsed)
    return experiment.model_copy(update={"transform": tuple(texts)})


def profile_of(experiment: Experiment) -> Choose | None:
    """What the experiment's profile says of a tensor; None without one. Raises like `kvbench.codecs.profile.load`."""
    if experiment.profile is None:
        return None
    profile = profiles.load(experiment.profile)
    return lambda spec: profile.choose(spec.layer, spec.kv)


def transform_fault(transforms: str, spec: TensorSpec) -> str | None:
    """Why a tensor, which is not flat, cannot go through these transforms, or None when it can."""
    chain = chains.resolved(chains.parse(transforms), spec.kv)
    layout = laid_out.known(spec.source_layout, f"a chain of transforms ({transforms})")
    try:
        chains.require_fit(chain, laid_out.token_major(spec.shape, layout))
    except UsageError as error:
        return str(error)
    return None


def require_fit(codec: Codec, view: KVView) -> None:
    """Raises CaseSkipped where a codec has transforms that cannot take a tensor of this shape."""
    if isinstance(codec, Pipeline) and view.layout != "flat":
        chain = chains.resolved(chains.parse(codec.transforms), view.kv)
        try:
            chains.require_fit(chain, laid_out.token_major(tuple(view.tensor.shape), view.layout))
        except UsageError as error:
            raise CaseSkipped("transform_does_not_fit", str(error)) from None


def codec_of_case(case: Case) -> Codec:
    """The case's codec with its threads; a `Pipeline` around it where the case has transforms or kept tokens.

    Raises like `kvbench.codecs.registry.make`, and UsageError for transforms that cannot be read.
    """
    threads = {} if case.threads is None else {"threads": case.threads}
    chain = chains.with_kept(case.transforms or "", case.keep_first or 0)
    if not chain:
        return codecs.make(case.codec, {**case.codec_params, **threads})
    return Pipeline(codec=case.codec, params=case.codec_params, transforms=chain, threads=case.threads or 0)
