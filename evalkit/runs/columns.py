"""Columns of a run's JSON Lines files, read in blocks by pyarrow: hundreds of thousands of lines in a second.

Lines of evalkit's own form are read here.  Anything unusual raises Unusual, and the caller reads the file line by line,
which gives the same content or an error that names the line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.types import CUT_IN_REASONING, MetricKey, Score
from evalkit.runs.schema import PredictionLine

if TYPE_CHECKING:
    import numpy as np

# Bytes of a file that are parsed at a time.
_BLOCK = 1 << 22
# Blocks that are parsed at once.
_PARSERS = 2
_NEWLINE = ord("\n")
# Text columns of the lines that are read; `value` is a number.
_SCORE = ("sample_id", "protocol", "metric", "extracted", "reason", "note")
_ANSWER = ("sample_id", "image_id", "question", "text", "error", "finish_reason", "fingerprint", "reasoning")
_FINISH_REASONS = ("stop", "length", "error", "unknown")


class Unusual(ValueError):
    """A file has a line that is not in the form in which evalkit writes it."""


class ScoredPlaces(NamedTuple):
    """The scores of one metric: positions of its samples, in file order, and one value each (NaN: unscored)."""

    places: np.ndarray[Any, Any]
    values: np.ndarray[Any, Any]


class ScoreGroups(NamedTuple):
    """Scores in which equal ones are stored once.

    distinct: scores that differ in more than the sample, in order of their first appearance; their sample is not used.
     of: for each score the position of its equal in `distinct`.  places: the positions of the samples.
    """

    distinct: list[Score]
    of: np.ndarray[Any, Any]
    places: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerColumns:
    """The answers of a run as lists, one entry a sample; see `PredictionLine`."""

    ids: list[str]
    image_ids: list[str]
    questions: list[str]
    texts: list[str | None]
    errors: list[str | None]
    fingerprints: list[str]
    reasonings: list[str]

    @classmethod
    def of(cls, lines: Sequence[PredictionLine]) -> AnswerColumns:
        """The columns of lines."""
        return cls(
            ids=[a.sample_id for a in lines],
            image_ids=[a.image_id for a in lines],
            questions=[a.question for a in lines],
            texts=[a.text for a in lines],
            errors=[a.error for a in lines],
            fingerprints=[a.fingerprint for a in lines],
            reasonings=[a.reasoning for a in lines],
        )

    @property
    def n_failed(self) -> int:
        """The number of samples without an answer because generation failed."""
        return sum(e is not None and e != CUT_IN_REASONING for e in self.errors)


def score_columns(
    path: Path, ids: Sequence[str], update: Callable[[bytes], object]
) -> dict[MetricKey, list[ScoredPlaces]]:
    """The scores in a scores.jsonl by metric, in parts, in the order in which the file names the metrics.

    Args:
        ids: of the samples, in the order of the positions.
        update: is given every byte that is read.

    Raises:
        Unusual: see the module, or a score of another sample.
    """

    samples = _Samples(ids)
    found: dict[MetricKey, list[ScoredPlaces]] = {}
    for table in _tables(path, _SCORE, ("value",), update):
        places = samples.places(table["sample_id"].combine_chunks())
        if (places < 0).any():
            raise Unusual(f"{path}: a score of a sample without an answer")
        _check_scores(table, path)
        values = table["value"].to_numpy()
        for key, rows in _by_metric(table):
            found.setdefault(key, []).append(ScoredPlaces(places[rows], values[rows]))
    return found


def _check_scores(table: Any, path: Path) -> None:
    import numpy as np
    import pyarrow.compute as pc

    if any(table[name].null_count for name in ("sample_id", "protocol", "metric")):
        raise Unusual(f"{path}: a score of no sample or metric")
    unscored = table["value"].is_null().to_numpy()
    reasons = pc.fill_null(pc.utf8_length(table["reason"]), 0).to_numpy() > 0
    if (unscored != reasons).any() or not np.isfinite(table["value"].to_numpy()[~unscored]).all():
        raise Unusual(f"{path}: a score with neither value nor reason, or both")


def score_groups(path: Path, ids: Sequence[str], update: Callable[[bytes], object]) -> list[ScoreGroups]:
    """The scores in a scores.jsonl with all that they say, block by block; those of samples not in `ids` are left out.

    Args:
        ids: of samples, in the order of the positions.
        update: is given every byte that is read.

    Raises:
        Unusual: see the module.
    """
    samples = _Samples(ids)
    found = []
    for table in _tables(path, _SCORE, ("value",), update):
        _check_scores(table, path)
        places = samples.places(table["sample_id"].combine_chunks())
        if (places < 0).any():
            table, places = table.filter(places >= 0), places[places >= 0]
        found.append(_grouped(table, places))
    return found


def _grouped(table: Any, places: np.ndarray[Any, Any]) -> ScoreGroups:
    import numpy as np

    names = ("protocol", "metric", "value", "extracted", "reason", "note")
    columns = [table[name].combine_chunks().dictionary_encode(null_encoding="encode") for name in names]
    known = [column.dictionary.to_pylist() for column in columns]
    number: dict[tuple[int, ...], int] = {}
    rows = zip(*(column.indices.to_numpy().tolist() for column in columns), strict=True)
    of = np.array([number.setdefault(row, len(number)) for row in rows], dtype=np.int32)
    distinct = []
    for row in number:
        fields = {name: values[k] for name, values, k in zip(names, known, row, strict=True)}
        distinct.append(Score(sample_id="", **fields | {name: fields[name] or "" for name in names[3:]}))
    return ScoreGroups(distinct, of, places)


def groups_of_scores(scores: Sequence[Score], ids: Sequence[str]) -> ScoreGroups:
    """`score_groups` of scores that were read line by line."""
    import numpy as np

    place_of = {i: k for k, i in enumerate(ids)}
    kept = [s for s in scores if s.sample_id in place_of]
    places = np.array([place_of[s.sample_id] for s in kept], dtype=np.int64)
    return ScoreGroups(kept, np.arange(len(kept)), places)


class _Samples:
    """The positions of samples by their ids."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = list(ids)
        self._place_of: dict[str | None, int] = {i: k for k, i in enumerate(ids)}

    def places(self, column: Any) -> np.ndarray[Any, Any]:
        """The positions of the samples of a column of ids, -1 for an unknown one.

        The scores of a sample under one protocol follow each other, so that each stretch of equal ids is looked up
        once; mostly the samples are in the order of the positions too, and one is looked up.
        """
        import numpy as np
        import pyarrow.compute as pc

        changes = pc.fill_null(pc.not_equal(column[1:], column[:-1]), True).to_numpy(zero_copy_only=False)
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        found = self._looked_up(_listed(column.take(starts)))
        return np.repeat(found, np.diff(starts, append=len(column)))

    def _looked_up(self, wanted: list[str | None]) -> np.ndarray[Any, Any]:
        import numpy as np

        first = self._place_of.get(wanted[0], -1)
        if first >= 0 and self._ids[first : first + len(wanted)] == wanted:
            return np.arange(first, first + len(wanted))
        return np.array([self._place_of.get(i, -1) for i in wanted], dtype=np.int64)


