"""Members of zip archives, read within limits: a small archive can unpack to more than fits into the memory."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator

# Bytes of one member and of all members that are read.
MAX_MEMBER, MAX_ARCHIVE = 1 << 30, 1 << 32
# A member above this size may be at most MAX_RATIO times its compressed size; a smaller one does no harm.
UNCHECKED = 1 << 26
MAX_RATIO = 250
# Errors of an archive that is damaged or over a limit, and of its content read as JSON.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, OSError, RuntimeError, NotImplementedError,
)  # fmt: skip
# Bytes that are unpacked at a time.  bzip2 and LZMA unpack all of what they are given, so they are given little.
_BLOCK, _SMALL_BLOCK = 1 << 20, 1 << 12
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_member(info: zipfile.ZipInfo, most: int) -> None:
    """Check the size that an archive states for a member.

    Raises:
        ValueError: more than `most` bytes, or more than MAX_RATIO times its compressed size.
    """
    if info.file_size > most:
        raise ValueError(f"the member {info.filename} has {info.file_size} bytes, the limit is {most}")
    if info.file_size > UNCHECKED and info.file_size > MAX_RATIO * info.compress_size:
        raise ValueError(
            f"the member {info.filename} unpacks {info.compress_size} bytes to {info.file_size}, the limit is "
            f"{MAX_RATIO} times as many"
        )


def check_total(members: Iterable[zipfile.ZipInfo], most: int) -> None:
    """Check that members have at most `most` bytes together.  Raises ValueError if they have more."""
    if (total := sum(m.file_size for m in members)) > most:
        raise ValueError(f"its members have {total} bytes together, the limit is {most}")


def member_bytes(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """The content of a member of at most `most` bytes, whatever its header states.

    Raises:
        ValueError: the member is larger; see `check_member`.
        zipfile.BadZipFile: it is damaged.
    """
    return b"".join(_blocks(archive, info, most))


def check_archive(archive: zipfile.ZipFile) -> None:
    """Unpack every member once, keeping nothing, for readers that unpack an archive by themselves.

    Raises:
        ValueError, zipfile.BadZipFile: see `member_bytes`.
    """
    check_total(archive.infolist(), MAX_ARCHIVE)
    for info in archive.infolist():
        for _ in _blocks(archive, info, MAX_MEMBER):
            pass


def _blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> Iterator[bytes]:
    check_member(info, most)
    block = _BLOCK if info.compress_type in _BOUNDED else _SMALL_BLOCK
    with archive.open(info) as member:
        while part := member.read(block):
            yield part
