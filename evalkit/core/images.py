"""Reading images by reference, for every storage format.

Images are read just before the model needs them and not kept; checking a split decodes each image once, cheaply, and
keeps only its digest.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.deep_colour import is_deep, read_deep
from evalkit.core.errors import DataError
from evalkit.core.image_bytes import STORED, stored_bytes
from evalkit.core.image_changes import changed
from evalkit.core.image_files import damage, opened
from evalkit.core.medical_images import file_name, is_rendered, kind_of, naming, page_of, render
from evalkit.core.types import ImageRef

if TYPE_CHECKING:
    from PIL.Image import Image

# The conversion of every image to 8-bit RGB; its text is recorded in manifests, so that a changed rule is detected.
# The depth is that of the file: colour and grey with alpha of 16 bits too.  Pillow reads those to their upper 8 bits,
# and so did evalkit 0.1; their digests therefore say DEEP, so that no answer about such an image is taken for one
# about the image as it is read now, while the runs on all other images keep their names.
CONVERSION = (
    "rgb.1: EXIF rotation applied; 16-bit scaled by its own range to 0..255; alpha over black; palette and CMYK by PIL"
)
DEEP = b"16 bits a channel\0"
# Values that are scaled at a time.
_STRIP = 1 << 20
# The functions that draw images, by the only names under which a reference may have them.
DRAWINGS = frozenset({"evalkit.tasks.phantom:draw", "evalkit.tasks.phantom_draw:draw"})
# Modes that every PIL version converts; the others are converted already when a split is checked.
_ORDINARY = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"})


@dataclass(frozen=True, slots=True)
class Broken:
    """An image that cannot be used, with the reason."""

    reason: str


def open_image(ref: ImageRef) -> Image:
    """The image as 8-bit RGB, upright.

    Raises:
        DataError: missing, not an image, or cut off.
    """
    if ref.of is not None:
        return changed(ref.kind, open_image(ref.of))
    if ref.kind == "draw":
        return to_rgb(_draw(ref))
    content = stored_bytes(ref)
    with naming(ref):
        return _picture(content, ref)


def _picture(content: bytes, ref: ImageRef) -> Image:
    """The picture that a reference names in its file; medical files follow `evalkit.core.medical_images`."""
    if kind_of(content, file_name(ref)):
        return render(content, ref).convert("RGB")
    return decode(content, page_of(ref))


def decode(content: bytes, frame: int = 0) -> Image:
    """Encoded bytes as 8-bit RGB, upright, by the rule CONVERSION.  Raises what `damage` lists for damaged images."""
    with opened(content, frame) as image:
        if is_deep(image):
            return _deep_to_rgb(content, image, frame)
        image.load()
        return to_rgb(image)


def to_rgb(image: Image) -> Image:
    """The image as 8-bit RGB, by the rule CONVERSION; colour of 16 bits a channel needs `decode`."""
    from PIL import Image as images
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = images.new("RGBA", image.size, (0, 0, 0, 255))
        return images.alpha_composite(black, image).convert("RGB")
    return image.convert("RGB")


def _scaled(image: Image) -> Image:
    """16-bit, 32-bit and float grey values scaled to 0..255: PIL's own conversion would clip them to white."""
    import numpy as np
    from PIL import Image as images

    values = np.asarray(image)
    low, scale = _range(values, whole=image.mode.startswith("I"))
    clear = image.info.get("transparency")
    grey = np.empty(values.shape, dtype=np.uint8)
    for rows in _strips(values):
        spread = (values[rows].astype(np.float64) - low) * scale
        if isinstance(clear, int):
            spread = np.where(values[rows] == clear, 0, spread)  # over black, as every transparent pixel
        grey[rows] = np.rint(spread).astype(np.uint8)
    return images.fromarray(grey).convert("RGB")


class _Range(NamedTuple):
    """The range of values: (value - low) * scale is within 0..255."""

    low: float
    scale: float


def _range(values: Any, *, whole: bool) -> _Range:
    """The range of values, one for all channels, to be scaled to 0..255; 8-bit values in a wider type stay."""
    import numpy as np

    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("grey values that are not finite")
    if whole and low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    return _Range(low, 255.0 / (high - low) if high > low else 0.0)


