"""Images for judges that can see."""

from __future__ import annotations

import base64
import io

from evalkit.core.errors import DataError
from evalkit.core.types import ImageRef

SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


def read_image(ref: ImageRef) -> bytes:
    """The bytes of an image of the task; a drawn or blank one, which has none, as PNG."""
    from evalkit.core.images import open_image, read_bytes

    if ref.kind not in ("draw", "blank"):
        return read_bytes(ref)
    out = io.BytesIO()
    open_image(ref).save(out, format="PNG")
    return out.getvalue()


def data_url(data: bytes, where: str) -> str:
    """An image as the chat API takes it: the file's own bytes where servers can read them, else re-encoded as PNG."""
    kind = media_type(data)
    if kind is None:
        data, kind = _as_png(data, where), "image/png"
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def media_type(data: bytes) -> str | None:
    """The type of a PNG, JPEG, GIF or WebP; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in SIGNATURES if data.startswith(start)), None)


def _as_png(data: bytes, where: str) -> bytes:
    from PIL import Image

    from evalkit.core.images import to_rgb

    out = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            to_rgb(image).save(out, format="PNG")
    except (OSError, SyntaxError, ValueError) as problem:  # what PIL raises on damaged and foreign files
        raise DataError(f"The image {where} cannot be read, so it cannot be sent to a judge ({problem}).") from problem
    return out.getvalue()
