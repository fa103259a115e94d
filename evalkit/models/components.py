"""Parts of a registered model (weights, base, vision tower) and their folders on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evalkit.core.errors import ModelError
from evalkit.core.files import expand_home
from evalkit.models.hub import Repo, cached
from evalkit.models.llava_config import tower_name
from evalkit.models.templates import read_template
from evalkit.models.tensor_files import read_json, weight_bytes

# File that `evalkit convert` writes next to the converted weights.
CONVERSION_RECORD = "evalkit-conversion.json"

# Image place in v1.0's conversations, with and without the start and end tokens.
BETWEEN, PLACE = "<im_start><im_patch><im_end>", "<im_patch>"

Role = Literal["weights", "base", "vision tower", "adapter"]

_KEYS: dict[Role, str] = {
    "weights": "source",
    "base": "base",
    "vision tower": "vision_tower_source",
    "adapter": "adapter",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Repository or folder of the model; `folder` is None if it is not on this machine.  size: weights in bytes."""

    role: Role
    source: str
    revision: str | None
    folder: Path | None
    size: int


def locate(config: Mapping[str, Any], lock: Path | None = None) -> tuple[Part, ...]:
    """Find each part of the model: a local folder if the YAML names one, else the hub's cache.

    The stock vision tower is looked up whenever the YAML names its source, for comparison; the model needs it only with
    `vision_tower: stock`.  Weights in Hugging Face form are complete by themselves, but for a PEFT adapter.
    """
    source, revision = config.get("adapter"), config.get("adapter_revision")
    adapter = (_find("adapter", source, revision, lock),) if source else ()
    weights = _find("weights", config.get("source") or "", config.get("revision"), lock)
    if weights.folder is not None and is_hf_layout(weights.folder):
        return (weights, *adapter)
    wanted: list[tuple[Role, str | None, str | None]] = []
    if config.get("base"):
        wanted.append(("base", config["base"], config.get("base_revision")))
    if config.get("vision_tower_source"):
        wanted.append(("vision tower", config["vision_tower_source"], config.get("vision_tower_revision")))
    parts = (weights, *(_find(role, source or "", revision, lock) for role, source, revision in wanted))
    stock = config.get("vision_tower") == "stock"
    return (*(p for p in parts if p.role != "vision tower" or stock or p.folder is not None), *adapter)


def chat_template(config: Mapping[str, Any], lock: Path | None = None) -> str | None:
    """Jinja text of a model's template, as its weights need it; None: the processor's own.

    v1.0's code puts images between start and end tokens if `mm_use_im_start_end` is true in the checkpoint's config,
    else not, in every conversation.

    Raises:
        ConfigError: unknown name.
    """
    text = read_template(config.get("chat_template"))
    if text is None or BETWEEN not in text:
        return text
    folder = _find("weights", config.get("source") or "", config.get("revision"), lock).folder
    try:
        found = read_json(folder / "config.json") if folder and (folder / "config.json").is_file() else {}
    except ModelError:
        return text  # reported when the model is loaded
    without = found.get("model_type") == "llava" and found.get("mm_use_im_start_end") is False
    return text.replace(BETWEEN, PLACE) if without and "text_config" not in found else text


def loading_version(parts: Sequence[Part]) -> str:
    """Version of the loading of LLaVA's own forms for the digest of the weights; "" where it has not changed.

    Version 2 merges an adapter in the run's dtype and adds the end and suppressed tokens of generation_config.json:
    answers given before are not continued.  Every other checkpoint keeps the digest, and its runs their names.
    """
    folder = parts[0].folder
    if folder is None or is_hf_layout(folder):
        return ""
    if (folder / "adapter_config.json").is_file():
        return "2"
    path = folder / "generation_config.json"
    stated = read_json(path) if path.is_file() else {}
    ends = stated.get("eos_token_id")
    plain = (None, -1, 2, [2])  # 2 is the end token of every LLaMA and Mistral tokenizer
    return "" if ends in plain and not stated.get("suppress_tokens") else "2"