def _listed(texts: Any) -> list[str | None]:
    """A column of texts as a list; by way of numpy, because to_pylist makes an object of pyarrow for each text."""
    found: list[str | None] = texts.to_numpy(zero_copy_only=False).tolist()
    return found


def _by_metric(table: Any) -> Iterator[tuple[MetricKey, np.ndarray[Any, Any]]]:
    """The metrics of a table of scores, as they come up, with the positions of their rows."""
    import numpy as np

    protocols, metrics = (table[name].combine_chunks().dictionary_encode() for name in ("protocol", "metric"))
    code = protocols.indices.to_numpy().astype(np.int64) * len(metrics.dictionary) + metrics.indices.to_numpy()
    first = np.full(len(protocols.dictionary) * len(metrics.dictionary), len(code))
    first[code[::-1]] = np.arange(len(code))[::-1]  # of several rows of a metric the last written, the first
    present = np.flatnonzero(first < len(code))
    for number in present[np.argsort(first[present])].tolist():
        protocol, metric = divmod(number, len(metrics.dictionary))
        key = MetricKey(protocols.dictionary[protocol].as_py(), metrics.dictionary[metric].as_py())
        yield key, np.flatnonzero(code == number)


def columns_of_scores(scores: Sequence[Score], ids: Sequence[str]) -> dict[MetricKey, list[ScoredPlaces]]:
    """`score_columns` of scores that were read line by line.

    Raises:
        ValueError: a score of another sample.
    """
    import numpy as np

    place = {i: k for k, i in enumerate(ids)}
    found: dict[MetricKey, tuple[list[int], list[float]]] = {}
    for score in scores:
        if score.sample_id not in place:
            raise ValueError("scores of samples without an answer")
        places, values = found.setdefault(MetricKey(score.protocol, score.metric), ([], []))
        places.append(place[score.sample_id])
        values.append(np.nan if score.value is None else score.value)
    return {key: [ScoredPlaces(np.array(p, dtype=np.int64), np.array(v))] for key, (p, v) in found.items()}


