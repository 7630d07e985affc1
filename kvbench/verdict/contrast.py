"""Owns the step from samples to a contrast: two runs' samples of one row, or samples taken in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kvbench.verdict.block_bootstrap import (
    FEWEST_SAMPLES,
    Floats,
    block_length,
    block_medians,
    median_error,
    resampled_medians,
)
from kvbench.verdict.judge import Contrast
from kvbench.verdict.spread import Spread

FEWEST_BLOCKS = 4  # on one side, for a rank test
RESAMPLE_SEED = 0

Runs = Sequence[Sequence[float]]  # of one row: a list of samples for each run of a side, in the order taken


def contrast_of_runs(runs_a: Runs, runs_b: Runs, spread: Spread | None) -> Contrast:
    """B / A of one row, from the samples (s) of one or more runs a side, each in the order they were taken.

    A side's log time is the mean over its runs of the log of the run's median. The error has two parts: that of the
    medians within their runs, from a circular block bootstrap; and what runs of the same code differ by, `spread`,
    None where these runs cannot tell. The degrees of freedom are those of `spread` alone: the runs are the witnesses,
    and many samples in them make no more. The rank test is Mann and Whitney's on the medians of blocks, as neighbouring
    samples are no independent witnesses either.
    """
    few = min(len(samples) for samples in (*runs_a, *runs_b))
    if few < FEWEST_SAMPLES:
        words = "one sample" if few == 1 else f"{few} samples"
        doubt: str | None = f"a run has only {words}; {FEWEST_SAMPLES} are the least, take more with --iterations"
        return Contrast(_log_time(runs_b) - _log_time(runs_a), math.inf, math.inf, 1.0, doubt)
    rng = np.random.default_rng(RESAMPLE_SEED)
    within = _within_variance(runs_a, rng) + _within_variance(runs_b, rng)
    between = 0.0 if spread is None else spread.variance * (1 / len(runs_a) + 1 / len(runs_b))
    freedom = math.inf if spread is None else spread.freedom
    blocks_a, blocks_b = _all_block_medians(runs_a), _all_block_medians(runs_b)
    doubt = None
    if spread is None:
        doubt = (
            "one run a side: how much two runs of the same code differ is not known; give more runs with --more-a and "
            "--more-b, or time two codecs in turn with --ab"
        )
    elif min(len(blocks_a), len(blocks_b)) < FEWEST_BLOCKS:
        doubt = "its samples hang together so much that they count as too few; take more with --iterations"
    error = math.sqrt(within + between)
    return Contrast(_log_time(runs_b) - _log_time(runs_a), error, freedom, _rank_p(blocks_a, blocks_b), doubt)


def contrast_of_pairs(samples_a: Sequence[float], samples_b: Sequence[float]) -> Contrast:
    """B / A from samples (s) taken in pairs, so that what slows the machine slows both.

    The median of the pairs' log ratios, its error by a circular block bootstrap of the pairs, and Wilcoxon's
    signed-rank test on the medians of blocks of pairs. Raises ValueError for sides of unequal length.
    """
    log_ratios = np.log(np.asarray(samples_b)) - np.log(np.asarray(samples_a))
    if len(log_ratios) < FEWEST_SAMPLES:
        doubt = f"only {len(log_ratios)} pairs; {FEWEST_SAMPLES} are the least, take more with --iterations"
        return Contrast(float(np.median(log_ratios)), math.inf, math.inf, 1.0, doubt)
    error, freedom = median_error(log_ratios, np.random.default_rng(RESAMPLE_SEED))
    blocks = block_medians(log_ratios, block_length(log_ratios))
    return Contrast(float(np.median(log_ratios)), error, freedom, _signed_rank_p(blocks))


def log_median(samples: Sequence[float]) -> float:
    """Natural logarithm of the median of one run's samples."""
    return math.log(float(np.median(np.asarray(samples))))


def _log_time(runs: Runs) -> float:
    return float(np.mean([log_median(samples) for samples in runs]))


def _within_variance(runs: Runs, rng: np.random.Generator) -> float:
    """Variance of `_log_time` that comes from the samples within the runs."""
    each = [float(np.var(np.log(resampled_medians(samples, block_length(samples), rng)), ddof=1)) for samples in runs]
    return sum(each) / len(runs) ** 2


def _all_block_medians(runs: Runs) -> Floats:
    return np.concatenate([block_medians(samples, block_length(samples)) for samples in runs])


def _rank_p(blocks_a: Floats, blocks_b: Floats) -> float:
    from scipy import stats

    return float(stats.mannwhitneyu(blocks_a, blocks_b, alternative="two-sided").pvalue)


def _signed_rank_p(log_ratios: Floats) -> float:
    from scipy import stats

    if not log_ratios.any():
        return 1.0
    return float(stats.wilcoxon(log_ratios, alternative="two-sided").pvalue)