def is_hf_layout(folder: Path) -> bool:
    """Whether the folder's config.json is transformers' nested form, with the text and the vision model."""
    if (folder / "adapter_config.json").is_file() or not (folder / "config.json").is_file():
        return False
    try:
        return "text_config" in read_json(folder / "config.json")
    except ModelError:
        return False  # reported when the model is loaded


def tower_conflict(name: str, config: Mapping[str, Any], folder: Path) -> str | None:
    """Describe a conflict between the setting `vision_tower` and the weights; None if there is none.

    Weights in Hugging Face form contain one tower, and only evalkit's own conversions record which one.  Weights in
    LLaVA's layout name theirs, which is compared if both names are hub ids.
    """
    setting = config.get("vision_tower")
    if setting is None:
        return None
    if not is_hf_layout(folder):
        return _tower_name_conflict(name, config, folder) if setting == "stock" else None
    path = folder / CONVERSION_RECORD
    converted = (read_json(path) if path.is_file() else {}).get("vision_tower")
    if converted == setting:
        return None
    kind = f"converted with vision_tower={converted}" if converted else "converted without a record of the tower"
    return (
        f"{name}: vision_tower={setting} is set, but the weights in {folder} are {kind}, and the tower in them is the "
        f"only one that can be used: run with model.vision_tower={converted or 'null'}, which the results then record"
    )


def _tower_name_conflict(name: str, config: Mapping[str, Any], folder: Path) -> str | None:
    try:
        named, source = tower_name(folder), str(config.get("vision_tower_source") or "")
    except ModelError:
        return None  # reported when the model is loaded
    if any(not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", tower) or Path(tower).is_dir() for tower in (named, source)):
        return None
    if named == source:
        return None
    return (
        f"{name}: the config.json in {folder} names the vision tower {named}, but vision_tower_source is {source}: run "
        f"with model.vision_tower_source={named} model.vision_tower_revision=null, the tower of the model's training"
    )


def _find(role: Role, source: str, revision: str | None, lock: Path | None) -> Part:
    local = expand_home(source) if source else None
    if local is not None and local.is_dir():
        return Part(role=role, source=source, revision=None, folder=local, size=weight_bytes(local))
    folder = cached(Repo(id=source, revision=revision), lock) if source else None
    size = weight_bytes(folder) if folder else 0
    return Part(role=role, source=source, revision=revision, folder=folder, size=size)


def missing_message(
    name: str, config: Mapping[str, Any], parts: tuple[Part, ...] | None = None, *, task: str | None = None
) -> str | None:
    """Make the message about missing parts, with the command that fetches them; None if all are on this machine."""
    parts = locate(config) if parts is None else parts
    absent = [part for part in parts if part.folder is None]
    if not absent:
        return None
    if not config.get("source") and parts[0].folder is None:
        return (
            f"{name} has no public weights ({config.get('about', '')}): set model.source=DIR to the folder of your own "
            "copy"
        )
    needed = ", ".join(f"{p.source} ({p.role}{f', {p.revision[:8]}' if p.revision else ''})" for p in absent)
    local = [f" model.{_KEYS[p.role]}={p.source}" for p in parts if p.folder is not None and Path(p.source).is_dir()]
    command = (
        f"python -m evalkit fetch {config.get('fetch_words') or f'model={name}'}"
        + (f" task={task}" if task else "")
        + "".join(local)
    )
    return (
        f"{name} needs {needed}, which {'is' if len(absent) == 1 else 'are'} not in the cache of this machine. Run "
        f"`{command}` on a machine with a network (about {config.get('disk_gb', '?')} GB in total; HF_HOME sets the "
        f"location), or set model.source=DIR to a local copy. {_licence_note(config)}"
    ).strip()


def _licence_note(config: Mapping[str, Any]) -> str:
    """Licence of a gated model, whose terms must be accepted first; "" for other models."""
    licence = str(config.get("licence", ""))
    return f"Licence: {licence}." if "gated" in licence else ""
