"""Processors of checkpoints in Hugging Face form: for images and text, with the PIL image processor."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import FunctionType
from typing import Any

from evalkit.core.errors import ModelError, first_line
from evalkit.models.tensor_files import read_json

# Files that may name the processor's class, in the order of transformers.
_CLASS_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
# Settings of a tokenizer that shorten or pad a prompt.
_LENGTHS = (
    "truncation", "truncation_strategy", "max_length", "stride", "padding", "pad_to_multiple_of",
    "return_overflowing_tokens",
)  # fmt: skip
# Arguments of a processor's call that give the whole prompt and nothing else, whatever its files store.
WHOLE_PROMPT = {"truncation": False, "padding": False}
# Exceptions of transformers when a processor cannot be made from a folder's files.
_FAULTS = (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError)


def load_processor(name: str, folder: Path) -> Any:
    """Load the processor of a checkpoint's folder.

    The default image processor of transformers, and with it the pixels, depends on whether torchvision is installed;
    here it is the PIL version if there is one.  A video processor is left out: evalkit shows no videos, and the video
    processors of transformers need torchvision.

    Raises:
        ModelError: there is no processor, it does not load, or it does not process images.
    """
    from transformers import AutoProcessor

    kind = _class_of(folder)
    loader = without_video_processor(kind) if kind is not None and has_video_processor(folder) else AutoProcessor
    try:
        # Explicitly False: otherwise transformers asks on the terminal whether to run the folder's own code.
        processor = loader.from_pretrained(str(folder), local_files_only=True, backend="pil", trust_remote_code=False)
    except Exception as problem:  # also the plain Exception of tokenizers, and errors of settings' types
        raise ModelError(f"{name}: the processor of {folder} cannot be loaded: {_reason(problem)}") from problem
    if getattr(processor, "tokenizer", None) is None or getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{name}: the processor in {folder} does not process images; use a checkpoint for images.")
    return processor


def forget_lengths(processor: Any) -> None:
    """Turn off truncation and padding that a tokenizer's or processor's files store: they would apply to every prompt.

    They are what was set when the files were saved (often in training), in tokenizer.json, tokenizer_config.json or
    processor_config.json; transformers applies a stored `max_length` even where truncation is not asked for.
    """
    tokenizer = processor.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and hasattr(backend, "no_truncation"):
        backend.no_truncation()
        backend.no_padding()
    for stored in (getattr(tokenizer, "init_kwargs", None), getattr(processor, "text_kwargs", None)):
        for name in _LENGTHS:
            if isinstance(stored, dict):
                stored.pop(name, None)


def has_video_processor(folder: Path) -> bool:
    """Whether the folder's processor class includes a video processor, of which transformers has no PIL version."""
    kind = _class_of(folder)
    return kind is not None and "video_processor" in kind.get_attributes()


def pil_arguments(folder: Path) -> dict[str, Any] | None:
    """Arguments that make `AutoProcessor.from_pretrained` use the PIL image processor; None if no argument does.

    `backend` applies to all parts of a processor at once, and the video processors of transformers have no PIL version;
    the older `use_fast` applies to the image processor only.  Whether it still works is tested by loading.
    """
    if not has_video_processor(folder):
        return {"backend": "pil"}
    from transformers import AutoProcessor
    from transformers.image_processing_backends import PilBackend

    arguments = {"use_fast": False}
    try:
        made = AutoProcessor.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **arguments)
    except _FAULTS:
        return None
    return arguments if isinstance(made.image_processor, PilBackend) else None


def without_video_processor(kind: Any) -> Any:
    """Derive a processor class without the video processor, of the same name and with the same tensors for images."""
    from transformers import ProcessorMixin

    parts = [name for name in kind.get_attributes() if name != "video_processor"]
    members = {"get_attributes": classmethod(lambda _: list(parts)), "__module__": kind.__module__}
    own = kind.__init__
    names = list(inspect.signature(own).parameters)
    without = names[names.index("video_processor") :] if "video_processor" in names else []
    if all(inspect.signature(own).parameters[name].default is not inspect.Parameter.empty for name in without):
        return type(kind.__name__, (kind,), members)

    class Rest(ProcessorMixin):  # type: ignore[misc]
        """Between the class and ProcessorMixin: leaves out the part that the class hands on in any case."""

        def __init__(self, *args: Any, **given: Any) -> None:
            super().__init__(*args, **{name: value for name, value in given.items() if name != "video_processor"})

    # The class's own function with a default: transformers reads the names of its arguments from its code.
    made = FunctionType(own.__code__, own.__globals__, own.__name__, (None, *(own.__defaults__ or ())), own.__closure__)
    return type(kind.__name__, (kind, Rest), members | {"__init__": made})


def _class_of(folder: Path) -> Any:
    """Processor class that the folder names, else that of its model type; None: transformers must find it."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    contents = [read_json(folder / file) for file in _CLASS_FILES if (folder / file).is_file()]
    named = next((c["processor_class"] for c in contents if c.get("processor_class")), None)
    if named is None and (folder / "config.json").is_file():
        named = PROCESSOR_MAPPING_NAMES.get(str(read_json(folder / "config.json").get("model_type")))
    found = getattr(transformers, named, None) if isinstance(named, str) else None
    return found if hasattr(found, "get_attributes") else None


def _reason(problem: BaseException) -> str:
    missing = isinstance(problem, ImportError) and importlib.util.find_spec("torchvision") is None
    return first_line(problem) + (" Installing torchvision may help." if missing else "")
