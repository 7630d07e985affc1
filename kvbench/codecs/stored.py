"""Owns the way back from a stored tensor: the codec that decodes it, and memory to decode it into."""

from __future__ import annotations

import torch

from kvbench.codecs import registry
from kvbench.codecs.base import Codec
from kvbench.codecs.cuszp import Cuszp
from kvbench.codecs.elements import TORCH_DTYPES
from kvbench.codecs.encoded import EncodedTensor
from kvbench.codecs.frame import FrameError, Stored
from kvbench.errors import UnavailableError, UsageError


def codec_of(encoded: Stored, threads: int = 0) -> Codec:
    """The codec that `encoded` was made with, its parameters included; `threads` where it takes them, 0 for all.

    Raises FrameError for a codec or parameters that this kvbench does not know, UnavailableError for a codec that
    cannot be used here.
    """
    if isinstance(encoded, EncodedTensor):
        return Cuszp(threads=threads)
    description = encoded.header.description
    try:
        codec = registry.make(description.codec, description.params)
    except UsageError as error:
        raise FrameError(f"frame of another kvbench: {error}") from None
    reason = codec.unavailable("cuda" if encoded.body.is_cuda else "cpu")
    if reason is not None:
        raise UnavailableError(f"codec {description.codec!r} cannot be used here: {reason}")
    return codec.model_copy(update={"threads": threads}) if "threads" in codec.axes else codec


def empty_like_decoded(encoded: Stored) -> torch.Tensor:
    """Memory for the decoded tensor in its own dtype, not yet written."""
    return torch.empty(encoded.shape, dtype=TORCH_DTYPES[encoded.header.dtype], device=encoded.body.device)
