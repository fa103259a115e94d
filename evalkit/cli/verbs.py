"""The verbs of the command line, found as modules of `evalkit.cli.commands`.

Names and help lines are read from the modules' source without importing them, because `--help` must start fast.
"""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from evalkit.cli import commands
from evalkit.cli.config import config_dir
from evalkit.core.errors import ConfigError, first_line

DEFAULT = "run"
# Position in `--help` of a verb whose module has no HELP_ORDER.
LAST = 1000


class Verb(NamedTuple):
    """A verb: `name` is its module and its YAML; `summary` and `description` come from the module's docstring.

    first_word: the setting that a first word without "=" gives (FIRST_WORD of the module); empty where none does.
    examples: commands for `--help`, without the program's name (EXAMPLES of the module).
    """

    name: str
    summary: str
    description: str
    order: int
    first_word: str = ""
    examples: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the command line: `judge_check` is `judge check`."""
        return tuple(self.name.split("_"))

    @property
    def has_settings(self) -> bool:
        """Whether the verb is configured by a YAML; without one its function gets the words of the command line."""
        return (config_dir() / f"{self.name}.yaml").is_file()


class Command(NamedTuple):
    """A command line: the verb, whether the user wrote it, and the remaining arguments."""

    verb: str
    is_explicit: bool
    arguments: list[str]


def verb_names() -> list[str]:
    """The modules of all verbs."""
    return [m.name for m in pkgutil.iter_modules(commands.__path__) if not m.name.startswith("_")]


def find_verbs() -> list[Verb]:
    """Every verb, in the order of `--help`: by HELP_ORDER of the module, then by name."""
    return sorted(map(read_verb, verb_names()), key=lambda verb: (verb.order, verb.name))


def read_verb(name: str) -> Verb:
    """The verb of a module, read from its source."""
    spec = find_spec(f"{commands.__name__}.{name}")
    source = spec.loader.get_source(spec.name) if spec and spec.loader else ""  # type: ignore[attr-defined]
    try:
        tree = ast.parse(source or "")
    except SyntaxError as problem:
        summary = f"cannot be read: {problem.msg} in line {problem.lineno} of its module"
        return Verb(name=name, summary=summary, description="", order=LAST)
    summary, _, description = (ast.get_docstring(tree) or "").partition("\n")
    constants = dict(filter(None, map(_constant, tree.body)))
    order, examples = constants.get("HELP_ORDER"), constants.get("EXAMPLES")
    return Verb(
        name=name,
        summary=summary[:1].lower() + summary[1:].rstrip("."),
        description=description.strip(),
        order=order if isinstance(order, int) else LAST,
        first_word=str(constants.get("FIRST_WORD", "")),
        examples=tuple(map(str, examples)) if isinstance(examples, tuple) else (),
    )


def _constant(node: ast.stmt) -> tuple[str, object] | None:
    """Name and value of a statement `NAME = constant`, or a tuple of constants; None for any other statement."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.Tuple) and len(node.targets) == 1:
        target = node.targets[0]
        with suppress(ValueError):  # a tuple of something else
            return (target.id, ast.literal_eval(node.value)) if isinstance(target, ast.Name) else None
    return None


def split_verb(arguments: Sequence[str]) -> Command:
    """The verb at the head of a command line; `run` where the first words are not a verb.

    >>> split_verb(["judge", "check", "labels=a.csv"])
    Command(verb='judge_check', is_explicit=True, arguments=['labels=a.csv'])
    >>> split_verb(["task=slake"])
    Command(verb='run', is_explicit=False, arguments=['task=slake'])
    """
    known = {tuple(name.split("_")): name for name in verb_names()}
    for length in sorted({len(words) for words in known}, reverse=True):
        if name := known.get(tuple(arguments[:length])):
            return Command(name, True, list(arguments[length:]))
    return Command(DEFAULT, False, list(arguments))


def command_line_refused(verb: str, arguments: Sequence[str]) -> None:
    """Tell a verb that its command line was refused before it began; a module without `refused` has nothing to do."""
    with suppress(SyntaxError, ImportError):  # of a broken module, which `load` reports
        if (told := getattr(import_module(f"{commands.__name__}.{verb}"), "refused", None)) is not None:
            told(arguments)


def load(verb: str) -> Callable[[Any], int]:
    """The function of a verb; imports its module only, so that starting one verb never imports another's."""
    try:
        function: Callable[[Any], int] = import_module(f"{commands.__name__}.{verb}").main
    except (SyntaxError, ImportError, AttributeError) as problem:
        raise ConfigError(
            f"The module evalkit/cli/commands/{verb}.py cannot be used ({first_line(problem)}); expected a function "
            "`main(config) -> int`."
        ) from problem
    return function
