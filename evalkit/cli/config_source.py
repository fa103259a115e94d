"""Hydra's access to evalkit's config folders: as files, and several protocols next to each other.

Hydra puts an option at the place of its group: `task=slake` is `task`.  Of the group `protocol` several options can be
chosen at once, so each needs a place of its own, `protocol.NAME`.  Hydra takes such a place from a first line
`# @package protocol.NAME` of the file; here it follows from the file's name, and that line is not needed
(docs/adr/0006).
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from evalkit.cli.beside_yaml import with_places
from evalkit.cli.completion import is_completion
from evalkit.cli.config import MULTIPLE_CHOICE, config_dirs, read_yaml, unresolved
from evalkit.cli.defaults_tree import limit_defaults
from evalkit.cli.model_identity import unregistered_model
from evalkit.cli.plugins import plugin_of, plugin_option
from evalkit.cli.recipe_settings import SETTINGS_OF_ALL
from evalkit.cli.shared_yaml import HYDRA, check_package, is_hydra_path
from evalkit.core import console
from evalkit.core.errors import ConfigError, first_line

SCHEME = "evalkit"


def package_of(config_path: str) -> str | None:
    """The place of an option in the configuration, where it is not that of its group.

    >>> package_of("protocol/strict"), package_of("task/slake"), package_of("run")
    ('protocol.strict', None, None)
    """
    group, _, name = config_path.removesuffix(".yaml").rpartition("/")
    return f"{group}.{name}" if group in MULTIPLE_CHOICE else None


def accept_any_key(node: Any) -> None:
    """Let the empty mappings of a config file (`data: {}`) take any key from the command line.

    Everywhere else Hydra refuses keys that the file does not have, which finds typing errors.
    """
    from omegaconf import OmegaConf

    if not node:
        OmegaConf.set_struct(node, False)
    for key in node:
        if OmegaConf.is_dict(child := node._get_node(key)) and not child._is_none() and not child._is_missing():
            accept_any_key(child)


@cache
def register() -> None:
    """Make `hydra.main` read the built-in config folder and the user's own ones through `ConfigFolder`, within limits.

    For the process of the command line alone: the plugin changes the search path of every application of Hydra.
    """
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class ConfigFolders(SearchPathPlugin):  # type: ignore[misc]
        """Replaces Hydra's reader of the main config folder, and adds the user's folders after it."""

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for element in search_path.get_path():
                if element.provider == "main" and "://" not in element.path:
                    element.path = f"{SCHEME}://{element.path}"
            for folder in config_dirs()[1:]:
                search_path.append("user", f"{SCHEME}://{folder}")

    register_source()
    Plugins.instance().register(ConfigFolders)


@cache
def register_source() -> None:
    """Make Hydra read addresses `evalkit://FOLDER` through `ConfigFolder`, and follow defaults lists within limits.

    The class is made here because its base class is Hydra's, which is imported only where it is used.
    """
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.object_type import ObjectType
    from hydra.plugins.config_source import ConfigResult, ConfigSource
    from omegaconf import OmegaConf

    class ConfigFolder(ConfigSource):  # type: ignore[misc]
        """A folder of YAML files; an option of a multiple-choice group gets a place of its own."""

        @staticmethod
        def scheme() -> str:
            return SCHEME

        def load_config(self, config_path: str) -> Any:
            header: dict[str, str | None] = {"package": None}
            if content := self._unregistered(config_path):
                node = OmegaConf.create(content)
                header["package"] = package_of(config_path)
                return ConfigResult(config=node, path=self.full_path(), provider=self.provider, header=header)
            path = self._file(config_path)
            try:
                config, header = read_yaml(path), self._header(path)
                self._add_settings(config, config_path.rpartition("/")[0], path)
            except ConfigError as problem:
                if not is_completion(sys.argv):
                    raise
                console.warn(str(problem))
                config = OmegaConf.create({})
            if header["package"] is None:
                header["package"] = package_of(config_path)
            accept_any_key(config)
            return ConfigResult(config=config, path=self.full_path(), provider=self.provider, header=header)

        def _add_settings(self, config: Any, group: str, path: Path) -> None:
            """Add the settings that every option of a group takes, and what follows from a YAML's place."""
            if self.provider != "main":
                config.update(with_places(group, unresolved(config), path))
            for key, value in SETTINGS_OF_ALL.get(group, {}).items():
                if key not in config:
                    config[key] = value
            if group not in ("model", "task") and isinstance(config.get("generation"), str):
                # So that the command line can add to it: generation.max_new_tokens=64.
                config["generation"] = {"preset": config["generation"]}

        def available(self) -> bool:
            return self.is_group("")

        def is_group(self, config_path: str) -> bool:
            return not is_hydra_path(config_path) and (Path(self.path) / config_path).is_dir()

        def is_config(self, config_path: str) -> bool:
            # A directory named x.yaml is an option too, so that the message about it names it.
            is_there = self._file(config_path).exists()
            if is_there and is_hydra_path(config_path) and not is_completion(sys.argv):
                raise ConfigError(
                    f"{self._file(config_path)} is not read, because Hydra's own settings have the name {HYDRA!r}. "
                    "Give it another name."
                )
            return (is_there and not is_hydra_path(config_path)) or self._unregistered(config_path) is not None

        def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
            names: list[str] = []
            for path in sorted((Path(self.path) / config_path).iterdir()):
                place = PurePosixPath(config_path, path.name).as_posix()
                self._list_add_result(names, place, path.name, results_filter)
            return sorted(set(names))

        def _unregistered(self, config_path: str) -> dict[str, Any] | None:
            """The content of `model=PATH` and `model=OWNER/NAME`, and of plug-ins, which have no file."""
            group, _, option = config_path.removesuffix(".yaml").rpartition("/")
            if self.provider != "main" or self._file(config_path).exists():
                return None
            if (plugin := plugin_of(group, option)) is not None:
                return {**SETTINGS_OF_ALL.get(group, {}), **plugin_option(group, plugin)}
            model = unregistered_model(option) if group == "model" else None
            return model and {**SETTINGS_OF_ALL["model"], **model}

        def _file(self, config_path: str) -> Path:
            return Path(self.path, self._normalize_file_name(config_path))

        def _header(self, path: Path) -> dict[str, str | None]:
            with path.open(encoding="utf-8") as file:
                start = file.read(512)
            try:
                header: dict[str, str | None] = self._get_header_dict(start)
            except ValueError as problem:
                raise ConfigError(f"{path}: {first_line(problem)}.") from problem
            check_package(header["package"], str(path))
            return header

    limit_defaults()
    SourcesRegistry.instance().register(ConfigFolder)


def check_user_folders() -> None:
    """Check that the user's own config folders exist and bring nothing for Hydra itself.

    Raises:
        ConfigError: one is not a folder, or has settings of Hydra.
    """
    for folder in config_dirs()[1:]:
        if not folder.is_dir():
            raise ConfigError(f"The config folder {folder} (EVALKIT_CONF or --config-dir) is not a folder.")
        for name in (HYDRA, f"{HYDRA}.yaml"):
            if (folder / name).exists():
                raise ConfigError(
                    f"{folder / name}: Hydra's own settings are not read from a config folder, because Hydra runs what "
                    "they name. Remove it; what you need of it can be given on the command line (hydra.launcher....)."
                )
