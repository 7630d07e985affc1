"""Owns calibrated vectors: one number a channel, measured once, named by content, read from a file beside a profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import xxhash

from kvbench.errors import UsageError
from kvbench.record.files import os_reason, replacing
from kvbench.record.tensor_file import save_safetensors

ID_PATTERN = "[0-9a-f]{16}"
STATISTICS = ("mean", "std")

# Every vector that was read or made in this process, by id: float32 [heads, head size] on the CPU.
_VECTORS: dict[str, torch.Tensor] = {}


def add(values: torch.Tensor) -> str:
    """Make a vector known in this process; its id, 16 hex digits, follows from shape and values alone."""
    held = values.detach().to("cpu", torch.float32).contiguous()
    if held.dim() != 2 or not bool(torch.isfinite(held).all()):
        raise UsageError(f"a calibrated vector is finite and [heads, head size], not {tuple(held.shape)}")
    digest = xxhash.xxh3_64_hexdigest(repr(tuple(held.shape)).encode() + held.numpy().tobytes())
    _VECTORS[digest] = held
    return digest


def vector(vector_id: str) -> torch.Tensor:
    """float32 [heads, head size] on the CPU. Raises UsageError for an id that is not known in this process."""
    if vector_id not in _VECTORS:
        raise UsageError(
            f"calibrated vector {vector_id} is not known here: give the profile it belongs to with --profile FILE"
        )
    return _VECTORS[vector_id]


def rounded(vector_id: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A vector rounded to `dtype`, as float32 on `device`."""
    return vector(vector_id).to(dtype).to(device, torch.float32)


def fault(vector_id: str, shape: tuple[int, int, int], transform: str) -> str | None:
    """Why a vector cannot serve a block of [tokens, heads, head size], or None when it can.

    Raises UsageError for an id that is not known in this process.
    """
    if vector_id == "calibrated":
        return f"{transform}=calibrated takes its numbers from a profile; give --profile FILE, or leave it out"
    found = tuple(vector(vector_id).shape)
    if found != shape[1:]:
        return f"{transform}: the calibrated vector {vector_id} is of {found} channels, the tensor of {shape[1:]}"
    return None


def wanted(vectors: Mapping[str, str], statistic: str, transform: str) -> str:
    """The id of one statistic. Raises UsageError where it was not calibrated."""
    if statistic not in vectors:
        raise UsageError(
            f"{transform}=calibrated needs the channels' {statistic} from a calibration file, which a profile names "
            "(--profile FILE) and which lacks it or is not there"
        )
    return vectors[statistic]


def measure(values: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean and standard deviation of each channel of [tokens, heads, head size] over its tokens, float32."""
    exact = values.to(torch.float64)
    return {
        "mean": exact.mean(dim=0).to(torch.float32),
        "std": exact.std(dim=0, correction=0).to(torch.float32),
    }


def write(path: Path, vectors: Mapping[tuple[int, str, str], torch.Tensor]) -> None:
    """Write vectors by (layer, kv, statistic) to a .safetensors file. Raises KvbenchError when the disk refuses."""
    tensors = {f"{kv}.{layer}.{statistic}": values for (layer, kv, statistic), values in vectors.items()}
    with replacing(path) as temporary:
        save_safetensors(temporary, tensors)


def read(path: Path) -> dict[tuple[int, str], dict[str, str]]:
    """The ids of a file's vectors by layer and kv, then statistic; they are known in this process from then on.

    Raises UsageError for a file that cannot be read or holds other tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read the calibration file {path}: {reason}") from None
    found: dict[tuple[int, str], dict[str, str]] = {}
    for name, values in tensors.items():
        kv, _, rest = name.partition(".")
        layer, _, statistic = rest.partition(".")
        if kv not in ("k", "v") or not layer.isdecimal() or statistic not in STATISTICS:
            raise UsageError(f"{path}: tensor {name!r} is not one of k.LAYER.mean, k.LAYER.std, v.LAYER.mean, ...")
        try:
            found.setdefault((int(layer), kv), {})[statistic] = add(values)
        except UsageError as error:
            raise UsageError(f"{path}: tensor {name!r}: {error}") from None
    return found
