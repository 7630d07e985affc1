"""Lets `python -m kvbench` run the command line."""

from __future__ import annotations

from kvbench.cli.app import main

main()
