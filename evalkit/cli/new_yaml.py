"""Place of a YAML that `evalkit new` writes."""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config, options
from evalkit.core.errors import ConfigError
from evalkit.core.files import expand_home


def place_of(config: Config, group: str, name: str, setting: str) -> Path:
    """The file for an option of a config group; its folder is made.

    Args:
        config: of the verb, with `save` and `force`.
        setting: the setting that names the option, for messages.

    Raises:
        ConfigError: the place is not in a config folder, is taken, or the name is that of another option.
    """
    path = expand_home(config["save"]) if config["save"] else Path("conf") / group / f"{name}.yaml"
    if path.suffix != ".yaml" or path.parent.name != group:
        raise ConfigError(f"save={path} cannot be a {group}'s YAML; expected FOLDER/{group}/NAME.yaml.")
    if path.stem in options(group):
        raise ConfigError(f"There is a {group} {path.stem} already. Choose another name: {setting}=NAME or save=PATH.")
    if path.exists() and not config["force"]:
        raise ConfigError(f"{path} exists. Choose another place with save=PATH, or overwrite it with force=true.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
