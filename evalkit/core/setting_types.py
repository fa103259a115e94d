"""Types of settings: a value from a command line or a YAML, checked against a Python annotation.

The annotations are those of the classes that settings configure (`int | None`, `Literal["a", "b"]`, `Sequence[int]`),
so that a type is declared once.  A text setting takes numbers and true or false as the text that was typed.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.json_text import finite_number

_WORDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
}


def parse_setting(value: Any, kind: Any, setting: str) -> Any:
    """The value of a setting as its type; a number, true or false for a text setting becomes text.

    Args:
        value: as OmegaConf gives it: texts, numbers, true, false, null, lists and mappings.
        kind: a type annotation, resolved.  A kind that this module does not know (a class) accepts everything.
        setting: the setting's name, for the message.

    Raises:
        ConfigError: the value is of another type; says what was expected.

    >>> parse_setting(2024, str | None, "name"), parse_setting(True, str, "name"), parse_setting(3, float, "margin")
    ('2024', 'true', 3)
    """
    found = _parse(value, kind)
    if found is not _MISFIT:
        return found
    allowed = [str(option) for option in _options(kind)]
    if isinstance(value, str) and allowed:
        raise ConfigError(f"{setting}={value} is not possible. {did_you_mean(value, allowed)}")
    hint = ""
    if isinstance(value, list | tuple | dict) and _parse("", kind) is not _MISFIT:
        hint = f" For a text with such characters write it in two pairs of quotes: '{setting}=\"...\"'."
    raise ConfigError(f"{setting}={shown(value)} is not possible: expected {describe(kind)}.{hint}")


def check_ranges(group: str, *checks: tuple[str, Any, bool, str]) -> None:
    """Check numbers that are of their type: a name, its value, whether the value is possible, and what is expected.

    Raises:
        ConfigError: one is not possible.

    >>> check_ranges("engine", ("retries", 0, True, "a number of further attempts, 0 for none"))
    """
    for name, value, is_possible, expected in checks:
        if not is_possible:
            raise ConfigError(f"{group}.{name}={value} is not possible: expected {expected}.")


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type as it is, without being made a text."""
    found = _parse(value, kind)
    return type(found) is type(value) and bool(found == value)


def is_text(kind: Any) -> bool:
    """Whether a setting of this type is a text (or null), so that a number given for it is meant as text."""
    members = _members(kind)
    return str in members and not {bool, int, float} & set(members)


def describe(kind: Any) -> str:
    """A type in words.

    >>> describe(int | None), describe(Sequence[str]), describe(Literal["a", "b"])
    ('a whole number or null', 'a list, each a text', "'a' or 'b'")
    """
    return " or ".join(dict.fromkeys(_describe_one(member) for member in _members(kind)))


def shown(value: Any) -> str:
    """A value as it is written on a command line, shortened.

    >>> shown(None), shown(True), shown(["a", 1])
    ('null', 'true', '[a,1]')
    """
    text = _written(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def argument_kinds(factory: Any) -> dict[str, Any]:
    """The types of the arguments of a function or class, base classes included.

    An argument whose annotation cannot be resolved (a name that is imported for type checkers only) is left out.
    """
    callees = [factory]
    if inspect.isclass(factory):
        callees = [vars(b)["__init__"] for b in reversed(inspect.getmro(factory)) if "__init__" in vars(b)]
    found: dict[str, Any] = {}
    for callee in callees:
        for name, annotation in getattr(callee, "__annotations__", {}).items():
            try:
                single = types.SimpleNamespace(__annotations__={name: annotation})
                found |= typing.get_type_hints(single, vars(sys.modules[callee.__module__]))
            except (NameError, AttributeError, KeyError):
                found.pop(name, None)
    found.pop("return", None)
    return found


class _Misfit:
    """Marks a value that is not of a type."""


_MISFIT = _Misfit()


def _members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union; the type itself otherwise."""
    if typing.get_origin(kind) in (Union, types.UnionType):
        return typing.get_args(kind)
    return (type(None),) if kind is None else (kind,)


def _parse(value: Any, kind: Any) -> Any:
    members = _members(kind)
    for member in members:  # exact types first: 3 stays 3 for `int | str`
        found = _parse_exact(value, member)
        if found is not _MISFIT:
            return found
    if isinstance(value, bool | int | float) and str in members:
        return _written(value)
    return _MISFIT


def _parse_exact(value: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        texts = (value, _written(value)) if isinstance(value, bool | int | float) else (value,)
        return next((t for t in texts if t in typing.get_args(kind)), _MISFIT)
    if origin is float:
        # A whole number stays one: digests of settings must not change by its being written as 1.0.
        return value if finite_number(value) is not None else _MISFIT
    if origin is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else _MISFIT
    if origin in (bool, str, type(None)):
        return value if isinstance(value, origin) else _MISFIT
    if origin in (list, tuple, Sequence):
        return _parse_list(value, kind)
    if origin in (dict, Mapping):
        return _parse_mapping(value, kind)
    return value


def _parse_list(value: Any, kind: Any) -> Any:
    if not isinstance(value, list | tuple):
        return _MISFIT
    inner = [argument for argument in typing.get_args(kind) if argument is not Ellipsis]
    if len(inner) != 1:
        return value
    parsed = [_parse(item, inner[0]) for item in value]
    return _MISFIT if any(item is _MISFIT for item in parsed) else parsed


def _parse_mapping(value: Any, kind: Any) -> Any:
    if not isinstance(value, Mapping):
        return _MISFIT
    if len(typing.get_args(kind)) != 2:
        return value
    key_kind, value_kind = typing.get_args(kind)
    parsed = {_parse(key, key_kind): _parse(item, value_kind) for key, item in value.items()}
    return _MISFIT if any(part is _MISFIT for item in parsed.items() for part in item) else parsed


def _options(kind: Any) -> list[Any]:
    return [
        option
        for member in _members(kind)
        if typing.get_origin(member) is Literal
        for option in typing.get_args(member)
    ]


def _describe_one(kind: Any) -> str:
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(repr(option) for option in typing.get_args(kind))
    if origin in (list, tuple, Sequence):
        inner = [argument for argument in typing.get_args(kind) if argument is not Ellipsis]
        return f"a list, each {describe(inner[0])}" if len(inner) == 1 else "a list"
    if origin in (dict, Mapping):
        return "a mapping such as {key: value}"
    return _WORDS.get(origin, "another type")


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}: {_written(v)}" for k, v in value.items()) + "}"
    return str(value)
