"""Tutorials of the site, executed as they are written: files pasted, Python run, commands run by bash."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.support.command_line import environment
from tests.support.fake_server import FakeServer, verdict
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path for path in (DOCS / "start.md", *sorted(DOCS.glob("tutorials/*.md")))}
SERVER = "http://localhost:8000/v1"
# A block of code, the paragraph before it and the mark in front of it, if any.
BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n\n(?:<!-- not run: (?P<why>[^\n]+) -->\n)?(?P<fence>```)(?P<language>\w+)\n(?P<body>.*?)```",
    re.DOTALL,
)
FILE = re.compile(r"^`(?P<path>[^`]+)`:$")


class Block(NamedTuple):
    """A block of a page.  file: the path that the line before it names; why: why it is not run."""

    language: str
    body: str
    file: str | None
    why: str | None


def blocks(text: str) -> Iterator[Block]:
    for found in BLOCK.finditer(text):
        file = FILE.match(found["before"])
        yield Block(found["language"], found["body"], file["path"] if file else None, found["why"])


def script(text: str) -> str:
    """One bash script that does what a reader of the page does, in its order, and stops at the first failure."""
    parts = ["set -euo pipefail"]
    for number, block in enumerate(blocks(text)):
        end = f"END_OF_BLOCK_{number}"
        if block.file:
            folder = shlex.quote(str(Path(block.file).parent))
            parts.append(f"mkdir -p {folder}\ncat > {shlex.quote(block.file)} <<'{end}'\n{block.body}{end}")
        elif block.why is None and block.language == "python":
            parts.append(f"python - <<'{end}'\n{block.body}{end}")
        elif block.why is None:
            assert block.language == "console", f"a block of {block.language} that is neither a file nor run"
            parts.append(block.body)
    return "\n".join(parts)


def follow(text: str, folder: Path, server: str) -> subprocess.CompletedProcess[str]:
    """Execute a page in an empty folder; the server of the judge is the tests' own."""
    programs = folder / "programs"
    place = folder / "place"
    for new in (programs, place):
        new.mkdir(parents=True)
    python = programs / "python"
    python.write_text(f'#!/bin/bash\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    found = environment() | {"PATH": f"{programs}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(folder / "cache")}
    command = ["bash", "-c", script(text).replace(SERVER, server)]
    return subprocess.run(command, cwd=place, env=found, capture_output=True, text=True, timeout=170)


def one_of_each() -> list[object]:
    """The quickest page in the default suite, the others with -m slow."""
    quick = "tutorials/csv-of-answers.md"
    return [pytest.param(name, marks=() if name == quick else pytest.mark.slow) for name in PAGES]


@pytest.mark.parametrize("name", one_of_each())
def test_a_page_works_as_it_is_written(name: str, tmp_path: Path) -> None:
    with FakeServer(lambda n, body: verdict("correct"), model="my-judge") as server:
        done = follow(PAGES[name].read_text(encoding="utf-8"), tmp_path, server.url)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert (len(server.calls) > 0) == (name == "tutorials/local-judge.md")


@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_a_page_is_run_or_says_why_not(name: str) -> None:
    text = PAGES[name].read_text(encoding="utf-8")
    found = list(blocks(text))
    assert len(found) == len(re.findall(r"^```\w+$", text, flags=re.M)), "a block does not follow an empty line"
    assert all(block.why is None or len(block.why) > 20 for block in found)
    assert any(block.why is None and block.language == "console" for block in found)
    done = subprocess.run(["bash", "-n"], input=script(text), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_fails_fails_the_page(tmp_path: Path) -> None:
    page = "A page\n\n`a/b.txt`:\n\n```csv\nx\n```\n\nThen:\n\n```console\ntest -s a/b.txt\nfalse\necho after\n```\n"
    done = follow(page, tmp_path, SERVER)
    assert done.returncode == 1 and "after" not in done.stdout
    assert follow(page.replace("false", "true"), tmp_path / "second", SERVER).returncode == 0


def test_the_site_has_every_tutorial_in_its_navigation() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    (listed,) = [entry["Tutorials"] for entry in nav if "Tutorials" in entry]
    assert {path for entry in listed for path in entry.values()} == PAGES.keys() - {"start.md"}
