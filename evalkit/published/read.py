"""Strict reader of published tables: an error names the file, the row and the cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.files import read_json
from evalkit.published.table import (
    CONFIDENCES,
    REGIMES,
    UNIT_NAMES,
    UNITS,
    Figure,
    PublishedTable,
    Source,
    System,
    candidates,
)

T = TypeVar("T")

SCHEMA = 1


def published_dir() -> Path:
    """Folder of the published tables: inside the package in a wheel, next to it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "leaderboards" / "published", package.parent / "leaderboards" / "published"):
        if candidate.is_dir():
            return candidate
    raise ConfigError("The published figures are missing: the installation is damaged. Reinstall evalkit-medvqa.")


def load_published(name: str, folder: Path | None = None) -> PublishedTable:
    """Load and check a paper's table.

    Raises:
        ConfigError: there is no table of this name.  DataError: an entry is invalid; the message names it.
    """
    folder = folder or published_dir()
    path = folder / f"{name}.json"
    if not path.is_file():
        known = published_names(folder)
        raise ConfigError(f"There is no published table named {name!r}. {did_you_mean(name, known)}")
    return read_published(path)


def read_published(path: Path) -> PublishedTable:
    """The table in a file, checked; its name is the file's.  Raises StoreError, DataError: as `load_published`."""
    return parse_published(read_json(path, "table of published figures"), str(path), path.stem)


def published_names(folder: Path | None = None) -> list[str]:
    """The names of all tables, sorted."""
    return sorted(p.stem for p in (folder or published_dir()).glob("*.json"))


def parse_published(content: Any, where: str, name: str) -> PublishedTable:
    """Build the table from parsed JSON.  Raises DataError, which names the invalid entry."""
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DataError(f"{where}: expected an object with schema {SCHEMA}.")
    body = {key: value for key, value in content.items() if key != "schema"}
    systems = tuple(_system(s, f"{where}: system {i}") for i, s in enumerate(_list(body.get("systems"), where), 1))
    found = body.get("sources")
    if not isinstance(found, dict):
        raise DataError(f"{where}: sources is {found!r}, expected an object of name -> read and confidence.")
    sources = {
        key: _make(Source, _object(s, f"{where}: source {key}"), f"{where}: source {key}") for key, s in found.items()
    }
    table = _make(PublishedTable, {**body, "name": name, "sources": sources, "systems": systems}, where)
    _check(table, where)
    return table


def _system(content: Any, where: str) -> System:
    where = f"{where} ({_object(content, where).get('id')})"
    figures = tuple(
        _figure(f, f"{where}, figure {number}") for number, f in enumerate(_list(content.get("figures"), where), 1)
    )
    return _make(System, {**content, "figures": figures}, where)


def _figure(content: Any, where: str) -> Figure:
    return _make(Figure, _object(content, where), where)


