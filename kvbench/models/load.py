"""Owns finding and loading a Hugging Face model and its tokenizer: from a folder, a GGUF file or the hub."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvbench.errors import KvbenchError, UnavailableError, UsageError

if TYPE_CHECKING:
    import torch

INSTALL = "install kvbench's extra `capture`, or: pip install 'transformers>=5' gguf accelerate"


@dataclass(frozen=True)
class ModelPlace:
    """Where a model is: a folder here or a name on the hub, and the GGUF file inside it if that holds the weights."""

    location: str
    gguf: str | None = None
    revision: str | None = None

    @property
    def name(self) -> str:
        """For records: the hub's name, or the folder's own name without its path."""
        folder = Path(self.location)
        return folder.resolve().name if folder.is_dir() else self.location

    @property
    def gguf_path(self) -> Path | None:
        """The GGUF file where it is on this machine."""
        path = Path(self.location) / self.gguf if self.gguf else None
        return path if path is not None and path.is_file() else None

    def options(self) -> dict[str, Any]:
        """What every from_pretrained needs beside the location."""
        given = {"gguf_file": self.gguf, "revision": self.revision}
        return {name: value for name, value in given.items() if value is not None}


def locate(model: str, gguf: str | None, revision: str | None) -> ModelPlace:
    """Check what can be checked before transformers is imported.

    `gguf` is a file name inside the folder or hub repository `model`, or a path of a file in that folder.
    Raises UsageError for a folder without model, a missing GGUF file, or a revision of a folder.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if folder.exists():
            raise UsageError(f"--model {model} is a file; give its folder, and the file with --gguf")
        return ModelPlace(model, gguf, revision)
    if revision is not None:
        raise UsageError(f"--revision {revision} is of a model on the hub; {model} is a folder here: leave it out")
    if gguf is None:
        if not (folder / "config.json").is_file():
            raise UsageError(f"--model {model}: the folder has no config.json; {_gguf_hint(folder)}")
        return ModelPlace(str(folder))
    file = folder / Path(gguf).name
    if not file.is_file() or (Path(gguf).parent != Path() and not Path(gguf).expanduser().absolute().samefile(file)):
        raise UsageError(f"--gguf {gguf}: no such file in {model}; {_gguf_hint(folder)}")
    return ModelPlace(str(folder), file.name)


def _gguf_hint(folder: Path) -> str:
    found = sorted(path.name for path in folder.glob("*.gguf"))
    return f"it has --gguf {' or '.join(found)}" if found else "it has no .gguf file either"


def load_config(place: ModelPlace) -> Any:
    """The model's configuration (of its text part). No weights are read."""
    with _explained(place):
        config = _transformers().AutoConfig.from_pretrained(place.location, **place.options())
        return config.get_text_config()


def load_tokenizer(place: ModelPlace) -> Any:
    """The model's tokenizer."""
    with _explained(place):
        return _transformers().AutoTokenizer.from_pretrained(place.location, **place.options())


def load_model(place: ModelPlace, device: torch.device) -> Any:
    """The causal language model on `device` in float32, for inference. Quantised GGUF weights are dequantised."""
    import torch

    with _explained(place):
        found = _transformers().AutoModelForCausalLM
        model = found.from_pretrained(place.location, dtype=torch.float32, **place.options())
    return model.to(device).eval()


def new_cache() -> Any:
    """An empty cache that keeps every token of every layer, sliding windows or not."""
    return _transformers().DynamicCache()


def transformers_version() -> str:
    """The version that loads models. Raises UnavailableError where transformers is missing."""
    return str(_transformers().__version__)


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UnavailableError(f"a model needs the package transformers ({error}); {INSTALL}") from None


@contextmanager
def _explained(place: ModelPlace) -> Iterator[None]:
    try:
        yield
    except KvbenchError:
        raise
    except ImportError as error:
        raise UnavailableError(f"loading {place.name} needs more packages ({_first_line(error)}); {INSTALL}") from None
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        if Path(place.location).is_dir():
            raise UsageError(f"--model {place.location} cannot be loaded: {_first_line(error)}") from None
        raise UsageError(
            f"--model {place.location}: no such folder here, and the hub does not give it: {_first_line(error)}"
        ) from None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
