"""Samples held as columns: of a million questions, an object each would be most of what a run holds."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import eq
from typing import Any, NamedTuple

from evalkit.core.columns import Packed
from evalkit.core.types import ImageRef, Sample


class _Pictures(NamedTuple):
    """The fields that questions about the same images share."""

    image_id: str
    images: tuple[ImageRef, ...]
    image_name: str


class _Content(NamedTuple):
    """The other fields, those of a question alone."""

    question: str
    references: tuple[str, ...]
    choices: tuple[str, ...]
    tags: Any
    context: Any
    verbatim: str


class PackedSamples(Packed[Sample]):
    """One sample a place, each made when it is asked for.

    ids: by place.  kind_of: the number of the kind of each; two samples of one kind differ in id and images only.
    first: the place of the first sample of each kind.
    """

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self.ids: list[str] = []
        self.kind_of = array("I")
        self.first: list[int] = []
        self._contents: list[_Content] = []
        self._pictures_of = array("I")
        self._pictures: list[_Pictures] = []
        kinds: dict[Any, int] = {}
        pictures: dict[_Pictures, int] = {}
        for place, s in enumerate(samples):
            self.ids.append(s.id)
            shown = _Pictures(s.image_id, s.images, s.image_name)
            number = pictures.setdefault(shown, len(pictures))
            if number == len(self._pictures):
                self._pictures.append(shown)
            self._pictures_of.append(number)
            content = _Content(s.question, s.references, s.choices, s.tags, s.context, s.verbatim)
            kind = kinds.setdefault(_key(content), len(kinds))
            if kind == len(self.first):
                self.first.append(place)
                self._contents.append(content)
            self.kind_of.append(kind)

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> PackedSamples:
        """These samples; without a copy if they are packed."""
        return samples if isinstance(samples, cls) else cls(samples)

    @property
    def kinds(self) -> list[Sample]:
        """The first sample of each kind."""
        return [self[place] for place in self.first]

    def column(self, name: str) -> Iterable[Any]:
        """The values of one field (or property) of the samples, without the objects."""
        if name == "id":
            return self.ids
        if name in _Pictures._fields:
            return map([getattr(p, name) for p in self._pictures].__getitem__, self._pictures_of)
        if name == "pictures":
            return map([p.image_name or p.image_id for p in self._pictures].__getitem__, self._pictures_of)
        return map([getattr(sample, name) for sample in self.kinds].__getitem__, self.kind_of)

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        """Whether the other is a sequence of the same samples."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    def __add__(self, others: Iterable[Sample]) -> tuple[Sample, ...]:
        """These samples and others, as a tuple: a task of the user's may join those of two tasks."""
        return (*self, *others)

    def __radd__(self, others: Iterable[Sample]) -> tuple[Sample, ...]:
        return (*others, *self)

    def __iter__(self) -> Iterator[Sample]:
        contents, pictures = self._contents, self._pictures
        for name, kind, shown in zip(self.ids, self.kind_of, self._pictures_of, strict=True):
            yield _made(name, pictures[shown], contents[kind])

    def value_at(self, place: int) -> Sample:
        """The sample of a place."""
        return _made(self.ids[place], self._pictures[self._pictures_of[place]], self._contents[self.kind_of[place]])


def _key(content: _Content) -> tuple[Any, ...]:
    """What is equal for two samples of one kind.  Types count: a class of the user's may have the tags 1 and True."""
    _, _, _, tags, context, _ = content
    texts = (content.question, content.references, content.choices, content.verbatim)
    return (*texts, *tags.items(), *map(type, tags.values()), *context.items())


_NEW = object.__new__
_SET_ID, *_SET_CONTENT = (getattr(Sample, name).__set__ for name in ("id", *_Content._fields))
_SET_PICTURES = tuple(getattr(Sample, name).__set__ for name in _Pictures._fields)
_SET_IMAGE_ID, _SET_IMAGES, _SET_IMAGE_NAME = _SET_PICTURES
_SET_QUESTION, _SET_REFERENCES, _SET_CHOICES, _SET_TAGS, _SET_CONTEXT, _SET_VERBATIM = _SET_CONTENT


def _made(sample_id: str, pictures: _Pictures, content: _Content) -> Sample:
    """The sample; not checked again, which would take longer than all else."""
    made: Sample = _NEW(Sample)
    _SET_ID(made, sample_id)
    _SET_IMAGE_ID(made, pictures[0])
    _SET_IMAGES(made, pictures[1])
    _SET_IMAGE_NAME(made, pictures[2])
    _SET_QUESTION(made, content[0])
    _SET_REFERENCES(made, content[1])
    _SET_CHOICES(made, content[2])
    _SET_TAGS(made, content[3])
    _SET_CONTEXT(made, content[4])
    _SET_VERBATIM(made, content[5])
    return made
