"""Generator of the tables in docs/models.md from the YAMLs in conf/model: `python docs/make_models.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
PAGE = HERE / "models.md"
BEGIN, END = "<!-- table: begin (docs/make_models.py) -->", "<!-- table: end -->"
CLASSES_BEGIN, CLASSES_END = "<!-- classes: begin (docs/make_models.py) -->", "<!-- classes: end -->"
CLASSES_HEAD = ("model", "class", "parameters, counted", "on its card", "an image's part of the prompt")
HEAD = ("model", "form", "source at revision", "also needs", "memory", "disk", "presets", "licence")


def row(name: str, config: dict[str, Any]) -> str:
    """Make one row of the table."""
    also = [f"{config[key]} ({role})" for key, role in (("base", "base"), ("vision_tower_source", "tower")) if
            config.get(key)]  # fmt: skip
    revision = f" at {config['revision'][:8]}" if config["revision"] else ""
    source = f"{config['source']}{revision}" if config["source"] else "none public: model.source=DIR"
    cells = (
        f"`{name}`", config["form"], source, ", ".join(also), f"{config['memory_gb']} GB", f"{config['disk_gb']} GB",
        ", ".join(config["presets"]), config["licence"],
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """Make the table of all checkpoints, sorted by name."""
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    for path in sorted((HERE.parent / "conf" / "model").glob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if config["kind"] == "checkpoint":
            lines.append(row(path.stem, config))
    return "\n".join(lines)


def class_row(name: str, config: dict[str, Any]) -> str:
    """Make one row of the table of classes."""
    prefix = config["prefix"]
    shared = prefix if prefix == "shared" else f"not shared: {prefix}"
    return f"| `{name}` | {config['class']} | {config['parameters']:,} | {config['card_parameters']} | {shared} |"


def class_table() -> str:
    """Make the table of classes, of the checkpoints whose YAML has one."""
    lines = [f"| {' | '.join(CLASSES_HEAD)} |", "|" + "---|" * len(CLASSES_HEAD)]
    for path in sorted((HERE.parent / "conf" / "model").glob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "class" in config:
            lines.append(class_row(path.stem, config))
    return "\n".join(lines)


def page(text: str) -> str:
    """Replace the tables in the text of the page."""
    for begin, end, made in ((BEGIN, END, table()), (CLASSES_BEGIN, CLASSES_END, class_table())):
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{made}\n\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
