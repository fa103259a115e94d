"""Locating the image files of a dataset copy by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from evalkit.core.errors import DataError
from evalkit.core.images import digest
from evalkit.core.types import ImageRef

IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp"})


class ImageFinder:
    """Finds images by the end of their path, in a folder tree or in the zip archives of its top folder."""

    def __init__(self, root: Path) -> None:
        self.root = root if root.is_dir() else root.parent
        self._found: dict[str, list[ImageRef]] | None = None

    def find(self, name: str) -> ImageRef:
        """Reference to the image; if it does not exist, a reference to the expected location.

        A name with a folder is looked up with that folder first, then without it if exactly one file has that name.

        Raises:
            DataError: several files of that name have different content.
        """
        if self._found is None:
            self._found = defaultdict(list)
            for tail, ref in self._scan():
                self._found[tail].append(ref)
        parts = PurePosixPath(name.replace("\\", "/")).parts
        found = self._found.get("/".join(parts[-2:]), [])
        if not found and len(parts) > 1 and len(alone := self._found.get(parts[-1], [])) == 1:
            found = alone
        if not found:
            return ImageRef(kind="file", path=str(self.root / name))
        # An unpacked file takes precedence over the archive that it came from.
        best = [ref for ref in found if ref.kind == "file"] or found
        if len(best) > 1 and len({digest(ref) for ref in best}) > 1:
            raise DataError(
                f"Two different images match {name}: {best[0]} and {best[1]}. Keep only one of them in task.path."
            )
        return best[0]

    def _scan(self) -> Iterator[tuple[str, ImageRef]]:
        import zipfile

        for archive in sorted(self.root.glob("*.zip")):
            if not zipfile.is_zipfile(archive):
                continue
            with zipfile.ZipFile(archive) as members:
                for name in members.namelist():
                    if PurePosixPath(name).suffix.lower() in IMAGE_ENDINGS:
                        yield from _tails(name, ImageRef(kind="zip", path=str(archive), member=name))
        for path in sorted(self.root.rglob("*")):
            if path.suffix.lower() in IMAGE_ENDINGS:
                yield from _tails(path.as_posix(), ImageRef(kind="file", path=str(path)))


def _tails(name: str, ref: ImageRef) -> Iterator[tuple[str, ImageRef]]:
    parts = PurePosixPath(name).parts
    yield from {parts[-1]: ref, "/".join(parts[-2:]): ref}.items()
