"""The verb list: what can be chosen."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.cli.config import options
from evalkit.core.errors import ConfigError, did_you_mean


def list_options(arguments: Sequence[str], groups: Sequence[str]) -> str:
    """The text of `evalkit list [GROUP...]`: names with their one line."""
    plural = {f"{g}s": g for g in groups} | {g: g for g in groups}
    for argument in arguments:
        if argument not in plural:
            raise ConfigError(f"`list` knows no {argument!r}. {did_you_mean(argument, [f'{g}s' for g in groups])}")
    if [plural[a] for a in arguments] == ["protocol"]:
        return protocol_table()
    wanted = [plural[a] for a in arguments] or list(groups)
    parts = []
    for group in wanted:
        found = options(group)
        if found:
            parts.append("\n".join([f"{group}s", *(f"  {name:<24}{about}" for name, about in found.items())]))
    return "\n\n".join(parts)


def protocol_table() -> str:
    """Every protocol with what makes its number, a block each: the same content as docs/protocols.md."""
    from evalkit.cli.config import load_option
    from evalkit.scoring.protocol_table import COLUMNS, protocol_row

    blocks = []
    for name in options("protocol"):
        if name == "all":
            continue
        cells = protocol_row(load_option("protocol", name))
        lines = [f"  {heading:<22}{cell}" for heading, cell in zip(COLUMNS[1:], cells[1:], strict=True)]
        blocks.append("\n".join([cells[0], *lines]))
    return "\n\n".join(blocks)
