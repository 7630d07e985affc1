"""Files that cannot be used: one line with the name and the remedy, and nothing is ever unpickled."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from kvbench.config import Experiment
from kvbench.errors import UsageError
from kvbench.tensors import registry

VALUES = np.arange(24, dtype=np.float32)
EXPLODED: list[str] = []


class Bomb:
    """Unpickling it would be seen."""

    def __reduce__(self) -> Any:
        return EXPLODED.append, ("unpickled",)


def load_all(path: Path, **fields: object) -> None:
    experiment = Experiment.model_validate({"command": "compress", "input": path, **fields})
    for spec in registry.specs(experiment):
        assert registry.load(spec, 0).shape == spec.shape


def refused(path: Path, **fields: object) -> str:
    with pytest.raises(UsageError) as caught:
        load_all(path, **fields)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    assert not EXPLODED
    return text


def write(path: Path) -> Path:
    if path.suffix == ".npy":
        np.save(path, VALUES)
    elif path.suffix == ".npz":
        np.savez(path, x=VALUES)
    else:
        save_file({"x": torch.from_numpy(VALUES)}, path)
    return path


SUFFIXES = [".npy", ".npz", ".safetensors"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing(tmp_path: Path, suffix: str) -> None:
    assert refused(tmp_path / f"x{suffix}").startswith("no such file: ")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ""])
def test_a_folder(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").mkdir()
    assert "is a folder; give a file" in refused(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").touch()
    assert f"is not a whole {suffix} file" in refused(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_anywhere(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"x{suffix}")
    whole = path.read_bytes()
    for kept in range(1, len(whole), 7):
        path.write_bytes(whole[:kept])
        assert f"is not a whole {suffix} file" in refused(path)


@pytest.mark.filterwarnings("ignore:Reading `.npy`")  # NumPy's guess that a damaged header is from Python 2
@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(data=st.data())
def test_damage_is_either_refused_in_one_line_or_harmless(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    path = write(tmp_path / f"x{suffix}")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    message = ""
    try:
        load_all(path)
    except UsageError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".bin"])
def test_pickles_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    text = refused(path)
    assert "are pickles" in text
    assert "safetensors.torch.save_file" in text


def test_pickles_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(pickle.dumps(Bomb()))
    assert "is a pickle, which can run code" in refused(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_object_arrays(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    array = np.array([Bomb(), 1], dtype=object)
    if suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, x=array)
    assert "holds pickled Python objects, which are never loaded; save" in refused(path)


@pytest.mark.parametrize("dtype", ["float64", "int32", "uint8", "complex64", "bool"])
def test_types_that_no_codec_takes(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "x.npy"
    np.save(path, VALUES.astype(dtype))
    assert f"tensor 'x' is {dtype}; cast it to one of float32, bfloat16, float16" in refused(path)


def test_structured_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros(3, dtype=[("a", "<f4"), ("b", "<f4")]))
    assert "tensor 'x' is void64" in refused(path)


def test_float8_in_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(4, dtype=torch.float8_e4m3fn)}, path)
    assert "tensor 'x' is F8_E4M3" in refused(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_elements(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    array = np.zeros((0, 4), np.float32)
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".npz":
        np.savez(path, x=array)
    else:
        save_file({"x": torch.from_numpy(array)}, path)
    assert "tensor 'x' has no elements (shape [0, 4])" in refused(path)


def test_no_match_lists_what_exists(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=VALUES, b=VALUES)
    assert "holds no tensor matching 'layers.*'; it has a, b" in refused(path, tensor="layers.*")


def test_an_archive_without_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    assert "holds no tensor matching '*'; it has none" in refused(path)


def test_an_unknown_suffix(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1,2")
    assert "unknown kind of tensor file '.csv'; use .npy, .npz, .safetensors" in refused(path)


def test_sizes_that_do_not_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npy")
    assert "--tensor-size 25: tensor 'x' of" in refused(path, tensor_size=25)


def test_a_geometry_for_a_file(tmp_path: Path) -> None:
    assert "--geometry describes made-up tensors" in refused(write(tmp_path / "x.npy"), geometry="smollm2-135m")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npy")
    path.chmod(0)
    assert "Permission denied" in refused(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR)  # so that a wrong build fails at end of file or damage, not never
    os.write(reader, b"not an array")
    try:
        assert "is a pipe or a device" in refused(path)
    finally:
        os.close(reader)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_more_dimensions_than_a_frame_holds(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    array = np.zeros((1,) * 9, np.float32)
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".npz":
        np.savez(path, x=array)
    else:
        save_file({"x": torch.from_numpy(array)}, path)
    assert "tensor 'x' has 9 dimensions; reshape it to 8 or fewer" in refused(path)


def test_a_truth_value_in_a_shape(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npy")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(24,), }  ", b"(True,), }"))
    assert path.read_bytes()[:128].count(b"(True,)") == 1
    assert len(path.read_bytes()) == len(content)
    assert "is not a whole .npy file (array 'x' has the shape (True,))" in refused(path)
