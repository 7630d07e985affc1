"""Owns `kvbench codecs`: what can compress here, and why the rest cannot."""

from __future__ import annotations


def codecs() -> None:
    """List the codecs with their axes and parameters, and why one cannot be used here."""
    from kvbench.cli.console import show
    from kvbench.cli.tables import codec_table
    from kvbench.codecs import registry

    show(codec_table(registry.describe()))
