"""Report of what a registered model needs and how it would run, without downloading or loading its weights."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core.errors import EvalkitError, ModelError
from evalkit.core.types import Generation, ImagePlace, Message
from evalkit.models import checkpoint
from evalkit.models.components import Part, chat_template, locate, missing_message, tower_conflict
from evalkit.models.formats import Form, recognise
from evalkit.models.generation_presets import choose_preset
from evalkit.models.llava_config import read_original
from evalkit.models.llava_original import weights_source
from evalkit.models.llava_tower import TowerComparison, compare_towers, read_tower, stored_tower, tower_config
from evalkit.models.quantization import BYTES as QUANTISED_BYTES
from evalkit.models.templates import render
from evalkit.models.tensor_files import open_folder, read_json

QUESTION = "Is the lung normal?"

# Memory relative to the weights: adds activations, the key-value cache of a few questions and the libraries.
_MEMORY_FACTOR = 1.1
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class FormReport(NamedTuple):
    """Form of a checkpoint, and whether it was recognised from its files rather than taken from the YAML."""

    form: Form | None
    seen: bool


class PromptReport(NamedTuple):
    """Origin of the chat template, and a prompt rendered with it (None if the template is not known yet)."""

    template: str
    prompt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Report about a model.  `problems` is empty if the model can run on this machine; sizes are in bytes.

    `form` is recognised from the files if these are present (`form_seen`), else taken from the YAML.
    """

    name: str
    about: str
    form: Form | None
    form_seen: bool
    parts: tuple[Part, ...]
    disk: int
    memory: int
    memory_free: int
    device: str
    processor: str
    template: str
    prompt: str | None
    generation: Generation
    towers: TowerComparison | None
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether the model can run on this machine."""
        return not self.problems


def diagnose(
    name: str, config: Mapping[str, Any], *, device: str = "auto", lock: Path | None = None, task: str | None = None
) -> Diagnosis:
    """Examine a model's YAML and the files in the cache, and refuse what a run would refuse on loading them.

    Reads headers, small files and a LoRA's tensors, no other weights, and makes no network call.

    config: the YAML; its sources may be local folders.  Faults of the checkpoint are not raised but reported in
    `problems`.
    """
    parts = locate(config, lock)
    problems = [message] if (message := missing_message(name, config, parts, task=task)) else []
    form, seen = _form(config, parts, problems)
    if parts[0].folder is not None and (conflict := tower_conflict(name, config, parts[0].folder)):
        problems.append(conflict)
    warnings = () if problems else _loading(name, config, problems)
    device = _device(device)
    memory, free = _memory(config, parts, form, problems), free_memory(device)
    if memory > free:
        problems.append(
            f"{name} needs about {gigabytes(memory)} of memory, but only {gigabytes(free)} are free on {device}: use a "
            "machine with more memory, or a smaller model"
        )
    template, prompt = _prompt(config, parts, problems)
    towers = _towers(parts, form, problems)
    return Diagnosis(
        name=name,
        about=str(config.get("about", "")),
        form=form,
        form_seen=seen,
        parts=parts,
        disk=sum(p.size for p in parts) or int(float(config.get("disk_gb", 0)) * 1e9),
        memory=memory,
        memory_free=free,
        device=device,
        processor=_processor(config, parts, form),
        template=template,
        prompt=prompt,
        generation=choose_preset(config.get("presets") or {}, config.get("generation", "greedy")),
        towers=towers,
        notes=(*(config.get("notes") or ()), *warnings),
        problems=tuple(dict.fromkeys(problems)),
    )


def free_memory(device: str) -> int:
    """Available bytes on the device: the GPU's free memory, or what the system can give to a process."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path, key in ((Path("/proc/meminfo"), "MemAvailable:"), (Path("/sys/fs/cgroup/memory.max"), "")):
        if path.is_file():
            words = next((w for w in map(str.split, path.read_text().splitlines()) if w and w[0].startswith(key)), [])
            number = words[1 if key else 0] if words else "max"
            free = min(free, int(number) * (1024 if key else 1)) if number.isdigit() else free
    return free


def gigabytes(n: int) -> str:
    """Format a number of bytes in GB.

    >>> gigabytes(15_134_000_000)
    '15.1 GB'
    """
    return f"{n / 1e9:.1f} GB"


def describe(report: Diagnosis) -> str:
    """Format the report as lines of text, the rendered prompt last."""
    origin = "seen in the files" if report.form_seen else "by its YAML; not seen yet"
    lines = [
        f"{report.name}: {report.about}",
        f"form        {report.form or 'not recognised'} ({origin})",
        *(
            f"{part.role:<11} {part.source or '(local)'}{f' at {part.revision[:8]}' if part.revision else ''}: "
            f"{part.folder or 'not here'}"
            for part in report.parts
        ),
        f"disk        {gigabytes(report.disk)}",
        f"memory      {gigabytes(report.memory)} needed, {gigabytes(report.memory_free)} free on {report.device}",
        f"processor   {report.processor}",
        f"template    {report.template}",
        f"generation  {report.generation}",
    ]
    if report.towers is not None:
        t = report.towers
        lines.append(
            f"towers      stored and stock differ in {t.different} of {t.tensors} tensors, by {t.largest:.3g} at most"
        )
    lines += [f"note        {note}" for note in report.notes] + [f"problem     {p}" for p in report.problems]
    lines.append("prompt      " + (repr(report.prompt) if report.prompt is not None else "known once fetched"))
    return "\n".join(lines)


