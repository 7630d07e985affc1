"""The older names: both forms of tensors, keys that are not written, switches of the environment."""

from __future__ import annotations

import pytest
import torch

from kvbench.errors import UsageError
from kvbench.swap import compat
from kvbench.swap.compat import ALIASES, Settings, initialize_compressed_swap, translated, with_environment


@pytest.fixture(autouse=True)
def no_switches(monkeypatch):
    for name in (*ALIASES, *ALIASES.values()):
        monkeypatch.delenv(name, raising=False)
    yield
    if compat._manager is not None:
        compat._manager.close()
        compat._manager = None


@pytest.mark.parametrize("shape", [(2, 12, 4, 2, 32), (12, 2, 4, 2, 32), (12, 4, 2, 32)])
@pytest.mark.parametrize("enable", [True, False])
def test_blocks_out_and_in(shape, enable):
    blocks = shape.index(12)
    generator = torch.Generator().manual_seed(0)
    gpu, host = torch.randn(shape, generator=generator).bfloat16(), torch.zeros(shape).bfloat16()
    before = gpu.clone()
    manager = initialize_compressed_swap(enable_compression=enable, error_bound=1e-2, encoding_mode="outlier")
    assert compat.get_compressed_swap_manager() is manager
    assert manager.enable_compression == enable
    for _ in range(2):  # the second time over what is there
        manager.swap_out_blocks_to_host_compressed(gpu, host, [0, 3, 5], torch.tensor([7, 1, 2]))
    manager.swap_in_blocks_from_host_compressed(host, gpu, [1, 7], [10, 11])
    assert (host == 0).all()
    for target, source in ((10, 3), (11, 0)):
        error = (gpu.select(blocks, target).float() - before.select(blocks, source).float()).abs().max()
        assert error <= (0.1 if enable else 0)
    with pytest.raises(UsageError, match="slot 3 holds nothing"):
        manager.swap_in_blocks_from_host_compressed(host, gpu, [3], [10])


def test_every_host_block_has_room_even_raw():
    gpu = torch.randn(8, 4, 2, 32) * 1e20
    manager = initialize_compressed_swap(error_bound=1e-4, use_relative_error=False)
    host = torch.zeros_like(gpu)
    manager.swap_out_blocks_to_host_compressed(gpu, host, range(8), range(8))
    back = torch.zeros_like(gpu)
    with pytest.raises(UsageError, match="holds nothing"):
        manager.swap_in_blocks_from_host_compressed(host, back, range(8), range(8))
    kept = gpu.clone()
    gpu.zero_()
    manager.swap_in_blocks_from_host_compressed(host, gpu, range(8), range(8))
    assert torch.equal(gpu, kept)


def test_tensors_that_do_not_fit_are_refused():
    manager = initialize_compressed_swap()
    with pytest.raises(UsageError, match="may differ in the number of blocks alone"):
        manager.swap_out_blocks_to_host_compressed(torch.zeros(8, 4, 2, 32), torch.zeros(8, 4, 2, 16), [0], [0])


def test_switches_win_and_older_names_count():
    changed = with_environment(
        Settings(), {"VLLM_COMPRESSION_ERROR_BOUND": "1e-3", "KVBENCH_COMPRESSION_MODE": "fixed"}
    )
    assert (changed.error_bound, changed.encoding_mode, changed.enable_compression) == (1e-3, "fixed", True)
    both = {"VLLM_ENABLE_COMPRESSION": "1", "KVBENCH_ENABLE_COMPRESSION": "off", "PATH": "/bin"}
    assert not with_environment(Settings(), both).enable_compression
    assert translated(both) == {"KVBENCH_ENABLE_COMPRESSION": "off", "PATH": "/bin"}


def test_the_environment_reaches_the_manager(monkeypatch):
    monkeypatch.setenv("VLLM_COMPRESSION_MODE", "outlier")
    assert compat.get_compressed_swap_manager().settings.encoding_mode == "outlier"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"KVBENCH_ENABLE_COMPRESSION": "maybe"}, "neither yes nor no"),
        ({"KVBENCH_COMPRESSION_ERROR_BOUND": "tight"}, "'tight' is no number"),
        ({"KVBENCH_COMPRESSION_ERROR_BOUND": "-1"}, "error_bound -1.0 is not a finite number above 0"),
        ({"KVBENCH_COMPRESSION_MODE": "best"}, "encoding_mode 'best' is not known; use fixed, plain, outlier"),
    ],
)
def test_switches_that_cannot_be_read(environment, message):
    with pytest.raises(UsageError, match=message):
        with_environment(Settings(), environment)
