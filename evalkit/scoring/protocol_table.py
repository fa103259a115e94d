"""Table of all protocols, built from their YAML configurations alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = ("protocol", "rows and closed", "closed is right when", "open", "normaliser", "aggregation", "source")
CHOICE_COLUMNS = ("protocol", "rows", "a choice is right when", "normaliser", "aggregation", "source")
_FACTS = ("rows", "closed_rule", "open_rule", "normaliser", "aggregation")
_CHOICE_FACTS = ("rows", "choice_rule", "normaliser", "aggregation")
_NOT_SETTINGS = frozenset({"about", "target", "name", "version", "source", "card", "tasks", "unscored", "by_name"})


def columns_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The headings of a protocol's row: COLUMNS, or CHOICE_COLUMNS where it scores multiple choice alone."""
    return CHOICE_COLUMNS if "choice_rule" in (config.get("card") or {}) else COLUMNS


def protocol_row(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Cells of one protocol under COLUMNS, or CHOICE_COLUMNS where it scores multiple choice alone.

    `config` is its YAML as a mapping; "–" for facts that it does not state.

    The settings that determine its number follow its name: "llava-med.1 (match=substring, strip_role=no)".
    """
    # A list of labels is data, not a setting that a user chooses.
    settings = ", ".join(
        f"{key}={_setting_text(value)}"
        for key, value in config.items()
        if key not in _NOT_SETTINGS and value is not None and not isinstance(value, Mapping | list)
    )
    card = config.get("card") or {}
    name = f"{config['name']}.{config['version']}" + (f" ({settings})" if settings else "")
    cells = (str(card.get(key, "–")) for key in (_CHOICE_FACTS if "choice_rule" in card else _FACTS))
    return name, *cells, str(config.get("source") or "–")


def markdown(configs: Iterable[Mapping[str, Any]]) -> str:
    """Tables of all protocols, those of multiple choice apart; then the known bugs of each, sorted by name."""
    ordered = sorted(configs, key=lambda config: str(config["name"]))
    choice = [config for config in ordered if "choice_rule" in config["card"]]
    lines = [*_table(COLUMNS, [config for config in ordered if config not in choice]), ""]
    lines += ["Multiple choice:", "", *_table(CHOICE_COLUMNS, choice)] if choice else []
    for config in ordered:
        lines += ["", f"### {config['name']}", "", f"{config['about']}.", "", f"Prompt: {config['card']['prompt']}."]
        if config.get("tasks"):
            lines += ["", f"For: {', '.join(config['tasks'])}."]
        if reads := config["card"].get("reads"):
            lines += ["", f"Reads: {reads}."]
        bugs = config["card"]["bugs"]
        if bugs:
            lines += ["", _line(("known bug or quirk", "effect")), _line(("---", "---"))]
            lines += [_line((bug["bug"], bug["effect"])) for bug in bugs]
    return "\n".join(lines) + "\n"


def _table(columns: tuple[str, ...], configs: Iterable[Mapping[str, Any]]) -> list[str]:
    return [_line(columns), _line(("---",) * len(columns)), *(_line(protocol_row(config)) for config in configs)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _setting_text(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
