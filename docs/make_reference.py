"""Pages of the site's reference, made from the code: verbs, configuration groups, the Python interface, files of a run.

docs/make_site.py adds them to the site; `python docs/make_reference.py DIR` writes them into a folder.
"""

from __future__ import annotations

import html
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import evalkit
from evalkit.cli.config import config_dir, options
from evalkit.cli.help import verb_help
from evalkit.cli.verbs import find_verbs

SCHEMAS = Path(__file__).resolve().with_name("schemas")
GROUPS = {
    "task": "Tasks",
    "model": "Models",
    "protocol": "Protocols",
    "engine": "Engines",
    "judge": "Judges",
    "provider": "Providers of model servers",
    "tracker": "Trackers",
    "suites": "Suites",
    "paper": "Papers",
}
# Papers hold whole tables, which docs/papers.md describes; of them the list alone.
LISTED_ONLY = ("paper",)


def verbs() -> str:
    """Every verb with its settings, their defaults and examples, as `evalkit help VERB` prints them."""
    parts = ["# Verbs and settings", "What `python -m evalkit help VERB` prints, for every verb."]
    for verb in find_verbs():
        parts += [f"## {' '.join(verb.words)}", fenced(verb_help(verb.name), "text")]
    return joined(parts)


def group(name: str) -> str:
    """One group of configuration: its options with their lines, and each option's YAML with all keys and comments."""
    about = options(name)
    parts = [
        f"# {GROUPS[name]}",
        f"Options of `{name}=`. A YAML of your own in a folder `{name}/`, named by `EVALKIT_CONF`, is one more "
        "([config folders](../config-folders.md)).",
        "\n".join(["| option | what it is |", "|---|---|", *(row(f"`{key}`", line) for key, line in about.items())]),
    ]
    if name not in LISTED_ONLY:
        for key in about:
            path = config_dir() / name / f"{key}.yaml"
            parts += [f"## {key}", fenced(path.read_text(encoding="utf-8"), "yaml")]
    return joined(parts)


def api() -> str:
    """Every name of `evalkit`, with its signature and docstring; of classes the public members as well."""
    parts = ["# Python interface", "Names of the package `evalkit`. Examples: [evalkit from Python](../python.md)."]
    for name in evalkit.__all__:
        value = getattr(evalkit, name)
        if inspect.ismodule(value):
            parts += [f"## evalkit.{name}", fenced(inspect.getdoc(value) or "", "text")]
        elif callable(value):
            parts += [f"## evalkit.{name}", *described(name, value)]
            for member, member_value in members(value):
                parts += [f"### {name}.{member}", *described(member, member_value)]
    return joined(parts)


def described(name: str, value: Any) -> list[str]:
    """The signature and the docstring of a function, a class or a property."""
    if isinstance(value, property):
        return [fenced(inspect.getdoc(value) or "", "text")]
    text = f"{name}{inspect.signature(value)}"
    return [fenced(text, "python"), fenced(inspect.getdoc(value) or "", "text")]


def members(kind: Any) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that a class itself defines and documents; none of a function."""
    if inspect.isclass(kind):
        for name, value in vars(kind).items():
            shown = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if not name.startswith("_") and (inspect.isfunction(shown) or isinstance(shown, property)):
                yield name, shown


def files() -> str:
    """Every file of a run: the fields of its JSON Schema."""
    parts = ["# Files of a run", "From the JSON Schemas in `docs/schemas/`; later versions read earlier runs."]
    for path in sorted(SCHEMAS.glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        parts += [f"## {path.stem}", *tables(schema)]
    return joined(parts)


def tables(schema: Mapping[str, Any]) -> list[str]:
    """A table of the fields of a schema's record, and one of each record inside of it."""
    parts = [str(schema["description"])] if "description" in schema else []
    parts.append(field_table(schema))
    for name, inner in schema.get("$defs", {}).items():
        if "properties" in inner:
            parts += [f"### {schema.get('title', '')} {name}".replace("  ", " "), field_table(inner)]
    return [part for part in parts if part]


def field_table(schema: Mapping[str, Any]) -> str:
    """The fields of one record as a table; empty for a schema without any."""
    fields = schema.get("properties", {})
    required = set(schema.get("required", ()))
    rows = [
        row(f"`{name}`", type_text(field), "yes" if name in required else "", field.get("description", ""))
        for name, field in fields.items()
    ]
    return "\n".join(["| field | type | always | meaning |", "|---|---|---|---|", *rows]) if rows else ""


def type_text(field: Mapping[str, Any]) -> str:
    """A schema's type in words: `string or null`, `list of number`."""
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if options_of := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(dict.fromkeys(map(type_text, options_of)))
    if "const" in field or "enum" in field:
        return " or ".join(json.dumps(value) for value in field.get("enum", [field.get("const")]))
    kind = field.get("type", "any")
    names = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if names == "array":
        return f"list of {type_text(field['items'])}" if isinstance(field.get("items"), dict) else "list"
    return names


def row(*cells: str) -> str:
    """A row of a table; what would end a cell or be read as HTML is escaped, except inside of backticks."""
    texts = (cell if cell.startswith("`") else html.escape(cell, quote=False) for cell in cells)
    return f"| {' | '.join(' '.join(text.split()).replace('|', chr(92) + '|') for text in texts)} |"


def fenced(text: str, language: str) -> str:
    """A block of code whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def joined(parts: list[str]) -> str:
    """Paragraphs as one page."""
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Path below docs/ -> text, of every page of the reference."""
    made = {"reference/verbs.md": verbs(), "reference/api.md": api(), "reference/files.md": files()}
    return made | {f"reference/{name}.md": group(name) for name in GROUPS}


if __name__ == "__main__":
    for place, text in pages().items():
        target = Path(sys.argv[1]) / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
