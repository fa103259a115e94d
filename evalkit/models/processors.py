"""The processor that lies beside weights in Hugging Face form: for images and text, with the PIL image processor."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from evalkit.core.errors import ModelError, first_line
from evalkit.models.tensor_files import read_json

# Where a folder may name its processor's class, in transformers' own order.
_NAMED_IN = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
# What transformers raises where a processor cannot be made of a folder's files.
_FAULTS = (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError)


def load_processor(name: str, folder: Path) -> Any:
    """The processor of a checkpoint's folder.

    Which image processor transformers takes by itself depends on whether torchvision is installed, and the pixels
    with it: here it is the PIL one wherever there is one.  A video processor is left out: nothing here shows a model
    videos, and transformers' video processors cannot be made without torchvision.

    Raises:
        ModelError: there is none, it does not load, or it handles no images.
    """
    from transformers import AutoProcessor

    kind = _class_of(folder)
    loader = images_only(kind) if kind is not None and has_videos(folder) else AutoProcessor
    try:
        # False and not left out: transformers would ask on the terminal whether to run the folder's own code.
        processor = loader.from_pretrained(str(folder), local_files_only=True, backend="pil", trust_remote_code=False)
    except _FAULTS as problem:
        raise ModelError(f"{name}: the processor of {folder} cannot be loaded: {_why(problem)}") from problem
    if getattr(processor, "tokenizer", None) is None or getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{name}: the processor in {folder} handles no images, so it cannot be asked about one.")
    return processor


def has_videos(folder: Path) -> bool:
    """Whether the folder's processor class has a part for videos, of which transformers has no PIL version."""
    kind = _class_of(folder)
    return kind is not None and "video_processor" in kind.get_attributes()


def pil_arguments(folder: Path) -> dict[str, Any] | None:
    """What makes `AutoProcessor.from_pretrained` take the PIL image processor; None: nothing known here does.

    `backend` is for all parts of a processor at once, and transformers' video processors have no PIL version; the older
    `use_fast` is for the image processor alone.  Whether it still is, is seen by trying.
    """
    if not has_videos(folder):
        return {"backend": "pil"}
    from transformers import AutoProcessor
    from transformers.image_processing_backends import PilBackend

    asked = {"use_fast": False}
    try:
        made = AutoProcessor.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **asked)
    except _FAULTS:
        return None
    return asked if isinstance(made.image_processor, PilBackend) else None


def images_only(kind: Any) -> Any:
    """The processor class without its video processor; it bears the same name and gives the same tensors for images."""
    parts = [name for name in kind.get_attributes() if name != "video_processor"]
    members = {"get_attributes": classmethod(lambda _: list(parts)), "__module__": kind.__module__}
    return type(kind.__name__, (kind,), members)


def _class_of(folder: Path) -> Any:
    """The processor class that the folder names, else that of its model type; None: transformers has to find it."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    contents = [read_json(folder / file) for file in _NAMED_IN if (folder / file).is_file()]
    named = next((c["processor_class"] for c in contents if c.get("processor_class")), None)
    if named is None and (folder / "config.json").is_file():
        named = PROCESSOR_MAPPING_NAMES.get(str(read_json(folder / "config.json").get("model_type")))
    found = getattr(transformers, named, None) if isinstance(named, str) else None
    return found if hasattr(found, "get_attributes") else None


def _why(problem: BaseException) -> str:
    missing = isinstance(problem, ImportError) and importlib.util.find_spec("torchvision") is None
    return first_line(problem) + (" Installing torchvision may be what it needs." if missing else "")
