"""Runs over questions with several images: a model's limit, shuffled images, images that no message places."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import load_option
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import Generation, ImagePlace, ImageRef, Message, Sample
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.pipeline.image_modes import with_images
from evalkit.pipeline.inputs import build_input
from evalkit.pipeline.settings import Settings
from evalkit.runs.prompt_record import Template
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.image_places import with_places
from tests.support.server_engine import engine as server_engine
from tests.support.server_engine import serving, spec


def sample(name: str, *images: str) -> Sample:
    refs = tuple(ImageRef(kind="file", path=p) for p in images)
    return Sample(id=name, image_id=images[0], question=f"what is {name}?", references=("a",), images=refs)


def loaded(*samples: Sample) -> LoadedTask:
    return LoadedTask(name="toy", split="test", form="f", samples=samples, closed_rule="label", prompt="plain@0")


@dataclass
class Toy:
    """A task that places all images first, or only the first one."""

    all_images: bool = True

    def messages(self, item: Sample) -> tuple[Message, ...]:
        content = with_places(item.question, len(item.images), item.id) if self.all_images else (ImagePlace(0), "x")
        return (Message(role="user", content=content),)


@dataclass
class Eyes:
    """An engine with images that is never asked."""

    max_images: int | None = None
    name: str = "eyes"
    identity: str = "eyes"
    needs_images: bool = True
    generation: Generation = field(default_factory=Generation)


def given(task: Toy, engine: Any, *samples: Sample, limit: int | None = None) -> Any:
    digests = {ref: ref.path for s in samples for ref in s.images}
    settings = Settings(model="eyes", limit=limit)
    return build_input(task, loaded(*samples), digests, engine, Template(), settings)  # type: ignore[arg-type]


def test_a_model_for_one_image_refuses_questions_with_more_before_it_is_asked() -> None:
    rows = [sample("one", "a"), sample("two", "a", "b"), sample("three", "a", "b", "c")]
    assert len(given(Toy(), Eyes(), *rows).requests) == 3
    assert len(given(Toy(), Eyes(max_images=3), *rows).requests) == 3
    assert len(given(Toy(), Eyes(max_images=1), *rows, limit=1).requests) == 1
    with pytest.raises(ConfigError, match=r"eyes takes 1 image a question .*2 of 3 questions .*first two with 2"):
        given(Toy(), Eyes(max_images=1), *rows)
    blind = Eyes(max_images=1, needs_images=False)
    assert len(given(Toy(), blind, *rows).requests) == 3


@pytest.mark.parametrize(
    "name", ["llava-med", "llava-med-v1.0", "llava-med-v1.0-slake", "llava-med-v1.5-coloninst-lora"]
)
def test_the_original_llava_med_checkpoints_take_one(name: str) -> None:
    assert CheckpointSpec.from_config({**load_option("model", name), "name": name}).max_images == 1


@pytest.mark.parametrize(
    "name", ["phantom-llava", "qwen2.5-vl-7b", "medgemma-4b", "internvl3-8b", "huatuogpt-vision-7b"]
)
def test_no_limit_is_known_of_the_others(name: str) -> None:
    assert CheckpointSpec.from_config({**load_option("model", name), "name": name}).max_images is None


@pytest.mark.parametrize("stated", [0, "many", True, 1.5])
def test_a_limit_that_is_no_number_is_refused(stated: object) -> None:
    made = CheckpointSpec(name="mine", config={"max_images": stated}, generation=Generation())
    with pytest.raises(ConfigError, match=r"mine: max_images=.* is not valid; expected a whole number"):
        _ = made.max_images


def test_engines_pass_the_limit_of_their_checkpoint_on() -> None:
    with serving() as server:
        one = CheckpointSpec(name="one", config={**spec().config, "max_images": 1}, generation=Generation())
        assert server_engine(server, spec=one).max_images == 1
        assert server_engine(server).max_images is None


def test_an_image_without_a_place_is_an_error() -> None:
    with pytest.raises(DataError, match=r"Sample two has 2 images, and its messages place the numbers \[0\]"):
        given(Toy(all_images=False), Eyes(), sample("one", "a"), sample("two", "a", "b"))


def test_the_order_of_images_is_part_of_the_fingerprint() -> None:
    first, second = (given(Toy(), Eyes(), sample("q", *order)).requests[0] for order in ("ab", "ba"))
    assert first.fingerprint != second.fingerprint
    assert first.image_digests == ("a", "b") and second.image_digests == ("b", "a")


def test_shuffled_images_keep_their_number_and_none_keeps_its_own() -> None:
    rows = [sample(str(k), *(f"{k}{c}" for c in "abc"[: 1 + k % 3])) for k in range(12)]
    shuffled = with_images(rows, "shuffled")
    for before, after in zip(rows, shuffled, strict=True):
        assert len(before.images) == len(after.images) and before.images != after.images
    assert {s.images for s in shuffled} == {s.images for s in rows}
    single = [s for s in rows if len(s.images) == 1]
    assert [s.images for s in with_images(single, "shuffled")] == [s.images for s in shuffled if len(s.images) == 1]
    with pytest.raises(DataError, match="two different images for questions with 3 images"):
        with_images([*single, rows[2]], "shuffled")


def test_blank_images_are_as_many(tmp_path: Path) -> None:
    (blank,) = with_images([sample("1", "a", "b")], "blank")
    assert [ref.of for ref in blank.images] == [ImageRef(kind="file", path=p) for p in "ab"]
