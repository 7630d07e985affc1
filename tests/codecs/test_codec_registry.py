"""Owns the tests of finding codecs: one file and one entry point add one, and a broken one says why."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kvbench import _ext
from kvbench.codecs import registry
from kvbench.codecs.cuszp import Cuszp
from kvbench.codecs.raw import Raw
from kvbench.config import CodecChoice
from kvbench.errors import UnavailableError, UsageError

ONE_FILE_CODEC = '''
"""A codec in one file: float32 kept as bfloat16."""
from typing import ClassVar, Literal
import torch
from kvbench.codecs.base import Codec
from kvbench.codecs.raw import Raw, RawEncoded
from kvbench.tensors.base import KVView

class Halved(Codec):
    name: ClassVar[str] = "halved"
    summary: ClassVar[str] = "keeps the upper half of every float32"
    gain: Literal[1, 2] = 1

    def capacity(self, elements, dtype):
        return 2 * elements

    def encode(self, view, out, bound):
        return Raw().encode(KVView(view.tensor.to(torch.bfloat16)), out, None)

    def decode(self, encoded, out):
        values = torch.empty(out.shape, dtype=torch.bfloat16)
        Raw().decode(encoded, values)
        out.copy_(values)
'''


@pytest.fixture
def install(tmp_path, monkeypatch) -> Callable[[str, str, str], None]:
    """Put a distribution on the import path that brings one module and one codec."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(distribution: str, entry: str, source: str | None) -> None:
        module = entry.partition("=")[2].strip().partition(":")[0]
        if source is not None:
            (site / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)
        info = site / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[kvbench.codecs]\n{entry}\n")
        # The path is what a scan is remembered by; a later distribution must change it.
        monkeypatch.setattr(sys, "path", [*sys.path, str(site / distribution)])

    return add


def _info(name: str) -> registry.CodecInfo:
    return next(info for info in registry.describe() if info.name == name)


class TestBuiltIn:
    def test_names_and_classes(self):
        assert {"cuszp", "raw"} <= set(registry.names())
        assert registry.load("cuszp") is Cuszp
        assert registry.load("raw") is Raw

    def test_make(self):
        made = registry.make("cuszp", {"mode": "fixed", "bound_policy": "compatible", "threads": 2})
        assert made == Cuszp(mode="fixed", bound_policy="compatible", threads=2)

    @pytest.mark.parametrize(
        ("name", "params", "message"),
        [
            ("zip", {}, "unknown codec 'zip'; use one of .*cuszp.*raw"),
            ("cuszp", {"mod": "plain"}, "codec 'cuszp' has no parameter 'mod'; it takes: mode, bound_policy, threads"),
            ("cuszp", {"mode": "fast"}, "'cuszp', parameter mode: .*'fixed', 'plain' or 'outlier'.*got 'fast'"),
            ("cuszp", {"threads": -1}, "parameter threads: .*greater than or equal to 0.*got -1"),
            ("cuszp", {"threads": True}, "parameter threads: True is not a number"),
            ("raw", {"level": 3}, "codec 'raw' has no parameter 'level'; it takes: none"),
        ],
    )
    def test_bad_names_and_parameters(self, name, params, message):
        with pytest.raises(UsageError, match=message):
            registry.make(name, params)
        with pytest.raises(UsageError, match=message):
            registry.facts(CodecChoice(name=name, params=params), "cpu")

    def test_facts(self):
        cuszp = registry.facts(CodecChoice(name="cuszp"), "cpu")
        assert (cuszp.axes, cuszp.device, cuszp.unavailable) == (Cuszp.axes, "cpu", None)
        assert registry.facts(CodecChoice(name="raw"), "cpu").axes == frozenset()

    def test_a_codec_that_cannot_use_the_gpu_says_why(self, monkeypatch):
        monkeypatch.setattr(_ext, "has_cuda_module", lambda: False)
        monkeypatch.setattr(_ext, "cuda_problem", _ext.cuda_problem.__wrapped__)  # not what an earlier call found
        asked = registry.facts(CodecChoice(name="cuszp"), "cuda")
        assert asked.device == "cuda"
        assert asked.unavailable == "kvbench was built without CUDA: install it again where nvcc is on PATH"
        assert registry.facts(CodecChoice(name="cuszp"), "auto").device == "cpu"

    def test_describe(self):
        info = _info("cuszp")
        assert info.origin.startswith("kvbench ")
        assert info.parameters == ("mode=plain", "bound_policy=strict", "threads=0")
        assert info.devices[0] == "cpu"
        assert info.lossless is False
        assert _info("raw").lossless is True

    def test_listing_names_imports_no_codec(self):
        script = "import sys; from kvbench.codecs import registry; registry.names(); print('torch' in sys.modules)"
        answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert answer.stdout.strip() == "False"


