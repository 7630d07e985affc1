"""Owns time and error: clocks, the sampling and stop rule, error metrics, NVTX ranges."""
