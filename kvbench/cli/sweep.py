"""Owns `kvbench sweep`: every combination of codec, mode, bound, dtype, layout and tensor."""

from __future__ import annotations

from kvbench.cli.options import Asked, experiment_options

DEFAULTS = {"codec": ("cuszp", "raw")}


@experiment_options()
def sweep(asked: Asked) -> None:
    """Measure every combination of the options' values, on a packaged real KV cache if no tensor is named.

    List options take values separated by spaces: --error-bound 1e-1 1e-2 1e-3. The table marks the Pareto front of
    ratio against error; the run folder holds every number, figures and report.html.
    """
    from kvbench.cli.experiment import run_experiment

    run_experiment("sweep", asked, defaults=DEFAULTS)
