"""Tasks, models, protocols, engines ..., one line each.

`evalkit list` shows every group, `evalkit list models tasks` only those; `evalkit list protocols` shows for each
protocol how it computes its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evalkit.cli.config import load_option, options
from evalkit.cli.plugins import OF_GROUP, doc_line, plugin_option
from evalkit.core import console
from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.plugins import Plugin, plugins

HELP_ORDER = 160
EXAMPLES = (
    "evalkit list",
    "evalkit list models tasks",
)
GROUPS = (
    "task", "suite", "model", "protocol", "engine", "provider", "judge", "tracker", "experiment", "paper", "importer",
    "export",
)  # fmt: skip
# Groups whose folder in conf/ has another name.
FOLDERS = {"suite": "suites"}
# Groups whose members have no YAML.
WITHOUT_YAML = ("importer", "export")


def main(arguments: Sequence[str]) -> int:
    """Print the options of config groups."""
    console.out(list_options(arguments))
    return 0


def list_options(arguments: Sequence[str]) -> str:
    """The text of `evalkit list [GROUP...]`: the names of each group with their one line."""
    plural = {f"{g}s": g for g in GROUPS} | {g: g for g in GROUPS}
    for argument in arguments:
        if argument not in plural:
            raise ConfigError(f"`list` has no group {argument!r}. {did_you_mean(argument, [f'{g}s' for g in GROUPS])}")
    if [plural[a] for a in arguments] == ["protocol"]:
        return protocol_table()
    wanted = [plural[a] for a in arguments] or list(GROUPS)
    parts = []
    for group in wanted:
        if group in WITHOUT_YAML:
            found = _without_yaml(group)
        else:
            found = _with_plugins(group, options(FOLDERS.get(group, group)))
        if found:
            parts.append("\n".join([f"{group}s", *(f"  {name:<23} {about}" for name, about in found.items())]))
    return "\n\n".join(parts)


def _with_plugins(group: str, found: dict[str, str]) -> dict[str, str]:
    """Options with the lines of plug-ins, which are imported for it; of a broken one the reason."""
    added = plugins(OF_GROUP[group]) if group in OF_GROUP else {}
    names = [name for name in added if found[name] == f"plug-in of {added[name].label}"]
    return found | {name: _line(lambda p: doc_of(group, p), added[name]) for name in names}


def doc_of(group: str, plugin: Plugin) -> str:
    """The description of a plug-in that is an option of a config group."""
    return str(plugin_option(group, plugin)["about"])


def _without_yaml(group: str) -> dict[str, str]:
    """Formats of predictions, or of exports, with the packages of plug-ins."""
    if group == "importer":
        from evalkit.importers import FORMATS, plugin_format

        own = {name: known.about for name, known in FORMATS.items()}
        return {name: _line(lambda p: plugin_format(p).about, p) for name, p in plugins("importers").items()} | own
    from evalkit.reports.export import WRITERS, writer

    own = {name: doc_line(known) for name, known in WRITERS.items()}
    return {name: _line(lambda p: doc_line(writer(p.name)), p) for name, p in plugins("exports").items()} | own


def _line(describe: Callable[[Plugin], str], plugin: Plugin) -> str:
    """The line of a plug-in with its package; of a broken one the reason."""
    try:
        return f"{describe(plugin) or 'a plug-in'} ({plugin.label})"
    except ConfigError as problem:
        return f"cannot be used: {problem}"


def protocol_table() -> str:
    """Every protocol, a block each: the content of its card as in docs/protocols.md, else its one line."""
    from evalkit.scoring.protocol_table import columns_of, protocol_row

    blocks = []
    for name, about in options("protocol").items():
        if name == "all":
            continue
        try:
            content = load_option("protocol", name)
        except ConfigError as problem:  # of a file, `about` is the reason
            content, about = {}, about if about.startswith("cannot be used") else f"cannot be used: {problem}"
        if "card" not in content:
            blocks.append(f"{name}\n  {about}")
            continue
        cells = protocol_row(content)
        lines = [f"  {heading:<22}{cell}" for heading, cell in zip(columns_of(content)[1:], cells[1:], strict=True)]
        blocks.append("\n".join([cells[0], *lines]))
    return "\n\n".join(blocks)
