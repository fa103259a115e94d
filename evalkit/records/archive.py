"""Reader for JSON members of a zip archive, including zstandard-compressed ones (zip method 93)."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from evalkit.core import json_text
from evalkit.core.archives import DAMAGE, MAX_ARCHIVE, MAX_MEMBER, check_member, check_total, member_bytes
from evalkit.core.errors import DataError
from evalkit.records.base import ArchiveMember

_ZSTANDARD = 93  # APPNOTE.TXT 4.4.5; supported by the standard library from Python 3.14
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # APPNOTE.TXT 4.3.7


def json_members(path: Path, prefix: str) -> list[ArchiveMember]:
    """The JSON members whose names start with `prefix`, in archive order."""
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = [i for i in archive.infolist() if i.filename.startswith(prefix) and i.filename.endswith(".json")]
            check_total(wanted, MAX_ARCHIVE)
            for info in wanted:
                found.append(ArchiveMember(info.filename, json_text.loads(_content(path, archive, info))))
    except DAMAGE as e:
        raise DataError(
            f"{path}: a member of the archive cannot be read ({e}). Copy or write the archive again."
        ) from None
    return found


def _content(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type != _ZSTANDARD:
        return member_bytes(archive, info, MAX_MEMBER)
    import pyarrow

    check_member(info, MAX_MEMBER)
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        file.seek(header[-2] + header[-1], 1)  # the name and the extra field
        packed = file.read(info.compress_size)
    try:
        with pyarrow.CompressedInputStream(pyarrow.BufferReader(packed), "zstd") as stream:
            content = bytes(stream.read(info.file_size + 1))
    except OSError as e:
        raise zipfile.BadZipFile(f"{info.filename}: {e}") from None
    if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename}: checksum or size differ")
    return content
