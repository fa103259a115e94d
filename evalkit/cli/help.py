"""The texts of `--help`, for the whole command line and for one verb."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from evalkit import __version__
from evalkit.cli.config import config_dir, options
from evalkit.cli.verbs import find_verbs, read_verb

SHOWN_GROUPS = ("task", "model", "protocol", "engine", "judge", "tracker")
# Groups whose options have variants (of a data set, of the authors' second script), folded behind one line.
FOLDED_GROUPS = ("protocol", "judge")
ALSO = "also: --cfg job (print the configuration), -m (sweep), --config-dir DIR or EVALKIT_CONF=DIR (your own YAMLs)"


def help_text() -> str:
    """Every verb, and every task, model, protocol, engine and judge with its line; variants behind what they vary."""
    lines = [
        f"evalkit {__version__}: medical VQA benchmarks whose numbers can be trusted",
        "",
        "usage: python -m evalkit [VERB] [key=value ...]     e.g. python -m evalkit model=phantom-llava task=phantom",
        "",
        "verbs (evalkit help VERB shows a verb's settings and examples)",
        *(f"  {' '.join(verb.words):<11} {verb.summary}" for verb in find_verbs()),
    ]
    for group in SHOWN_GROUPS:
        lines += ["", f"{group}="]
        shown = _with_variants(options(group)) if group in FOLDED_GROUPS else options(group)
        lines += [f"  {name:<23} {about}" for name, about in shown.items()]
    lines += [
        "",
        "common settings",
        "  task.path=DIR           a local copy of the dataset, in any of its released forms",
        "  task.split=  task.prompt=plain|short|options  protocol=NAME or '[A,B]' or all",
        "  limit=N  out=DIR  engine.batch_size=N  engine.dtype=float32|bfloat16|auto",
        "  image=original|blank|blurred|noisy|shuffled|similar  probe=image (the same questions without the image)",
        "  dry_run=true  resume=true|false  debug=true (tracebacks)",
        "",
        ALSO,
    ]
    return "\n".join(lines)


def _with_variants(abouts: Mapping[str, str]) -> dict[str, str]:
    """The options with their lines; those named NAME-VARIANT stand behind the line of NAME, as `list` has them all."""
    variants: dict[str, list[str]] = {name: [] for name in abouts}
    for name in abouts:
        parents = [other for other in abouts if name.startswith(f"{other}-")]
        if parents:
            shortest = min(parents, key=len)
            variants[shortest].append(name.removeprefix(shortest))
            del variants[name]
    return {
        name: f"{abouts[name]} [also {', '.join(more)}]" if more else abouts[name] for name, more in variants.items()
    }


def verb_help(name: str) -> str:
    """A verb's docstring, its config groups with their defaults, its settings with their comments, examples."""
    verb = read_verb(name)
    words = " ".join(verb.words)
    usage = "[key=value ...]" if verb.has_settings else "[WORD ...]"
    parts = [f"evalkit {words}: {verb.summary}", f"usage: python -m evalkit {words} {usage}"]
    if verb.description:
        parts.append(verb.description)
    if verb.has_settings:
        settings = read_settings(name)
        if settings.groups:
            parts.append("\n".join(["groups, with their defaults", *(f"  {line}" for line in settings.groups)]))
        parts.append("\n".join(["settings, with their defaults", *(f"  {line}" for line in settings.lines)]))
    if verb.examples:
        parts.append("\n".join(["examples", *(f"  {line}" for line in verb.examples)]))
    if verb.has_settings:
        parts.append(ALSO)
    return "\n\n".join(parts)


class VerbSettings(NamedTuple):
    """A verb's YAML as text: `groups` as on the command line (`task=phantom`), and the lines of its own settings."""

    groups: list[str]
    lines: list[str]


def read_settings(name: str) -> VerbSettings:
    """The groups and settings in a verb's YAML, comments included; read as text, so that comments are kept."""
    text = (config_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    groups: list[str] = []
    lines: list[str] = []
    in_defaults = False
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[:1] not in (" ", "-"):
            in_defaults = line.startswith("defaults:")
        if not in_defaults and line.lstrip().startswith("#"):  # the comment of the line before goes on
            lines[-1] += f" {line.strip(' #')}"
        elif not in_defaults:
            lines.append(line)
        elif match := re.match(r"\s*- (\w+): *(.+)", line):
            groups.append(f"{match.group(1)}={match.group(2)}")
    return VerbSettings(groups, lines)
