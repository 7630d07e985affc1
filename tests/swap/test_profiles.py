"""Profiles: what the engine takes from one, does to each plane, and refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from swap_caches import HEADS, SIZE, TOKENS, cache, planes

from kvbench.codecs import calibration
from kvbench.codecs import profile as profiles
from kvbench.errors import UsageError
from kvbench.swap.coding import cuszp_coding, profile_coding
from kvbench.swap.engine import SwapEngine


def profile_of(tmp_path, text: str, vectors=None):
    path = tmp_path / "tuned.yaml"
    if vectors is not None:
        calibration.write(tmp_path / "means.safetensors", vectors)
        text = f"calibration: means.safetensors\n{text}"
    path.write_text(text)
    return profiles.load(path)


def test_every_plane_gets_its_own(tmp_path):
    values = cache()
    means = {(layer, "k", "mean"): values[layer, 0].float().mean(dim=(0, 1)) for layer in range(2)}
    text = """
rules:
  - {layers: 1, kv: v, codec: raw}
  - {kv: k, mode: outlier, transforms: "keep-first=1,center=calibrated,layout=hdt", bound: 0.02}
  - {mode: fixed, transforms: keep-first=1, bound: 0.05}
"""
    coding = profile_coding(planes(values), profile_of(tmp_path, text, means))
    assert coding.keep_first == 1
    assert [(one.form, one.layout) for one in coding.by_plane] == [
        ("outlier", "hdt"), ("fixed", "thd"), ("outlier", "hdt"), ("raw", "thd"),
    ]  # fmt: skip
    before = values.clone()
    with SwapEngine(planes(values), coding, limit_bytes=1 << 20, path="fused", slot_blocks=2) as swap:
        swap.wait([swap.store([[0, 1], [2, 3]], [0, 1], starts=[[True, False], [False, False]])])
        swap.wait([swap.load([0, 1], [[20, 21], [22, 23]])])
        assert swap.slot(0).keep_first == (1, 0)
    error = (values[:, :, 20:24] - before[:, :, :4]).abs()
    assert (error[:, :, 0, 0] == 0).all(), "the first token of a sequence is kept"
    assert (error[:, :, 1:, 0] > 0).any()
    assert error[0, 0].max() <= 0.02 + 1e-6
    assert error[1, 1].max() == 0
    assert 0.02 < error[0, 1].max() <= 0.05


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("[{codec: lossless}]", "codec 'lossless' cannot be used by the swap engine; it has cuszp and raw"),
        ("[{bound: 0.1, transforms: hadamard}]", "the swap engine cannot do transform 'hadamard"),
        ("[{bound: 0.1, transforms: center}]", "the swap engine cannot do transform 'center=block'"),
        ("[{bound: 0.1, transforms: layout=htd}]", "the swap engine cannot do transform 'layout=htd'"),
        ("[{kv: k, bound: 0.1, transforms: keep-first=2}, {bound: 0.1}]", "keep-first is 2 for layer 0 k and 0 for"),
    ],
)
def test_what_the_kernels_do_not_do_is_refused(tmp_path, rules, message):
    with pytest.raises(UsageError, match=message):
        profile_coding(planes(cache()), profile_of(tmp_path, f"rules: {rules}\n"))


def test_means_of_other_channels_are_refused(tmp_path):
    vectors = {(layer, kv, "mean"): torch.zeros(HEADS, SIZE + 1) for layer in range(2) for kv in "kv"}
    profile = profile_of(tmp_path, "rules: [{bound: 0.1, transforms: center=calibrated}]\n", vectors)
    with pytest.raises(UsageError, match="the calibrated vector"):
        profile_coding(planes(cache()), profile)


def test_starts_are_truth_values_of_every_block(tmp_path):
    coding = profile_coding(planes(cache()), profile_of(tmp_path, "rules: [{bound: 0.1, transforms: keep-first=2}]\n"))
    with SwapEngine(planes(cache()), coding, limit_bytes=1 << 20) as swap:
        for starts in ([1, 0], [True]):
            with pytest.raises(UsageError, match="one truth value for each of 2 x 1 blocks"):
                swap.store([0, 1], [0, 1], starts=starts)


def test_a_coding_is_for_the_planes_it_was_made_for():
    values = cache()
    from kvbench.bound import Bound

    coding = cuszp_coding(planes(values)[:1], Bound(kind="abs", value=0.1))
    with pytest.raises(UsageError, match="a coding of 1 planes for 4"):
        SwapEngine(planes(values), coding, limit_bytes=1 << 20)
    assert np.prod([TOKENS, HEADS, SIZE]) == planes(values)[0].block_values