def answer_columns(path: Path, update: Callable[[bytes], object]) -> AnswerColumns:
    """The columns of a predictions.jsonl.

    Args:
        update: is given every byte that is read.

    Raises:
        Unusual: see the module.
    """
    import pyarrow.compute as pc

    columns: dict[str, list[Any]] = {name: [] for name in _ANSWER}
    for table in _tables(path, _ANSWER, (), update):
        one = pc.xor(table["text"].is_null(), table["error"].is_null())
        required = ("sample_id", "image_id", "question", "finish_reason", "fingerprint")
        if not pc.all(one).as_py() or any(table[name].null_count for name in required):
            raise Unusual(f"{path}: a line lacks a key, or has text and error")
        if set(pc.unique(table["finish_reason"]).to_pylist()) - set(_FINISH_REASONS):
            raise Unusual(f"{path}: an unknown finish_reason")
        for name, values in columns.items():
            values += _listed(table[name])
    return AnswerColumns(
        ids=columns["sample_id"],
        image_ids=columns["image_id"],
        questions=columns["question"],
        texts=columns["text"],
        errors=columns["error"],
        fingerprints=columns["fingerprint"],
        reasonings=[r or "" for r in columns["reasoning"]],
    )


def reference_columns(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Sample and reference answers of every line of a predictions.jsonl.

    Raises:
        Unusual: see the module, or a line without one of the two.
    """
    import pyarrow.compute

    for table in _tables(path, ("sample_id",), (), lambda _: None, lists=("references",)):
        samples, golds = table["sample_id"], table["references"]
        texts = pyarrow.compute.list_flatten(golds)
        if samples.null_count or golds.null_count or texts.null_count:
            raise Unusual(f"{path}: a line without a sample or references")
        # The texts and how many each line has: a list a line would take three times as long.
        rest, counts = iter(texts.to_pylist()), pyarrow.compute.list_value_length(golds).to_pylist()
        yield from zip(samples.to_pylist(), (tuple(islice(rest, n)) for n in counts), strict=True)


def _tables(
    path: Path,
    texts: Sequence[str],
    numbers: Sequence[str],
    update: Callable[[bytes], object],
    lists: Sequence[str] = (),
) -> Iterator[Any]:
    """The columns of a JSON Lines file, a block of whole lines at a time; null where a line has no such key.

    Blocks are parsed in threads, a few ahead of the one that is used: pyarrow works outside of Python's lock.
    """
    import pyarrow
    import pyarrow.json  # here, as threads that import one module at once wait for each other

    kinds: Mapping[str, Any] = {
        **dict.fromkeys(texts, pyarrow.string()),
        **dict.fromkeys(numbers, pyarrow.float64()),
        **dict.fromkeys(lists, pyarrow.list_(pyarrow.string())),
    }
    form = pyarrow.json.ParseOptions(explicit_schema=pyarrow.schema(kinds), unexpected_field_behavior="ignore")
    with ThreadPoolExecutor(_PARSERS) as pool:
        waiting: deque[Future[Any]] = deque()
        for block in _blocks(path, update):
            waiting.append(pool.submit(_table, path, block, form, numbers))
            if len(waiting) > _PARSERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _table(path: Path, block: bytes, form: Any, numbers: Sequence[str]) -> Any:
    """The columns of one block."""
    import numpy as np
    import pyarrow
    import pyarrow.json

    # One block gives pyarrow's own threads nothing to share, and handing it to them costs a fifth of the time.
    size = pyarrow.json.ReadOptions(block_size=len(block) + 1, use_threads=False)
    try:
        table = pyarrow.json.read_json(pyarrow.BufferReader(block), read_options=size, parse_options=form)
        table.validate(full=True)  # the encoding of the texts too
    except pyarrow.ArrowException as problem:
        raise Unusual(f"{path}: {problem}") from None
    if table.num_rows != np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == _NEWLINE):
        raise Unusual(f"{path}: a line is blank or holds several objects")
    if any(block.count(f'"{name}": '.encode()) != table.num_rows for name in numbers):
        raise Unusual(f"{path}: a line has no number where null was expected")
    return table


def _blocks(path: Path, update: Callable[[bytes], object]) -> Iterator[bytes]:
    rest = b""
    with path.open("rb") as file:
        while read := file.read(_BLOCK):
            update(read)
            whole, newline, tail = read.rpartition(b"\n")
            if newline:
                yield rest + whole + newline
                rest = tail
            else:
                rest += read
    if rest:
        raise Unusual(f"{path}: the last line has no line break")
