"""Writing the page: data into the template, pictures beside it or inside it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from evalkit.core.files import write_whole
from evalkit.core.types import ImageRef, Sample
from evalkit.reports.run_page.data import Picture, picture_key

# Up to so many pictures go into the file itself; more go into a folder beside it.
MOST_INLINE = 120
LONGEST_SIDE = 512


def write_page(path: Path, data: Mapping[str, Any]) -> None:
    """One self-contained HTML file.  Answers are data, never markup: a script tag in one does nothing."""
    from jinja2 import Environment, StrictUndefined

    parts = files("evalkit.reports.run_page")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_part(parts, "page.html.j2"))
    names = " against ".join(f"{r['model']} on {r['task']}" for r in data["runs"])
    script = "".join(_part(parts, name) for name in ("numbers.js", "samples.js"))
    page = template.render(title=names, style=_part(parts, "page.css"), script=script, data=embedded(data))
    write_whole(path, page)


def _part(parts: Any, name: str) -> str:
    return str(parts.joinpath(name).read_text(encoding="utf-8"))


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, whatever the answers hold."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def pictures(samples: Sequence[Sample], folder: Path) -> dict[str, Picture]:
    """`picture_key` -> pictures, made small; inside the page when they are few, else in `folder`."""
    from concurrent.futures import ThreadPoolExecutor

    refs = {picture_key(s): s.images for s in samples if s.images}
    inline = sum(len(r) for r in refs.values()) <= MOST_INLINE
    if not inline:
        folder.mkdir(parents=True, exist_ok=True)

    def made(number: int, images: Sequence[ImageRef]) -> Picture:
        small = [_small(ref) for ref in images]
        if inline:
            addresses = [f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}" for content, _ in small]
        else:
            names = [f"{number}-{k}.jpg" for k in range(len(small))]
            for name, (content, _) in zip(names, small, strict=True):
                (folder / name).write_bytes(content)
            addresses = [f"{quote(folder.name)}/{name}" for name in names]
        return Picture(addresses=tuple(addresses), size=small[0][1])

    with ThreadPoolExecutor() as pool:
        return dict(zip(refs, pool.map(made, range(len(refs)), refs.values()), strict=True))


def _small(ref: ImageRef) -> tuple[bytes, tuple[int, int]]:
    """A JPEG, and the picture's size before it was made small."""
    from evalkit.core.images import open_image

    image = open_image(ref)
    size = image.size
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue(), size
