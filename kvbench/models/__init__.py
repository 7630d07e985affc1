"""Owns Hugging Face models: loading one, running it over a text, and capturing its KV cache to a file."""
