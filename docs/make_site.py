"""Source of the site, written to build/docs: the pages of docs/ and the reference, with links that leave docs/ mended.

`python docs/make_site.py && mkdocs build --strict`; `nox -s site` does both.  No hook of a site generator is needed, so
that another one can take its place (docs/adr/0014-site.md).
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path, PurePosixPath

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
REPOSITORY = "https://github.com/evalkit-medvqa/evalkit"
# Not pages, and shown by GitHub: links to them lead there.
LEFT_OUT = ("notebooks", "*.py", "__pycache__")
# The target of a Markdown link or image that is a path.
_LINK = re.compile(r"(?P<head>\]\()(?!#|[a-z]+:)(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def outside(markdown: str, page: str, made: frozenset[str] = frozenset()) -> str:
    """Replace links to files that are not on the site by links to the repository.

    page: the page's path below docs/.  made: paths of pages that exist on the site alone.

    Raises:
        FileNotFoundError: a link names a file that is not in the repository.
    """

    def replaced(match: re.Match[str]) -> str:
        place = (DOCS / PurePosixPath(page).parent / match["target"]).resolve()
        if place.is_relative_to(DOCS) and place.relative_to(DOCS).as_posix() in made:
            return match[0]
        if not place.is_relative_to(ROOT) or not place.exists():
            raise FileNotFoundError(f"docs/{page} links to {match['target']}, which is not in the repository")
        if place.is_relative_to(DOCS) and place.is_file() and place.suffix != ".ipynb":
            return match[0]
        kind = "tree" if place.is_dir() else "blob"
        return f"{match['head']}{REPOSITORY}/{kind}/main/{place.relative_to(ROOT).as_posix()}{match['anchor'] or ''})"

    return _LINK.sub(replaced, markdown)


def commands_as_code(markdown: str) -> str:
    """Blocks of commands as code: as a session of a console they have no prompt, and are shown pale, as its output.

    >>> commands_as_code("```console\\npython -m evalkit\\n```")
    '```shell\\npython -m evalkit\\n```'
    """
    return re.sub("^```console$", "```shell", markdown, flags=re.MULTILINE)


def stage(target: Path) -> None:
    """Write the site's source into a folder, which is emptied first."""
    sys.path.insert(0, str(DOCS))
    try:
        import make_reference
    finally:
        sys.path.remove(str(DOCS))
    reference = make_reference.pages()
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(DOCS, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
    pages = {path.relative_to(target).as_posix(): path.read_text(encoding="utf-8") for path in target.rglob("*.md")}
    for place, text in (pages | reference).items():
        file = target / place
        file.parent.mkdir(parents=True, exist_ok=True)
        # The reference quotes texts of YAMLs and docstrings, in which nothing is a link of the site.
        linked = outside(text, place, frozenset(reference)) if place in pages else text
        file.write_text(commands_as_code(linked), encoding="utf-8")


if __name__ == "__main__":
    stage(ROOT / "build" / "docs")
