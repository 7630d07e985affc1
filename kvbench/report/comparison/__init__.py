"""Owns the comparison of runs: which rows belong together, how their times and other numbers differ, and the gate."""
