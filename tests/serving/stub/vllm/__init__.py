"""Owns nothing: a stand-in for a part of vLLM in tests."""
