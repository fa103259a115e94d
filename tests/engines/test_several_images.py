"""Questions with several images: shared prefixes, the order and the places of images, and models that take one."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.images import open_image
from evalkit.core.types import Generation, ImagePlace, ImageRef, Message, Request
from evalkit.engines.hf import HfEngine
from evalkit.engines.preprocess import group_by_image
from evalkit.engines.vllm import VllmEngine
from evalkit.tasks.image_places import with_places
from tests.support import tiny_hf
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import answers
from tests.support.server_engine import engine as server_engine
from tests.support.server_engine import pictures, serving

Make = Callable[..., HfEngine]
FAMILIES = ["llava", "qwen2_5_vl", "gemma3", "internvl"]
WORDS = {"llava": tiny.WORDS}


@pytest.fixture(scope="module")
def checkpoints(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random model of each family on disk; `internvl` cuts an image into up to four patches."""
    root = tmp_path_factory.mktemp("families")
    made = {"llava": folder, **{kind: tiny_hf.save(kind, root / kind) for kind in FAMILIES[1:]}}
    _make_sensitive(made["gemma3"])
    return made


def _make_sensitive(path: Path) -> None:
    """Give Gemma 3 small embeddings and large other weights, without which its answers do not depend on the images."""
    import torch
    from transformers import AutoModelForImageTextToText

    made = AutoModelForImageTextToText.from_pretrained(path)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in made.named_parameters():
        scale = 0.02 if "embed_tokens" in name else 2.0 / parameter[0].numel() ** 0.5
        if parameter.ndim >= 2:
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    made.save_pretrained(path)


@pytest.fixture
def pool(tmp_path: Path) -> list[ImageRef]:
    sizes = [(60, 80), (60, 80), (80, 60), (100, 40)]
    return [tiny.draw(tmp_path / f"{k}.png", k, size) for k, size in enumerate(sizes)]


def ask(
    images: Sequence[ImageRef],
    content: Sequence[str | ImagePlace],
    name: str = "",
    generation: Generation | None = None,
) -> Request:
    return Request(
        sample_id=name or str(content),
        image_id="i",
        question="",
        answer_type=None,
        messages=(Message(role="user", content=tuple(content)),),
        images=tuple(images),
        image_digests=tuple(hashlib.sha256(Path(ref.path).read_bytes()).hexdigest() for ref in images),
        generation=generation or Generation(max_new_tokens=12),
        checkpoint="tiny",
    )


def questions(pool: list[ImageRef], family: str, n: int = 4) -> list[Request]:
    """Questions about one, two and three images, the same images in another order, and marks inside of the text."""
    rng = random.Random(0)
    words = WORDS.get(family, ["what", "is", "this", "a", "left", "right", "lung"])
    tuples = [pool[:1], pool[:2], pool[1::-1], pool[:3], [pool[3], pool[0], pool[2]]]
    made = []
    for t, images in enumerate(tuples):
        for k in range(n):
            text = " ".join(rng.choices(words, k=rng.randint(2, 7)))
            made.append(ask(images, with_places(text, len(images), "row"), f"{t}-{k}"))
    inside = f"{words[0]} <image 2> {words[1]} <image 1> {words[2]}"
    made += [ask(pool[:2], with_places(inside, 2, "row"), "inside"), ask(pool[:2], with_places("", 2, "row"), "none")]
    rng.shuffle(made)
    return made


# --- engine=hf


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
def test_sharing_gives_the_answers_of_plain_prompts(
    engine: Make, checkpoints: dict[str, Path], pool: list[ImageRef], family: str
) -> None:
    requests = [r for r in questions(pool, family) if r.sample_id != "none"]
    spec = tiny.spec(checkpoints[family])
    plain = answers(engine(spec, share_prefix="off", batch_size=1), requests)
    batched = answers(engine(spec, share_prefix="off"), requests)
    shared = engine(spec)
    assert answers(shared, requests) == plain == batched
    assert len({text for text, _, _ in plain.values()}) > 3
    facts = shared.metadata()
    assert facts["prefix_shared"], facts["prefix_not_shared"]
    # Five tuples of images; the one with marks inside of the text is a group in its own order, that of the swapped two.
    assert facts["counters"]["prefix_prefills"] >= 4
    assert facts["counters"]["image_decodes"] == 1 + 2 + 2 + 3 + 3


