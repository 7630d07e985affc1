"""Checks which NUMA node the record names for a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvbench.record import gpu


@pytest.mark.parametrize(
    ("bus_id", "text", "node"),
    [
        ("00000000:0F:00.0", "1\n", 1),
        ("00000000:0F:00.0", "-1\n", None),  # the kernel's word for none
        ("00000000:0F:00.0", "", None),
        ("00010000:0F:00.0", "1\n", None),  # another domain: no such device
        ("no address", "1\n", None),
    ],
)
def test_the_node_comes_from_the_kernel_by_pci_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bus_id: str, text: str, node: int | None
) -> None:
    device = tmp_path / "0000:0f:00.0"
    device.mkdir()
    (device / "numa_node").write_text(text, encoding="ascii")
    monkeypatch.setattr(gpu, "PCI_DEVICES", tmp_path)
    assert gpu._numa_node(bus_id) == node


def test_an_address_of_any_type_is_read() -> None:
    assert gpu._text(b"0000:0f:00.0") == gpu._text("0000:0f:00.0") == "0000:0f:00.0"
