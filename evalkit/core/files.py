"""JSON, JSON Lines and archives on disk: written whole, read with errors that name the file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from glob import escape
from itertools import repeat
from json.encoder import encode_basestring
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from evalkit.core import json_text
from evalkit.core.errors import StoreError

if TYPE_CHECKING:
    from zipfile import ZipFile

# `.NAME.PROCESS.HOST.tmp`; versions before 0.1.0 had no host.
_TEMPORARY = re.compile(r"\.(?P<name>.+?)\.(?P<process>[0-9]+)(?:\.(?P<host>[0-9A-Za-z-]+))?\.tmp")
_HOST = re.sub("[^0-9A-Za-z-]", "-", socket.gethostname()) or "host"
# Bytes; names of runs have two such names and are parts of the names of temporary files, which may have 255.
LONGEST_NAME = 100
# Made once: a run writes many lines.
_LINE = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": "))
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def write_whole(path: Path, text: str | Iterable[str]) -> None:
    """Write a file, from one text or piece by piece, so that a reader sees the old content or the new, never a part."""
    with whole_file(path) as file:
        file.writelines([text] if isinstance(text, str) else text)


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `path` when the block ends, and leaves `path` alone where the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with naming(path, temporary):
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_archive(path: Path) -> Iterator[ZipFile]:
    """A zip archive that takes the place of `path` when the block ends; where the block fails, `path` is left alone."""
    import zipfile

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with naming(path, temporary):
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                yield archive
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """The name of a file of this process beside `path`; what killed processes left there is removed."""
    sweep_temporaries(path.parent, path.name)
    return path.with_name(f".{path.name}.{os.getpid()}.{_HOST}.tmp")


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Name a file in the operating system's errors: those of a write or a full disk do not say which file it was.

    Errors about another file, such as one that is read meanwhile, keep its name.
    """
    try:
        yield
    except OSError as problem:
        if problem.filename is None or problem.filename == str(temporary):
            problem.filename = str(path)
        raise


