"""The parts that a registered model is made of (weights, base, vision tower), and where each is on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evalkit.core.errors import ModelError
from evalkit.models.hub import Repo, cached
from evalkit.models.llava_config import tower_name
from evalkit.models.tensor_files import read_json, weight_bytes

# What `evalkit convert` leaves beside the weights that it writes.
RECORD = "evalkit-conversion.json"

Role = Literal["weights", "base", "vision tower"]

_KEYS: dict[Role, str] = {"weights": "source", "base": "base", "vision tower": "vision_tower_source"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A repository or folder that the model is made of; `folder` is None where it is not on this machine."""

    role: Role
    source: str
    revision: str | None
    folder: Path | None
    size: int


def locate(config: Mapping[str, Any], lock: Path | None = None) -> tuple[Part, ...]:
    """Where each part of the model is: a local folder where the YAML names one, else the hub's cache.

    The stock vision tower is looked for whenever the YAML names its source, so that it can be compared; it is a part
    that the model needs only under `vision_tower: stock`.  Weights in Hugging Face form are whole by themselves.
    """
    weights = _find("weights", config.get("source") or "", config.get("revision"), lock)
    if weights.folder is not None and is_whole(weights.folder):
        return (weights,)
    wanted: list[tuple[Role, str | None, str | None]] = []
    if config.get("base"):
        wanted.append(("base", config["base"], config.get("base_revision")))
    if config.get("vision_tower_source"):
        wanted.append(("vision tower", config["vision_tower_source"], config.get("vision_tower_revision")))
    parts = (weights, *(_find(role, source or "", revision, lock) for role, source, revision in wanted))
    stock = config.get("vision_tower") == "stock"
    return tuple(p for p in parts if p.role != "vision tower" or stock or p.folder is not None)


def is_whole(folder: Path) -> bool:
    """Whether the folder's config.json is transformers' own nested one, with text and vision model in one."""
    if (folder / "adapter_config.json").is_file() or not (folder / "config.json").is_file():
        return False
    try:
        return "text_config" in read_json(folder / "config.json")
    except ModelError:
        return False  # said when it is loaded


def tower_conflict(name: str, config: Mapping[str, Any], folder: Path) -> str | None:
    """What is wrong when the setting `vision_tower` asks for another tower than the weights go with; None: nothing.

    Weights in Hugging Face form hold one tower.  Which one, only evalkit's own conversions record.  Weights in LLaVA's
    layout name theirs: compared where both names are a hub's.
    """
    asked = config.get("vision_tower")
    if asked is None:
        return None
    if not is_whole(folder):
        return _other_tower(name, config, folder) if asked == "stock" else None
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    inside = record.get("vision_tower")
    if inside == asked:
        return None
    kind = f"converted with vision_tower={inside}" if inside else "of a conversion that does not say which it took"
    return (
        f"{name}: vision_tower={asked} is asked for, and the weights in {folder} are {kind}; the tower inside is the "
        f"only one that can be used: run with model.vision_tower={inside or 'null'}, which names it in the results"
    )


def _other_tower(name: str, config: Mapping[str, Any], folder: Path) -> str | None:
    try:
        named, source = tower_name(folder), str(config.get("vision_tower_source") or "")
    except ModelError:
        return None  # said when it is loaded
    if any(not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", tower) or Path(tower).is_dir() for tower in (named, source)):
        return None
    if named == source:
        return None
    return (
        f"{name}: the config.json in {folder} names the vision tower {named}, and vision_tower_source is {source}: run "
        f"with model.vision_tower_source={named} model.vision_tower_revision=null, the one that it was trained with"
    )


def _find(role: Role, source: str, revision: str | None, lock: Path | None) -> Part:
    local = Path(source).expanduser() if source else None
    if local is not None and local.is_dir():
        return Part(role=role, source=source, revision=None, folder=local, size=weight_bytes(local))
    folder = cached(Repo(id=source, revision=revision), lock) if source else None
    size = weight_bytes(folder) if folder else 0
    return Part(role=role, source=source, revision=revision, folder=folder, size=size)


def missing(
    name: str, config: Mapping[str, Any], parts: tuple[Part, ...] | None = None, *, task: str | None = None
) -> str | None:
    """One paragraph that says what is not here and the exact command that gets it; None when all is here."""
    parts = locate(config) if parts is None else parts
    absent = [part for part in parts if part.folder is None]
    if not absent:
        return None
    if not config.get("source") and parts[0].folder is None:
        return (
            f"{name} has no public weights ({config.get('about', '')}): give the folder of your own copy with "
            "model.source=DIR"
        )
    what = ", ".join(f"{p.source} ({p.role}{f', {p.revision[:8]}' if p.revision else ''})" for p in absent)
    local = [f" model.{_KEYS[p.role]}={p.source}" for p in parts if p.folder is not None and Path(p.source).is_dir()]
    command = f"python -m evalkit fetch model={name}" + (f" task={task}" if task else "") + "".join(local)
    return (
        f"{name} needs {what}, which {'is' if len(absent) == 1 else 'are'} not in the cache of this machine. Run "
        f"`{command}` where there is a network (about {config.get('disk_gb', '?')} GB in all; HF_HOME says where to), "
        f"or give a local copy with model.source=DIR. {access(config)}"
    ).strip()


def access(config: Mapping[str, Any]) -> str:
    """What the licence asks for, when it asks for something first."""
    licence = str(config.get("licence", ""))
    return f"Licence: {licence}." if "gated" in licence else ""
