"""Owns kvbench as a plugin of an unmodified vLLM: KV blocks offloaded to host memory, compressed on the way.

Only `connector` and `spec` import vLLM; the rest is plain Python, so that it is tested without vLLM.
"""
