"""Tensors of a checkpoint folder, read one at a time: shapes from the headers first, data on request.

Reads `.safetensors` through memory maps and `.bin` through `torch.load(weights_only=True, mmap=True)`, so that pickled
code is never run and only one file is mapped at a time.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evalkit.core import files
from evalkit.core.errors import ModelError, StoreError, first_line

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]

# Index or single file, in order of preference: safetensors before pickle.
WEIGHT_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
ALL = slice(None)


class TensorSource(Protocol):
    """Named tensors: `shapes` in the order in which reading is cheapest, and `read` for a single tensor."""

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Shapes by name, known without reading tensors."""
        ...

    def read(self, name: str, rows: slice = ALL) -> torch.Tensor:
        """Read rows of a tensor, on the CPU, in its stored dtype."""
        ...

    def where(self, name: str) -> str:
        """Path of the file with the tensor, for messages."""
        ...


@dataclass(slots=True)
class Shards:
    """Tensors of one or more weight files, of which at most one is open at a time."""

    files: tuple[Path, ...]
    shapes: dict[str, Shape] = field(default_factory=dict)
    _homes: dict[str, Path] = field(default_factory=dict)
    _open: tuple[Path, Any] | None = None

    def __post_init__(self) -> None:
        for path in self.files:
            for name, shape in _header(self._handle(path)).items():
                if name in self._homes:
                    raise ModelError(
                        f"the tensor {name} is in both {self._homes[name].name} and {path.name} of {path.parent}: "
                        "one of the two files is left over from another save; fetch the checkpoint again"
                    )
                self.shapes[name] = shape
                self._homes[name] = path
        self.close()

    def read(self, name: str, rows: slice = ALL) -> torch.Tensor:
        """Read rows as stored, possibly as a view into the mapped file, which must be copied to be kept.

        Raises:
            KeyError: unknown name.
            ModelError: the tensor is quantised.
        """
        path = self._homes[name]
        handle = self._handle(path)
        tensor: torch.Tensor = handle[name][rows] if isinstance(handle, dict) else handle.get_slice(name)[rows]
        if not tensor.is_floating_point():
            raise ModelError(
                f"the tensor {name} in {path} is stored as {tensor.dtype}: a quantised checkpoint cannot be loaded "
                "here; use the unquantised weights"
            )
        return tensor

    def where(self, name: str) -> str:
        """Path of the file with the tensor."""
        return str(self._homes[name])

    def close(self) -> None:
        """Release the mapped file."""
        self._open = None

    def _handle(self, path: Path) -> Any:
        if self._open is None or self._open[0] != path:
            self._open = None
            self._open = (path, _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickle(path))
        return self._open[1]


def open_folder(folder: Path) -> Shards:
    """Open the weights of a checkpoint folder and check the index against the files.

    Raises:
        ModelError: there are no weights, or files are missing or inconsistent.
    """
    for name in WEIGHT_FILES:
        path = folder / name
        if path.is_file():
            return _open_index(path) if name.endswith(".index.json") else Shards((path,))
    strays = sorted(p.name for p in folder.glob("*-of-*.*") if p.suffix in (".safetensors", ".bin"))
    hint = f" It has {', '.join(strays[:3])} but no index file for them." if strays else ""
    raise ModelError(
        f"{folder} contains no model weights: expected one of {', '.join(WEIGHT_FILES)}.{hint} Fetch the checkpoint "
        "again"
    )


def weight_bytes(folder: Path) -> int:
    """Total bytes of the weight files that `open_folder` would read (0 without any); reads no weights."""
    for name in WEIGHT_FILES:
        path = folder / name
        if path.is_file():
            names = set(_index_map(path).values()) if name.endswith(".index.json") else {name}
            return sum((folder / n).stat().st_size for n in names if (folder / n).is_file())
    return 0


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a checkpoint's file.  Raises ModelError if it is missing or not a JSON object."""
    try:
        content = files.read_json(path, "checkpoint file")
    except StoreError as problem:
        raise ModelError(f"{problem} Fetch the checkpoint again.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} must contain a JSON object, but contains a {type(content).__name__}")
    return content


def _index_map(path: Path) -> dict[str, str]:
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{path} has no weight_map: it is not the index of a sharded checkpoint; fetch it again")
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise ModelError(f"{path} places the tensor {name} in {file!r}, which is not a file name in that folder")
    return weight_map


def _open_index(path: Path) -> Shards:
    weight_map = _index_map(path)
    paths = [path.parent / name for name in sorted(set(weight_map.values()))]
    missing = [file.name for file in paths if not file.is_file()]
    if missing:
        raise ModelError(
            f"{path.parent} lacks {', '.join(missing)} ({len(missing)} of {len(paths)} weight files that "
            f"{path.name} lists): the download is incomplete; fetch the checkpoint again"
        )
    shards = Shards(tuple(paths))
    for name, file in weight_map.items():
        if name not in shards.shapes or Path(shards.where(name)).name != file:
            raise ModelError(
                f"{path.name} lists the tensor {name} in {file}, which does not contain it ({path.parent}): index and "
                "weight files are from different saves; fetch the checkpoint again"
            )
    return shards


def _header(handle: Any) -> dict[str, Shape]:
    if isinstance(handle, dict):
        return {name: tuple(tensor.shape) for name, tensor in handle.items()}
    return {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118  (not a dict)


def _open_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt", device="cpu")
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: fetch the checkpoint again") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} ({path.stat().st_size} bytes) is not a complete safetensors file ({error}): it is truncated or "
            "damaged; delete it and fetch the checkpoint again"
        ) from None


def _open_pickle(path: Path) -> dict[str, torch.Tensor]:
    import pickle
    import warnings

    import torch

    if not path.is_file():
        raise ModelError(f"{path} is missing: fetch the checkpoint again")
    # Files from before PyTorch 1.6 are not zip archives and cannot be mapped; they are read completely.
    mapped = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ModelError(_pickle_refusal(path, str(error))) from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise ModelError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as PyTorch weights ({first_line(error)}): it is "
            "truncated or damaged; delete it and fetch the checkpoint again"
        ) from None
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()
    ):
        raise ModelError(f"{path} does not contain a table of named tensors: it is not a file of weights")
    return content


def _pickle_refusal(path: Path, message: str) -> str:
    if "GLOBAL" in message or "global" in message:
        found = re.search(r"GLOBAL ([\w.]+)", message)
        named = found[1] if found else "an object"
        return (
            f"{path} contains pickled Python objects other than tensors ({named}): such a file can run code when it "
            "is opened, so it was refused and nothing in it was run; ask its authors for safetensors"
        )
    return (
        f"{path} ({path.stat().st_size} bytes) is not a complete PyTorch file: it is truncated or damaged; delete it "
        "and fetch the checkpoint again"
    )