def test_the_images_of_a_group_are_encoded_and_prefilled_once(engine: Make, pool: list[ImageRef]) -> None:
    requests = [ask(pool[:3], with_places(f"w{k} w{k + 1}", 3, "row"), str(k)) for k in range(6)]
    shared = engine(share_prefix="require")
    answers(shared, requests)
    counters = shared.metadata()["counters"]
    assert (counters["image_decodes"], counters["vision_encodes"], counters["prefix_prefills"]) == (3, 3, 1)
    one = engine(share_prefix="off", batch_size=1)
    answers(one, requests)
    # Each image has 16 tokens and the template's word behind it.
    saved = one.metadata()["counters"]["prefill_tokens"] - counters["prefill_tokens"]
    assert saved == 5 * (1 + 3 * (16 + 1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.few(2)
def test_the_order_of_images_matters_and_not_how_it_is_given(
    engine: Make, checkpoints: dict[str, Path], pool: list[ImageRef], family: str
) -> None:
    a, b, c = pool[0], pool[1], pool[2]
    text = "w1 w2" if family == "llava" else "what is this"
    orders = {
        p: ask([(a, b, c)[k] for k in p], with_places(text, 3, "row"), "q") for p in itertools.permutations(range(3))
    }
    assert len({r.fingerprint for r in orders.values()}) == 6
    made = engine(tiny.spec(checkpoints[family]))
    told = {p: answers(made, [r])["q"] for p, r in orders.items()}
    assert len(set(told.values())) > 1
    # The same pictures in the same places, listed in another order in the data.
    listed = ask([c, a, b], [ImagePlace(1), ImagePlace(2), ImagePlace(0), text], "q")
    assert listed.placed == (1, 2, 0) and listed.placed_images == (a, b, c)
    assert listed.placed_digests == orders[0, 1, 2].placed_digests
    assert answers(made, [listed])["q"] == told[0, 1, 2]
    assert listed.fingerprint != orders[0, 1, 2].fingerprint


def test_groups_are_of_the_same_images_in_the_same_order(pool: list[ImageRef]) -> None:
    a, b = pool[:2]
    requests = [
        ask([a, b], with_places("w1", 2, "row"), "1"),
        ask([b, a], with_places("w2", 2, "row"), "2"),
        ask([b, a], with_places("<image 2> <image 1> w3", 2, "row"), "3"),
        ask([a], with_places("w4", 1, "row"), "4"),
    ]
    assert [[r.sample_id for r in group] for group in group_by_image(requests)] == [["1", "3"], ["2"], ["4"]]


def test_an_image_that_cannot_be_opened_fails_the_questions_with_it_alone(
    engine: Make, pool: list[ImageRef], tmp_path: Path
) -> None:
    requests = [ask(pool[:2], with_places(f"w{k}", 2, "row"), f"ok{k}") for k in range(2)]
    lost = replace(ask([pool[0], pool[3]], with_places("w9", 2, "row"), "lost"))
    Path(pool[3].path).write_bytes(b"no image")
    found = {p.sample_id: p for batch in engine().generate([*requests, lost]) for p in batch}
    assert "3.png cannot be decoded" in str(found["lost"].error)
    assert found["ok0"].error is None and found["ok1"].error is None


# --- engine=server and engine=vllm


def test_a_server_gets_every_image_at_its_place(pool: list[ImageRef]) -> None:
    request = ask(pool[:3], with_places("first <image 3> then <image 1> end", 3, "row"), "1")
    same = ask(pool[:3], with_places("all", 3, "row"), "2")
    with serving() as server:
        answers(server_engine(server), [request, same])
        bodies = {len(body["messages"][0]["content"]): body for body in server.calls}
    content = bodies[6]["messages"][0]["content"]
    assert [part.get("text") for part in content] == [None, "first ", None, " then ", None, " end"]
    for body, order in ((bodies[6], (1, 2, 0)), (bodies[4], (0, 1, 2))):
        for seen, k in zip(pictures(body), order, strict=True):
            assert seen.tobytes() == open_image(pool[k]).tobytes()


@pytest.mark.slow
def test_vllm_gets_the_images_in_the_order_of_their_places(
    engine: Make, folder: Path, pool: list[ImageRef], vllm: Any
) -> None:
    requests = questions(pool, "llava")
    made = VllmEngine(spec=tiny.spec(folder), dtype="float32")
    assert answers(made, requests) == answers(engine(share_prefix="off", batch_size=1), requests)
    (model,) = vllm.MADE
    assert model.arguments["limit_mm_per_prompt"]["image"] == 3
    by_digests = {tuple(p["multi_modal_uuids"]["image"]): p for call in model.calls for p in call}
    inside = next(r for r in requests if r.sample_id == "inside")
    assert inside.placed_digests == inside.image_digests[::-1]
    shown = by_digests[inside.placed_digests]["multi_modal_data"]["image"]
    assert [i.tobytes() for i in shown] == [open_image(ref).tobytes() for ref in pool[1::-1]]
