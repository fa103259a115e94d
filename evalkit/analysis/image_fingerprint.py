"""Pictures that are one picture in another file: found by a 64-bit hash, confirmed on a 64 x 64 thumbnail.

dHash: the picture in grey, shrunk to 9 x 8 by area means; each bit says whether a cell is clearly brighter than its
right neighbour.  Scaling, recompression and brightness hardly change it.  Radiographs of two patients are often as
close as two files of one picture, so a hash alone accuses wrongly: what it proposes must also correlate.

docs/audit.md says on which images the thresholds were set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import DataError
from evalkit.core.images import open_image
from evalkit.core.types import ImageRef

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT, THUMBNAIL = 9, 8, 64
# Two hashes at most so many bits apart may be one picture,
NEAR = 6
# and are when their thumbnails correlate so much.
SAME = 0.985
# How much brighter a cell must be: in a black margin a cell is brighter than the next by noise alone.
STEP = 2
# A picture whose cells all lie within so many grey levels has no gradients to compare.
FLAT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A picture's 64-bit hash and its thumbnail, 64 x 64 grey values row by row."""

    bits: int
    thumbnail: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A picture of one set and the picture of another set that it is."""

    name: str
    other: str
    bits: int
    correlation: float


def dhash(image: Image) -> int | None:
    """The 64-bit hash of a picture; None for one that is almost flat."""
    cells = _grey(image, WIDTH, HEIGHT)
    if max(cells) - min(cells) < FLAT:
        return None
    bits = 0
    for row in range(HEIGHT):
        for column in range(WIDTH - 1):
            left, right = cells[row * WIDTH + column], cells[row * WIDTH + column + 1]
            bits = bits << 1 | (left > right + STEP)
    return bits


def _grey(image: Image, width: int, height: int) -> bytes:
    from PIL import Image as images

    return image.convert("L").resize((width, height), images.Resampling.BOX).tobytes()


def distance(first: int, second: int) -> int:
    """In how many of the 64 bits two hashes differ."""
    return (first ^ second).bit_count()


def fingerprints(images: Mapping[str, ImageRef], workers: int = 4) -> tuple[dict[str, Fingerprint], dict[str, str]]:
    """Name -> fingerprint, and name -> why there is none (it cannot be opened, or is almost flat)."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(images, pool.map(_fingerprint, images.values()), strict=True))
    return (
        {name: f for name, f in found.items() if isinstance(f, Fingerprint)},
        {name: f for name, f in found.items() if isinstance(f, str)},
    )


def _fingerprint(ref: ImageRef) -> Fingerprint | str:
    try:
        image = open_image(ref)
    except DataError as problem:
        return str(problem)
    bits = dhash(image)
    if bits is None:
        return f"The image {ref} is almost flat."
    return Fingerprint(bits=bits, thumbnail=_grey(image, THUMBNAIL, THUMBNAIL))


def matches(first: Mapping[str, Fingerprint], second: Mapping[str, Fingerprint]) -> list[Match]:
    """For each picture of `first` that is in `second` its best match, by correlation."""
    import numpy as np

    if not first or not second:
        return []
    names = list(second)
    bits = np.array([second[n].bits for n in names], dtype=np.uint64)
    thumbnails = _normed(f.thumbnail for f in second.values())
    found = []
    for name, mine in first.items():
        apart = _popcount(bits ^ np.uint64(mine.bits))
        near = np.flatnonzero(apart <= NEAR)
        if not len(near):
            continue
        correlations = thumbnails[near] @ _normed([mine.thumbnail])[0]
        best = int(np.argmax(correlations))
        if correlations[best] >= SAME:
            place = int(near[best])
            found.append(
                Match(name=name, other=names[place], bits=int(apart[place]), correlation=float(correlations[best]))
            )
    return found


def _normed(thumbnails: Iterable[bytes]) -> Any:
    import numpy as np

    rows = np.stack([np.frombuffer(t, dtype=np.uint8) for t in thumbnails]).astype(float)
    rows -= rows.mean(axis=1, keepdims=True)
    # A picture that is not flat in 9 x 8 cells is not flat in 64 x 64.
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _popcount(values: Any) -> Any:
    import numpy as np

    return np.unpackbits(values.view(np.uint8).reshape(len(values), 8), axis=1).sum(axis=1)
