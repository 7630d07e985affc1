"""Owns the codecs: their protocol, their registry, one file for each family."""
