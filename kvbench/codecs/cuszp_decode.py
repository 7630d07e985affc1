"""Owns decoding of an encoded tensor, whole or piece by piece; what its header says decides how."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from kvbench.codecs import engine
from kvbench.codecs.elements import (
    check_decode_target,
    fill_from_bytes,
    flat,
    float32_piece,
    pieces,
)
from kvbench.codecs.encoded import EncodedTensor
from kvbench.codecs.frame_header import FrameError


def decode(encoded: EncodedTensor, out: torch.Tensor, threads: int) -> None:
    """Decode into `out`, contiguous, of the tensor's shape and of its dtype or float32.

    Raises FrameError for a stream that is not one of this many elements.
    """
    header = encoded.header
    check_decode_target(out, header.shape, header.dtype)
    if header.body_kind == "raw":
        fill_from_bytes(encoded.body, header.dtype, out)
        return
    if header.body_kind == "constant":
        flat(out).fill_(_constant(encoded))
    else:
        _decompress(encoded, out, 0, threads)
    if encoded.non_finite is not None:
        encoded.non_finite.restore(flat(out))


def float32_pieces(encoded: EncodedTensor, threads: int) -> Iterator[tuple[int, torch.Tensor]]:
    """The decoded float32 values as (first element, new flat tensor), in order, a few MB at a time.

    A stream on a GPU is decoded whole, since its kernel knows no parts.
    """
    header = encoded.header
    if header.body_kind == "stream" and encoded.body.device.type != "cpu":
        whole = torch.empty(header.elements, dtype=torch.float32, device=encoded.body.device)
        _decompress(encoded, whole, 0, threads)
        if encoded.non_finite is not None:
            encoded.non_finite.restore(whole)
        yield 0, whole
        return
    for first, count in pieces(header.elements):
        if header.body_kind == "raw":
            yield first, float32_piece(encoded.body, header.dtype, first, count)
            continue
        values = torch.empty(count, dtype=torch.float32, device=encoded.body.device)
        if header.body_kind == "constant":
            values.fill_(_constant(encoded))
        else:
            _decompress(encoded, values, first, threads)
        if encoded.non_finite is not None:
            encoded.non_finite.restore(values, first)
        yield first, values


def _constant(encoded: EncodedTensor) -> float:
    return float(float32_piece(encoded.body, encoded.header.dtype, 0, 1).item())


def _decompress(encoded: EncodedTensor, out: torch.Tensor, first: int, threads: int) -> None:
    header = encoded.header
    assert header.quantizer_error_bound is not None  # a stream body has one, checked when a header is read
    try:
        engine.decompress(encoded.body, header.elements, header.quantizer_error_bound, header.mode, threads, out, first)
    except engine.CodecError as error:
        raise FrameError(f"the stream cannot be decoded: {error.args[1]}") from error