def _strips(values: Any) -> Iterator[slice]:
    """Slices over the rows of an array; the arithmetic needs many bytes a value and is done on a strip at a time."""
    height = max(1, _STRIP // max(1, values[0].size))
    return (slice(start, start + height) for start in range(0, len(values), height))


def _deep_to_rgb(content: bytes, image: Image, frame: int = 0) -> Image:
    """Colour or grey with alpha of 16 bits a channel as 8-bit RGB, by the rule CONVERSION."""
    import numpy as np
    from PIL import Image as images

    deep = read_deep(content, image, frame)
    values = deep.values
    colours = 1 if values.shape[2] == 2 else 3
    low, scale = _range(values[..., :colours], whole=True)
    clear = image.info.get("transparency")
    clear = np.array(clear) if isinstance(clear, tuple) and len(clear) == values.shape[2] else None
    made = np.empty((*values.shape[:2], 3), dtype=np.uint8)
    for rows in _strips(values):
        strip = values[rows].astype(np.float64)
        rgb = (strip[..., :colours] - low) * scale
        if values.shape[2] > colours and not deep.premultiplied:
            rgb = rgb * (strip[..., colours:] / 65535.0)
        if clear is not None:
            rgb = np.where((strip == clear).all(axis=2, keepdims=True), 0.0, rgb)
        made[rows] = np.rint(rgb).astype(np.uint8)
    picture = images.fromarray(made)
    turn = _TURNS.get(deep.orientation)
    return picture if turn is None else picture.transpose(images.Transpose[turn])


# EXIF orientation -> the transposition that turns an image upright, as in PIL's `exif_transpose`.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def read_bytes(ref: ImageRef) -> bytes:
    """The encoded bytes of an image; mode, size and raw pixels of one that is drawn, or rendered from a medical file.

    The bytes of a medical file, which has the patient's name in it, are never given.

    Raises:
        DataError: the file, archive member or table row is missing; a medical file cannot be rendered.
    """
    if (content := encoded_bytes(ref)) is not None:
        return content
    if ref.of is not None:
        return f"{ref.kind} ".encode() + read_bytes(ref.of)
    image = _draw(ref) if ref.kind == "draw" else open_image(ref)
    return f"{image.mode} {image.size[0]}x{image.size[1]} ".encode() + image.tobytes()


def encoded_bytes(ref: ImageRef) -> bytes | None:
    """The file that is the picture, in one of the formats of `evalkit.core.image_files`.

    None: there is no such file, because the picture is drawn, changed (blank, blurred), or one view of a medical file
    or of several pages.

    Raises:
        DataError: the file, archive member or table row is missing.
    """
    if ref.kind not in STORED:
        return None
    content = stored_bytes(ref)
    return None if is_rendered(content, ref) else content


def digest(ref: ImageRef) -> str:
    """sha256 (hex) of `read_bytes`; after the mark DEEP where evalkit 0.1 read other pixels from them."""
    content = encoded_bytes(ref)
    return hashlib.sha256(read_bytes(ref)).hexdigest() if content is None else _identity(content)


def _identity(content: bytes) -> str:
    return hashlib.sha256(DEEP + content if _is_marked_file(content) else content).hexdigest()


def _is_marked(image: Image) -> bool:
    """Whether an opened file was read to other pixels by evalkit 0.1, so that its digest must differ."""
    grey_with_a_clear_value = image.mode.startswith("I") and "transparency" in image.info
    return is_deep(image) or grey_with_a_clear_value


def _is_marked_file(content: bytes) -> bool:
    try:
        with opened(content) as image:
            return _is_marked(image)
    except damage():
        return False  # a damaged file is reported where it is decoded; here only its bytes count


def size(ref: ImageRef) -> tuple[int, int]:
    """Width and height in pixels, upright."""
    return open_image(ref).size


def _draw(ref: ImageRef) -> Image:
    """Call the function that draws the image, one of DRAWINGS; data cannot name other code, evalkit's included."""
    if ref.path not in DRAWINGS:
        raise DataError(
            f"The image {str(ref)[:200]!r} names code outside evalkit's drawings, which are "
            f"{', '.join(sorted(DRAWINGS))}."
        )
    module, _, function = ref.path.partition(":")
    drawn: Image = getattr(importlib.import_module(module), function)(ref.member)
    return drawn


def probe(refs: Iterable[ImageRef], workers: int = 4) -> dict[ImageRef, str | Broken]:
    """The digest of each distinct image, or the reason why it cannot be used.  Every image is decoded, as cheaply as
    possible."""
    from concurrent.futures import ThreadPoolExecutor

    distinct = list(dict.fromkeys(refs))
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(distinct, pool.map(_probe, distinct), strict=True))


def _probe(ref: ImageRef) -> str | Broken:
    try:
        content = encoded_bytes(ref)
        if content is None:
            return hashlib.sha256(read_bytes(ref)).hexdigest()
        with naming(ref), opened(content) as image:
            if _is_marked(image):
                decode(content)
                return hashlib.sha256(DEEP + content).hexdigest()
            image.draft("L", (16, 16))  # a JPEG is decoded at an eighth; other formats ignore it
            image.load()
            if image.mode not in _ORDINARY:
                to_rgb(image)
    except DataError as problem:
        return Broken(str(problem))
    return hashlib.sha256(content).hexdigest()
