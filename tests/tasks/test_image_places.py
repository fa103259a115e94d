"""Marks in a question become image places; without a mark all images come first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import DataError
from evalkit.core.types import ImagePlace
from evalkit.tasks.image_places import with_places

P = ImagePlace


@pytest.mark.parametrize(
    ("text", "images", "content"),
    [
        ("Which organ?", 1, (P(0), "Which organ?")),
        ("Which organ?", 3, (P(0), P(1), P(2), "Which organ?")),
        ("Which organ?", 0, ("Which organ?",)),
        ("<image>\nWhich organ?", 1, (P(0), "Which organ?")),
        ("Which organ? <image>", 1, ("Which organ? ", P(0))),
        ("<image>\nWhich differ?", 3, (P(0), P(1), P(2), "Which differ?")),
        ("See <image> here", 2, ("See ", P(0), P(1), " here")),
        ("<image> and <image>: same?", 2, (P(0), " and ", P(1), ": same?")),
        ("<image 1> or <image 2>?", 2, (P(0), " or ", P(1), "?")),
        ("<image_2> or <image_1>?", 2, (P(1), " or ", P(0), "?")),
        ("in {image_1}, not {image_2}", 2, ("in ", P(0), ", not ", P(1))),
        ("in {image 1} <Image2>", 2, ("in ", P(0), " ", P(1))),
        ("Only <image 2>?", 3, (P(0), P(2), "Only ", P(1), "?")),
        ("<image 1> shows? A. <image 1> B. <image 2>", 2, (P(0), " shows? A. image 1 B. ", P(1))),
        ("<image 1><image 1> x", 1, (P(0), "image 1 x")),
        ("A {imaging} <images> [image 1] {image}", 1, (P(0), "A {imaging} <images> [image 1] {image}")),
        ("<image>", 1, (P(0),)),
    ],
)
def test_the_places_of_images(text: str, images: int, content: tuple[object, ...]) -> None:
    assert with_places(text, images, "row 1") == content


@pytest.mark.parametrize(
    ("text", "images", "reason"),
    [
        ("<image 3>", 2, "marks the place of <image 3>, and has 2 images; images are numbered from 1"),
        ("<image_0> x", 2, "marks the place of <image_0>"),
        ("{image_2}", 1, "has 1 image;"),
        ("<image 1>", 0, "has no image;"),
        ("<image>", 0, "marks 1 places with <image>, and has 0 images"),
        ("<image><image>", 3, "marks 2 places with <image>, and has 3 images"),
        ("<image><image>", 1, "marks 2 places with <image>, and has 1 images"),
        ("<image> <image 1>", 2, "with and without numbers"),
    ],
)
def test_a_mark_without_its_image_names_the_row(text: str, images: int, reason: str) -> None:
    with pytest.raises(DataError, match=f"^row p17 .*{reason}"):
        with_places(text, images, "row p17")


@given(st.lists(st.sampled_from(["<image>", "<image 1>", "<image_2>", "{image_3}", "q", " ", "\n", "<", "image 1"])),
       st.integers(0, 4))  # fmt: skip
def test_every_image_has_one_place_and_no_text_is_lost(parts: list[str], images: int) -> None:
    text = "".join(parts)
    try:
        content = with_places(text, images, "row")
    except DataError:
        return
    assert sorted(p.index for p in content if isinstance(p, ImagePlace)) == list(range(images))
    texts = [p for p in content if isinstance(p, str)]
    assert "" not in texts
    kept = "".join(texts)
    assert kept.count("q") == text.count("q")
