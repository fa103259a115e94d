"""Identity of the evaluated model: its row bears its own name, and inherits nothing from a registered model.

`model=NAME` is a registered model, whose YAML states its name, its training exposure and where its weights are from.
With other weights (`model.source=`, another `model.revision=`), with `model=PATH` or `model=OWNER/NAME`, and with
`engine=server`, whose weights nobody here has seen, the YAML is a recipe only: form, prompt template, decoding.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.cli.command_words import model_location
from evalkit.cli.config import Config, load_option, options
from evalkit.cli.typed_settings import words_of
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.core.files import expand_home
from evalkit.models.hub import Repo, cached, snapshot_of

# The recipe of a model that is not registered.  Its chat template is the processor's own.
UNREGISTERED: Mapping[str, Any] = {
    "about": "a checkpoint that is not registered",
    "kind": "checkpoint",
    "source": None,
    "revision": None,
    "base": None,
    "base_revision": None,
    "vision_tower": None,
    "vision_tower_source": None,
    "vision_tower_revision": None,
    "trained_on": None,
    "dtype": None,
    "chat_template": None,
    "generation": "greedy",
    "presets": {"greedy": {"max_new_tokens": 512}},
}
# What a YAML states about its own weights, and says nothing about others.
ABOUT_THE_WEIGHTS = ("about", "revision", "digests", "licence", "trained_on", "notes", "served_as", "citation")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def unregistered_model(option: str) -> dict[str, Any] | None:
    """The YAML content of `model=PATH` or `model=OWNER/NAME`; None for the name of a registered model.

    Raises:
        ConfigError: a path that is not a folder.
    """
    location = model_location(option)
    if location is None:
        return None
    folder = expand_home(location)
    if folder.is_file():
        raise ConfigError(f"model={location} is a file: give the folder of the checkpoint, the one with config.json.")
    if not folder.is_dir() and not _HUB_ID.fullmatch(location):
        raise ConfigError(
            f"model={location}: there is no such folder, and it is not a hub id OWNER/NAME. Give the folder of a "
            "checkpoint, a hub id, or the name of a registered model (`evalkit list models`)."
        )
    content = {**UNREGISTERED, "presets": {k: dict(v) for k, v in UNREGISTERED["presets"].items()}, "source": location}
    return content | _adapter(location, folder)


def _adapter(location: str, folder: Path) -> dict[str, Any]:
    """The settings of a PEFT adapter that stands alone, whose adapter_config.json names its base; {} for weights.

    Raises:
        ConfigError: it names no base.
        ModelError: its adapter_config.json cannot be read.
    """
    from evalkit.models.adapters import is_adapter, stated_base

    here = folder if folder.is_dir() else cached(Repo(id=location))
    if here is None or not is_adapter(here):
        return {}
    if not (base := stated_base(here)):
        raise ConfigError(
            f"model={location} is an adapter whose adapter_config.json names no base (base_model_name_or_path). Give "
            f"the base as the model, and the adapter beside it: model=BASE model.adapter={location}."
        )
    return {"about": f"an adapter on {base}", "source": base, "adapter": location}


def with_own_name(config: Config, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a verb with the model's own name, without statements about other weights.

    Args:
        overrides: the `key=value` words of the command line: what they state about the model stays.
    """
    result = dict(config)
    model, option = config.get("model"), str(config["choices"].get("model"))
    if not isinstance(model, Mapping) or not model:
        return result
    location = model_location(option)
    if location is not None:
        result["choices"] = {**config["choices"], "model": location}
    registered = {} if location is not None or option not in options("model") else load_option("model", option)
    stated = {key.split(".")[1] for key in words_of(overrides) if key.startswith("model.")}
    own = own_identity(model, registered, config.get("engine"))
    named = config.get("name") if "name" in config else None
    changed = dict(model)
    if own is not None:
        name, source = own
        # An adapter changes the weights at the place where the registered model's are.
        is_base = all(model.get(key) == registered.get(key) for key in ("source", "revision"))
        stated |= {"revision", "digests"} if model.get("adapter") and is_base else set()
        changed = {k: v for k, v in model.items() if _is_kept(k, v, registered, stated)}
        changed |= {"source": source, "name": name}
    if named:
        changed["name"] = str(named)
        if own is not None and named in options("model"):
            console.note(
                f"note: the row is named {named} as you say, like the registered model of that name; its training "
                "exposure is unknown unless you state it (regime=, model.trained_on=)"
            )
    result["model"] = changed
    return result


def own_identity(
    model: Mapping[str, Any], registered: Mapping[str, Any], engine: Mapping[str, Any] | None
) -> tuple[str, str | None] | None:
    """(name, source) of a model that is not the registered one; None where it is.

    Args:
        model: the model's configuration.
        registered: the content of the registered YAML; empty for `model=PATH` and `model=OWNER/NAME`.
        engine: the engine's configuration; None for verbs without one.
    """
    if model.get("kind") != "checkpoint":
        return None
    served = _served_model(model, registered, engine)
    if served is not None:
        return _distinct(location_name(served), served, "server"), served
    source, revision = model.get("source"), model.get("revision")
    if (adapter := model.get("adapter")) and adapter != registered.get("adapter"):
        return _distinct(location_name(str(adapter)), str(adapter), ""), str(source)
    if source and source != registered.get("source"):
        return _distinct(location_name(str(source)), str(source), ""), str(source)
    if registered.get("revision") is not None and revision != registered["revision"] and source:
        return f"{location_name(str(source))}{f'@{str(revision)[:8]}' if revision else ''}", str(source)
    return None


def _served_model(
    model: Mapping[str, Any], registered: Mapping[str, Any], engine: Mapping[str, Any] | None
) -> str | None:
    """The id under which a server knows the model; None where the engine loads the weights itself."""
    inner = (engine or {}).get("inner") or engine or {}
    if "served_model" not in inner:
        return None
    own_source = model.get("source") if model.get("source") != registered.get("source") else None
    found = inner["served_model"] or own_source or model.get("served_as") or model.get("source")
    return str(found) if found else None


def _is_kept(key: str, value: Any, registered: Mapping[str, Any], stated: set[str]) -> bool:
    if key not in ABOUT_THE_WEIGHTS or key in stated or not registered:
        return True
    # An experiment's YAML may state it too; then it differs from the registered one.
    return bool(value != registered.get(key))


def location_name(location: str) -> str:
    """The name of a model at a location: the folder's own name, or the hub id.

    >>> location_name("/data/my-llava/"), location_name("lab/my-llava")
    ('my-llava', 'lab/my-llava')
    >>> location_name("/cache/models--lab--my-llava/snapshots/0123456789012345678901234567890123456789")
    'lab/my-llava'
    """
    is_path = location.startswith((".", "/", "~", "package:")) or Path(location).is_dir()
    if not is_path:
        return location
    absolute = _absolute(location)
    if (snapshot := snapshot_of(absolute)) and _COMMIT.fullmatch(snapshot.commit):
        return snapshot.id
    return absolute.name or str(absolute)


def _absolute(location: str) -> Path:
    """The absolute path; links are not resolved, because a link's name is the user's."""
    return Path(os.path.normpath(expand_home(location.removeprefix("package:")).absolute()))


def _distinct(name: str, location: str, prefix: str) -> str:
    """The name, with the folder above it (or `prefix`) before it where a registered model has the same name."""
    if name not in options("model"):
        return name
    return f"{prefix or _absolute(location).parent.name or 'own'}/{name}"
