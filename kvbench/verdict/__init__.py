"""Owns the statistics of a comparison: intervals and tests for samples that depend on one another, and the verdict."""
