"""A model's checkpoint: where it is, what its bytes are, and how it becomes a transformers model and processor."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core.errors import ModelError, first_line
from evalkit.core.types import Generation, digest_json
from evalkit.models import components as parts
from evalkit.models.components import Part
from evalkit.models.formats import recognise
from evalkit.models.generation_presets import choose
from evalkit.models.llava_config import is_openai_tower, tower_inside, tower_name
from evalkit.models.processors import load_processor
from evalkit.models.templates import read_template
from evalkit.models.tensor_files import open_folder

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
# What else in a checkpoint's folder changes its answers.
SETTINGS = (".json", ".model", ".jinja", ".txt", ".vocab")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSpec:
    """The content of `conf/model/NAME.yaml` with `kind: checkpoint`.

    config: the YAML's plain content, `source` already a folder where it was `package:PATH` (inside evalkit).
    chat_template: jinja text; None: the processor's own.
    """

    name: str
    config: Mapping[str, Any]
    generation: Generation
    chat_template: str | None = None
    dtype: str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], task_generation: Mapping[str, Any] | None = None) -> CheckpointSpec:
        """From the YAML's plain content; a task's generation settings override the model's.

        `generation:` names a preset of the YAML's `presets:` table, or holds the settings themselves.

        Raises:
            ConfigError: no such preset, setting or template.
        """
        chosen = config.get("generation") or {}
        presets = dict(config.get("presets") or {}) if isinstance(chosen, str) else {"given": chosen}
        name = chosen if isinstance(chosen, str) else "given"
        if name in presets and task_generation:
            presets[name] = {**presets[name], **task_generation}
        return cls(
            name=config["name"],
            config={**config, "source": _inside_package(config.get("source")), "presets": presets, "generation": name},
            generation=choose(presets, name),
            chat_template=read_template(config.get("chat_template")),
            dtype=config.get("dtype"),
        )


def _inside_package(source: str | None) -> str | None:
    if source is None or not source.startswith("package:"):
        return source
    folder = Path(__file__).resolve().parent.parent / source.removeprefix("package:")
    if not folder.is_dir():
        raise ModelError(f"{folder} is missing; the installation of evalkit is damaged.")
    return str(folder)


def locate(spec: CheckpointSpec, task: str | None = None) -> tuple[Part, ...]:
    """The local folders that the model is made of.  Makes no network call.

    task: the task that is to be fetched along with what is missing, for the message.

    Raises:
        ModelError: one of them is neither a folder nor in the hub's cache; says the exact command that brings it.
    """
    source = str(spec.config.get("source") or "")
    if source.startswith((".", "/", "~")) and not Path(source).expanduser().is_dir():
        raise ModelError(f"{spec.name}: there is no folder {source}; give model.source=DIR or a hub id OWNER/NAME.")
    found = parts.locate(spec.config)
    if absent := parts.missing(spec.name, spec.config, found, task=task):
        raise ModelError(absent)
    if conflict := parts.tower_conflict(spec.name, spec.config, weights_folder(found)):
        raise ModelError(conflict)
    return found


def weights_folder(found: Sequence[Part]) -> Path:
    """The folder of the weights, of parts that are all here."""
    folder = found[0].folder
    assert folder is not None
    return folder


def digest(spec: CheckpointSpec, found: Sequence[Part]) -> str:
    """sha256 over every part that determines the answers, and over which vision tower is used."""
    named = [[p.role, folder_digest(p.folder)] for p in found if p.folder is not None and _counts(p, spec, found)]
    if inner := tower_inside(weights_folder(found)):
        named.append(["vision tower inside", folder_digest(inner)])
    return digest_json([named, spec.config.get("vision_tower")])


def _counts(part: Part, spec: CheckpointSpec, found: Sequence[Part]) -> bool:
    # A stock tower that only lies in the cache, to be compared, is no part of a model that uses its own.
    used = spec.config.get("vision_tower") == "stock" or not is_openai_tower(tower_name(weights_folder(found)))
    return part.role != "vision tower" or used


def folder_digest(folder: Path) -> str:
    """sha256 over the names and contents of the files that determine the answers: weights, configs, tokenizer.

    Big files are hashed once: the result is kept, by size and time of change, in the user's cache folder.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in (*WEIGHTS, *SETTINGS))
    if not any(p.suffix in WEIGHTS for p in files):
        raise ModelError(f"{folder} holds no weights ({', '.join(WEIGHTS)}); is it a checkpoint's folder?")
    return digest_json([[p.name, _file_digest(p)] for p in files])


def _file_digest(path: Path) -> str:
    real = path.resolve()
    stat = real.stat()
    cache = _cache_dir() / "digests" / f"{digest_json([str(real), stat.st_size, stat.st_mtime_ns])[:32]}.txt"
    large = stat.st_size > 64 * 2**20
    if large and cache.is_file():
        return cache.read_text(encoding="ascii").strip()
    with real.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if large:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(digest, encoding="ascii")
    return digest


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "evalkit"


def load(spec: CheckpointSpec, found: Sequence[Part], *, device: str, dtype: str) -> tuple[Any, Any]:
    """The model (in eval mode, on `device`) and its processor (left padding, PIL image backend where there is one).

    The form is recognised from the files: Hugging Face's, or one of LLaVA's own.

    Raises:
        ModelError: the files do not make an image-text-to-text model of transformers, or tensors do not fit.
    """
    folder = weights_folder(found)
    if recognise(folder) == "hf":
        return _load_hf(spec, folder, device=device, dtype=dtype), ready(spec, load_processor(spec.name, folder))
    from evalkit.models.llava_original import load_configured

    config = {**spec.config, "name": spec.name}
    loaded = load_configured(config, found, dtype=dtype, device=device)
    return loaded.model.eval(), ready(spec, loaded.processor)


def _load_hf(spec: CheckpointSpec, folder: Path, *, device: str, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    open_folder(
        folder
    )  # headers only: names the file that is cut off, missing or no weights, which transformers does not
    try:
        model, info = AutoModelForImageTextToText.from_pretrained(
            str(folder),
            dtype=getattr(torch, dtype),
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # so that they are named below; transformers' own error names none
        )
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise ModelError(
            f"{spec.name}: transformers cannot load {folder} as an image-text-to-text model: {first_line(problem)}"
        ) from problem
    # transformers only warns about these, and fills what is missing with random numbers.
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if info.get(kind):
            names = sorted(str(k) for k in info[kind])
            raise ModelError(
                f"{spec.name}: {len(names)} tensors of {folder} are {kind.removesuffix('_keys')}, first {names[0]}. "
                "The checkpoint does not fit its config.json; nothing is initialised at random."
            )
    return model.to(device).eval()


def ready(spec: CheckpointSpec, processor: Any) -> Any:
    """The processor set for batched generation under the model's chat template."""
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"  # answers begin where the prompt ends, in every row of a batch
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if spec.chat_template is not None:
        processor.chat_template = spec.chat_template
    if processor.chat_template is None:
        raise ModelError(
            f"{spec.name}: neither the model's YAML nor its processor has a chat template, so the prompt that it was "
            "trained with is not known. Set chat_template in conf/model/."
        )
    return processor
