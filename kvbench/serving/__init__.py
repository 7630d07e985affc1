"""Owns real inference servers: their processes, the load on them, their metrics, and whether a run of one counts."""
