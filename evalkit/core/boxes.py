"""Bounding boxes in ColonINST's format, `{<xmin><ymin><xmax><ymax>}`: pixels of the original image, edges included."""

from __future__ import annotations

import re

Box = tuple[int, int, int, int]

_NUMBER = re.compile(r"<\s*(\d+)\s*>")
# Python's limit on the digits of an integer in a text.
_MAX_DIGITS = 4300
# Upper bounds of the area in pixels; the first two are those of COCO.
_SIZES = ((32**2, "small"), (96**2, "medium"), (256**2, "large"))


def read_box(text: str) -> Box | None:
    """The box in a text, as the official evaluator reads it: exactly four integers in angle brackets.

    Surrounding words and spaces inside the brackets are ignored; decimals, signs, square brackets and any other
    number of integers give None.

    >>> read_box("It is at {<40><12>< 160 ><216>}."), read_box("[40, 12, 160, 216]"), read_box("<1><2><3>")
    ((40, 12, 160, 216), None, None)
    """
    found = _NUMBER.findall(text)
    if len(found) != 4 or any(len(digits) > _MAX_DIGITS for digits in found):
        return None
    xmin, ymin, xmax, ymax = (int(digits) for digits in found)
    return xmin, ymin, xmax, ymax


def area(box: Box) -> int:
    """Area of a box in pixels, both edges included; 0 for an inverted box.

    >>> area((3, 3, 3, 3)), area((0, 0, 9, 9)), area((9, 0, 0, 9))
    (1, 100, 0)
    """
    xmin, ymin, xmax, ymax = box
    return max(0, xmax - xmin + 1) * max(0, ymax - ymin + 1)


def iou(one: Box, other: Box) -> float:
    """Intersection over union with both edges included (the +1 of PASCAL VOC); 0.0 for disjoint boxes.

    >>> iou((5, 5, 5, 5), (5, 5, 5, 5)), iou((9, 9, 0, 0), (0, 0, 9, 9)), iou((0, 0, 1, 0), (1, 0, 2, 0))
    (1.0, 0.0, 0.3333333333333333)
    """
    shared = area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    return shared / (area(one) + area(other) - shared) if shared else 0.0


def size_of(box: Box) -> str:
    """Size class by area in original pixels: small < 32², medium < 96² (COCO's bounds), large < 256², huge.

    >>> size_of((0, 0, 30, 30)), size_of((0, 0, 31, 31)), size_of((0, 0, 500, 500))
    ('small', 'medium', 'huge')
    """
    pixels = area(box)
    return next((name for bound, name in _SIZES if pixels < bound), "huge")