def _form(config: Mapping[str, Any], parts: tuple[Part, ...], problems: list[str]) -> FormReport:
    declared: Form | None = config.get("form")
    folder = parts[0].folder
    if folder is None:
        return FormReport(declared, False)
    try:
        form = recognise(folder)
    except ModelError as error:
        problems.append(str(error))
        return FormReport(None, True)
    if form != "hf" and declared and form != declared:
        problems.append(f"{folder} has form {form}, but the YAML says {declared}: correct the folder or the YAML")
    return FormReport(form, True)


def _memory(config: Mapping[str, Any], parts: tuple[Part, ...], form: Form | None, problems: list[str]) -> int:
    """Estimate bytes of memory: weights in the configured dtype plus a tenth; the YAML's figure without the files."""
    stated = int(float(config.get("memory_gb", 0)) * 1e9)
    folders = {part.role: part.folder for part in parts}
    if form is None or any(folder is None for folder in folders.values()):
        return stated
    try:
        weights = folders["weights"]
        assert weights is not None
        source = open_folder(weights) if form == "hf" else weights_source(weights, form, folders.get("base"))
        stock = folders.get("vision tower")
        shapes = list(source.shapes.values()) + (list(open_folder(stock).shapes.values()) if stock else [])
    except ModelError as error:
        problems.append(str(error))
        return stated
    stored = _BYTES.get(str(config.get("dtype")), 2)
    width = QUANTISED_BYTES.get(str(config.get("quantization")), stored)
    return int(sum(map(math.prod, shapes)) * width * _MEMORY_FACTOR)


def _loading(name: str, config: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    """Check all that loading checks but the values of complete weights; returns warnings, adds to `problems`."""
    try:
        spec = checkpoint.CheckpointSpec.from_config({**config, "name": name})
        return checkpoint.check(spec, checkpoint.locate(spec), dtype="float32")
    except ModelError as error:
        problems.append(str(error))
        return ()


def _device(device: str) -> str:
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _processor(config: Mapping[str, Any], parts: tuple[Part, ...], form: Form | None) -> str:
    image = config.get("image") or {}
    folder = parts[0].folder
    if form is None or form == "hf" or folder is None:
        own = "the checkpoint's own" if form == "hf" else "LlavaProcessor with LlavaImageProcessorPil"
        return f"{own}, image {image}"
    try:
        original = read_original(folder)
    except EvalkitError as error:
        return str(error)
    return f"LlavaProcessor with LlavaImageProcessorPil, {original.aspect}, tower {original.tower}"


def _prompt(config: Mapping[str, Any], parts: tuple[Part, ...], problems: list[str]) -> PromptReport:
    setting = config.get("chat_template")
    folder = parts[0].folder
    text = chat_template(config)
    name = str(setting) if setting and setting.startswith("file:") else "as given (chat_template)"
    if text is None:
        name = "the checkpoint's own"
        text = bundled_template(folder) if folder else None
        if text is None and folder:
            problems.append(f"{folder} has no chat template: set one in the YAML (chat_template)")
    if text is None:
        return PromptReport(name, None)
    try:
        message = Message(role="user", content=(ImagePlace(), QUESTION))
        return PromptReport(name, render(text, [message], special_tokens(folder)))
    except ModelError as error:
        problems.append(str(error))
        return PromptReport(name, None)


def bundled_template(folder: Path) -> str | None:
    """Read the chat template of a checkpoint in Hugging Face form from the file that contains it; None without one."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            found = read_json(folder / name).get("chat_template")
            if isinstance(found, str):
                return found
    return None


def special_tokens(folder: Path | None) -> dict[str, str]:
    """Read the special tokens that a template may use, such as bos_token, from a tokenizer_config.json."""
    path = folder / "tokenizer_config.json" if folder else None
    if path is None or not path.is_file():
        return {}
    plain = {k: v.get("content") if isinstance(v, dict) else v for k, v in read_json(path).items()}
    return {k: v for k, v in plain.items() if k.endswith("_token") and isinstance(v, str)}


def _towers(parts: tuple[Part, ...], form: Form | None, problems: list[str]) -> TowerComparison | None:
    folders = {part.role: part.folder for part in parts}
    folder, stock = folders["weights"], folders.get("vision tower")
    if form in (None, "hf") or folder is None or stock is None:
        return None
    try:
        clip, names = read_tower(stock)
        tower_config({bare: clip.shapes[name] for bare, name in names.items()}, read_original(folder), stock)
        stored = form == "llava-full" and stored_tower(open_folder(folder))
        return compare_towers(folder, stock) if stored else None
    except ModelError as error:
        problems.append(str(error))
        return None
