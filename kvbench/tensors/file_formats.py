"""Owns reading .npy, .npz and .safetensors: what each file says of its tensors, and one tensor's values. No pickle."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from safetensors import SafetensorError, safe_open

from kvbench.errors import UsageError
from kvbench.plan import LAYOUT_AXES
from kvbench.record.schema import SourceLayout

if TYPE_CHECKING:
    import torch

# Capture writes this key; only then is a file's own word on its layout believed.
SCHEMA_KEY = "kvbench_schema"
PICKLE_SUFFIXES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"}
PICKLE_REMEDY = "save the tensors with numpy.save or safetensors.torch.save_file"
_SAFETENSORS_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64", "BOOL": "bool"}
# What the libraries raise for a damaged file; NumPy reads an array's header as Python source.
_BROKEN = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SafetensorError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class StoredTensor:
    """What a header says. `dtype` is a NumPy-like name, which kvbench may not be able to use."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: SourceLayout | None = None  # None when the file does not say


@dataclass(frozen=True)
class FileFormat:
    """How to list a file's tensors without reading values, and how to read one, cut to its leading part.

    `read(path, name, part)`: `part` is a shape within the stored one, or None for everything.
    """

    headers: Callable[[Path], list[StoredTensor]]
    read: Callable[[Path, str, tuple[int, ...] | None], torch.Tensor]


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into a UsageError of one line that names it."""
    try:
        yield
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except _BROKEN as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path} is not a whole {path.suffix} file ({text}); write or copy it again") from None


def _npy_headers(path: Path) -> list[StoredTensor]:
    with path.open("rb") as stream:
        return [_array_header(stream, path.stem, path, path.stat().st_size)]


def _npz_headers(path: Path) -> list[StoredTensor]:
    with zipfile.ZipFile(path) as archive:
        found = []
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as stream:
                    found.append(_array_header(stream, member.filename[:-4], path, member.file_size))
        return found


def _array_header(stream: IO[bytes], name: str, path: Path, stream_bytes: int) -> StoredTensor:
    magic = stream.read(2)
    stream.seek(0)
    if magic[:1] == b"\x80":
        raise UsageError(f"{path} is a pickle, which can run code and is never loaded; {PICKLE_REMEDY}")
    read_header: dict[tuple[int, int], Callable[..., tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(stream)
    if version not in read_header:
        raise UsageError(f"{path}: array {name!r} has fields or a format of version {version}; save plain float arrays")
    shape, _, dtype = read_header[version](stream)
    if min(shape, default=0) < 0 or any(isinstance(length, bool) for length in shape):
        raise ValueError(f"array {name!r} has the shape {shape}")
    if dtype.hasobject:
        raise UsageError(
            f"{path}: array {name!r} holds pickled Python objects, which are never loaded; {PICKLE_REMEDY}"
        )
    missing = int(np.prod(shape, dtype=object)) * dtype.itemsize - (stream_bytes - stream.tell())
    if missing > 0:
        raise ValueError(f"array {name!r} lacks its last {missing} bytes")
    return StoredTensor(name, dtype.newbyteorder("=").name, shape)


def _read_npy(path: Path, _name: str, part: tuple[int, ...] | None) -> torch.Tensor:
    # A private mapping: no copy is made, and writing to it cannot change the file.
    return _from_numpy(np.load(path, mmap_mode="c", allow_pickle=False), part)


def _read_npz(path: Path, name: str, part: tuple[int, ...] | None) -> torch.Tensor:
    with np.load(path, allow_pickle=False) as archive:
        return _from_numpy(archive[name], part)


def _from_numpy(array: np.ndarray[Any, Any], part: tuple[int, ...] | None) -> torch.Tensor:
    import torch

    array = array[_leading(part)] if part is not None else array
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _safetensors_headers(path: Path) -> list[StoredTensor]:
    path.open("rb").close()  # words what is wrong with the path better than the library does
    with safe_open(path, framework="np") as archive:
        metadata = archive.metadata() or {}
        stated = metadata.get("layout") if SCHEMA_KEY in metadata else None
        layout = cast("SourceLayout", stated) if stated in LAYOUT_AXES else None
        found = []
        for name in archive.keys():  # noqa: SIM118  not a dict
            header = archive.get_slice(name)
            kind = header.get_dtype()
            dtype = _SAFETENSORS_DTYPES.get(kind) or kind.replace("I", "int").replace("U", "uint")
            found.append(StoredTensor(name, dtype, tuple(header.get_shape()), layout))
        return found


def _read_safetensors(path: Path, name: str, part: tuple[int, ...] | None) -> torch.Tensor:
    with safe_open(path, framework="pt") as archive:
        tensor = archive.get_tensor(name)  # a private mapping, as for .npy
        return cast("torch.Tensor", tensor[_leading(part)] if part is not None else tensor)


def _leading(part: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(0, length) for length in part)


FORMATS: dict[str, FileFormat] = {
    ".npy": FileFormat(_npy_headers, _read_npy),
    ".npz": FileFormat(_npz_headers, _read_npz),
    ".safetensors": FileFormat(_safetensors_headers, _read_safetensors),
}
