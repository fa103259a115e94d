"""Tasks and protocols of a finished run, from its manifest: by registry name, whatever their modules are called now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import load_option, options, protocols_for
from evalkit.cli.factories import build_protocols
from evalkit.cli.interpolation import resolve_recorded
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.runs.legacy import current_target
from evalkit.runs.store import manifest_record

if TYPE_CHECKING:
    from evalkit.runs.schema import Manifest
    from evalkit.scoring.base import ScoringProtocol


def saved_task(manifest: Manifest, data: Mapping[str, Any]) -> dict[str, Any]:
    """The task's configuration of a run, with the place of its data where `data` gives a new one.

    Raises:
        ConfigError: the task is not registered here.
    """
    stored = manifest.section("task")
    name = str(manifest.section("choices").get("task") or stored.get("name") or manifest.task)
    task = {**_registered("task", name, stored), **{key: value for key, value in data.items() if value}}
    if task.get("path"):
        task["path"] = resolve_recorded(str(task["path"]), "task.path")
    return task


def saved_protocols(manifest: Manifest, task: Mapping[str, Any]) -> list[ScoringProtocol]:
    """The protocols of a run as this evalkit defines them; says so where a version has changed."""
    selected = {
        key: content if key == "all" else _registered("protocol", key, content or {})
        for key, content in manifest.section("protocol").items()
    }
    protocols = build_protocols(protocols_for(selected, task))
    recorded = {p.name: p.version for p in manifest.protocols}
    for protocol in protocols:
        if recorded.get(protocol.name, protocol.version) != protocol.version:
            console.note(
                f"note: the run was scored by version {recorded[protocol.name]} of protocol {protocol.name}, this "
                f"evalkit has version {protocol.version}"
            )
    return protocols


def _registered(group: str, name: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration over the registered one, whose class is used."""
    own = manifest_record(stored)
    if name in options(group):
        return {**load_option(group, name), **own}
    if "target" in own:
        return own
    if "target" in stored:  # a manifest that still names the class, of a task in a folder of the user's
        return {**own, "target": current_target(str(stored["target"]))}
    raise ConfigError(
        f"The run used the {group} {name!r}, which is not registered here. Give the folder of its YAML with "
        "--config-dir DIR or the environment variable EVALKIT_CONF."
    )
