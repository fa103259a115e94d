"""Detection of the same picture in two files: proposed by a 64-bit hash, confirmed on a 64 x 64 thumbnail.

dHash: the picture in grey, shrunk to 9 x 8 by area means; each bit records whether a cell is clearly brighter than its
right neighbour.  Scaling, recompression and brightness hardly change it.  Radiographs of two patients are often as
close as two files of one picture, so a hash alone gives false matches: the thumbnails must correlate too.

docs/audit.md describes the images on which the thresholds were set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.errors import DataError
from evalkit.core.images import open_image
from evalkit.core.types import ImageRef

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT, THUMBNAIL = 9, 8, 64
# Two hashes at most so many bits apart may be of the same picture;
NEAR = 6
# they are if their thumbnails correlate at least so much.
SAME = 0.985
# How much brighter a cell must be, in grey levels: in a black margin cells differ by noise alone.
STEP = 2
# A picture whose cells are all within so many grey levels has no gradients to compare.
FLAT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A picture's 64-bit hash and its thumbnail, 64 x 64 grey values row by row."""

    bits: int
    thumbnail: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An image `name` of one set that shows the same picture as the image `other` of another set.

    bits: differing bits of the hashes.
    """

    name: str
    other: str
    bits: int
    correlation: float


class Fingerprints(NamedTuple):
    """Fingerprints by the image's name, and by name why an image has none (unreadable, or almost flat)."""

    by_name: dict[str, Fingerprint]
    failures: dict[str, str]


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


def fingerprints(images: Mapping[str, ImageRef], workers: int = 4) -> Fingerprints:
    """The fingerprints of images."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(images, pool.map(_fingerprint, images.values()), strict=True))
    return Fingerprints(
        by_name={name: f for name, f in found.items() if isinstance(f, Fingerprint)},
        failures={name: f for name, f in found.items() if isinstance(f, str)},
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
    """For each image of `first` whose picture is in `second` the best match, by correlation."""
    import numpy as np

    if not first or not second:
        return []
    names = list(second)
    bits = np.array([second[n].bits for n in names], dtype=np.uint64)
    thumbnails = _normed(f.thumbnail for f in second.values())
    found = []
    for name, own in first.items():
        apart = _popcount(bits ^ np.uint64(own.bits))
        near = np.flatnonzero(apart <= NEAR)
        if not len(near):
            continue
        correlations = thumbnails[near] @ _normed([own.thumbnail])[0]
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
