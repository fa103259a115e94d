"""The site: links that resolve, a reference that names what the code has, a strict build."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import evalkit
from evalkit.cli.verbs import verb_names
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"])
LINK = re.compile(r"\]\((?![a-z]+://|mailto:)(?P<target>[^)\s#]*)(?:#(?P<anchor>[^)\s]*))?\)")


@cache
def module(name: str) -> ModuleType:
    """A module of docs/, whose folder is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@cache
def reference() -> dict[str, str]:
    pages: dict[str, str] = module("make_reference").pages()
    return pages


def anchors(text: str) -> set[str]:
    """Anchors of the headings of a page, as GitHub and the site make them."""
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading)).strip().lower() for heading in headings)
    return {text.replace(" ", "-") for text in plain}


def nav_pages(entry: object) -> set[str]:
    if isinstance(entry, str):
        return {entry}
    parts = entry.values() if isinstance(entry, dict) else entry
    assert isinstance(parts, list) or hasattr(parts, "__iter__")
    return {page for part in parts for page in nav_pages(part)}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in LINK.finditer(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        target = (page.parent / link["target"]).resolve() if link["target"] else page
        made = target.is_relative_to(DOCS) and target.relative_to(DOCS).as_posix() in reference()
        assert made or target.exists(), link[0]
        if link["anchor"] and target.suffix == ".md" and not made:
            assert link["anchor"] in anchors(target.read_text(encoding="utf-8")), link[0]


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} | reference().keys()
    assert {page for page in written if not page.startswith("adr/")} == nav_pages(SITE["nav"])


def test_the_reference_names_every_verb_name_of_the_interface_and_file() -> None:
    made = reference()
    assert [verb for verb in verb_names() if f"\n## {verb.replace('_', ' ')}\n" not in made["reference/verbs.md"]] == []
    public = [name for name in evalkit.__all__ if not name.startswith("_")]
    assert [name for name in public if f"\n## evalkit.{name}\n" not in made["reference/api.md"]] == []
    schemas = {path.stem for path in (DOCS / "schemas").glob("*.json")}
    assert [name for name in schemas if f"\n## {name}\n" not in made["reference/files.md"]] == []


def test_the_reference_has_every_field_of_a_run() -> None:
    text = reference()["reference/files.md"]
    summary = json.loads((DOCS / "schemas" / "summary.json").read_text(encoding="utf-8"))
    assert len(summary["properties"]) > 5
    assert all(f"| `{name}` |" in text for name in summary["properties"])


def test_every_group_of_the_configuration_has_its_yamls_whole() -> None:
    folders = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name != "local"}
    assert folders == module("make_reference").GROUPS.keys()
    for path in (ROOT / "conf" / "engine").glob("*.yaml"):
        assert path.read_text(encoding="utf-8").rstrip() in reference()["reference/engine.md"]


def test_a_cell_of_a_table_is_neither_ended_nor_read_as_html() -> None:
    make = module("make_reference")
    assert make.row("a|b", "<script>x</script>", "`<FILE>`") == "| a\\|b | &lt;script&gt;x&lt;/script&gt; | `<FILE>` |"
    assert make.fenced("a\n```\nb", "text") == "````text\na\n```\nb\n````"


def test_a_link_to_what_is_not_on_the_site_becomes_one_to_the_repository() -> None:
    make = module("make_site")
    outside, repository = make.outside, make.REPOSITORY
    assert repository == SITE["extra"]["social"][0]["link"]
    assert outside("[a](../LICENSE)", "x.md") == f"[a]({repository}/blob/main/LICENSE)"
    assert outside("[a](../../conf/#b)", "tutorials/x.md") == f"[a]({repository}/tree/main/conf#b)"
    assert outside("[a](notebooks/evalkit.ipynb)", "x.md").startswith(f"[a]({repository}/blob/main/docs/notebooks/")
    for kept in ("[a](../start.md#a)", "[a](https://example.org/../b)", "[a](#b)", "![a](../board.png)"):
        assert outside(kept, "tutorials/x.md") == kept
    assert outside("[a](reference/verbs.md)", "x.md", frozenset({"reference/verbs.md"})) == "[a](reference/verbs.md)"
    for gone in ("../no-such-file", "../../etc/passwd", "reference/verbs.md"):
        with pytest.raises(FileNotFoundError, match=r"x\.md links to"):
            outside(f"[a]({gone})", "x.md")


def test_the_site_asks_no_other_host() -> None:
    assert SITE["strict"] is True and SITE["theme"]["font"] is False
    assert "extra_javascript" not in SITE and "analytics" not in SITE["extra"]
    # With it the theme asks GitHub for the repository's stars, from each reader's browser.
    assert "repo_url" not in SITE
    assert SITE["extra_css"] == ["site.css"] and "url(" not in (ROOT / "docs/site.css").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="evalkit-medvqa[docs] is not installed")
    module("make_site").stage(ROOT / "build" / "docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in nav_pages(SITE["nav"]):
        place = tmp_path / page.removesuffix(".md").removesuffix("index") / "index.html"
        text = place.read_text(encoding="utf-8")
        assert "</html>" in text
        assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"https?://(?!github\.com)", text) == []
