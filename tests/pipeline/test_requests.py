"""Requests that are made when they are asked for, and the fingerprint that stays what it was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.types import Generation, ImagePlace, Message, Request, digest_json
from evalkit.pipeline.requests import Requests

TEXTS = st.one_of(st.sampled_from(["", "a", '"\\', "Röntgen\n\x00", "\ud800", "is it CT?"]), st.text(max_size=6))


@st.composite
def requests(draw: Any) -> Request:
    parts = st.lists(st.one_of(TEXTS, st.builds(ImagePlace, st.integers(0, 3))), max_size=3)
    messages = st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=parts)
    return Request(
        sample_id=draw(TEXTS),
        image_id=draw(TEXTS),
        question=draw(TEXTS),
        answer_type=draw(st.sampled_from([None, "OPEN"])),
        messages=tuple(draw(st.lists(messages, max_size=2))),
        images=(),
        image_digests=tuple(draw(st.lists(TEXTS, max_size=2))),
        generation=draw(st.sampled_from([Generation(), Generation(stop=("a", "é"), reasoning="on", seed=3)])),
        checkpoint=draw(TEXTS),
        continuations=tuple(draw(st.lists(TEXTS, max_size=2))),
        draw=draw(st.none() | st.integers(0, 3)),
        with_probability=draw(st.booleans()),
    )


@given(requests())
def test_a_fingerprint_is_the_digest_of_all_that_determines_the_answer(request: Request) -> None:
    r = request
    content = {
        "sample_id": r.sample_id,
        "messages": [
            [m.role, [c if isinstance(c, str) else {"image": c.index} for c in m.content]] for m in r.messages
        ],
        "images": list(r.image_digests),
        "generation": r.generation.record(),
        "checkpoint": r.checkpoint,
    }
    content |= {"continuations": list(r.continuations)} if r.continuations else {}
    content |= {} if r.draw is None else {"draw": r.draw}
    content |= {"with_probability": True} if r.with_probability else {}
    assert r.fingerprint == digest_json(content)


def made(place: int) -> Request:
    return Request(
        sample_id=str(place),
        image_id="a",
        question="CT?",
        answer_type=None,
        messages=(Message(role="user", content=("CT?",)),),
        images=(),
        image_digests=(f"image{place % 2}",),
        generation=Generation(),
        checkpoint="c",
    )


def test_no_requests() -> None:
    none = Requests.of(made, 0)
    assert (len(none), list(none), list(none.fingerprints()), none.image_digests) == (0, [], [], frozenset())
    with pytest.raises(IndexError):
        none[0]


@pytest.mark.parametrize("n", [1, 5])
def test_they_are_those_that_are_made(n: int) -> None:
    held, expected = Requests.of(made, n), [made(k) for k in range(n)]
    assert list(held) == expected
    assert held[n - 1] == held[-1] == expected[-1]
    assert [held.fingerprint(k) for k in range(n)] == list(held.fingerprints()) == [r.fingerprint for r in expected]
    assert held.image_digests == {d for r in expected for d in r.image_digests}


def test_some_of_them_are_requests_again() -> None:
    held = Requests.of(made, 6)
    some = held.at([5, 1, 3])
    assert [r.sample_id for r in some] == ["5", "1", "3"]
    assert [r.sample_id for r in some.at([2, 0])] == ["3", "5"]
    assert [r.sample_id for r in some[1:]] == ["1", "3"]
    assert [r.sample_id for r in held[::2]] == ["0", "2", "4"]
    assert list(some.fingerprints()) == [made(k).fingerprint for k in (5, 1, 3)]


def test_none_is_made_for_its_fingerprint() -> None:
    asked: list[int] = []

    def make(place: int) -> Request:
        asked.append(place)
        return made(place)

    held = Requests.of(make, 3)
    assert asked == [0, 1, 2]
    assert len(held.at([2])) == len(list(held.fingerprints())) - 2
    assert asked == [0, 1, 2]
    assert held[1].sample_id == "1"
    assert asked == [0, 1, 2, 1]
