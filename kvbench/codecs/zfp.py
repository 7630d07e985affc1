"""Owns the codec `zfp`: blocks of 4, 16 or 64 values turned by a fixed transform, through zfpy."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from kvbench.codecs.dependency import import_problem
from kvbench.codecs.error_bounded import ErrorBounded
from kvbench.codecs.frame_header import FrameError


class Zfp(ErrorBounded):
    """zfp in its fixed-accuracy mode (Lindstrom: "Fixed-Rate Compressed Floating-Point Arrays", 2014), on one thread.

    The payload begins with zfp's own header. zfp aligns the values of a block to its largest one: a bound far below
    that value's float32 resolution, or a tensor of numbers below 1e-30, is not kept.
    """

    name: ClassVar[str] = "zfp"
    summary: ClassVar[str] = "error-bounded lossy: zfp's block transform, fixed-accuracy mode (zfpy)"

    @classmethod
    def unavailable(cls, device: Literal["cpu", "cuda"]) -> str | None:
        """Why tensors on `device` cannot be coded here, or None."""
        if device == "cuda":
            return "zfpy runs on the CPU only"
        return import_problem("zfpy", "zfpy", "zfp")

    def squeeze(self, array: NDArray[np.float32], error_bound: float) -> bytes:
        """zfp's header and stream."""
        import zfpy

        return bytes(zfpy.compress_numpy(array, tolerance=error_bound, write_header=True))

    def expand(self, payload: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The array that header and stream stand for."""
        import zfpy

        try:
            decoded: NDArray[np.float32] = zfpy.decompress_numpy(payload.tobytes())
        except (RuntimeError, TypeError, ValueError) as error:
            raise FrameError(f"zfp cannot decode the payload: {error}") from error
        return decoded
