"""Owns the step between a tensor and its raw element bytes: names of dtypes, byte views, pieces as float32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from kvbench.errors import UsageError
from kvbench.geometry import DTYPE_BYTES, DType

TORCH_DTYPES: dict[DType, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
BIT_DTYPES: dict[DType, torch.dtype] = {"float32": torch.int32, "bfloat16": torch.int16, "float16": torch.int16}
_NAMES: dict[torch.dtype, DType] = {dtype: name for name, dtype in TORCH_DTYPES.items()}

# Elements handled at a time where a pass needs scratch memory: a multiple of 32 (a codec block) and of 8 (bitmaps).
PIECE_ELEMENTS = 1 << 20


def dtype_name(dtype: torch.dtype) -> DType:
    """The name of an element type. Raises UsageError for one that no codec takes."""
    try:
        return _NAMES[dtype]
    except KeyError:
        known = ", ".join(TORCH_DTYPES)
        raise UsageError(f"tensors of dtype {dtype} cannot be coded: convert to one of {known}") from None


def require_contiguous(tensor: torch.Tensor) -> None:
    """Raises ValueError where the elements do not lie one after the other."""
    if not tensor.is_contiguous():
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is not contiguous: pass tensor.contiguous()")


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as [n]. Raises ValueError where that would take a hidden copy."""
    require_contiguous(tensor)
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.numel() > 1:
        return tensor.view(-1)
    # One element or none may have any stride, which a byte view refuses.
    return tensor.as_strided((tensor.numel(),), (1,))


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of a contiguous tensor as uint8 [bytes]; writing to it writes to the tensor."""
    return flat(tensor).view(torch.uint8)


def pieces(elements: int) -> Iterator[tuple[int, int]]:
    """(first, count) of consecutive pieces that together cover `elements`."""
    for first in range(0, elements, PIECE_ELEMENTS):
        yield first, min(PIECE_ELEMENTS, elements - first)


def float32_piece(raw: torch.Tensor, dtype: DType, first: int, count: int) -> torch.Tensor:
    """Elements [first, first + count) of raw element bytes (uint8, any alignment) as a new float32 tensor [count]."""
    size = DTYPE_BYTES[dtype]
    piece = torch.empty(count, dtype=TORCH_DTYPES[dtype], device=raw.device)
    piece.view(torch.uint8).copy_(raw[first * size : (first + count) * size])
    return piece.to(torch.float32)


def copy_bytes(target: torch.Tensor, source: torch.Tensor) -> None:
    """Copy uint8 memory, on the host by one thread.

    torch would split a host copy over its threads and wait for the slowest, which on a busy machine takes milliseconds
    whatever the size.
    """
    if target.device.type == "cpu" and source.device.type == "cpu":
        np.copyto(target.numpy(), source.numpy())
    else:
        target.copy_(source)


def fill_from_bytes(raw: torch.Tensor, dtype: DType, out: torch.Tensor) -> None:
    """Write raw element bytes of `dtype` into `out`, of that dtype (bit for bit) or float32 (widened)."""
    if dtype_name(out.dtype) == dtype:
        copy_bytes(as_bytes(out), raw)
        return
    target = flat(out)
    for first, count in pieces(target.numel()):
        target[first : first + count] = float32_piece(raw, dtype, first, count)


def check_encode_room(out: torch.Tensor, capacity: int, device: torch.device) -> None:
    """Raises ValueError unless `out` is flat uint8 memory on `device` with room for `capacity` bytes."""
    if out.dtype != torch.uint8 or out.dim() != 1 or not out.is_contiguous() or out.device != device:
        raise ValueError(f"encoding needs a flat contiguous uint8 tensor on {device}, not {out.dtype} on {out.device}")
    if out.numel() < capacity:
        raise ValueError(f"encoding may need {capacity} bytes, the output has {out.numel()}")


def check_decode_target(out: torch.Tensor, shape: tuple[int, ...], dtype: DType) -> None:
    """Raises ValueError unless `out` can take a decoded tensor: contiguous, of its shape, of its dtype or float32."""
    if tuple(out.shape) != shape or not out.is_contiguous():
        raise ValueError(f"decoding needs a contiguous tensor of shape {shape}, not one of shape {tuple(out.shape)}")
    if out.dtype not in (TORCH_DTYPES[dtype], torch.float32):
        raise ValueError(f"a {dtype} tensor decodes to {dtype} or float32, not to {out.dtype}")
