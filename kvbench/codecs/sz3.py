"""Owns the codec `sz3`: prediction, quantisation, Huffman and Zstandard coding, through pysz."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from kvbench.codecs.dependency import import_problem
from kvbench.codecs.error_bounded import ErrorBounded
from kvbench.codecs.frame_header import FrameError


class Sz3(ErrorBounded):
    """SZ3 with an absolute bound and its default predictor (Liang et al.: "SZ3: A Modular Framework for Composing
    Prediction-Based Error-Bounded Lossy Compressors", 2022), on one thread.
    """

    name: ClassVar[str] = "sz3"
    summary: ClassVar[str] = "error-bounded lossy: prediction, quantisation, entropy coding (SZ3, pysz)"

    @classmethod
    def unavailable(cls, device: Literal["cpu", "cuda"]) -> str | None:
        """Why tensors on `device` cannot be coded here, or None."""
        if device == "cuda":
            return "pysz runs on the CPU only"
        return import_problem("pysz", "pysz", "sz3")

    def squeeze(self, array: NDArray[np.float32], error_bound: float) -> bytes:
        """SZ3's stream, its configuration included."""
        from pysz import sz, szConfig, szErrorBoundMode

        config = szConfig()
        config.errorBoundMode = szErrorBoundMode.ABS
        config.absErrorBound = error_bound
        payload, _ = sz.compress(array, config)
        return bytes(payload.tobytes())

    def expand(self, payload: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The array that a stream stands for."""
        from pysz import sz

        try:
            decoded, _ = sz.decompress(payload.copy(), np.float32, shape)
        except (RuntimeError, TypeError, ValueError) as error:
            raise FrameError(f"SZ3 cannot decode the payload: {error}") from error
        restored: NDArray[np.float32] = decoded
        return restored
