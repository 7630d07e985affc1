"""Owns the error of a decoded tensor: violations of its bound, and the figures and histogram beside them."""

from __future__ import annotations

import math

import numpy as np
import torch

from kvbench.measure.pieces import split
from kvbench.record.schema import Histogram

HISTOGRAM_BINS = 64


class ErrorMeter:
    """Compares a tensor with its decoded values, piece by piece, in float64.

    A value x that came back as x' breaks the bound E (absolute, inclusive) when |x - x'| > E. Non-finite values stand
    apart: NaN must come back as NaN and an infinity as the same infinity, and a finite value as a finite one;
    anything else is a violation. So no verdict hangs on a comparison with NaN. Without a bound E counts as 0 for
    `mismatches`, and the columns about a bound are None.

    `dtype` is the tensor's own: for the 16-bit ones violations are counted a second time after rounding x' to it.
    """

    def __init__(self, bound: float | None, dtype: torch.dtype) -> None:
        if bound is not None and not bound >= 0:
            raise ValueError(f"bound {bound} is not a number of at least 0")
        self._bound = bound
        self._limit = 0.0 if bound is None else bound
        self._dtype = dtype
        self._mismatches = 0
        self._mismatches_after_cast = 0
        self._non_finite = 0
        self._lost = 0  # finite values that came back non-finite: their error is infinite
        self._special_mismatches = 0
        self._compared = 0
        self._sum_abs = 0.0
        self._sum_squares = 0.0
        self._max_abs = 0.0
        self._minimum = math.inf
        self._maximum = -math.inf
        self._counts = torch.zeros(HISTOGRAM_BINS, dtype=torch.int64)
        self._below = 0
        self._above = 0

    def add(self, original: torch.Tensor, decoded: torch.Tensor) -> None:
        """Compare two flat tensors of equal length: `original` of the tensor's dtype, `decoded` float32.

        Both are on one device, which does the arithmetic. Counts and maxima do not depend on it; sums are of float64
        in another order, so means differ by rounding only.
        """
        if original.shape != decoded.shape or original.dim() != 1:
            raise ValueError(f"cannot compare shapes {tuple(original.shape)} and {tuple(decoded.shape)}")
        for values, came_back in zip(split(original), split(decoded), strict=True):
            if values.numel() == 0:
                continue
            exact = values.double()
            self._mismatches += self._judge(exact, came_back.double())
            if self._dtype.itemsize < 4:
                rounded = came_back.to(self._dtype).double()
                self._mismatches_after_cast += self._count(exact, rounded)

    @property
    def mismatches(self) -> int:
        """Values that are not within the bound, or differ at all where there is none."""
        return self._mismatches

    @property
    def special_mismatches(self) -> int:
        """Values that became NaN or infinite, stopped being so, or came back as the other infinity."""
        return self._special_mismatches

    @property
    def max_abs_error(self) -> float | None:
        """Largest |x - x'|; None without finite values or where a finite value came back non-finite."""
        return self._max_abs if self._compared and not self._lost else None

    def metrics(self) -> dict[str, float | int | None]:
        """The error columns by their names in METRIC_UNITS; what is undefined is None.

        With R = max - min of the finite x, subtracted in float32: nrmse = rmse / R and
        psnr_db = 20 log10(R) - 20 log10(rmse), as in Z-checker (Tao, Di, Guo, Chen, Cappello: "Z-checker: a framework
        for assessing lossy compression of scientific data", 2019). max_excess = max |x - x'| / E where that is over 1.
        """
        known = self._compared > 0 and not self._lost
        rmse = math.sqrt(self._sum_squares / self._compared) if known else None
        value_range = self._range()
        metrics: dict[str, float | int | None] = {
            "value_range": value_range,
            "max_abs_error": self.max_abs_error,
            "mean_abs_error": self._sum_abs / self._compared if known else None,
            "rmse": rmse,
            "nrmse": rmse / value_range if rmse is not None and value_range else None,
            "psnr_db": 20 * (math.log10(value_range) - math.log10(rmse)) if rmse and value_range else None,
            "violations": None if self._bound is None else self._mismatches,
            "violations_after_cast": None,
            "max_excess": self._excess(),
            "non_finite_count": self._non_finite,
        }
        if self._bound is not None and self._dtype.itemsize < 4:
            metrics["violations_after_cast"] = self._mismatches_after_cast
        return metrics

    def histogram(self) -> Histogram | None:
        """Counts of (x - x') / E in equal bins over [-1, 1]; violations are in `below` and `above`.

        Only pairs of finite values count. None where E is 0, infinite or absent.
        """
        if not self._limit or math.isinf(self._limit):
            return None
        edges = np.linspace(-1.0, 1.0, HISTOGRAM_BINS + 1).tolist()
        return Histogram(edges=edges, counts=self._counts.tolist(), below=self._below, above=self._above)

    def _judge(self, exact: torch.Tensor, came_back: torch.Tensor) -> int:
        """Take one piece into every figure; returns its mismatches. Both are float64 of equal length."""
        error = exact - came_back
        size = error.abs()
        total = float(size.sum())
        mismatches = 0
        if not math.isfinite(total):
            finite, still_finite = torch.isfinite(exact), torch.isfinite(came_back)
            self._non_finite += int((~finite).sum())
            self._lost += int((finite & ~still_finite).sum())
            mismatches += _special_mismatches(exact, came_back, finite, still_finite)
            self._special_mismatches += mismatches
            both = finite & still_finite
            self._extend_range(exact[finite])
            error, size = error[both], size[both]
            total = float(size.sum())
        else:
            self._extend_range(exact)
        if error.numel() == 0:
            return mismatches
        self._compared += error.numel()
        self._sum_abs += total
        self._sum_squares += float(error.square().sum())
        largest = float(size.max())
        self._max_abs = max(self._max_abs, largest)
        beyond = int(torch.count_nonzero(size > self._limit)) if largest > self._limit else 0
        self._tally(error, beyond)
        return mismatches + beyond

    def _count(self, exact: torch.Tensor, came_back: torch.Tensor) -> int:
        """Mismatches of one piece and nothing else."""
        size = (exact - came_back).abs()
        largest = float(size.max())  # NaN where there is one
        if math.isfinite(largest):
            return int(torch.count_nonzero(size > self._limit)) if largest > self._limit else 0
        finite, still_finite = torch.isfinite(exact), torch.isfinite(came_back)
        special = _special_mismatches(exact, came_back, finite, still_finite)
        return special + int(torch.count_nonzero(size[finite & still_finite] > self._limit))

    def _extend_range(self, finite_values: torch.Tensor) -> None:
        if finite_values.numel():
            low, high = torch.aminmax(finite_values)
            self._minimum = min(self._minimum, float(low))
            self._maximum = max(self._maximum, float(high))

    def _tally(self, error: torch.Tensor, beyond: int) -> None:
        """Count errors into bins; `beyond` of them are violations."""
        if not self._limit or math.isinf(self._limit):
            return
        half = HISTOGRAM_BINS // 2
        position = error.div(self._limit).mul_(half).add_(half).clamp_(0, HISTOGRAM_BINS - 1)
        counts = torch.bincount(position.to(torch.int64), minlength=HISTOGRAM_BINS).cpu()
        if beyond:  # clamping put them into the outer bins
            below = int(torch.count_nonzero(error < -self._limit))
            counts[0] -= below
            counts[-1] -= beyond - below
            self._below += below
            self._above += beyond - below
        self._counts += counts

    def _range(self) -> float | None:
        if self._minimum > self._maximum:
            return None
        with np.errstate(over="ignore"):
            value_range = float(np.float32(self._maximum) - np.float32(self._minimum))
        return value_range if math.isfinite(value_range) else None

    def _excess(self) -> float | None:
        if not self._bound or self._lost or self._max_abs <= self._bound:
            return None
        excess = self._max_abs / self._bound
        return excess if math.isfinite(excess) else None


def _special_mismatches(
    exact: torch.Tensor, came_back: torch.Tensor, finite: torch.Tensor, still_finite: torch.Tensor
) -> int:
    """Non-finite values that changed, and finite ones that became non-finite."""
    same = (exact == came_back) | (torch.isnan(exact) & torch.isnan(came_back))
    return int((~same & ~(finite & still_finite)).sum())
