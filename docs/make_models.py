"""Generator of the table in docs/models.md from the YAMLs in conf/model: `python docs/make_models.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
PAGE = HERE / "models.md"
BEGIN, END = "<!-- table: begin (docs/make_models.py) -->", "<!-- table: end -->"
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


def page(text: str) -> str:
    """Replace the table in the text of the page."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
