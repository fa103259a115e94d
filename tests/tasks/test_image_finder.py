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


def test_a_name_with_another_folder_is_found_only_if_one_file_has_that_name(tmp_path: Path) -> None:
    put(tmp_path, "images/test_0001.jpg", b"flat")
    put(tmp_path, "imgs/xmlab1/source.jpg")
    put(tmp_path, "imgs/xmlab2/source.jpg")
    finder = ImageFinder(tmp_path)
    assert read_bytes(finder.find("test/test_0001.jpg")) == b"flat"
    assert finder.find("xmlab3/source.jpg").path == str(tmp_path / "xmlab3/source.jpg")


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
