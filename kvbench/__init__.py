"""kvbench: does compressing the KV cache on its way to CPU memory and back pay?"""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("kvbench")