def _object(content: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise DataError(f"{where} is {type(content).__name__}, expected an object.")
    return content


def _make(kind: type[T], content: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from an object, checking that keys are known, complete and of the declared types."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := set(content) - set(known):
        raise DataError(f"{where}: unknown key {sorted(unknown)[0]!r}. {did_you_mean(sorted(unknown)[0], known)}")
    values: dict[str, Any] = {}
    for key, value in content.items():
        declared = str(known[key].type)
        values[key] = tuple(value) if isinstance(value, list) and declared.startswith("tuple") else value
        if not _fits(values[key], declared):
            raise DataError(f"{where}: {key} is {value!r}, expected {declared}.")
    try:
        return kind(**values)
    except TypeError as problem:
        raise DataError(f"{where} is incomplete: {problem}.") from problem


def _fits(value: Any, declared: str) -> bool:
    if declared.endswith("| None") and value is None:
        return True
    simple = {"str": str, "bool": bool, "int": int}
    base = declared.removesuffix(" | None")
    if base in simple:
        return isinstance(value, simple[base]) and not (base == "int" and isinstance(value, bool))
    if base == "tuple[str, ...]":
        return isinstance(value, tuple) and all(isinstance(v, str) for v in value)
    if base == "Mapping[str, str]":
        return isinstance(value, dict) and all(isinstance(v, str) and v for v in value.values())
    if base == "Mapping[str, Source]":
        return isinstance(value, dict)
    return isinstance(value, tuple)


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: expected a non-empty list of systems or figures.")
    return value


def _check(table: PublishedTable, where: str) -> None:
    for key, source in table.sources.items():
        _check_known(source.confidence, CONFIDENCES, f"{where}: source {key}: confidence")
    ids: set[str] = set()
    for system in table.systems:
        if system.id in ids:
            raise DataError(f"{where}: the system {system.id!r} occurs twice.")
        ids.add(system.id)
        for fault in system.faults:
            _check_known(fault, table.faults, f"{where}: {system.id}: fault")
        cells: set[tuple[str, ...]] = set()
        for figure in system.figures:
            cell = (figure.task, figure.split, figure.protocol, figure.metric, figure.slice)
            place = f"{where}: {system.id}, {' '.join(cell)}"
            if cell in cells:
                raise DataError(f"{place} occurs twice.")
            cells.add(cell)
            _check_figure(figure, table, place)
        _check_average(system, f"{where}: {system.id}")
    _check_used(table, where)


def _check_figure(figure: Figure, table: PublishedTable, place: str) -> None:
    _check_known(figure.unit, UNITS, f"{place}: unit")
    most = UNITS[figure.unit][1]
    for text in (figure.value, *(t for t in (figure.low, figure.high) if t)):
        value = _number(text, place)
        if not value.is_finite() or value < 0 or (most is not None and value > most):
            raise DataError(f"{place}: {text} is not a {UNIT_NAMES[figure.unit]}.")
    if bool(figure.low) != bool(figure.high) or (
        figure.low and not Decimal(figure.low) <= Decimal(figure.value) <= Decimal(figure.high)
    ):
        raise DataError(f"{place}: [{figure.low}, {figure.high}] is not an interval around {figure.value}.")
    _check_known(figure.regime, REGIMES, f"{place}: regime")
    _check_known(figure.source, table.sources, f"{place}: source")
    for fault in figure.faults:
        _check_known(fault, table.faults, f"{place}: fault")
    tuned = figure.regime in ("fine-tuned", "trained-on-this-split")
    if tuned != bool(figure.train):
        raise DataError(f"{place}: regime {figure.regime} {'requires a' if tuned else 'cannot have a'} train split.")
    if figure.train:
        _check_known(figure.train, table.trains, f"{place}: train")
    if figure.epochs is not None and (not tuned or figure.epochs < 1):
        raise DataError(f"{place}: {figure.epochs} epochs are not possible with regime {figure.regime}.")
    if (figure.n is not None and figure.n < 1) or figure.replicates < 1:
        raise DataError(f"{place}: n is {figure.n} and replicates {figure.replicates}, expected at least 1.")
    if figure.k is not None and (
        figure.n is None or figure.unit != "percent" or figure.k not in candidates(figure.value, figure.n)
    ):
        raise DataError(f"{place}: {figure.k} correct of {figure.n} is not {figure.value} %.")


def _number(text: str, place: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise DataError(f"{place}: {text!r} is not a printed number.") from None


def _check_average(system: System, place: str) -> None:
    """Check that the printed average is the mean of the printed figures, within rounding."""
    if not system.average:
        return
    average = _number(system.average, place)
    mean = sum((Decimal(f.value) for f in system.figures), Decimal(0)) / len(system.figures)
    rounding = Decimal(5).scaleb(-len(system.average.partition(".")[2]) - 1)
    if abs(mean - average) > rounding + max(Decimal(5).scaleb(-f.decimals - 1) for f in system.figures):
        raise DataError(f"{place}: the printed average is {system.average}, but the mean of the figures is {mean:.4f}.")


def _check_used(table: PublishedTable, where: str) -> None:
    """Check that everything that is declared (sources, train splits, judges, foreign protocols, faults) is used."""
    figures = [f for s in table.systems for f in s.figures]
    used = {
        "source": (table.sources, {f.source for f in figures}),
        "train": (table.trains, {f.train for f in figures}),
        "judge": (table.judges, {f.protocol for f in figures}),
        "foreign protocol": (table.foreign, {f.protocol for f in figures}),
        "fault": (
            table.faults,
            {k for s in table.systems for k in (*s.faults, *(k for f in s.figures for k in f.faults))},
        ),
    }
    for kind, (declared, named) in used.items():
        if unused := sorted(set(declared) - named):
            raise DataError(f"{where}: the {kind} {unused[0]!r} is not used by any figure.")


def _check_known(value: str, allowed: Iterable[str], name: str) -> None:
    if value not in (known := list(allowed)):
        raise DataError(f"{name} {value!r} is not known. {did_you_mean(value, known)}")
