"""Owns `cuszp` as a numcodecs codec, so that zarr and others can name it: arrays in, frames out."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, ClassVar, Self

import ml_dtypes
import numpy as np
import torch
from numcodecs import register_codec
from numcodecs.abc import Codec as NumcodecsCodec
from numcodecs.compat import ensure_contiguous_ndarray, ensure_ndarray, ndarray_copy
from numpy.typing import NDArray
from pydantic import ValidationError

from kvbench.bound import Bound, BoundKind, BoundPolicy
from kvbench.codecs import frame
from kvbench.codecs.cuszp import Cuszp
from kvbench.codecs.stored import codec_of, empty_like_decoded
from kvbench.config import Mode
from kvbench.errors import UsageError
from kvbench.tensors.base import KVView

_OWN_NAMES = {"value": "error_bound", "kind": "bound_kind"}  # of the fields of a Bound
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class CuszpNumcodec(NumcodecsCodec):  # type: ignore[misc]  # numcodecs has no types
    """Error-bounded lossy coding of float32, float16 and bfloat16 (ml_dtypes) arrays; an encoded array is one frame.

    A frame knows dtype and shape, so decoding needs no parameter. It must see the array itself: as zarr's
    compressor, or as a filter that no other filter turns into bytes before. An array in Fortran order is coded as
    the flat array of its memory, as other numcodecs codecs do.
    """

    codec_id: ClassVar[str] = "cuszp"

    def __init__(
        self,
        error_bound: float = 1e-2,
        bound_kind: BoundKind = "rel",
        mode: Mode = "plain",
        bound_policy: BoundPolicy = "strict",
    ) -> None:
        """Parameters as in `Bound` and `Cuszp`. Raises UsageError for one that cannot be used."""
        try:
            self._bound = Bound(kind=bound_kind, value=error_bound)
            self._codec = Cuszp(mode=mode, bound_policy=bound_policy)
        except ValidationError as error:
            first = error.errors()[0]
            message = str(first["msg"]).removeprefix("Value error, ")
            name = _OWN_NAMES.get(str(first["loc"][0]), first["loc"][0])
            raise UsageError(f"codec 'cuszp', {name}: {message} (got {first['input']!r})") from None
        self.error_bound = self._bound.value
        self.bound_kind = bound_kind
        self.mode = mode
        self.bound_policy = bound_policy

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The codec of a configuration without its `id`. Raises UsageError for a key or value that cannot be used."""
        known = list(signature(cls).parameters)
        for name in config:
            if name not in known:
                raise UsageError(f"codec 'cuszp' has no parameter {name!r}; it takes: {', '.join(known)}")
        return cls(**config)

    def encode(self, buf: Any) -> bytes:
        """The frame of an array. Raises UsageError for what is no array, and for another dtype or byte order."""
        try:
            array = ensure_ndarray(buf)
        except TypeError:
            raise UsageError(
                f"codec 'cuszp' takes arrays, not a {type(buf).__name__}: convert it with numpy.asarray"
            ) from None
        tensor = _tensor(array)
        out = torch.empty(self._codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8)
        return frame.to_bytes(self._codec.encode(KVView(tensor), out, self._bound))

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The array of a frame, or `out` filled with it.

        Raises FrameError for bytes that are not a whole frame, and UsageError for what holds no bytes.
        """
        try:
            content = ensure_contiguous_ndarray(buf)
        except TypeError:
            raise UsageError(f"codec 'cuszp' decodes the bytes of a frame, not a {type(buf).__name__}") from None
        encoded = frame.from_bytes(memoryview(content))
        tensor = empty_like_decoded(encoded)
        codec_of(encoded).decode(encoded, tensor)
        return ndarray_copy(_array(tensor), out)


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """The same values as a tensor, copied only where torch cannot use the memory (read-only or with gaps)."""
    if array.dtype not in (np.float32, np.float16, _BFLOAT16) or not array.dtype.isnative:
        raise UsageError(
            f"codec 'cuszp' takes float32, float16 and bfloat16 arrays in native byte order, not {array.dtype!r}: "
            "convert it, and put no codec before this one that turns arrays into bytes"
        )
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        array = array.reshape(-1, order="A")
    array = np.require(array, requirements=["C", "W"])
    if array.dtype == _BFLOAT16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(_BFLOAT16)
    return tensor.numpy()


register_codec(CuszpNumcodec)
