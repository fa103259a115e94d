"""Saves a checkpoint in Hugging Face form once, so that it is loaded from there by anything."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import evalkit
from evalkit.core.errors import ModelError
from evalkit.models.components import RECORD
from evalkit.models.formats import recognise
from evalkit.models.llava_original import LoadedLlava, load_llava
from evalkit.models.processors import load_processor

_PROBE = "Is the lung normal?\n  Two  spaces, é."


def convert(folder: Path, to: Path, **options: Any) -> LoadedLlava:
    """Loads `folder` (options as for `load_llava`) and saves it in `to`; returns what was loaded.

    `to` must not exist, or be empty; it appears whole or not at all.  ModelError when it is in use, when the disk is
    full, or when the saved processor does not tokenise as the loaded one.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ModelError(f"{to} exists and is not an empty folder: give another one, or empty it first")
    if recognise(folder) == "hf":
        raise ModelError(
            f"{folder} is in Hugging Face form already: there is nothing to convert; copy it to where you want it"
        )
    loaded = load_llava(folder, **options)
    to.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
    try:
        save(loaded, work, source=folder)
        if to.exists():
            to.rmdir()
        work.replace(to)
    except OSError as error:
        raise ModelError(f"{to} cannot be written ({error}): nothing was kept of it") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return loaded


def save(loaded: LoadedLlava, to: Path, *, source: Path) -> None:
    """Weights, processor, template and a record of where they came from, into the folder `to`."""
    loaded.model.save_pretrained(to, state_dict=published_names(loaded.model), max_shard_size="4GB")
    loaded.processor.save_pretrained(to)
    _check_tokens(loaded, to)
    record = {
        "source": str(source),
        "form": loaded.form,
        "vision_tower": loaded.vision_tower,
        "notes": list(loaded.notes),
        "evalkit": evalkit.__version__,
    }
    (to / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def published_names(model: Any) -> dict[str, Any]:
    """The model's tensors with the vision tower's under the names of every published conversion.

    Recent versions of transformers leave a level of them out and read both; vLLM knows the published names alone.
    """
    level = "model.vision_tower.vision_model."
    return {
        name if name.startswith(level) else name.replace("model.vision_tower.", level, 1): tensor
        for name, tensor in model.state_dict().items()
    }


def _check_tokens(loaded: LoadedLlava, to: Path) -> None:
    place = loaded.processor.image_token
    text = f"[INST] {place}\n{_PROBE} [/INST]"
    before, after = (p.tokenizer(text)["input_ids"] for p in (loaded.processor, load_processor(to.name, to)))
    if before != after:
        raise ModelError(
            f"the tokenizer saved in {to} gives other ids than the loaded one for the same text: this version of "
            "transformers does not keep it as it is; use the checkpoint in its original form"
        )
