"""Streams of the packaged real cache: each layer, mode, layout and bound as an independent NumPy encoder makes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_cuszp import decode, encode

from kvbench.bound import Bound
from kvbench.codecs.cuszp import Cuszp
from kvbench.config import Experiment
from kvbench.tensors import registry
from kvbench.tensors.layout import as_view

SPECS = registry.specs(Experiment.model_validate({"command": "sweep"}))


@pytest.mark.parametrize("spec", SPECS, ids=[spec.tensor for spec in SPECS])
@pytest.mark.parametrize("mode", ["fixed", "plain", "outlier"])
@pytest.mark.parametrize("layout", ["thd", "hdt"])
def test_the_codec_stores_what_the_reference_stores(spec, mode, layout) -> None:  # type: ignore[no-untyped-def]
    view = as_view(registry.load(spec, 0), spec, layout, "bfloat16")
    values = view.tensor.to(torch.float32).reshape(-1).numpy()
    out = torch.empty(Cuszp().capacity(values.size, view.tensor.dtype), dtype=torch.uint8)
    for value in (1e-1, 1e-2, 1e-3):
        bound = Bound(kind="rel", value=value)
        asked = value * float(values.max() - values.min())
        for policy in ("compatible", "strict"):
            encoded = Cuszp(mode=mode, bound_policy=policy).encode(view, out, bound)
            quantizer = encoded.quantizer_error_bound
            assert quantizer is not None
            assert quantizer == np.float32(asked) if policy == "compatible" else quantizer < asked
            stream = encode(values, quantizer, mode)
            assert encoded.body.numpy().tobytes() == stream
            if policy == "strict":
                decoded = decode(stream, values.size, quantizer, mode).astype(np.float64)
                assert np.abs(decoded - values).max() <= asked
