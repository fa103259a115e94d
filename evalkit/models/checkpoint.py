"""Checkpoints of models: location on disk, digests, and loading into a transformers model and processor."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import console
from evalkit.core.errors import ConfigError, ModelError, first_line
from evalkit.core.files import cache_folder, expand_home, write_whole
from evalkit.core.types import Generation, digest_json
from evalkit.models import adapters, components
from evalkit.models.adapters import Adapter, adapter_digest, open_adapter
from evalkit.models.components import Part
from evalkit.models.formats import recognise
from evalkit.models.generation_presets import choose_preset
from evalkit.models.llava_config import bundled_tower, is_openai_tower, tower_name
from evalkit.models.processors import forget_lengths, load_processor
from evalkit.models.quantization import check_quantizable, checked_quantization, quantization_config
from evalkit.models.tensor_files import open_folder

# Files up to this size are hashed at every start.
LARGE = 64 * 2**20
SAMPLE, SAMPLES = 4096, 256
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
# Other files in a checkpoint's folder that change its answers.
SETTINGS = (".json", ".model", ".jinja", ".txt", ".vocab")


class ModelAndProcessor(NamedTuple):
    """Loaded transformers model in eval mode, and its processor."""

    model: Any
    processor: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSpec:
    """Content of `conf/model/NAME.yaml` with `kind: checkpoint`.

    config: the YAML's plain content; a `source` of the form `package:PATH` (inside evalkit) is replaced by its folder.
    chat_template: jinja text; None: the processor's own.
    """

    name: str
    config: Mapping[str, Any]
    generation: Generation
    chat_template: str | None = None
    dtype: str | None = None

    @property
    def max_images(self) -> int | None:
        """The most images of one question, by `max_images` of the model's YAML; None: no limit is known."""
        stated = self.config.get("max_images")
        if stated is not None and (not isinstance(stated, int) or isinstance(stated, bool) or stated < 1):
            raise ConfigError(
                f"{self.name}: max_images={stated!r} is not valid; expected a whole number from 1, or null."
            )
        return stated

    @property
    def quantization(self) -> str | None:
        """4bit or 8bit, by `quantization` of the model; None: the weights as they are."""
        return checked_quantization(self.name, self.config.get("quantization"))

    @classmethod
    def from_config(cls, config: Mapping[str, Any], task_generation: Mapping[str, Any] | None = None) -> CheckpointSpec:
        """Make the spec from the YAML's plain content; a task's generation settings override the model's.

        `generation:` names a preset of the YAML's `presets:` table, or contains the settings themselves.

        Raises:
            ConfigError: unknown preset, setting or template.
        """
        chosen = config.get("generation") or {}
        presets = dict(config.get("presets") or {}) if isinstance(chosen, str) else {"given": chosen}
        name = chosen if isinstance(chosen, str) else "given"
        if name in presets and task_generation:
            presets[name] = {**presets[name], **task_generation}
        settings = {**config, "source": _inside_package(config.get("source")), "presets": presets, "generation": name}
        return cls(
            name=config["name"],
            config=settings,
            generation=choose_preset(presets, name),
            chat_template=components.chat_template(settings),
            dtype=config.get("dtype"),
        )


def _inside_package(source: str | None) -> str | None:
    if source is None or not source.startswith("package:"):
        return source
    folder = Path(__file__).resolve().parent.parent / source.removeprefix("package:")
    if not folder.is_dir():
        raise ModelError(f"{folder} is missing: the installation of evalkit is damaged; install evalkit again.")
    return str(folder)


def locate(spec: CheckpointSpec, task: str | None = None) -> tuple[Part, ...]:
    """Find the local folders of the model's parts.  Makes no network call.

    task: task to include in the fetch command of the error message.

    Raises:
        ModelError: a part is neither a folder nor in the hub's cache; the message gives the command that fetches it.
    """
    for key in ("source", "adapter"):
        place = str(spec.config.get(key) or "")
        if place.startswith((".", "/", "~")) and not expand_home(place).is_dir():
            raise ModelError(f"{spec.name}: there is no folder {place}; set model.{key}=DIR or a hub id OWNER/NAME.")
    found = components.locate(spec.config)
    if message := components.missing_message(spec.name, spec.config, found, task=task):
        raise ModelError(message)
    if conflict := components.tower_conflict(spec.name, spec.config, weights_folder(found)):
        raise ModelError(conflict)
    return found


def weights_folder(found: Sequence[Part]) -> Path:
    """Folder of the weights, for parts that are all on this machine."""
    folder = found[0].folder
    assert folder is not None
    return folder


