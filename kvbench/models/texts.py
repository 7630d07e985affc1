"""Owns the texts that quality is scored on: registered ones, fixed by digest, and files of the user's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from kvbench.errors import KvbenchError, UsageError

Role = Literal["scoring", "calibration", "held_out"]


@dataclass(frozen=True)
class RegisteredText:
    """A text that comes with kvbench. `data/README.md` tells where each is from."""

    name: str
    role: Role
    place: str  # package and file
    sha256: str
    licence: str
    source: str


@dataclass(frozen=True)
class Text:
    """What is read: the words, the digest of the file's bytes, and the role of a registered text."""

    name: str
    content: str
    sha256: str
    role: Role | None


_REGISTERED = (
    RegisteredText(
        "moby-dick",
        "scoring",
        "kvbench.models/data/moby-dick-17.txt",
        "af3fd79b59ebd6efa430833e471dbb4e553a49e3d98c828f356b56e2331d9f1d",
        "public domain",
        "Herman Melville, Moby-Dick (1851), chapter 17",
    ),
    RegisteredText(
        "python-execution-model",
        "scoring",
        "kvbench.models/data/python-execution-model.txt",
        "607922e2f0b29a54ba29f506445adcfcb26d74506d169b8a5db28fe8752d293b",
        "PSF-2.0",
        "Python 3.11.7, language reference, Execution model",
    ),
    RegisteredText(
        "zlib-algorithm",
        "calibration",
        "kvbench.tensors/data/zlib-algorithm.txt",
        "992590931e982c0765286c2d83f6e9ff0a95aabb08e28c30c52bae3e8c4bd5ad",
        "zlib",
        "zlib 1.2.13, doc/algorithm.txt",
    ),
    RegisteredText(
        "address-1803",
        "held_out",
        "kvbench.models/data/address-1803.txt",
        "369e6719b40be9e17cf5d0bf953289cda3b5b4b626b0c16814f6af9e7c46fc61",
        "public domain",
        "Thomas Jefferson, message to Congress, 17 October 1803",
    ),
    RegisteredText(
        "xz-faq",
        "held_out",
        "kvbench.models/data/xz-faq.txt",
        "97ea64c7578870443ff4669cd6dce43d94d857faa7cffef1aa462ff9c8089c07",
        "public domain",
        "XZ Utils 5.4.1, doc/faq.txt",
    ),
)
TEXTS = {text.name: text for text in _REGISTERED}
SCORING = tuple(text.name for text in _REGISTERED if text.role == "scoring")


def load_text(name: str) -> Text:
    """A registered text by its name, or the UTF-8 file at that path.

    Raises UsageError where it is neither, KvbenchError where a registered text is not the one it was.
    """
    if name not in TEXTS:
        if not Path(name).exists():
            raise UsageError(f"--text {name}: no such file; texts known by name: {', '.join(TEXTS)}")
        content = read_file(Path(name))
        return Text(name, content, hashlib.sha256(content.encode()).hexdigest(), None)
    known = TEXTS[name]
    package, _, file = known.place.partition("/")
    raw = files(package).joinpath(file).read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    if sha256 != known.sha256:
        raise KvbenchError(f"text {name!r}: {known.place} was changed (sha256 {sha256}); install kvbench again")
    return Text(name, raw.decode(), sha256, known.role)


def read_file(path: Path) -> str:
    """The text of a UTF-8 file, its line ends as they are. Raises UsageError where it cannot be read or is no text."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"--text {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--text {path} is not UTF-8 text; give a plain text file") from None
