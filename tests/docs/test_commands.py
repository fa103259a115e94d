"""Commands in the documentation: each is one that evalkit knows, with settings that its verb has.

The tutorials' commands are executed (test_tutorials.py), the recipes' of CONTRIBUTING.md as well; those of the other
pages need data sets, weights or servers, so that they are composed and not run.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra.errors import HydraException

from evalkit.cli.command_words import readable
from evalkit.cli.compose import compose
from evalkit.cli.config import options
from evalkit.cli.help import SHOWN_GROUPS
from evalkit.cli.hydra_app import with_settings
from evalkit.cli.typed_settings import groups_of
from evalkit.cli.verbs import read_verb, split_verb
from tests.support.paths import ROOT

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
COMMAND = re.compile(r"^(?: {4}|[$] )?(?:\w+=\S+ )*(?:srun )?python -m evalkit\b(?P<words>[^\n]*)", re.M)
GROUPS = (*SHOWN_GROUPS, "suite", "provider", "paper")
# Words that Hydra itself reads, with the word after them where it belongs to them.
FLAGS = {"-m": 0, "--multirun": 0, "--cfg": 1, "--config-dir": 1, "--help": 0, "--version": 0}
# Groups of Hydra's own and of plug-ins that are not installed here.
FOREIGN = ("hydra/", "hydra.", "engine@")


def commands(path: Path) -> Iterator[str]:
    """The words of every command in a page's blocks of code, lines that go on joined."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for found in COMMAND.finditer(text):
        yield found["words"]


def plain(words: list[str]) -> list[str]:
    """The overrides of a command without flags, placeholders for options, and what other software reads."""
    given = [word for k, word in enumerate(words) if word not in FLAGS and not FLAGS.get(words[k - 1] if k else "")]
    pairs = [word.partition("=")[::2] for word in given]
    # NAME, DIR, OWNER/NAME, a list: evalkit resolves them before Hydra; the settings below are those of the option.
    unknown = tuple(key for key, value in pairs if key in GROUPS and value not in options(key))
    below = tuple(f"{key}." for key in unknown if key != "model")
    return [word for word in given if word.partition("=")[0] not in unknown and not word.startswith((*FOREIGN, *below))]


def shell_words(text: str) -> list[str]:
    """The words of a command up to what the shell does with its result; variables are placeholders."""
    text = re.split(r" (?:\|\||\||&&|>|;) ?|\)(?:$|[;\s\"])", re.sub(r"\$\([^)]*\)|\$\{?\w+\}?", "VALUE", text))[0]
    return shlex.split(text, comments=True)


ALL = [(path, text) for path in PAGES for text in commands(path)]


def test_there_are_commands_to_check() -> None:
    assert len(ALL) > 100 and len({path for path, _ in ALL}) > 25


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({path for path, _ in ALL}), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_has_a_known_verb_and_settings_that_it_has(page: Path) -> None:
    for path, text in ALL:
        if path == page:
            check(text)


def check(text: str) -> None:
    """Raise for a verb or a setting that does not exist."""
    words = shell_words(text)
    if words[:1] in (["help"], ["version"]):
        return
    verb = split_verb(words)
    if not read_verb(verb.verb).has_settings:
        return
    found = [word for word in plain(verb.arguments) if "=" in word]
    assert verb.is_explicit or found == plain(verb.arguments), text
    if {"-m", "--multirun"} & {*words}:  # a sweep: its first job
        found = [word if "[" in word else word.partition(",")[0] for word in found]
    compose(verb.verb, with_settings(readable(found, groups_of(verb.verb))))


@pytest.mark.parametrize(
    "text",
    [" gate baselin=RUN", " limits=5", " score prediction_file=x", " rnu task=slake", " judge run=RUN judge.nam=x"],
)
def test_a_misspelt_command_is_found(text: str) -> None:
    with pytest.raises((AssertionError, HydraException)):
        check(text)


def blocks(language: str) -> list[tuple[str, str]]:
    """Page and content of every block in a language."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.M | re.S)
    return [(p.relative_to(ROOT).as_posix(), body) for p in PAGES for body in pattern.findall(p.read_text("utf-8"))]


def test_python_of_a_page_is_python() -> None:
    found = blocks("python")
    assert len(found) > 10
    for page, body in found:
        compile(body, page, "exec")


def test_yaml_of_a_page_is_yaml() -> None:
    found = blocks("yaml")
    assert len(found) >= 4
    for page, body in found:
        assert isinstance(yaml.safe_load(body), dict), page


def test_every_extra_that_a_page_or_a_message_installs_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = project["optional-dependencies"].keys()
    sources = [
        *PAGES,
        *(ROOT / "conf").rglob("*.yaml"),
        *(ROOT / "evalkit").rglob("*.py"),
        *(ROOT / "packaging").iterdir(),
    ]
    named = {
        (extra, path.name)
        for path in sources
        if path.is_file()
        for found in re.findall(r"(?:evalkit-medvqa|'\.)\[([a-z][a-z,-]*)\]", path.read_text(encoding="utf-8"))
        for extra in found.split(",")
    }
    assert len(named) > 10
    assert {pair for pair in named if pair[0] not in known} == set()
