"""Conversion of checkpoints from LLaVA's layouts to Hugging Face form."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import evalkit
from evalkit.core.errors import ModelError
from evalkit.models.components import CONVERSION_RECORD
from evalkit.models.formats import has_own_projector, recognise
from evalkit.models.llava_original import LoadedLlava, load_llava
from evalkit.models.processors import load_processor

_PROBE = "Is the lung normal?\n  Two  spaces, é."


def convert(folder: Path, to: Path, **options: Any) -> LoadedLlava:
    """Load the checkpoint in `folder`, save it in `to` in Hugging Face form, and return the loaded checkpoint.

    Args:
        folder: a checkpoint in one of LLaVA's layouts.
        to: folder that does not exist yet or is empty; it is written completely or not at all.
        options: as for `load_llava`.

    Raises:
        ModelError: the checkpoint has no Hugging Face form, `to` is in use, the disk is full, or the saved processor
            tokenises differently from the loaded one.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ModelError(f"{to} exists and is not an empty folder: choose another folder, or empty it first")
    if recognise(folder) == "hf":
        raise ModelError(
            f"{folder} is already in Hugging Face form: there is nothing to convert; use it with model.source={folder}"
        )
    if has_own_projector(folder):
        raise ModelError(
            f"{folder} has ColonGPT's projector, for which transformers has no class: it has no Hugging Face form; use "
            f"it as it is with model.source={folder}"
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
        raise ModelError(f"{to} cannot be written ({error}): the incomplete folder was removed") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return loaded


def save(loaded: LoadedLlava, to: Path, *, source: Path) -> None:
    """Write weights, processor, template and a record of their origin into the folder `to`."""
    loaded.model.save_pretrained(to, state_dict=published_names(loaded.model), max_shard_size="4GB")
    loaded.processor.save_pretrained(to)
    _check_tokens(loaded, to)
    record = {
        "source": str(source),
        "form": loaded.form,
        "vision_tower": loaded.vision_tower,
        "notes": [*loaded.notes, *loaded.warnings],
        "evalkit": evalkit.__version__,
    }
    (to / CONVERSION_RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def published_names(model: Any) -> dict[str, Any]:
    """Name the model's tensors as published conversions do, which have one more level for the vision tower.

    Recent versions of transformers omit that level when saving and read both; vLLM reads the published names only.
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
            f"the tokenizer saved in {to} gives different ids for the same text than the loaded one: this version of "
            "transformers does not save it correctly; use the checkpoint in its original form"
        )
