"""A model's checkpoint: where it is, what its bytes are, and how it becomes a transformers model and processor."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.errors import ModelError
from evalkit.types import Generation, digest_json

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
# What else in a checkpoint's folder changes its answers.
SETTINGS = (".json", ".model", ".jinja", ".txt", ".vocab")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSpec:
    """The content of `conf/model/NAME.yaml` with `kind: checkpoint`.

    source: `package:PATH` (inside evalkit), a local folder, or a hub id with its `revision`.
    chat_template: jinja text; None: the processor's own.
    """

    name: str
    source: str
    revision: str | None = None
    chat_template: str | None = None
    generation: Generation = field(default_factory=Generation)
    dtype: str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], task_generation: Mapping[str, Any] | None = None) -> CheckpointSpec:
        """From the YAML's plain content; a task's generation settings override the model's."""
        settings: dict[str, Any] = {**(config.get("generation") or {}), **(task_generation or {})}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        try:
            generation = Generation(**values)
        except TypeError as problem:
            raise ModelError(
                f"model {config.get('name')}: generation settings {settings} are wrong: {problem}."
            ) from None
        return cls(
            name=config["name"],
            source=config["source"],
            revision=config.get("revision"),
            chat_template=config.get("chat_template"),
            generation=generation,
            dtype=config.get("dtype"),
        )


def locate(spec: CheckpointSpec) -> Path:
    """The local folder with the checkpoint's files; a hub id is looked up in, or brought into, the hub's cache.

    Raises:
        ModelError: neither a folder nor to be had from the hub; says the exact command that brings it.
    """
    if spec.source.startswith("package:"):
        folder = Path(__file__).resolve().parent.parent / spec.source.removeprefix("package:")
        if not folder.is_dir():
            raise ModelError(f"{spec.name}: {folder} is missing; the installation is damaged.")
        return folder
    folder = Path(spec.source).expanduser()
    if folder.is_dir():
        return folder
    if spec.source.count("/") != 1 or spec.source.startswith((".", "/", "~")):
        raise ModelError(
            f"{spec.name}: there is no folder {spec.source}. Give model.source=DIR or a hub id OWNER/NAME."
        )
    return _from_hub(spec)


def _from_hub(spec: CheckpointSpec) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [f"*{ending}" for ending in (*WEIGHTS[:2], *SETTINGS)]
    try:
        return Path(snapshot_download(spec.source, revision=spec.revision, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as problem:
        revision = f"@{spec.revision}" if spec.revision else ""
        raise ModelError(
            f"The weights of {spec.name} ({spec.source}{revision}) are not on this machine and the model hub "
            f"({os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}) did not give them: "
            f"{type(problem).__name__}. On a machine with a network run `python -m evalkit fetch model={spec.name}`, "
            "or give a local copy with model.source=DIR."
        ) from problem


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


def model_type(folder: Path) -> str:
    """`model_type` of the checkpoint's config.json."""
    path = folder / "config.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("model_type", ""))
    except FileNotFoundError as problem:
        raise ModelError(f"{folder} has no config.json; a checkpoint's folder needs one.") from problem
    except ValueError as problem:
        raise ModelError(f"{path} is not valid JSON ({problem}).") from problem


def load(spec: CheckpointSpec, folder: Path, *, device: str, dtype: str) -> tuple[Any, Any]:
    """The model (in eval mode, on `device`) and its processor (left padding, PIL image backend where there is one).

    Raises:
        ModelError: the files do not make an image-text-to-text model of transformers, or tensors do not fit.
    """
    import torch
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    processor = load_processor(spec, folder)
    try:
        model, info = AutoModelForImageTextToText.from_pretrained(
            str(folder), dtype=getattr(torch, dtype), local_files_only=True, output_loading_info=True
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
    return model.to(device).eval(), processor


def load_processor(spec: CheckpointSpec, folder: Path) -> Any:
    """The processor of a checkpoint, set for batched generation."""
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(str(folder), local_files_only=True, backend="pil")
    except (OSError, ValueError, KeyError, ImportError) as problem:
        raise ModelError(f"{spec.name}: the processor of {folder} cannot be loaded: {first_line(problem)}") from problem
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{spec.name}: the processor in {folder} handles no images, so it cannot be asked about one.")
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


def first_line(problem: BaseException) -> str:
    """The first line of an error's text, for messages of one paragraph."""
    text = str(problem).strip()
    return text.splitlines()[0] if text else type(problem).__name__
