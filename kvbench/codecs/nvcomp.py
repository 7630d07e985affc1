"""Owns the codec `nvcomp`: NVIDIA's lossless codecs on the GPU, through the Python package of nvCOMP."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Literal

import torch

from kvbench.codecs.byte_codec import ByteCodec
from kvbench.codecs.dependency import import_problem
from kvbench.codecs.frame_header import FrameError

Algorithm = Literal["ans", "bitcomp", "cascaded", "lz4", "zstd"]
# nvCOMP's name of each, and the element types it is told by the bytes of an element; bfloat16 goes as its two bytes do.
_NAMES: dict[Algorithm, str] = {
    "ans": "ANS",
    "bitcomp": "Bitcomp",
    "cascaded": "Cascaded",
    "lz4": "LZ4",
    "zstd": "Zstd",
}
_DATA_TYPES: dict[Algorithm, dict[int, str]] = {
    "ans": {2: "<f2", 4: "<f4"},
    "bitcomp": {2: "<u2", 4: "<u4"},
    "cascaded": {2: "<u2", 4: "<u4"},
    "lz4": {2: "<u2", 4: "<u4"},
    "zstd": {},
}
_ALIGNMENT = 256  # of what is handed to the library; memory that torch allocates begins at multiples of 512


class Nvcomp(ByteCodec):
    """nvCOMP's own bitstream in chunks of 64 KiB, header included; every call waits for the GPU.

    The library allocates what it gives back, so a copy on the device is part of every call.
    """

    name: ClassVar[str] = "nvcomp"
    summary: ClassVar[str] = "NVIDIA's lossless GPU codecs: ANS, Bitcomp, Cascaded, LZ4, Zstandard"

    algorithm: Algorithm = "ans"

    @classmethod
    def unavailable(cls, device: Literal["cpu", "cuda"]) -> str | None:
        """Why tensors on `device` cannot be coded here, or None."""
        problem = import_problem("nvidia.nvcomp", "nvidia-nvcomp-cu13", "nvcomp")
        if problem is not None:
            return problem
        return None if device == "cuda" else "nvCOMP runs on the GPU only"

    def squeeze(self, raw: torch.Tensor, item_bytes: int, out: torch.Tensor) -> int | None:
        """Compress, then copy to `out`; None where it does not fit."""
        squeezed = _call(raw, _codec(self.algorithm, item_bytes, *_place(raw)).encode)
        if squeezed.numel() > out.numel():
            return None
        out[: squeezed.numel()].copy_(squeezed)
        torch.cuda.synchronize(raw.device)  # before the library may use that memory again
        return squeezed.numel()

    def expand(self, payload: torch.Tensor, item_bytes: int, out: torch.Tensor) -> None:
        """Decompress, then copy to `out`."""
        try:
            expanded = _call(payload, _codec(self.algorithm, item_bytes, *_place(payload)).decode)
        except (RuntimeError, ValueError) as error:
            raise FrameError(f"nvCOMP cannot decode the payload: {error}") from error
        if expanded.numel() != out.numel():
            raise FrameError(f"the payload decodes to {expanded.numel()} bytes, not {out.numel()}")
        out.copy_(expanded)
        torch.cuda.synchronize(payload.device)


@cache
def _codec(algorithm: Algorithm, item_bytes: int, device_id: int, stream: int) -> Any:
    """The library's codec on a stream of a device, which keeps its scratch memory from call to call."""
    from nvidia import nvcomp

    data_type = _DATA_TYPES[algorithm].get(item_bytes)
    options = {} if data_type is None else {"data_type": data_type}
    return nvcomp.Codec(algorithm=_NAMES[algorithm], device_id=device_id, cuda_stream=stream, **options)


def _place(tensor: torch.Tensor) -> tuple[int, int]:
    return tensor.get_device(), torch.cuda.current_stream(tensor.device).cuda_stream


def _call(data: torch.Tensor, method: Callable[[Any], Any]) -> torch.Tensor:
    """What encoding or decoding `data` gives, uint8, in memory of the library that lives as long as the tensor.

    It waits before and after: the library takes the default stream for none given, and works on one of its own.
    """
    from nvidia import nvcomp

    if data.data_ptr() % _ALIGNMENT:
        data = data.clone()
    with torch.cuda.device(data.device):
        torch.cuda.synchronize()
        result = method(nvcomp.as_array(data))
        torch.cuda.synchronize()
        return torch.as_tensor(result, device=data.device).reshape(-1).view(torch.uint8)