class TestOtherDistributions:
    def test_one_file_and_one_entry_point_add_a_codec(self, install):
        install("kvbench-halved", "halved = halved_codec:Halved", ONE_FILE_CODEC)
        assert "halved" in registry.names()
        assert _info("halved").origin == "kvbench-halved 1.5"
        assert _info("halved").parameters == ("gain=1",)
        codec = registry.make("halved", {"gain": 2})
        tensor = torch.tensor([1.0, 2.5, -3.0])
        from kvbench.tensors.base import KVView

        encoded = codec.encode(KVView(tensor), torch.empty(6, dtype=torch.uint8), None)
        assert encoded.nbytes() == 6
        assert torch.equal(next(codec.float32_chunks(encoded, (3,)))[1], tensor)

    @pytest.mark.parametrize(
        ("entry", "source", "reason"),
        [
            (
                "odd = odd_a:Codec",
                "import no_such_package_here",
                "ModuleNotFoundError: No module.*no_such_package_here",
            ),
            ("odd = odd_b:Codec", "raise OSError('libodd.so is missing')", "OSError: libodd.so is missing"),
            ("odd = odd_c:Codec", "Other = 1", "AttributeError"),
            ("odd = odd_d:Codec", "Codec = dict", "not a subclass of kvbench.codecs.base.Codec"),
            ("odd = odd_e:Codec", None, "ModuleNotFoundError"),
        ],
    )
    def test_one_that_does_not_load_stays_listed(self, install, entry, source, reason):
        install("kvbench-odd", entry, source)
        assert "odd" in registry.names()
        with pytest.raises(UnavailableError, match=f"codec 'odd' cannot be used here: .*{reason}"):
            registry.load("odd")
        facts = registry.facts(CodecChoice(name="odd"), "auto")
        assert re.search(reason, facts.unavailable)
        assert "cannot be used here" not in facts.unavailable  # planning puts that in front
        assert _info("odd").unavailable == facts.unavailable
        assert _info("cuszp").unavailable is None

    def test_two_that_claim_one_name(self, install):
        install("kvbench-halved", "halved = halved_codec:Halved", ONE_FILE_CODEC)
        install("kvbench-rival", "halved = rival_codec:Halved", ONE_FILE_CODEC)
        with pytest.raises(
            UnavailableError, match=r"two packages .*kvbench-halved 1.5.*kvbench-rival 1.5.*uninstall one"
        ):
            registry.load("halved")
        assert _info("halved").origin == "kvbench-halved 1.5 and kvbench-rival 1.5"
        assert "uninstall one" in _info("halved").unavailable

    def test_a_codec_that_claims_a_gpu_that_is_not_there(self, install, monkeypatch):
        claims = "\n    @classmethod\n    def unavailable(cls, device):\n        return None\n"
        install("kvbench-gpu", "ongpu = ongpu_codec:Halved", ONE_FILE_CODEC + claims)
        monkeypatch.setattr(registry, "cuda_unavailable", lambda: "no driver")
        assert registry.facts(CodecChoice(name="ongpu"), "auto").device == "cpu"
        assert registry.facts(CodecChoice(name="ongpu"), "cuda").unavailable == "no driver"
        monkeypatch.setattr(registry, "cuda_unavailable", lambda: None)
        assert registry.facts(CodecChoice(name="ongpu"), "auto").device == "cuda"
        assert registry.facts(CodecChoice(name="cuszp"), "auto").device == "cpu"


def test_the_install_fixture_leaves_nothing_behind(tmp_path: Path):
    assert {"halved", "odd", "ongpu"}.isdisjoint(registry.names())
