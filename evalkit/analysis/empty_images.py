"""Images that show nothing: black, fully transparent, or of one colour."""

from __future__ import annotations

from collections.abc import Iterable

from evalkit.core.errors import DataError
from evalkit.core.image_files import opened
from evalkit.core.images import encoded_bytes, open_image
from evalkit.core.types import ImageRef

# An image whose brightest value is below this shows nothing on any screen; a 12-bit image read as 16 bits has 15.
DARK = 16
# Differences of JPEG's rounding within one colour.
SAME = 2


def empty_images(refs: Iterable[ImageRef], workers: int = 4) -> dict[ImageRef, str]:
    """What each image that shows nothing is; images that cannot be read are left out, as another check's finding."""
    from concurrent.futures import ThreadPoolExecutor

    distinct = list(dict.fromkeys(refs))
    with ThreadPoolExecutor(workers) as pool:
        found = zip(distinct, pool.map(_emptiness, distinct), strict=True)
        return {ref: kind for ref, kind in found if kind}


def _emptiness(ref: ImageRef) -> str:
    """`black`, `fully transparent`, `of one colour`, or "" for an image that shows something."""
    import numpy as np

    try:
        pixels = np.asarray(open_image(ref)).reshape(-1, 3)
        if pixels.max() < DARK:  # as the model sees it: transparent pixels are black
            return "fully transparent" if _is_transparent(ref) else "black"
    except DataError:
        return ""
    return "of one colour" if (np.ptp(pixels, axis=0) <= SAME).all() else ""


def _is_transparent(ref: ImageRef) -> bool:
    if (content := encoded_bytes(ref)) is None:
        return False
    with opened(content) as image:
        image.load()
        if "A" not in image.getbands() and "transparency" not in image.info:
            return False
        return bool(image.convert("RGBA").getchannel("A").getextrema()[1] == 0)
