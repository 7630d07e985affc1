"""The swap engine: blocks of a paged KV cache out to host memory and back, compressed on the way."""
