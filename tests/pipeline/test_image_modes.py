"""The images of controls: similar ones of the split, and changed ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evalkit
from evalkit.cli.commands.report import samples_as_seen
from evalkit.core.errors import DataError
from evalkit.core.image_changes import CHANGES, NOISE
from evalkit.core.images import digest, encoded_bytes, open_image
from evalkit.core.types import ImageRef, Sample
from evalkit.pipeline.image_modes import shared_tags, with_images


def sample(number: int, image: str, *, row: str = "", n: int = 1, **tags: str) -> Sample:
    refs = tuple(ImageRef(kind="file", path=f"{image}{row}-{k}") for k in range(n))
    return Sample(id=str(number), image_id=image, question="q?", references=("a",), images=refs, tags=tags)


def split() -> list[Sample]:
    tags = {f"i{k}": {"modality": "CT" if k % 2 else "MR", "organ": f"o{k % 3}"} for k in range(24)}
    return [sample(3 * k + q, name, **kind) for k, (name, kind) in enumerate(tags.items()) for q in range(3)]


def test_a_similar_image_is_another_one_of_the_same_modality_and_organ() -> None:
    rows = split()
    owner = {s.images: s for s in rows}
    given: dict[str, set[tuple[ImageRef, ...]]] = {}
    for before, after in zip(rows, with_images(rows, "similar"), strict=True):
        assert after.images != before.images
        assert owner[after.images].tags == before.tags
        given.setdefault(before.image_id, set()).add(after.images)
    assert all(len(images) == 1 for images in given.values()), "all questions about an image get the same one"
    assert len(set.union(*given.values())) == 24, "every image is given once"
    assert shared_tags(rows) == {("modality", "organ"): 72}


def test_what_is_alone_shares_less_and_is_counted() -> None:
    rows = [
        sample(1, "a", modality="CT", organ="lung"), sample(2, "b", modality="CT", organ="lung"),
        sample(3, "c", modality="CT", organ="brain"), sample(4, "d", modality="MR", organ="lung"),
        sample(5, "e", modality="US", organ="neck"), sample(6, "f"),
    ]  # fmt: skip
    seen = {s.id: s.images[0].path[0] for s in with_images(rows, "similar")}
    assert (seen["1"], seen["2"]) == ("b", "a")
    assert seen["3"] in "ab" and seen["4"] in "ab"
    assert all(seen[s.id] != s.image_id for s in rows)
    assert shared_tags(rows) == {("modality", "organ"): 2, ("modality",): 1, ("organ",): 1, (): 2}


def test_an_image_stored_once_a_row_never_replaces_itself() -> None:
    """As in tables with the bytes of the image in every row: other references, the same picture."""
    rows = [sample(k, f"i{k % 2}", row=str(k), modality="CT", organ="lung") for k in range(8)]
    for before, after in zip(rows, with_images(rows, "similar"), strict=True):
        assert not after.images[0].path.startswith(before.image_id)


def test_one_image_under_two_names_is_not_another_image() -> None:
    rows = [sample(k, name, modality="CT", organ="lung") for k, name in enumerate("abcdef")]
    content = {"a": "1", "b": "1", "c": "1", "d": "2", "e": "3", "f": "3"}
    digests = {s.images[0]: content[s.image_id] for s in rows}
    by_name = with_images(rows, "similar")
    assert any(digests[s.images[0]] == content[s.image_id] for s in by_name), "names alone would not tell them apart"
    seen = with_images(rows, "similar", digests)
    assert all(digests[s.images[0]] != content[s.image_id] for s in seen)
    assert seen[0].images == seen[1].images == seen[2].images, "all questions about an image get the same one"
    assert shared_tags(rows, digests) == {("modality", "organ"): 6}
    distinct = {s.images[0]: s.image_id for s in rows}
    assert list(with_images(rows, "similar", distinct)) == list(by_name)
    with pytest.raises(DataError, match="at least two different images"):
        with_images(rows[:3], "similar", digests)


def test_the_page_shows_the_images_that_the_model_saw(tmp_path: Path) -> None:
    rows = ["id,image,question,answer"]
    for k in range(6):
        Image.new("RGB", (8, 8), (40 * (k // 2), 0, 0)).save(tmp_path / f"{k}.png")
        rows.append(f"{k},{k}.png,Question {k}?,yes")
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    seen: dict[str, int] = {}

    def answer(image: Image.Image, question: str) -> str:
        seen[question.partition("?")[0]] = int(np.asarray(image)[0, 0, 0])
        return "yes"

    result = evalkit.evaluate(answer, tmp_path / "t.csv", image="similar", protocols="strict", out=tmp_path / "runs")
    task = evalkit.load_task(tmp_path / "t.csv")
    shown = samples_as_seen(result.folder, task.samples)
    assert {s.question[:-1]: np.asarray(open_image(s.images[0]))[0, 0, 0] for s in shown} == seen
    assert all(seen[f"Question {k}"] != 40 * (k // 2) for k in range(6)), "each image is there under two names"


def test_numbers_of_images_are_kept_and_text_only_questions_stay() -> None:
    rows = [sample(1, "a", n=2), sample(2, "b", n=2), sample(3, "c"), sample(4, "d"), sample(5, "t", n=0)]
    seen = with_images(rows, "similar")
    assert [len(s.images) for s in seen] == [2, 2, 1, 1, 0]
    with pytest.raises(DataError, match="image=similar needs at least two different images for questions with 2"):
        with_images(rows[1:], "similar")


def test_the_choice_does_not_depend_on_other_strata() -> None:
    rows = split()
    kept = [s for s in rows if s.tags["modality"] == "CT"]
    assert Counter(s.tags["modality"] for s in kept) == {"CT": 36}
    for before, after in zip(kept, with_images(kept, "similar"), strict=True):
        assert before.images != after.images


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> ImageRef:
    values = np.random.default_rng(0).integers(60, 196, (96, 64, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("images") / "a.png"
    Image.fromarray(values).save(path)
    return ImageRef(kind="file", path=str(path))


def pixels(ref: ImageRef) -> np.ndarray:
    return np.asarray(open_image(ref)).astype(float)


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_a_changed_image_has_the_size_of_its_own_and_a_digest_of_its_kind(picture: ImageRef, kind: str) -> None:
    (after,) = with_images([Sample(id="1", image_id="a", question="q", references=("a",), images=(picture,))], kind)
    (ref,) = after.images
    assert open_image(ref).size == open_image(picture).size and open_image(ref).mode == "RGB"
    assert not np.array_equal(pixels(ref), pixels(picture))
    assert np.array_equal(pixels(ref), pixels(ref))
    assert encoded_bytes(ref) is None and str(ref) == f"{kind} of {picture}"
    assert len({digest(r) for r in (picture, *(ImageRef(kind=k, of=picture) for k in CHANGES))}) == 1 + len(CHANGES)  # type: ignore[arg-type]


def test_a_blurred_image_keeps_the_brightness_and_loses_detail(picture: ImageRef) -> None:
    own, blurred = pixels(picture), pixels(ImageRef(kind="blurred", of=picture))
    assert abs(blurred.mean() - own.mean()) < 2
    assert np.abs(np.diff(blurred, axis=0)).mean() < 0.1 * np.abs(np.diff(own, axis=0)).mean()


def test_noise_has_the_stated_size_and_is_equal_for_equal_pixels(picture: ImageRef, tmp_path: Path) -> None:
    added = pixels(ImageRef(kind="noisy", of=picture)) - pixels(picture)
    inside = added[(pixels(picture) > 120) & (pixels(picture) < 136)]  # clipping is symmetric there
    assert abs(inside.mean()) < 5 and abs(inside.std() - NOISE) < 8
    copy = tmp_path / "b.bmp"
    open_image(picture).save(copy)
    same = ImageRef(kind="noisy", of=ImageRef(kind="file", path=str(copy)))
    assert np.array_equal(pixels(same), pixels(ImageRef(kind="noisy", of=picture)))
    assert open_image(ImageRef(kind="blank", of=picture)).getcolors() == [(96 * 64, (127, 127, 127))]
