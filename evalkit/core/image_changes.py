"""Changed images for controls: blank, blurred and noisy ones of the size of the original.

The kind stands in the digest of a changed image, and so in the fingerprint of each request: a changed rule here needs a
kind of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from evalkit.core.types import ImageRef

if TYPE_CHECKING:
    from PIL.Image import Image

GREY = 127
# The standard deviation of the blur is the shorter side divided by this: 16 pixels of 512.  Outlines and bright regions
# remain, texture and small structures do not.
BLUR_PART = 32
# The standard deviation of the noise, of 255 grey values.
NOISE = 64.0


def changed(kind: str, image: Image) -> Image:
    """The 8-bit RGB image as a control of this kind, one of CHANGES."""
    return CHANGES[kind](image)


def stated_digest(ref: ImageRef, digests: Mapping[ImageRef, str], digits: int | None = None) -> str:
    """The digest of an image, or of the image that it is a change of with the kind before it, as in `blank:12ab`.

    digits: so many of its hex digits; None for all.
    """
    return digests[ref][:digits] if ref.of is None else f"{ref.kind}:{digests[ref.of][:digits]}"


def _blank(image: Image) -> Image:
    """A grey image of the same size."""
    from PIL import Image as images

    return images.new("RGB", image.size, (GREY, GREY, GREY))


def _blurred(image: Image) -> Image:
    """The image under a Gaussian blur."""
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(max(1.0, min(image.size) / BLUR_PART)))


def _noisy(image: Image) -> Image:
    """The image with Gaussian noise on every value; equal images get equal noise."""
    import numpy as np
    from PIL import Image as images

    values = np.asarray(image)
    seed = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:4], "big")
    # RandomState, since its stream is the same in every version of numpy.
    noise = np.random.RandomState(seed).standard_normal(values.shape).astype(np.float32) * np.float32(NOISE)
    return images.fromarray(np.clip(np.rint(values + noise), 0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image], Image]] = {"blank": _blank, "blurred": _blurred, "noisy": _noisy}
