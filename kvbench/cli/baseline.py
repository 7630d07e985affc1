"""Owns `kvbench baseline`: how fast bytes move without any codec."""

from __future__ import annotations

from kvbench.cli.options import FIELD_OPTIONS, Asked, experiment_options

# As in kvbench.config.BASELINE_FIELDS: copies know nothing of codecs, bounds and what tensors hold.
TAKEN = {"dtype", "tensor_size", "geometry", "device", "device_id", "threads", "iterations", "time_limit", "seed"}


@experiment_options(without=frozenset(FIELD_OPTIONS) - TAKEN)
def baseline(asked: Asked) -> None:
    """Measure copies: between host and GPU, pinned and pageable; without a GPU within the host.

    The link speed found here is what `kvbench sweep --baseline RUN` judges compression by.
    """
    from kvbench.cli.experiment import run_experiment

    run_experiment("baseline", asked)
