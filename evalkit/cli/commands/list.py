"""Tasks, models, protocols, engines ..., one line each.

`evalkit list` shows every group, `evalkit list models tasks` only those; `evalkit list protocols` shows for each
protocol how it computes its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.cli.config import load_option, options
from evalkit.core import console
from evalkit.core.errors import ConfigError, did_you_mean

HELP_ORDER = 160
GROUPS = ("task", "model", "protocol", "engine", "provider", "judge", "experiment", "paper")


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
        found = options(group)
        if found:
            parts.append("\n".join([f"{group}s", *(f"  {name:<23} {about}" for name, about in found.items())]))
    return "\n\n".join(parts)


def protocol_table() -> str:
    """Every protocol, a block each: the content of its card as in docs/protocols.md, else its one line."""
    from evalkit.scoring.protocol_table import columns_of, protocol_row

    blocks = []
    for name, about in options("protocol").items():
        if name == "all":
            continue
        try:
            content = load_option("protocol", name)
        except ConfigError:  # `about` is the reason
            content = {}
        if "card" not in content:
            blocks.append(f"{name}\n  {about}")
            continue
        cells = protocol_row(content)
        lines = [f"  {heading:<22}{cell}" for heading, cell in zip(columns_of(content)[1:], cells[1:], strict=True)]
        blocks.append("\n".join([cells[0], *lines]))
    return "\n\n".join(blocks)
