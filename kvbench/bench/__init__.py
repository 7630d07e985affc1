"""Owns the measured commands: setup, the timed call, and the checks after it."""
