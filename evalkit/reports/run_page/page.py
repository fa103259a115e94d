"""Writing the page: data into the template, pictures inside it or in a folder next to it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from evalkit.core import console
from evalkit.core.errors import DataError
from evalkit.core.files import write_whole
from evalkit.core.types import ImageRef, Sample
from evalkit.reports.run_page.data import Picture, picture_key

# Up to so many pictures are inside the file; more are in a folder next to it.
MAX_INLINE = 120
LONGEST_SIDE = 512
# The scripts of the page, in order, after helpers.js: those of the numbers, then those of the samples.
NUMBERS = ("numbers.js", "confidence.js", "start.js")
SAMPLES = ("samples.js", "search.js", "address.js")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write_page(path: Path, data: Mapping[str, Any]) -> None:
    """One self-contained HTML file.  Answers are data, never markup: a script tag in one does nothing."""
    names = " against ".join(f"{r['model']} on {r['task']}" for r in data["runs"])
    policy = f"{_POLICY}; script-src 'unsafe-inline'; img-src data: 'self' file:"
    script = page_script('JSON.parse(document.getElementById("data").textContent)')
    write_whole(path, _rendered(title=names, script=script, policy=policy, data=embedded(data), back=""))


def page_shell(source: str, loader: str, back: str, complete: str) -> str:
    """The page without data, for a site that has them in files of their own.

    Args:
        source: the JavaScript expression of the data, or of those that the numbers need; null where nothing is to show.
        loader: what defines the functions that `source` and `complete` call.
        back: the address of the list of runs.
        complete: the expression that adds the samples to the data D; false where that fails.
    """
    script = page_script(source, loader, complete)
    return _rendered(title="Run", script=script, policy=site_policy(script), data="", back=back)


def page_script(source: str, loader: str = "", complete: str = "true") -> str:
    """The script of the page over the data that an expression gives; see `page_shell`."""
    first, then = ("\n".join(resource(name) for name in names) for names in (NUMBERS, SAMPLES))
    return (
        f'"use strict";(async () => {{\n{resource("helpers.js")}\n{loader}\nconst D = {source};\nif (!D) return;\n'
        f'{first}\nif (!({complete})) return;\n{then}\ndocument.documentElement.dataset.ready = "1";\n'
        'performance.mark("ready");\n})();'
    )


def site_policy(script: str) -> str:
    """A content security policy under which a page runs this script and no other, and reads its own site only."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return f"{_POLICY}; script-src 'sha256-{digest}'; img-src data: 'self'; connect-src 'self'"


def resource(name: str) -> str:
    """A script or style of the page."""
    return files("evalkit.reports.run_page").joinpath(name).read_text(encoding="utf-8")


def _rendered(**values: str) -> str:
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(resource("page.html.j2"))
    return template.render(style=resource("page.css"), **values)


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that cannot end its script element, whatever the answers are."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def pictures(samples: Sequence[Sample], folder: Path) -> dict[str, Picture]:
    """`picture_key` -> pictures, scaled down; inside the page when they are few, else in `folder`.

    Samples with a picture that cannot be opened are left out, with a warning that counts them.
    """
    from concurrent.futures import ThreadPoolExecutor

    refs = {picture_key(s): s.images for s in samples if s.images}
    inline = sum(len(r) for r in refs.values()) <= MAX_INLINE
    if not inline:
        folder.mkdir(parents=True, exist_ok=True)

    def picture(number: int, images: Sequence[ImageRef]) -> Picture | str:
        try:
            small = [scaled_down(ref) for ref in images]
        except DataError as problem:
            return str(problem)
        if inline:
            addresses = [f"data:image/jpeg;base64,{base64.b64encode(s.jpeg).decode('ascii')}" for s in small]
        else:
            names = [f"{number}-{k}.jpg" for k in range(len(small))]
            for name, scaled in zip(names, small, strict=True):
                (folder / name).write_bytes(scaled.jpeg)
            addresses = [f"{quote(folder.name)}/{name}" for name in names]
        return Picture(addresses=tuple(addresses), size=small[0].original_size)

    with ThreadPoolExecutor() as pool:
        found = dict(zip(refs, pool.map(picture, range(len(refs)), refs.values()), strict=True))
    if problems := [p for p in found.values() if isinstance(p, str)]:
        console.warn(f"the page is without {len(problems)} of {len(found)} pictures, first: {problems[0]}")
    return {key: p for key, p in found.items() if isinstance(p, Picture)}


class ScaledPicture(NamedTuple):
    """A JPEG, and width and height of the picture before it was scaled down."""

    jpeg: bytes
    original_size: tuple[int, int]


def scaled_down(ref: ImageRef) -> ScaledPicture:
    """The picture of a sample as a JPEG that has its pixels and nothing else of its file.

    Raises:
        DataError: it cannot be opened.
    """
    from evalkit.core.images import open_image

    image = open_image(ref)
    size = image.size
    image.info = {}  # comments and profiles of the file, which may say whose picture it is
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    return ScaledPicture(buffer.getvalue(), size)
