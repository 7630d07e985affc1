"""Owns the transforms: changes of a tensor before a codec, undone after it."""
