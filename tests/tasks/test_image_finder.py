"""Images are found by the tail of their path, and never a wrong one in silence."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from evalkit.core.errors import DataError
from evalkit.core.images import read_bytes
from evalkit.tasks.image_finder import ImageFinder


def put(root: Path, name: str, content: bytes = b"x") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_name_with_its_folder_is_found_below_any_folder(tmp_path: Path) -> None:
    put(tmp_path, "Slake1.0/imgs/xmlab1/source.jpg", b"one")
    put(tmp_path, "Slake1.0/imgs/xmlab2/source.jpg", b"two")
    finder = ImageFinder(tmp_path)
    assert read_bytes(finder.find("xmlab2/source.jpg")) == b"two"
    assert read_bytes(finder.find("xmlab1\\source.jpg")) == b"one"


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("xmlab1/source.jpg", "imgs/xmlab3/source.jpg"),  # another folder
        ("xmlab1/source.jpg", "source.jpg"),  # no folder
        ("test/test_0001.jpg", "images/test_0001.jpg"),
        ("test/test_0001.jpg", "images/train/test_0001.jpg"),
        ("b/imgs/source.jpg", "a/imgs/source.jpg"),  # the same two last parts
        ("/home/me/b/imgs/source.jpg", "a/imgs/source.jpg"),
        ("xmlab1/source.jpg", "imgs/Xmlab1/source.jpg"),
        ("xmlab1/source.jpg", "imgs/xmlab1/source.png"),
        ("lab1/source.jpg", "imgs/xmlab1/source.jpg"),
        ("b\\source.jpg", "a/source.jpg"),
    ],
)
def test_the_only_file_of_a_base_name_is_not_taken_for_another_folders(tmp_path: Path, name: str, stored: str) -> None:
    put(tmp_path / "copy", stored)
    found = ImageFinder(tmp_path / "copy").find(name)
    assert found.path == str(tmp_path / "copy" / name) and not Path(found.path).exists()
    with zipfile.ZipFile(tmp_path / "copy" / "imgs.zip", "w") as members:
        members.writestr(stored, b"packed")
    assert ImageFinder(tmp_path / "copy").find(name) == found


@pytest.mark.parametrize(
    "name", ["xmlab1/source.jpg", "imgs/xmlab1/source.jpg", "/home/me/slake/imgs/xmlab1/source.jpg"]
)
def test_a_name_may_have_more_or_fewer_leading_folders_than_the_copy(tmp_path: Path, name: str) -> None:
    put(tmp_path, "imgs/xmlab1/source.jpg", b"one")
    put(tmp_path, "imgs/xmlab2/source.jpg", b"two")
    assert read_bytes(ImageFinder(tmp_path).find(name)) == b"one"
    put(tmp_path, "source.jpg", b"flat")
    assert read_bytes(ImageFinder(tmp_path).find(name)) == b"one"


def test_the_file_that_agrees_in_most_folders_is_taken(tmp_path: Path) -> None:
    put(tmp_path, "a/imgs/1.jpg", b"a")
    put(tmp_path, "b/imgs/1.jpg", b"b")
    assert read_bytes(ImageFinder(tmp_path).find("b/imgs/1.jpg")) == b"b"


def test_a_bare_name_is_not_found_in_a_folder_of_another_split(tmp_path: Path) -> None:
    put(tmp_path, "images/train/1.jpg", b"train")
    assert ImageFinder(tmp_path, "test").find("1.jpg").path == str(tmp_path / "1.jpg")
    assert read_bytes(ImageFinder(tmp_path, "train").find("1.jpg")) == b"train"
    put(tmp_path, "images/test/1.jpg", b"test")
    assert read_bytes(ImageFinder(tmp_path, "test").find("1.jpg")) == b"test"
    put(tmp_path, "images/all/2.jpg", b"all")
    assert read_bytes(ImageFinder(tmp_path, "test").find("2.jpg")) == b"all"


def test_symbolic_links_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "disk", "pictures/xmlab1/source.jpg", b"one")
    copy = tmp_path / "copy"
    put(copy, "imgs-of-train/xmlab9/source.jpg", b"nine")
    (copy / "imgs").symlink_to(tmp_path / "disk" / "pictures")
    (tmp_path / "disk" / "pictures" / "back").symlink_to(copy)
    (copy / "gone").symlink_to(tmp_path / "nowhere")
    (copy / "two.jpg").symlink_to(tmp_path / "disk" / "pictures" / "xmlab1" / "source.jpg")
    finder = ImageFinder(copy)
    for name in ("xmlab1/source.jpg", "imgs/xmlab1/source.jpg", "two.jpg"):
        assert read_bytes(finder.find(name)) == b"one"


def test_two_different_images_of_one_name_are_refused_and_two_copies_are_not(tmp_path: Path) -> None:
    put(tmp_path, "images/synpic1.jpg", b"full")
    put(tmp_path, "backup/synpic1.jpg", b"full")
    assert read_bytes(ImageFinder(tmp_path).find("synpic1.jpg")) == b"full"
    put(tmp_path, "thumbnails/synpic1.jpg", b"small")
    with pytest.raises(DataError, match=r"match synpic1\.jpg"):
        ImageFinder(tmp_path).find("synpic1.jpg")


def test_an_unpacked_file_wins_over_its_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "imgs.zip", "w") as members:
        members.writestr("imgs/xmlab1/source.jpg", b"packed")
        members.writestr("imgs/xmlab2/source.jpg", b"packed too")
    put(tmp_path, "imgs/xmlab1/source.jpg", b"unpacked")
    finder = ImageFinder(tmp_path)
    assert read_bytes(finder.find("xmlab1/source.jpg")) == b"unpacked"
    assert read_bytes(finder.find("xmlab2/source.jpg")) == b"packed too"
