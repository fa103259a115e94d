"""Samples held as columns are the samples that were put in."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.columns import column_values
from evalkit.core.errors import DataError
from evalkit.core.packed_samples import PackedSamples
from evalkit.core.types import ImageRef, Sample
from evalkit.tasks.base import LoadedTask

TEXTS = st.sampled_from(["", "yes", "no", "\ud800", "Röntgen\n"])
IMAGES = st.sampled_from([(), (ImageRef(kind="file", path="a.png"),), (ImageRef(kind="file", path="b.png"),) * 2])
TAGS = st.dictionaries(st.sampled_from(["answer_type", "organ"]), st.sampled_from(["OPEN", "CLOSED", ""]))
SAMPLES = st.builds(
    Sample, id=st.sampled_from(["1", "2", "x/2"]), image_id=TEXTS, question=TEXTS,
    references=st.sampled_from([("yes",), ("a", "b")]), images=IMAGES, choices=st.sampled_from([(), ("a", "b")]),
    tags=TAGS, context=TAGS, verbatim=TEXTS, image_name=TEXTS,
)  # fmt: skip
PROPERTIES = ("pictures", "prompt_question", "answer_type", "letters")


def test_every_field_of_a_sample_is_tried() -> None:
    assert {f.name for f in fields(Sample)} == {
        "id", "image_id", "question", "references", "images", "choices", "tags", "context", "verbatim", "image_name",
    }  # fmt: skip


def test_no_sample_and_no_place() -> None:
    none = PackedSamples()
    assert (len(none), list(none), list(none.column("question")), none == ()) == (0, [], [], True)
    with pytest.raises(IndexError):
        none[0]


@given(st.lists(SAMPLES, max_size=6))
def test_every_sample_comes_back_and_every_column_has_its_values(samples: list[Sample]) -> None:
    packed = PackedSamples(iter(samples))
    assert list(packed) == [packed[k] for k in range(len(samples))] == samples
    assert packed == samples and samples == packed[:]
    for name in (*(f.name for f in fields(Sample)), *PROPERTIES):
        assert list(column_values(packed, name)) == list(column_values(samples, name)), name
    first = [samples[k] for k in packed.first]
    for sample, kind in zip(samples, packed.kind_of, strict=True):
        own = first[kind]
        assert replace(own, id=sample.id, image_id=sample.image_id, images=sample.images,
                       image_name=sample.image_name) == sample  # fmt: skip


def test_values_of_other_types_stay_apart() -> None:
    one = Sample(id="1", image_id="a", question="?", references=("yes",), tags={"site": 1})  # type: ignore[dict-item]
    other = replace(one, id="2", tags={"site": True})  # type: ignore[dict-item]
    assert [type(s.tags["site"]) for s in PackedSamples([one, other])] == [int, bool]


def test_lists_of_a_task_of_the_users_become_tuples() -> None:
    given_as_lists: dict[str, Any] = {"references": ["a"], "images": [], "choices": ["a", "b"]}
    sample = Sample(id="1", image_id="a", question="?", tags={"answer_type": "CHOICE"}, **given_as_lists)
    assert (sample.references, sample.images, sample.choices) == (("a",), (), ("a", "b"))


def test_samples_of_a_class_of_the_users_stay_as_they_are() -> None:
    class Own(Sample):
        pass

    own = Own(id="1", image_id="a", question="?", references=("yes",))
    loaded = LoadedTask(name="t", split="test", form="f", samples=(own,), closed_rule="label", prompt="p")
    assert loaded.samples[0] is own


def test_the_samples_of_a_generator_are_all_there() -> None:
    made = (Sample(id=str(k), image_id="a", question="?", references=("yes",)) for k in range(3))
    loaded = LoadedTask(name="t", split="test", form="f", samples=made, closed_rule="label", prompt="p")  # type: ignore[arg-type]
    assert [s.id for s in loaded.samples] == ["0", "1", "2"]


def test_a_value_that_is_no_text_is_refused_when_the_task_is_loaded() -> None:
    tags: dict[str, Any] = {"site": ["a"]}
    sample = Sample(id="1", image_id="a", question="?", references=("yes",), tags=tags)
    with pytest.raises(DataError, match=r"task t \(test\): a sample has a value that is neither a text"):
        LoadedTask(name="t", split="test", form="f", samples=(sample,), closed_rule="label", prompt="p")


def test_samples_are_joined_as_tuples_are() -> None:
    one, two = (Sample(id=k, image_id="a", question="?", references=("yes",)) for k in "12")
    packed, others = PackedSamples([one]), (two,)
    assert (packed + packed, packed + others, others + packed) == ((one, one), (one, two), (two, one))
    assert replace(loaded_of(packed), samples=packed + others).samples == (one, two)


def loaded_of(samples: PackedSamples) -> LoadedTask:
    return LoadedTask(name="t", split="test", form="f", samples=samples, closed_rule="label", prompt="p")
