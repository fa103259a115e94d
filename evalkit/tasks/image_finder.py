"""Locating the image files of a dataset copy by name."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from evalkit.core.errors import DataError
from evalkit.core.images import digest
from evalkit.core.types import ImageRef

# Of the formats that are read, and of DICOM and NIfTI (docs/images.md).
IMAGE_ENDINGS = (
    ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".dcm", ".dicom", ".nii", ".nii.gz",
)  # fmt: skip
# Names of folders that hold the images of one split.
_SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "valset"), "validation"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An image file of the copy.  parts: its absolute path; below: how many of them are below the copy's folder."""

    parts: tuple[str, ...]
    below: int
    ref: ImageRef

    def agrees(self, name: tuple[str, ...]) -> int:
        """Number of last parts that the path shares with a name; 0 where the two contradict each other.

        Either the whole name is the end of the path, or the path below the copy's folder, with a folder in it, is the
        end of the name (a name that begins with folders of another machine).
        """
        shared = 0
        for own, named in zip(reversed(self.parts), reversed(name), strict=False):
            if own != named:
                break
            shared += 1
        return shared if shared == len(name) or shared >= max(2, self.below) else 0

    def other_split(self, split: str) -> bool:
        """Whether the file is in a folder named after another split than `split`."""
        folders = (_SPLIT_FOLDERS.get(part.lower()) for part in self.parts[len(self.parts) - self.below : -1])
        return next((f for f in reversed(list(folders)) if f), split) != split


class ImageFinder:
    """Finds images by their path, in a folder tree (symbolic links followed) or in the zip archives of its top folder.

    split: the split whose images are looked up; a name without a folder is not found in a folder of another split.
    """

    def __init__(self, root: Path, split: str = "") -> None:
        self.root = root if root.is_dir() else root.parent
        self.split = split
        self._found: dict[tuple[str, ...], list[_Candidate]] | None = None

    def find(self, name: str) -> ImageRef:
        """Reference to the image; if it does not exist, a reference to the expected location.

        Every folder in the name must be one of the file's: a file is never taken for its base name alone.

        Raises:
            DataError: several files of that name have different content.
        """
        if self._found is None:
            self._found = defaultdict(list)
            for candidate in self._scan():
                for tail in {candidate.parts[-1:], candidate.parts[-2:]}:
                    self._found[tail].append(candidate)
        parts = tuple(p for p in PurePosixPath(name.replace("\\", "/")).parts if p not in ("/", "."))
        agreeing = [(c.agrees(parts), c) for c in self._found.get(parts[-2:], ())]
        if len(parts) == 1 and self.split:
            agreeing = [(n, c) for n, c in agreeing if not c.other_split(self.split)]
        most = max((n for n, _ in agreeing), default=0)
        found = [c.ref for n, c in agreeing if n == most and n]
        if not found:
            return ImageRef(kind="file", path=str(self.root / name))
        # An unpacked file takes precedence over the archive that it came from.
        best = [ref for ref in found if ref.kind == "file"] or found
        if len(best) > 1 and len({digest(ref) for ref in best}) > 1:
            raise DataError(
                f"Two different images match {name}: {best[0]} and {best[1]}. Keep only one of them in task.path."
            )
        return best[0]

    def _scan(self) -> Iterator[_Candidate]:
        import zipfile

        for archive in sorted(self.root.glob("*.zip")):
            if not zipfile.is_zipfile(archive):
                continue
            with zipfile.ZipFile(archive) as members:
                for name in members.namelist():
                    parts = PurePosixPath(name).parts
                    if name.lower().endswith(IMAGE_ENDINGS):
                        ref = ImageRef(kind="zip", path=str(archive), member=name)
                        yield _Candidate(parts, len(parts), ref)
        above = len(self.root.parts)
        for path in sorted(_files(self.root)):
            if path.name.lower().endswith(IMAGE_ENDINGS):
                yield _Candidate(path.parts, len(path.parts) - above, ImageRef(kind="file", path=str(path)))


def _files(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Files below a folder, through symbolic links; a link back to a folder that leads to it is not followed."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError:  # a folder that may not be read; its images are reported as missing
        return
    for entry in entries:
        if entry.is_dir():
            yield from _files(folder / entry.name, above | {real})
        else:
            yield folder / entry.name
