"""Facts from papers as data: `leaderboards/published/NAME.json`, one file a paper's table, read and checked here.

A figure stands as it is printed (a text, so that 94.50 keeps its zero), with what it is over and where it was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from evalkit.errors import ConfigError, DataError, did_you_mean
from evalkit.store import read_json

T = TypeVar("T")

SCHEMA = 1
REGIMES = ("zero-shot", "fine-tuned", "trained-on-this-split", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One cell of a paper's table.

    value: percent as printed.  n: rows of the split, where the paper's numbers fix it.  k: right answers, where value
    and n leave only one.  regime: how the model had met the set; it is the cell's, because a model may be fine-tuned on
    a set and evaluated on the very split that it was trained on.  source: a key of the table's `sources`.
    """

    task: str
    split: str
    protocol: str
    metric: str
    value: str
    regime: str
    source: str
    n: int | None = None
    k: int | None = None
    faults: tuple[str, ...] = ()

    @property
    def decimals(self) -> int:
        """How many digits the paper prints behind the point."""
        return len(self.value.partition(".")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One row of a paper's table: a model in one training regime.

    id: what a run's model is called that reproduces the row.  lora: tuned by low-rank adaptation.  extra_data: starts
    from weights that were trained on extra data.  None: the paper does not say.
    """

    id: str
    label: str
    model: str
    figures: tuple[Figure, ...]
    encoder: str = ""
    llm: str = ""
    lora: bool | None = None
    extra_data: bool | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """A paper's table.  notes: what a reader of any of its figures must know."""

    name: str
    paper: str
    version: str
    url: str
    table: str
    sources: Mapping[str, str]
    systems: tuple[System, ...]
    notes: tuple[str, ...] = ()


def published_dir() -> Path:
    """Where the facts are: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "leaderboards" / "published", package.parent / "leaderboards" / "published"):
        if candidate.is_dir():
            return candidate
    raise ConfigError("The published figures are missing; the installation is damaged, install evalkit-medvqa again.")


def load_published(name: str, folder: Path | None = None) -> PublishedTable:
    """A paper's table, checked.

    Raises:
        ConfigError: there is no such table.  DataError: it is not what it should be; names the entry.
    """
    folder = folder or published_dir()
    path = folder / f"{name}.json"
    if not path.is_file():
        known = [p.stem for p in folder.glob("*.json")]
        raise ConfigError(f"There are no published figures named {name!r}. {did_you_mean(name, known)}")
    return parse_published(read_json(path, "table of published figures"), str(path), name)


def parse_published(content: Any, where: str, name: str) -> PublishedTable:
    """The table in the JSON of a file.  Raises DataError that names the entry at fault."""
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DataError(f"{where}: expected an object with schema {SCHEMA}.")
    body = {key: value for key, value in content.items() if key != "schema"}
    systems = tuple(_system(s, f"{where}: system {i}") for i, s in enumerate(_list(body.get("systems"), where), 1))
    table = _make(PublishedTable, {**body, "name": name, "systems": systems}, where)
    _check(table, where)
    return table


def candidates(value: str, n: int) -> range:
    """The numbers of right answers among n that print as this percentage (halves rounded up).

    >>> list(candidates("93.84", 8929)), len(candidates("77.38", 45284)), list(candidates("93.83", 100))
    ([8379], 5, [])
    """
    printed = Decimal(value)
    half = Decimal(5).scaleb(-len(value.partition(".")[2]) - 1)
    low, high = (printed - half) * n / 100, (printed + half) * n / 100
    first = int(low.to_integral_value(rounding="ROUND_CEILING"))
    last = int(high.to_integral_value(rounding="ROUND_CEILING"))
    return range(max(0, first), min(last, n + 1))


def printed(fraction: float, decimals: int) -> str:
    """A fraction as a percentage with this many decimals, halves rounded up, as tables print it.

    >>> printed(8379 / 8929, 2), printed(0.5, 1)
    ('93.84', '50.0')
    """
    return str((Decimal(repr(fraction)) * 100).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


def _system(content: Any, where: str) -> System:
    if not isinstance(content, dict):
        raise DataError(f"{where} is {type(content).__name__}, expected an object.")
    where = f"{where} ({content.get('id')})"
    figures = tuple(
        _figure(f, f"{where}, figure {number}") for number, f in enumerate(_list(content.get("figures"), where), 1)
    )
    return _make(System, {**content, "figures": figures}, where)


def _figure(content: Any, where: str) -> Figure:
    if not isinstance(content, dict):
        raise DataError(f"{where} is {type(content).__name__}, expected an object.")
    return _make(Figure, content, where)


def _make(kind: type[T], content: Mapping[str, Any], where: str) -> T:
    """The dataclass from an object's keys: all known, all needed ones there, each of its type."""
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
        raise DataError(f"{where} is not complete: {problem}.") from problem


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
        return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    return isinstance(value, tuple)


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: expected a list that is not empty where systems or figures stand.")
    return value


def _check(table: PublishedTable, where: str) -> None:
    ids: set[str] = set()
    for system in table.systems:
        if system.id in ids:
            raise DataError(f"{where}: the system {system.id!r} is there twice.")
        ids.add(system.id)
        cells: set[tuple[str, ...]] = set()
        for figure in system.figures:
            cell = (figure.task, figure.split, figure.protocol, figure.metric)
            place = f"{where}: {system.id}, {' '.join(cell)}"
            if cell in cells:
                raise DataError(f"{place} is there twice.")
            cells.add(cell)
            _check_figure(figure, table, place)


def _check_figure(figure: Figure, table: PublishedTable, place: str) -> None:
    try:
        value = Decimal(figure.value)
    except InvalidOperation:
        raise DataError(f"{place}: {figure.value!r} is not a number as a table prints it.") from None
    if not value.is_finite() or not 0 <= value <= 100:
        raise DataError(f"{place}: {figure.value} is not a percentage.")
    if figure.regime not in REGIMES:
        raise DataError(f"{place}: regime {figure.regime!r}. {did_you_mean(figure.regime, REGIMES)}")
    if figure.source not in table.sources:
        raise DataError(f"{place}: source {figure.source!r} is not among the table's sources.")
    if figure.k is not None and (figure.n is None or figure.k not in candidates(figure.value, figure.n)):
        raise DataError(f"{place}: {figure.k} right of {figure.n} is not {figure.value} %.")
