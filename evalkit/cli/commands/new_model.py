"""A registered model from a checkpoint of your own: new model DIR, or OWNER/NAME.

Shows what `doctor` finds and writes the YAML, with what cannot be read from the files left open.  The settings of a
model, chat_template= and generation.SETTING= are written into it as they are given.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config
from evalkit.cli.factories import make_spec, model_name
from evalkit.cli.new_yaml import place_of
from evalkit.core import console
from evalkit.core.errors import ConfigError, ModelError
from evalkit.core.files import expand_home, safe_name, write_whole
from evalkit.models.hub import snapshot_of

if TYPE_CHECKING:
    from evalkit.models.checkpoint import CheckpointSpec
    from evalkit.models.doctor import Diagnosis

HELP_ORDER = 146
EXAMPLES = (
    "evalkit new model ./my-checkpoint",
    "evalkit new model OWNER/NAME name=mine generation.max_new_tokens=64",
)
# The setting that a first word without "=" is.
FIRST_WORD = "model"
_HEAD = """\
# source is relative to this file.  trained_on, such as {{slake: [train], "*": []}}, decides in which ranking the rows
# appear; null: not known.
# All keys: docs/adding-a-model.md.  Run it with: python -m evalkit {words}
"""


def main(config: Config) -> int:
    """Examine the checkpoint, show how it would run, and write the YAML."""
    from evalkit.models.doctor import describe, diagnose

    if not (model := config.get("model")):
        raise ConfigError("`new model` needs a checkpoint: new model DIR, or new model OWNER/NAME.")
    name = model_name(config)
    if model.get("kind") != "checkpoint" or not model.get("source"):
        raise ConfigError(f"`new model` is for a checkpoint: give its folder, or its hub id OWNER/NAME, not {name}.")
    if name == config["choices"].get("model") and "/" not in name:
        raise ConfigError(f"{name} is a registered model already. A folder of this name is ./{name}.")
    spec = make_spec(config, name)
    found = diagnose(name, spec.config)
    console.out(describe(found))
    if found.form_seen and found.form is None:
        raise ModelError(f"{name} is no checkpoint that evalkit can load: {'; '.join(found.problems)}")
    if found.problems:
        console.warn(f"{name} cannot run here as it is: see its problems above")
    path = place_of(config, "model", safe_name(name.rpartition("/")[2]), "name")
    words = shlex.join(["--config-dir", str(path.parent.parent), f"model={path.stem}", "task=NAME"])
    write_whole(path, _HEAD.format(words=words) + yaml_text(spec, found, path))
    console.note(f"run it with: python -m evalkit {words}")
    console.out(str(path))
    return 0


def yaml_text(spec: CheckpointSpec, found: Diagnosis, path: Path) -> str:
    """The YAML of a model.

    Args:
        found: what its files are.  path: where the YAML will be, to which its folders are relative.
    """
    import yaml

    content = _content(spec, found)
    for key in ("source", "base", "vision_tower_source", "adapter"):
        if isinstance(value := content.get(key), str) and expand_home(value).is_dir():
            content[key] = _from(path.parent, expand_home(value))
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    return text


def _content(spec: CheckpointSpec, found: Diagnosis) -> dict[str, Any]:
    """The settings: those of every model, then those that were given, without paths made relative."""
    config, preset = spec.config, spec.config["generation"]
    weights = found.parts[0].folder
    snapshot = snapshot_of(weights) if weights is not None else None
    content = {
        "about": config.get("about") if config.get("adapter") else f"{found.form or 'checkpoint'}, {config['source']}",
        "kind": "checkpoint",
        "source": config["source"],
        "revision": config.get("revision") or (snapshot.commit if snapshot else None),
        "licence": config.get("licence"),
        "trained_on": config.get("trained_on"),
        "dtype": config.get("dtype"),
        "memory_gb": round(found.memory / 1e9, 1),
        "chat_template": config.get("chat_template"),
        "generation": preset,
        "presets": {name: dict(settings) for name, settings in config["presets"].items()},
    }
    others = {k: v for k, v in config.items() if v is not None and k not in (*content, "name", "fetch_words")}
    return content | others


def _from(folder: Path, place: Path) -> str:
    """A folder as a path from the YAML's folder, where both are below the current one; else the whole path."""
    here, whole = Path.cwd(), place.absolute()
    if whole.is_relative_to(here) and folder.absolute().is_relative_to(here):
        return Path(os.path.relpath(whole, folder.absolute())).as_posix()
    return str(whole)
