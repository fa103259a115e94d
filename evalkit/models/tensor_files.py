"""The tensors of a checkpoint folder, one at a time: shapes from the headers first, data when it is asked for.

Reads `.safetensors` through memory maps and `.bin` through `torch.load(weights_only=True, mmap=True)`, so that no
pickled code is ever run and no more than the file in hand is mapped.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evalkit.core.errors import ModelError, first_line

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
    """Named tensors: `shapes` in the order in which reading is cheapest, `read` one of them."""

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Name to shape, nothing read yet."""
        ...

    def read(self, name: str, rows: slice = ALL) -> torch.Tensor:
        """Those rows of the tensor, on the CPU, in the dtype in which it is stored."""
        ...

    def where(self, name: str) -> str:
        """The file that holds it, for messages."""
        ...


@dataclass(slots=True)
class Shards:
    """The tensors of some weight files.  At most one file is open at a time."""

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
                        "one of the two is left over from another save; fetch the checkpoint again"
                    )
                self.shapes[name] = shape
                self._homes[name] = path
        self.close()

    def read(self, name: str, rows: slice = ALL) -> torch.Tensor:
        """Those rows as stored, possibly a view into the mapped file: copy what is to be kept.  KeyError if unknown."""
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
        """The path of the file that holds it."""
        return str(self._homes[name])

    def close(self) -> None:
        """Lets go of the mapped file."""
        self._open = None

    def _handle(self, path: Path) -> Any:
        if self._open is None or self._open[0] != path:
            self._open = None
            self._open = (path, _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickle(path))
        return self._open[1]


def open_folder(folder: Path) -> Shards:
    """The weights of a checkpoint folder, index checked against files.  ModelError when there are none or some lack."""
    for name in WEIGHT_FILES:
        path = folder / name
        if path.is_file():
            return _open_index(path) if name.endswith(".index.json") else Shards((path,))
    strays = sorted(p.name for p in folder.glob("*-of-*.*") if p.suffix in (".safetensors", ".bin"))
    hint = f" It has {', '.join(strays[:3])} but no index file to go with them." if strays else ""
    raise ModelError(
        f"{folder} holds no model weights: expected one of {', '.join(WEIGHT_FILES)}.{hint} Fetch the checkpoint again"
    )


def weight_bytes(folder: Path) -> int:
    """Bytes of the weight files that `open_folder` would read (0 without any), from the directory alone."""
    for name in WEIGHT_FILES:
        path = folder / name
        if path.is_file():
            names = set(_index_map(path).values()) if name.endswith(".index.json") else {name}
            return sum((folder / n).stat().st_size for n in names if (folder / n).is_file())
    return 0


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; ModelError naming the file otherwise."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: it belongs to the checkpoint; fetch the checkpoint again") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not readable JSON ({error}): fetch the checkpoint again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} should hold a JSON object and holds a {type(content).__name__}")
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
    files = [path.parent / name for name in sorted(set(weight_map.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelError(
            f"{path.parent} lacks {', '.join(missing)} ({len(missing)} of {len(files)} weight files that "
            f"{path.name} lists): the download is not complete; fetch the checkpoint again"
        )
    shards = Shards(tuple(files))
    for name, file in weight_map.items():
        if name not in shards.shapes or Path(shards.where(name)).name != file:
            raise ModelError(
                f"{path.name} says that {file} holds the tensor {name}, and it does not ({path.parent}): index and "
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
            f"{path} ({path.stat().st_size} bytes) is not a whole safetensors file ({error}): it was cut off or "
            "damaged; delete it and fetch the checkpoint again"
        ) from None


def _open_pickle(path: Path) -> dict[str, torch.Tensor]:
    import pickle
    import warnings

    import torch

    if not path.is_file():
        raise ModelError(f"{path} is missing: fetch the checkpoint again")
    # Files from before PyTorch 1.6 are no zip archives and cannot be mapped; those are read whole.
    mapped = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ModelError(_pickle_refusal(path, str(error))) from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise ModelError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as PyTorch weights ({first_line(error)}): it was cut "
            "off or damaged; delete it and fetch the checkpoint again"
        ) from None
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()
    ):
        raise ModelError(f"{path} should hold a table of named tensors and holds something else; it is not weights")
    return content


def _pickle_refusal(path: Path, message: str) -> str:
    if "GLOBAL" in message or "global" in message:
        found = re.search(r"GLOBAL ([\w.]+)", message)
        named = found[1] if found else "an object"
        return (
            f"{path} holds pickled Python objects other than tensors ({named}): such a file can run code when it is "
            "opened, so it was refused and nothing in it was run; ask its authors for safetensors"
        )
    return (
        f"{path} ({path.stat().st_size} bytes) is not a whole PyTorch file: it was cut off or damaged; delete it and "
        "fetch the checkpoint again"
    )
