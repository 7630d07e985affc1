"""Owns `kvbench baseline`: how fast bytes move without any codec."""

from __future__ import annotations

from kvbench.cli.options import COPY_OPTIONS, FIELD_OPTIONS, Asked, experiment_options, precision_option

# As in kvbench.config.BASELINE_FIELDS: copies know nothing of codecs, bounds and what tensors hold.
SIZES = {"dtype", "tensor_size", "geometry"}
SAMPLING = {"iterations", "time_limit", "precision", "seed"}
# A link is shared with whatever else runs on its host; five samples can fall into one burst of that.
DEFAULTS = {"precision": 0.002}
TAKEN = COPY_OPTIONS | SIZES | SAMPLING | {"device", "device_id", "threads"}


@experiment_options(
    without=frozenset(FIELD_OPTIONS) - TAKEN, instead={"precision": precision_option(DEFAULTS["precision"])}
)
def baseline(asked: Asked) -> None:
    """Measure copies: between host and GPU, pinned and pageable, of one piece and of many scattered blocks.

    Without a GPU copies within the host are measured. The link found here, its speed and what a transfer costs beside
    its bytes, is what `kvbench sweep --baseline RUN` judges compression by.
    """
    from kvbench.cli.experiment import run_experiment

    run_experiment("baseline", asked, defaults=DEFAULTS)
