"""Owns the bytes of a pipeline's payload: the inner stream, then side data, then what says how to read the stream.

bytes  what
b      the inner codec's body, at the front, so that it is encoded in place
s...   side data of each transform, in the chain's order; sizes follow from shape and parameters
h      the inner codec's frame header, without its checksum; none for `raw`, whose body has the shape's own size
4      h, u32, little-endian
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from kvbench.codecs import frame
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.encoded import EncodedTensor
from kvbench.codecs.frame_header import FrameError
from kvbench.codecs.payload import EncodedPayload
from kvbench.codecs.raw import Raw, RawEncoded
from kvbench.codecs.stored import codec_of
from kvbench.errors import UsageError
from kvbench.geometry import DTYPE_BYTES, DType

_LENGTH_BYTES = 4

Inner = EncodedTensor | EncodedPayload | RawEncoded


def write(encoded: Encoded, sides: Sequence[torch.Tensor], out: torch.Tensor, most_bytes: int) -> int | None:
    """Complete the payload in `out`, whose front may hold the inner body already; its length.

    None, with `out` in no defined state, where that is more than `most_bytes`, which `out` has room for. Raises
    UsageError for a codec whose tensors have no frame.
    """
    if not isinstance(encoded, Inner) or getattr(encoded, "non_finite", None) is not None:
        raise UsageError(f"a {type(encoded).__name__} cannot stand in a pipeline: its codec has no frame for it")
    header = b"" if isinstance(encoded, RawEncoded) else encoded.header.pack()
    tail = header + len(header).to_bytes(_LENGTH_BYTES, "little")
    at = encoded.body.numel()
    total = at + sum(side.numel() for side in sides) + len(tail)
    if total > most_bytes:
        return None
    if at and encoded.body.data_ptr() != out.data_ptr():
        out[:at] = encoded.body.clone()
    for part in (*sides, torch.frombuffer(bytearray(tail), dtype=torch.uint8)):
        out[at : at + part.numel()] = part.to(out.device)
        at += part.numel()
    return total


def read(
    body: torch.Tensor, side_sizes: Sequence[int], shape: tuple[int, ...], dtype: DType
) -> tuple[Inner, list[torch.Tensor]]:
    """The inner encoded tensor, of this shape and dtype, and the side data of each transform.

    Raises FrameError for bytes that are not such a payload.
    """
    header_end = body.numel() - _LENGTH_BYTES
    header_bytes = int.from_bytes(bytes(body[max(header_end, 0) :].cpu().numpy()), "little")
    at = header_end - header_bytes
    body_bytes = at - sum(side_sizes)
    if body_bytes < 0:
        raise FrameError(f"payload of {body.numel()} bytes is too short for its side data and header")
    header = bytes(body[at:header_end].cpu().numpy())
    sides = [one.clone() for one in torch.split(body[body_bytes:at], list(side_sizes))] if side_sizes else []
    if not header:
        if body_bytes != math.prod(shape) * DTYPE_BYTES[dtype]:
            raise FrameError(f"raw stream of {body_bytes} bytes does not fit shape {shape} of {dtype}")
        return RawEncoded(body[:body_bytes], shape, dtype), sides
    inner = frame.join(header, body[:body_bytes])
    if inner.shape != shape or inner.header.dtype != dtype:
        raise FrameError(f"stream of {inner.header.dtype} {inner.shape} where {dtype} {shape} was due")
    return inner, sides


def decoder_of(inner: Inner, threads: int) -> Codec:
    """The codec that decodes it. Raises like `kvbench.codecs.stored.codec_of`."""
    return Raw() if isinstance(inner, RawEncoded) else codec_of(inner, threads)
