"""Folders and files that a YAML of the user's names: relative to the YAML itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError
from evalkit.models.templates import is_file_name
from evalkit.tasks.question_template import names_file, names_system_file

# Settings of a model that may be a folder beside its YAML; a hub id otherwise.
FOLDERS = ("source", "base", "vision_tower_source", "adapter")


def with_places(group: str, content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What a user's YAML changes for the place where it lies: folders as absolute paths, files as their text.

    Args:
        group: the config group of the YAML.
        content: its content, not resolved.
        path: the YAML.

    Raises:
        ConfigError: a file is not there, cannot be read, or is not below the YAML's folder.
    """
    folder = path.absolute().parent
    if group == "model":
        found = {k: _folder(content[k], folder) for k in FOLDERS if isinstance(content.get(k), str)}
        template = content.get("chat_template")
        if isinstance(template, str) and "${" not in template and is_file_name(template):
            found["chat_template"] = _text(template, folder, path, "chat_template")
        return found
    if group != "task":
        return {}
    return {
        key: _text(text, folder, path, key)
        for key, is_file in (("template", names_file), ("system", names_system_file))
        if isinstance(text := content.get(key), str) and "${" not in text and is_file(text)
    }


def _folder(value: str, folder: Path) -> str:
    """A folder beside the YAML, else the value as it is: a hub id, or a path from the current folder."""
    beside = folder / value
    is_relative = bool(value) and not value.startswith(("~", "package:")) and not Path(value).is_absolute()
    return os.path.normpath(beside) if is_relative and "${" not in value and beside.is_dir() else value


def _text(name: str, folder: Path, path: Path, key: str) -> str:
    """The text of a file below the YAML's folder.

    A YAML is exchanged between users, and the text may go to a server: another file of this machine is not its to name.
    """
    from evalkit.models.templates import read_template_file
    from evalkit.tasks.question_template import read_question_template, read_system

    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise ConfigError(
            f"{path}: {key}: {name} is not below the folder of the YAML, and a YAML cannot choose another file of this "
            f"machine. Put the file beside the YAML, or give it on the command line."
        )
    if key == "chat_template":
        return read_template_file(file, f"{path}: {key}")
    return (read_system if key == "system" else read_question_template)(str(file))
