"""Every image is checked before a model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.images import digest
from evalkit.core.types import ImageRef, Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.image_check import check_images


def ref(path: Path) -> ImageRef:
    return ImageRef(kind="file", path=str(path))


def sample(row: str, *images: ImageRef) -> Sample:
    return Sample(id=row, image_id="i", question="Q?", references=("a",), images=images)


@pytest.fixture
def good(tmp_path: Path) -> ImageRef:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "good.png")
    return ref(tmp_path / "good.png")


@pytest.fixture
def bad(tmp_path: Path) -> ImageRef:
    (tmp_path / "bad.jpg").write_text("not an image")
    return ref(tmp_path / "bad.jpg")


def loaded(*samples: Sample) -> LoadedTask:
    return LoadedTask(
        name="t", split="test", form="f", samples=samples, closed_rule="label", prompt="p", skipped=("row 0: empty",)
    )


def test_a_complete_split_is_unchanged_and_each_image_has_a_digest(good):
    task = loaded(sample("1", good), sample("2", good))
    checked, digests = check_images(task)
    assert checked is task
    assert digests == {good: digest(good)}


def test_a_missing_or_broken_image_is_an_error_naming_row_and_file(good, bad, tmp_path):
    gone = ref(tmp_path / "gone.jpg")
    with pytest.raises(DataError) as caught:
        check_images(loaded(sample("1", good), sample("2", gone), sample("3", bad), sample("4", bad)))
    for words in ("3 of 4 rows", "2 images", "first row 2", "gone.jpg", "task.path", "task.on_missing_image=skip"):
        assert words in str(caught.value)


def test_skipping_leaves_the_rows_out_and_says_which_and_why(good, bad):
    task = loaded(sample("1", good), sample("2", bad), sample("3"), sample("4", good, bad))
    checked, digests = check_images(task, on_missing="skip")
    assert [s.id for s in checked.samples] == ["1"]
    assert checked.skipped[0] == "row 0: empty"
    assert [reason.partition(":")[0] for reason in checked.skipped[1:]] == ["row 2", "row 3", "row 4"]
    assert (
        "bad.jpg" in checked.skipped[1] and "names no image" in checked.skipped[2] and "bad.jpg" in checked.skipped[3]
    )
    assert digests == {good: digest(good)}


def test_no_usable_row_is_an_error_even_when_skipping(bad):
    with pytest.raises(DataError, match="no row has a usable image; first row"):
        check_images(loaded(sample("1", bad)), on_missing="skip")


def test_an_unknown_setting_is_refused_with_a_near_one(good):
    with pytest.raises(ConfigError, match=r"on_missing_image=skipp[. ].*'skip'"):
        check_images(loaded(sample("1", good)), on_missing="skipp")
