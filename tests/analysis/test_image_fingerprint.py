"""Images that show the same picture in another file are found, and similar images are not."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from evalkit.analysis.dataset_audit import audit
from evalkit.analysis.image_fingerprint import NEAR, SAME, Fingerprint, dhash, fingerprints, matches
from evalkit.core.types import ImageRef, Sample
from evalkit.tasks.base import LoadedTask


def distance(first: int, second: int) -> int:
    """The number of bits, of 64, in which two hashes differ."""
    return (first ^ second).bit_count()


def picture(number: int) -> Image.Image:
    """Smooth light and shade on a black margin, as a radiograph is."""
    cells = np.random.default_rng(number).integers(40, 240, (10, 12), dtype=np.uint8)
    inner = Image.fromarray(cells).resize((320, 280), Image.Resampling.BICUBIC)
    whole = Image.new("L", (400, 320))
    whole.paste(inner, (40, 20))
    return whole.convert("RGB")


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


def prints(folder: Path, images: dict[str, Image.Image]) -> dict[str, Fingerprint]:
    refs = {}
    for name, image in images.items():
        image.save(folder / f"{name}.png")
        refs[name] = ImageRef(kind="file", path=str(folder / f"{name}.png"))
    return fingerprints(refs).by_name


def test_a_flat_picture_has_no_hash_and_a_broken_one_is_reported(tmp_path):
    assert dhash(Image.new("RGB", (40, 30), (9, 9, 9))) is None
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("L", (9, 9)).save(tmp_path / "flat.png")
    refs = {n: ImageRef(kind="file", path=str(tmp_path / f"{n}.png")) for n in ("broken", "flat", "gone")}
    found, without = fingerprints(refs)
    assert found == {}
    assert set(without) == set(refs)
    assert "almost flat" in without["flat"]


def test_the_bits_are_those_of_a_picture_made_of_its_own_cells():
    cells = np.array([[10 * ((3 * r + 5 * c) % 11) for c in range(9)] for r in range(8)], dtype=np.uint8)
    expected = int("".join(str(int(int(a) > int(b) + 2)) for row in cells for a, b in itertools.pairwise(row)), 2)
    assert dhash(Image.fromarray(cells)) == expected
    assert dhash(Image.fromarray(cells).resize((90, 80), Image.Resampling.NEAREST)) == expected


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_distance_is_a_metric_of_64_bits(a, b):
    assert 0 <= distance(a, b) == distance(b, a) <= 64
    assert (distance(a, b) == 0) == (a == b)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "change",
    [
        recompressed,
        lambda i: i.resize((i.width // 2, i.height // 2)),
        lambda i: i.resize((336, 300)),
        lambda i: i.point([min(255, int(1.15 * v)) for v in range(256)] * 3),
        lambda i: i.convert("L"),
    ],
)
def test_a_changed_file_is_the_same_picture(change, tmp_path):
    own = prints(tmp_path, {str(k): picture(k) for k in range(12)})
    other = prints(tmp_path, {f"again {k}": change(picture(k)).convert("RGB") for k in range(12)})
    found = matches(own, other)
    assert {(m.name, m.other) for m in found} == {(str(k), f"again {k}") for k in range(12)}
    assert all(m.bits <= NEAR and m.correlation >= SAME for m in found)


def test_mirrored_and_other_pictures_do_not_match(tmp_path):
    own = prints(tmp_path, {str(k): picture(k) for k in range(12)})
    other = prints(tmp_path, {f"m{k}": picture(k).transpose(Image.Transpose.FLIP_LEFT_RIGHT) for k in range(12)})
    assert not [m for m in matches(own, other) if m.name == m.other[1:]]
    assert matches(own, {}) == matches({}, own) == []


def test_an_equal_hash_without_an_equal_picture_is_no_match():
    rng = np.random.default_rng(3)
    one, two = (Fingerprint(bits=7, thumbnail=rng.integers(0, 256, 4096, dtype=np.uint8).tobytes()) for _ in "ab")
    assert matches({"a": one}, {"b": two}) == []
    assert [m.other for m in matches({"a": one}, {"b": two, "c": replace(one, bits=7 + 8)})] == ["c"]


def test_the_audit_finds_a_renamed_picture_in_another_split(tmp_path):
    def split(name: str, **images: Image.Image) -> LoadedTask:
        samples = []
        for image_id, image in images.items():
            image.save(tmp_path / f"{image_id}.png")
            ref = ImageRef(kind="file", path=str(tmp_path / f"{image_id}.png"))
            samples.append(Sample(id=image_id, image_id=image_id, question="q?", references=("a",), images=(ref,)))
        return LoadedTask(name="t", split=name, form="f", samples=tuple(samples), closed_rule="label", prompt="p")

    marked = picture(1)
    ImageDraw.Draw(marked).text((2, 2), "R", fill=(200, 200, 200))
    test = split("test", a=picture(1), b=picture(2))
    train = split("train", c=marked, d=picture(3))

    class Copy:
        def load(self, *, images: bool = True) -> LoadedTask:
            return test

        def load_train(self) -> LoadedTask:
            return train

    by = {f.check: f for f in audit(Copy(), images=True, others={"train": train, "validation": "there is none."})}
    assert by["train images"].count == 0
    assert by["train pictures"].count == 1
    assert by["train pictures"].examples[0].startswith("a is c (")
    assert by["validation split"].text == "not checked: there is none."
    assert not [c for c in {f.check for f in audit(Copy(), images=False, others={"train": train})} if "pictures" in c]


@pytest.mark.slow
@pytest.mark.data
def test_slake_test_shares_a_picture_with_its_english_train_split(shared):
    from evalkit.cli.config import build, load_option

    config = load_option("task", "slake") | {"path": str(shared / "slake")}
    test, train = (build(config | {"split": s}, "slake").load(images=True) for s in ("test", "train"))
    refs = [{s.image_id: s.images[0] for s in t.samples} for t in (test, train)]
    (own, without), (other, _) = (fingerprints(r) for r in refs)
    assert len(own) == 96 and not without
    found = matches(own, other)
    assert {(m.name, m.other) for m in found} == {("xmlab629/source.jpg", "xmlab630/source.jpg")}
