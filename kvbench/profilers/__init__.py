"""Owns Nsight Systems and Nsight Compute as kvbench uses them: find, run, export, and turn reports into tables."""