def sweep_temporaries(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left of files that they were writing in a folder.

    Files of processes that run, and of processes of other machines, are left alone.

    Args:
        name: only temporaries of this file.
    """
    for path in folder.glob(f".{escape(name) if name else '*'}.*.tmp"):
        found = _TEMPORARY.fullmatch(path.name)
        if found is None or (name is not None and found["name"] != name):
            continue
        if found["host"] in (None, _HOST) and not _is_running(int(found["process"])):
            with suppress(OSError):  # another process sweeps too, or the folder is read-only
                path.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole; piece by piece, because a gate.json may list hundreds of thousands of answers."""
    write_whole(path, indented(content))


def indented(content: Any, in_lines: Collection[str] = ()) -> Iterator[str]:
    """The text of a JSON file in pieces: that of `json.dumps(content, indent=1, ensure_ascii=False)`, and a line break.

    Args:
        in_lines: keys of long lists, at any depth, whose entries are written as one line each: in a sixth of the time.

    >>> "".join(indented({"a": [1, "ä"], "b": {}}))
    '{\\n "a": [\\n  1,\\n  "ä"\\n ],\\n "b": {}\\n}\\n'
    >>> "".join(indented({"a": [{"b": 1, "c": [2]}]}, in_lines=["a"]))
    '{\\n "a": [\\n  {"b":1,"c":[2]}\\n ]\\n}\\n'
    """
    yield from _pieces(content, 1, in_lines)
    yield "\n"


def _pieces(content: Any, level: int, in_lines: Collection[str]) -> Iterator[str]:
    """The pieces of a value whose members stand at a level; an object or list of single values is one piece."""
    if not isinstance(content, dict | list | tuple) or not content:
        yield _LINE.encode(content)
        return
    values = content.values() if isinstance(content, dict) else content
    opening, closing = "{}" if isinstance(content, dict) else "[]"
    between = f",\n{' ' * level}"
    end = f"\n{' ' * (level - 1)}{closing}"
    if set(map(type, values)) <= _PLAIN:
        yield opening + between[1:] + _encoder(between).encode(content)[1:-1] + end
        return
    heads = _heads(tuple(content)) if isinstance(content, dict) else repeat("")
    yield opening
    keys = content if isinstance(content, dict) else repeat("")
    for number, (key, head, value) in enumerate(zip(keys, heads, values, strict=False)):
        yield between[not number :] + head
        if key in in_lines and isinstance(value, list) and value:
            yield from _entries(value, level + 1)
        else:
            yield from _pieces(value, level + 1, in_lines)
    yield end


def _entries(values: Sequence[Any], level: int) -> Iterator[str]:
    """The pieces of a list, an entry a line."""
    start = f"\n{' ' * level}"
    compact = _compact_encoder()
    yield "["
    for number, value in enumerate(values):
        yield f"{',' if number else ''}{start}{compact(value)}"
    yield f"\n{' ' * (level - 1)}]"


def _compact_encoder() -> Callable[[Any], str]:
    """What writes a value as JSON in one line, without spaces between its parts."""
    from pydantic_core import PydanticSerializationError, to_json

    def compact(value: Any) -> str:
        try:
            return to_json(value, inf_nan_mode="constants").decode()
        except PydanticSerializationError:  # half a surrogate pair
            return _COMPACT.encode(value)

    return compact


# Of single values.
_PLAIN = frozenset({str, int, float, bool, type(None)})


@lru_cache(maxsize=64)
def _encoder(between: str) -> json.JSONEncoder:
    """An encoder that puts this text between members; the one that indents by itself is several times slower."""
    return json.JSONEncoder(ensure_ascii=False, separators=(between, ": "))


def _heads(keys: tuple[Any, ...]) -> tuple[str, ...]:
    """What stands before the values of an object; json writes keys that are numbers, true, false or null as texts."""
    if set(map(type, keys)) == {str}:
        return _heads_of_texts(keys)
    return tuple(f"{encode_basestring(k if isinstance(k, str) else _LINE.encode(k))}: " for k in keys)


@lru_cache(maxsize=256)
def _heads_of_texts(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{encode_basestring(k)}: " for k in keys)


def key_a_line(content: Mapping[str, Any]) -> str:
    """A JSON object with one key a line, so that a changed column is one changed line of a diff."""
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def json_line(content: Mapping[str, Any]) -> str:
    """One line of a .jsonl file."""
    return _LINE.encode(content) + "\n"


def read_json(path: Path, what: str) -> Any:
    """A JSON file, or a StoreError that names it."""
    try:
        return json_text.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise StoreError(f"There is no {what} at {path}; check the path.") from problem
    except OSError as problem:  # a folder, or no permission
        raise StoreError(f"The {what} {path} cannot be read: {problem.strerror}. Check its permissions.") from problem
    except ValueError as problem:
        raise StoreError(
            f"The {what} {path} is not valid JSON ({problem}): it was damaged or edited. Restore it, or make it again "
            "with the command that wrote it."
        ) from problem


def cache_folder(name: str = "") -> Path:
    """A folder of evalkit's cache, below `XDG_CACHE_HOME` or `~/.cache`; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "evalkit" / name


def expand_home(path: str | Path) -> Path:
    """The path with a leading `~` as the home folder; as it is where there is no such user (a folder may be named ~x).

    >>> str(expand_home("runs/a")), str(expand_home("~no-such-user/a"))
    ('runs/a', '~no-such-user/a')
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def safe_name(name: str) -> str:
    """A name that is valid as a part of a file's name on every file system: one level, at most LONGEST_NAME bytes.

    >>> safe_name("../../etc/passwd"), safe_name("lab/my model")
    ('etc-passwd', 'lab-my-model')
    """
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip(".-") or "model"
    if len(safe.encode("utf-8")) <= LONGEST_NAME:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    start = safe.encode("utf-8")[: LONGEST_NAME - len(digest) - 1].decode("utf-8", "ignore")
    return f"{start}-{digest}"
