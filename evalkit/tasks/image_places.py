"""Places of several images in a question: marks in its text become image places, else all images come first."""

from __future__ import annotations

import re

from evalkit.core.errors import DataError
from evalkit.core.types import ImagePlace

# <image>, <image 1>, <image_1>, <image1>, {image_1}, {image 1}: numbers count from 1.
_MARK = re.compile(r"<image(?:[ _]?(\d{1,4}))?>|\{image[ _]?(\d{1,4})\}", re.I)

Content = tuple[str | ImagePlace, ...]


def with_places(text: str, images: int, row: str) -> Content:
    """The content of a message with `images` images, which are placed where the text marks them.

    Without a mark all images come first, in order.  A numbered mark places its image; images without a mark come first,
    and a further mark of the same image stays in the text as words ("image 1").  Marks without numbers take the images
    in order, one each; a single one takes all.

    Args:
        row: the row's name for messages.

    Raises:
        DataError: a mark of an image that is not there, marks without numbers of another count than the images, or both
            kinds of marks.

    >>> with_places("Compare <image 2> with <image 1>.", 2, "row 1")
    ('Compare ', ImagePlace(index=1), ' with ', ImagePlace(index=0), '.')
    >>> with_places("<image>\\nWhich organ?", 1, "row 1") == with_places("Which organ?", 1, "row 1")
    True
    """
    marks = list(_MARK.finditer(text))
    numbers = [_number(mark) for mark in marks]
    if wrong := [mark[0] for mark, n in zip(marks, numbers, strict=True) if n is not None and not 1 <= n <= images]:
        have = "no image" if not images else f"{images} image{'s' if images > 1 else ''}"
        raise DataError(f"{row} marks the place of {wrong[0]}, and has {have}; images are numbered from 1.")
    if None not in numbers:
        return _joined(text, marks, [n - 1 for n in numbers if n is not None], images)
    if any(n is not None for n in numbers):
        raise DataError(f"{row} has marks of image places with and without numbers; expected one kind of mark.")
    if len(marks) == images:
        return _joined(text, marks, list(range(images)), images)
    if len(marks) == 1 and images:
        (mark,) = marks
        places = tuple(ImagePlace(k) for k in range(images))
        return _clean((text[: mark.start()], *places, text[mark.end() :]))
    raise DataError(f"{row} marks {len(marks)} places with {marks[0][0]}, and has {images} images.")


def numbers_images(text: str) -> bool:
    """Whether a text names images by number, as in <image 2>."""
    return any(_number(mark) is not None for mark in _MARK.finditer(text))


def _number(mark: re.Match[str]) -> int | None:
    digits = mark[1] or mark[2]
    return int(digits) if digits else None


def _joined(text: str, marks: list[re.Match[str]], places: list[int], images: int) -> Content:
    """The text with an image at the first mark of each place; images without a mark in front."""
    parts: list[str | ImagePlace] = [ImagePlace(k) for k in range(images) if k not in places]
    start, seen = 0, set[int]()
    for mark, place in zip(marks, places, strict=True):
        parts.append(text[start : mark.start()])
        parts.append(f"image {place + 1}" if place in seen else ImagePlace(place))
        seen.add(place)
        start = mark.end()
    return _clean((*parts, text[start:]))


def _clean(parts: Content) -> Content:
    """Neighbouring texts joined, and white space off that only separates all images from the text behind them."""
    made: list[str | ImagePlace] = []
    for part in parts:
        if isinstance(part, str) and made and isinstance(made[-1], str):
            made[-1] += part
        elif part != "":
            made.append(part)
    if len(made) > 1 and isinstance(made[-1], str) and all(isinstance(p, ImagePlace) for p in made[:-1]):
        made[-1] = made[-1].lstrip()
    return tuple(p for p in made if p != "")
