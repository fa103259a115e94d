"""Images in the form that chat APIs take, for judges with vision."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager

from evalkit.core.errors import DataError
from evalkit.core.types import ImageRef

SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


def read_image(ref: ImageRef) -> bytes:
    """The bytes of an image of the task; as PNG where it is drawn, blank, or rendered from a medical file."""
    from evalkit.core.images import encoded_bytes, open_image

    if (content := encoded_bytes(ref)) is not None:
        return content
    out = io.BytesIO()
    open_image(ref).save(out, format="PNG")
    return out.getvalue()


def data_url(data: bytes, where: str) -> str:
    """An image as a data URL: the file's own bytes where servers can read their format, else re-encoded as PNG.

    A PNG of 16 bits a channel is re-encoded by evalkit's rule, because servers cut it to its upper 8 bits.

    Raises:
        DataError: the image, named `where`, cannot be decoded, or is over a limit of `evalkit.core.image_files`.
    """
    from evalkit.core.image_files import opened

    kind = media_type(data)
    if kind is None or (kind == "image/png" and data[24:25] == b"\x10"):  # the bit depth in the first chunk
        data, kind = _as_png(data, where), "image/png"
    else:
        with _readable(where), opened(data):
            pass  # the server decodes it, so that only the limits are checked here
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def media_type(data: bytes) -> str | None:
    """The media type of a PNG, JPEG, GIF or WebP; None for other formats."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in SIGNATURES if data.startswith(start)), None)


def _as_png(data: bytes, where: str) -> bytes:
    from evalkit.core.images import decode

    out = io.BytesIO()
    with _readable(where):
        decode(data).save(out, format="PNG")
    return out.getvalue()


@contextmanager
def _readable(where: str) -> Iterator[None]:
    from evalkit.core.image_files import damage

    try:
        yield
    except damage() as problem:
        raise DataError(f"The image {where} cannot be read, so it cannot be sent to a judge ({problem}).") from problem