def digest(spec: CheckpointSpec, found: Sequence[Part]) -> str:
    """Compute a sha256 over every part that determines the answers, and over the choice of vision tower."""
    named = [
        [p.role, adapter_digest(p.folder) if p.role == "adapter" else folder_digest(p.folder)]
        for p in found
        if p.folder is not None and _is_used(p, spec, found)
    ]
    if bundled := bundled_tower(weights_folder(found)):
        named.append(["vision tower inside", folder_digest(bundled)])
    if version := components.loading_version(found):
        named.append(["loading", version])
    return digest_json([named, spec.config.get("vision_tower")])


def _is_used(part: Part, spec: CheckpointSpec, found: Sequence[Part]) -> bool:
    # A stock tower that is in the cache only for comparison is not part of a model that uses its own tower.
    used = spec.config.get("vision_tower") == "stock" or not is_openai_tower(tower_name(weights_folder(found)))
    return part.role != "vision tower" or used


def folder_digest(folder: Path) -> str:
    """Compute a sha256 over names and contents of the files that determine the answers: weights, configs, tokenizer.

    Large files are hashed once: the result is stored in the user's cache folder, keyed by path, device, inode, size,
    modification and change time, and by a sample of the content.  Hashing 15 GB at every start would take about a
    minute.  Writing to a file changes its change time, which no tool can set back; the sample is for file systems that
    do not keep one (some network and container mounts), where a change between the sampled places could go unnoticed.
    A file that was copied, moved or given other permissions is hashed again, which costs time and is never wrong.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in (*WEIGHTS, *SETTINGS))
    if not any(p.suffix in WEIGHTS for p in files):
        raise ModelError(
            f"{folder} contains no weights ({', '.join(WEIGHTS)}); set model.source to the folder of a checkpoint."
        )
    return digest_json([[p.name, _file_digest(p)] for p in files])


def _file_digest(path: Path) -> str:
    real = path.resolve()
    before = real.stat()
    if before.st_size <= LARGE:
        return _sha256(real)
    key = [str(real), *_state(before), _sampled(real, before.st_size)]
    cache = cache_folder() / "digests" / f"{digest_json(key)[:32]}.txt"
    known = cache.read_text(encoding="ascii", errors="replace").strip() if cache.is_file() else ""
    if re.fullmatch(r"[0-9a-f]{64}", known):
        return known
    digest = _sha256(real)
    if _state(real.stat()) == _state(before):  # else the file was written to in the meantime
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_whole(cache, digest)
    return digest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(stat: os.stat_result) -> tuple[int, ...]:
    """File attributes that change when a file is written or replaced; tools can set mtime, but not ctime."""
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _sampled(path: Path, size: int) -> str:
    """Digest of 4 kB at each of 257 places, first and last included: 1 MB of a file that may have gigabytes."""
    sample = hashlib.sha256()
    with path.open("rb") as file:
        for k in range(SAMPLES + 1):
            file.seek((size - SAMPLE) * k // SAMPLES)
            sample.update(file.read(SAMPLE))
    return sample.hexdigest()


def load(spec: CheckpointSpec, found: Sequence[Part], *, device: str, dtype: str) -> ModelAndProcessor:
    """Load the model onto `device` and its processor (left padding, PIL image backend if there is one).

    The form is recognised from the files: Hugging Face's, or one of LLaVA's own.

    Raises:
        ModelError: transformers cannot load the files as an image-text-to-text model, or tensors do not fit.
    """
    folder, adapter = weights_folder(found), adapter_of(spec, found)
    check_settings(spec, found)
    if recognise(folder) == "hf":
        model = _load_hf(spec, folder, device=device, dtype=dtype)
        processor = load_processor(spec.name, folder)
    else:
        from evalkit.models.llava_original import load_configured

        config = {**spec.config, "name": spec.name}
        loaded = load_configured(config, found, dtype=dtype, device="cpu" if adapter else device)
        model, processor = loaded.model, loaded.processor
        for text in loaded.warnings:
            console.warn(f"{spec.name}: {text}.")
    if adapter is not None:
        console.note(f"note: {adapter.text(str(spec.config.get('source')))}")
        if adapter.warning:
            console.warn(f"{spec.name}: {adapter.warning}.")
        model = adapters.apply_adapter(spec.name, adapter, model)
    # Quantised weights are on their device already, and cannot be moved.
    model = model if spec.quantization else model.to(device)
    return ModelAndProcessor(model.eval(), prepare_processor(spec, processor))


def adapter_of(spec: CheckpointSpec, found: Sequence[Part]) -> Adapter | None:
    """The PEFT adapter of a model, opened and checked; None where it has none.

    Raises:
        ModelError: see `evalkit.models.adapters.open_adapter`.
    """
    part = next((p for p in found if p.role == "adapter"), None)
    if part is None or part.folder is None:
        return None
    return open_adapter(spec.name, part.source, part.folder, weights_folder(found), is_merged=spec.quantization is None)


def check_settings(spec: CheckpointSpec, found: Sequence[Part]) -> None:
    """Check that the weights can be quantised here, where that is asked for.

    Raises:
        ConfigError, ModelError: they cannot.
    """
    if (kind := spec.quantization) is not None:
        folder = weights_folder(found)
        check_quantizable(spec.name, kind, folder, recognise(folder))


def refuse_changes(spec: CheckpointSpec, where: str) -> None:
    """Refuse an adapter or quantised weights where the weights are used as they are, such as by another engine.

    Raises:
        ConfigError: the model has one; without this the base would be evaluated under another name.
    """
    for key in ("adapter", "quantization"):
        if spec.config.get(key):
            raise ConfigError(
                f"model.{key}={spec.config[key]} is not possible with {where}: engine=hf applies it. Leave it out, or "
                "give weights into which it is merged."
            )


def check(spec: CheckpointSpec, found: Sequence[Part], *, dtype: str) -> tuple[str, ...]:
    """Refuse what `load` refuses, reading headers, small files and a LoRA's tensors only; returns warnings.

    Values of complete weights are not read, so that one that is no number is found by `load` alone.

    Raises:
        ModelError: as for `load`.
    """
    folder, adapter = weights_folder(found), adapter_of(spec, found)
    check_settings(spec, found)
    warnings: tuple[str, ...] = ()
    if recognise(folder) == "hf":
        model = _load_hf(spec, folder, device="meta", dtype=dtype)
        prepare_processor(spec, load_processor(spec.name, folder))
    else:
        from evalkit.models.llava_original import check_llava, load_arguments
        from evalkit.models.llava_processor import make_processor

        folder, options = load_arguments({**spec.config, "name": spec.name}, found)
        checked = check_llava(folder, **options, dtype=dtype)
        template = options["chat_template"]
        prepare_processor(spec, make_processor(checked.vocabulary, checked.original, checked.vision, template))
        model, warnings = checked.model, checked.warnings
    if adapter is None:
        return warnings
    adapters.check_on(spec.name, adapter, model)
    added = (adapter.text(str(spec.config.get("source"))), adapter.warning)
    return (*warnings, *(text for text in added if text))


def _load_hf(spec: CheckpointSpec, folder: Path, *, device: str, dtype: str) -> Any:
    """Load a checkpoint in Hugging Face form; on the device `meta` it is checked only, and no tensor is read.

    The model is on the CPU, with quantised weights on `device`.
    """
    import torch
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its table of missing tensors; the error below says what to do
    # Reads headers only; its errors name the truncated, missing or invalid file, which those of transformers do not.
    open_folder(folder)
    try:
        model, info = AutoModelForImageTextToText.from_pretrained(
            str(folder),
            dtype=getattr(torch, dtype),
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
            **_placement(spec, device, dtype),
            ignore_mismatched_sizes=True,  # so that the error below can name the tensors; transformers' error does not
        )
    except Exception as problem:  # transformers fails anywhere on a setting of a wrong type
        raise ModelError(
            f"{spec.name}: transformers cannot load {folder} as an image-text-to-text model: {first_line(problem)}"
        ) from problem
    finally:
        transformers_logging.set_verbosity(verbosity)
    # transformers only warns about these, and initialises missing tensors at random.
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if info.get(kind):
            names = sorted(str(k) for k in info[kind])
            raise ModelError(
                f"{spec.name}: {len(names)} tensors of {folder} are {kind.removesuffix('_keys')}, first {names[0]}. "
                "The checkpoint does not match its config.json, and evalkit initialises nothing at random; fetch the "
                "checkpoint again."
            )
    return model


def _placement(spec: CheckpointSpec, device: str, dtype: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` for the device and for quantised weights."""
    if device == "meta":
        return {"device_map": "meta"}
    if (kind := spec.quantization) is None:
        return {}
    return {"device_map": {"": device}, "quantization_config": quantization_config(kind, dtype)}


def prepare_processor(spec: CheckpointSpec, processor: Any) -> Any:
    """Configure a processor for batched generation with the model's chat template, and return it."""
    tokenizer = processor.tokenizer
    forget_lengths(processor)
    tokenizer.padding_side = "left"  # answers start right after the prompt in every row of a batch
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if spec.chat_template is not None:
        processor.chat_template = spec.chat_template
    if processor.chat_template is None:
        raise ModelError(
            f"{spec.name}: neither the model's YAML nor its processor has a chat template, so the prompt format of its "
            "training is not known. Set chat_template in the model's YAML."
        )
    return processor
