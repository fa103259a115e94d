"""Text of a YAML file, read with limits: such files are exchanged between users.

Checked before any value is made: the kind and the size of the file, its encoding, explicit tags, doubled keys, and the
number of values after every alias is expanded.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError

# The largest file of the built-in tree has 2.4 kB.
MAX_BYTES = 256 * 1024
MAX_VALUES = 50_000
MAX_DEPTH = 50
# Characters of a text with an interpolation, which is parsed in more time than other texts.
MAX_INTERPOLATED = 4_000
# Characters of a number.  YAML has `1:00:00` (base 60), `0x...`, `0b...`, of which a file could hold one of any size.
MAX_NUMBER = 100
_CORE = "tag:yaml.org,2002:"
# Tags that make plain values; `!!python/...`, `!!binary` and others are refused.
TAGS = frozenset(f"{_CORE}{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge", "value"))
_NUMBERS = frozenset({f"{_CORE}int", f"{_CORE}float"})
_BY_VALUE = _NUMBERS | {f"{_CORE}bool", f"{_CORE}null"}
# Tags of values that YAML makes of unquoted texts and OmegaConf leaves as texts.
_AS_TEXT = frozenset({f"{_CORE}timestamp"})


def read_text(path: Path) -> str:
    """The text of a YAML file whose structure is within the limits.

    Raises:
        ConfigError: it is no regular file, too large, not UTF-8, not valid YAML, or not a mapping with unique keys.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is not a file: expected a YAML file with one `key: value` a line.")
        if status.st_size > MAX_BYTES:
            raise ConfigError(
                f"{path} has {status.st_size} bytes, too many for a configuration: expected at most {MAX_BYTES}."
            )
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as problem:
        raise ConfigError(
            f"{path} cannot be read as YAML: byte {problem.start} is not UTF-8. Save the file as UTF-8."
        ) from problem
    except OSError as problem:
        raise ConfigError(f"{path} cannot be read: {problem.strerror or problem}.") from problem
    check_text(text, str(path))
    return text


def check_text(text: str, where: str) -> None:
    """Check the structure of a YAML text against the limits.

    Raises:
        ConfigError: it is not valid YAML, not a mapping, or beyond a limit; the message names `where`.
    """
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as problem:
        raise ConfigError(f"{where} cannot be read as YAML: {' '.join(str(problem).split())}.") from problem
    except (RecursionError, ValueError) as problem:
        raise ConfigError(f"{where} cannot be read as YAML: its values are nested too deeply.") from problem
    if root is None:  # an empty file is an empty mapping
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{where} must be a YAML mapping, one `key: value` a line.")
    _Counter(where).count(root, 0)


class _Counter:
    """Counts the values of a node with every alias expanded, each node once.

    where: the file, for messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._counts: dict[int, int] = {}
        self._open: set[int] = set()

    def count(self, node: Any, depth: int) -> int:
        """The number of values in a node.

        Raises:
            ConfigError: there are too many, a node contains itself, has a tag that is not allowed, or doubled keys.
        """
        if id(node) in self._open:
            self._refuse("a value contains itself", node)
        if id(node) in self._counts:
            return self._counts[id(node)]
        if depth > MAX_DEPTH:
            self._refuse(f"values are nested more than {MAX_DEPTH} deep", node)
        if node.tag not in TAGS and node.tag not in _AS_TEXT:
            name = node.tag.removeprefix(_CORE)
            self._refuse(f"the tag {name!r} is not allowed, only plain texts, numbers, lists and mappings are", node)
        if isinstance(node.value, str):
            self._check_scalar(node)
        self._open.add(id(node))
        total = 1 + sum(self.count(child, depth + 1) for child in self._children(node))
        self._open.discard(id(node))
        if total > MAX_VALUES:
            self._refuse(f"it has more than {MAX_VALUES} values when its aliases are expanded", node)
        self._counts[id(node)] = total
        return total

    def _check_scalar(self, node: Any) -> None:
        if "${" in node.value and len(node.value) > MAX_INTERPOLATED:
            self._refuse(f"a text with an interpolation (${{...}}) has more than {MAX_INTERPOLATED} characters", node)
        if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER:
            self._refuse(f"a number has {len(node.value)} characters, at most {MAX_NUMBER} are possible", node)

    def _children(self, node: Any) -> list[Any]:
        if not isinstance(node.value, list):
            return []
        if not node.tag.endswith("map"):
            return list(node.value)
        seen: set[object] = set()
        for key, _ in node.value:
            name = _key(key)
            if name in seen:
                self._refuse(f"duplicate key {key.value!r} in one mapping; keep one", key)
            seen.add(name)
        return [part for pair in node.value for part in pair]

    def _refuse(self, reason: str, node: Any) -> None:
        raise ConfigError(f"{self._where} cannot be read as YAML: line {node.start_mark.line + 1}: {reason}.")


def _key(node: Any) -> object:
    """What a key is equal to: numbers and truth values by their value, as `1`, `0x1`, `1.0` and `true` are one key."""
    import yaml

    if node.tag in _BY_VALUE and len(node.value) <= MAX_NUMBER:
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError):  # `.` has a number's tag and is none
            pass
    return node.tag, str(node.value)
