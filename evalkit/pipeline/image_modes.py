"""The images that a model sees: the samples' own, or those of a control (`image=`)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from evalkit.core.errors import DataError
from evalkit.core.image_changes import CHANGES
from evalkit.core.packed_samples import PackedSamples
from evalkit.core.types import ImageRef, Sample

SHUFFLED, SIMILAR = "shuffled", "similar"
IMAGE_MODES = ("original", SHUFFLED, SIMILAR, *CHANGES)
SHUFFLE_SEED = 0
# What another image has in common with the own one under image=similar, the closest first.
LEVELS = (("modality", "organ"), ("modality",), ("organ",), ())

Images = tuple[ImageRef, ...]
_T = TypeVar("_T")


class Replacement(NamedTuple):
    """The images in place of a sample's own, and the tags that both have in common (one of LEVELS)."""

    images: Images
    shared: tuple[str, ...]


class _Picture(NamedTuple):
    """The images of questions under one name, and how many they are."""

    name: str
    n: int


def with_images(
    samples: Sequence[Sample], mode: str, digests: Mapping[ImageRef, str] | None = None
) -> Sequence[Sample]:
    """The samples with the images that the model sees, one of IMAGE_MODES.

    blank, blurred, noisy: every image is changed (`evalkit.core.image_changes`).  shuffled: every image is replaced by
    another image of the split, the same one for all questions about it, so that only the link between image and
    question is lost.  similar: likewise, by one of the same modality and organ; see `similar_images`.

    Args:
        digests: sha256 of images, where they are known.

    Raises:
        DataError: fewer than two different images to shuffle.
    """
    if mode == "original":
        return samples
    if mode in CHANGES:
        return PackedSamples(
            replace(s, images=tuple(ImageRef(kind=mode, of=ref) for ref in s.images))  # type: ignore[arg-type]
            for s in samples
        )
    if mode == SIMILAR:
        found = similar_images(samples, digests)
        return PackedSamples(replace(s, images=found[_picture(s)].images) if s.images else s for s in samples)
    swapped: dict[Images, Images] = {}
    # A question keeps its number of images, whose places may be marked in its text.
    for n in sorted({len(s.images) for s in samples}):
        distinct = list(dict.fromkeys(s.images for s in samples if len(s.images) == n))
        if len(distinct) < 2:
            raise _too_few(SHUFFLED, n)
        swapped |= dict(zip(distinct, _rotated(distinct, random.Random(SHUFFLE_SEED)), strict=True))
    return PackedSamples(replace(s, images=swapped[s.images]) for s in samples)


def similar_images(
    samples: Sequence[Sample], digests: Mapping[ImageRef, str] | None = None
) -> Mapping[_Picture, Replacement]:
    """Another image of the same modality and organ for the images of every question, by name and number.

    All questions about an image get the same one, which is another question's own.  An image that no other shares both
    tags with gets one of the same modality, else of the same organ, else any other one.  Images of equal digests are
    one image under several names; without digests, names tell images apart.

    Raises:
        DataError: fewer than two different images.
    """
    first = _first_names(samples, digests or {})
    images: dict[_Picture, Images] = {}
    tags: dict[_Picture, dict[str, str]] = {}
    for s in filter(lambda sample: sample.images, samples):
        images.setdefault(first[_picture(s)], s.images)
        known = tags.setdefault(first[_picture(s)], {})
        for name in LEVELS[0]:
            if s.tags.get(name):
                known.setdefault(name, s.tags[name])
    found: dict[_Picture, Replacement] = {}
    rng = random.Random(SHUFFLE_SEED)
    for level in LEVELS:
        groups: dict[Hashable, list[_Picture]] = {}
        for picture in images:
            if all(name in tags[picture] for name in level):
                groups.setdefault((picture.n, *(tags[picture][name] for name in level)), []).append(picture)
        for group in groups.values():
            if len(group) < 2:
                continue
            for own, other in zip(group, _rotated(group, rng), strict=True):
                found.setdefault(own, Replacement(images[other], level))
    if missing := [picture for picture in images if picture not in found]:
        raise _too_few(SIMILAR, missing[0].n)
    return {name: found[own] for name, own in first.items()}


def _first_names(samples: Sequence[Sample], digests: Mapping[ImageRef, str]) -> dict[_Picture, _Picture]:
    """For the images of every question the first name under which images of the same content are in the split."""
    names: dict[_Picture, _Picture] = {}
    by_content: dict[tuple[str, ...], _Picture] = {}
    for s in samples:
        own = _picture(s)
        if not s.images or own in names:
            continue
        content = tuple(digests.get(ref, "") for ref in s.images)
        names[own] = by_content.setdefault(content, own) if all(content) else own
    return names


def shared_tags(samples: Sequence[Sample], digests: Mapping[ImageRef, str] | None = None) -> Counter[tuple[str, ...]]:
    """The number of questions by what the image of image=similar has in common with their own, one of LEVELS."""
    found = similar_images(samples, digests)
    return Counter(found[_picture(s)].shared for s in samples if s.images)


def _picture(sample: Sample) -> _Picture:
    return _Picture(sample.pictures, len(sample.images))


def _rotated(items: Sequence[_T], rng: random.Random) -> list[_T]:
    """For each item another one: a random permutation is rotated, so that no item keeps its place."""
    order = list(range(len(items)))
    rng.shuffle(order)
    found = dict(zip(order, order[1:] + order[:1], strict=True))
    return [items[found[k]] for k in range(len(items))]


def _too_few(mode: str, n: int) -> DataError:
    several = f" for questions with {n} images" if n > 1 else ""
    return DataError(f"image={mode} needs at least two different images{several}; this split (or limit) has fewer.")
