"""The scores of a run as columns, read from its folder or from a gate baseline.

`compare`, `gate` and leaderboards use it.  Everything that they rely on is checked here; inconsistent input is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.analysis.run_fit import check_fit, check_judged_fit, check_signature
from evalkit.core import console
from evalkit.core.errors import EvalkitError, StoreError
from evalkit.core.reasoning import separate
from evalkit.core.signature import Signature
from evalkit.core.types import CUT_IN_REASONING, MetricKey, MetricValue, worst_score
from evalkit.judge.columns import judged_columns
from evalkit.judge.metric_definitions import metric_bounds
from evalkit.judge.results import judged_numbers
from evalkit.runs.columns import AnswerColumns, ScoredPlaces
from evalkit.runs.read import baseline_at
from evalkit.runs.schema import Baseline, PromptFile, RunHeader, Summary
from evalkit.runs.store import baseline_text
from evalkit.runs.verify import StoredRun, open_run
from evalkit.scoring.aggregate import ROUNDING

if TYPE_CHECKING:
    import numpy as np

# Fields of the header that two runs must share for a difference between their scores to mean something.
SHARED_FIELDS = ("task", "split", "data_sha256", "closed_rule", "prompt", "image", "limit", "n")
# Digests over all messages and all images; None for scored answers of unknown origin.
PROMPT_DIGESTS = ("messages_sha256", "images_sha256")
# The status that `run` and `score` write into a manifest when they have finished; see `Manifest.is_finished`.
FINISHED = ("done", "scored")
# Baselines of earlier versions keep so many decimals of a score.
KEPT_DECIMALS = 6
# Scores beyond this are damage, not measurements, also in a metric without bounds.
_LARGEST_SCORE = 1e9
_UNSCORED = float("nan")
# Runs that are read at a time.
_READERS = 2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ScoreColumn:
    """The scores of one metric.

    values: one per sample of the run, NaN where it is unscored or not covered.  rows: positions of the samples that
    the metric covers.
    """

    values: np.ndarray[Any, Any]
    rows: np.ndarray[Any, Any]
    signature: Signature
    higher_is_better: bool

    @classmethod
    def of(
        cls, values: Sequence[float | None], rows: Sequence[int], *, signature: Signature, higher_is_better: bool
    ) -> ScoreColumn:
        """The column of these scores, None where a sample is unscored or not covered.

        Raises:
            ValueError: a score is NaN.
        """
        import numpy as np

        # numpy reads None as NaN too, in three times the time.
        numbers = np.array([_UNSCORED if v is None else v for v in values], dtype=float)
        if np.count_nonzero(np.isnan(numbers)) != values.count(None):
            raise ValueError(f"{signature.metric} has the score nan; expected a number, or null for an unscored sample")
        return cls(
            values=numbers,
            rows=np.array(rows, dtype=np.int64),
            signature=signature,
            higher_is_better=higher_is_better,
        )

    def __eq__(self, other: object) -> bool:
        """Whether two columns have the same content; a dataclass would compare arrays by their truth."""
        import numpy as np

        return (
            isinstance(other, ScoreColumn)
            and (self.signature, self.higher_is_better) == (other.signature, other.higher_is_better)
            and np.array_equal(self.rows, other.rows)
            and np.array_equal(self.values, other.values, equal_nan=True)
        )

    @property
    def worst(self) -> float:
        """The score that an unscored sample counts as in the worst case."""
        return worst_score(self.higher_is_better)

    @property
    def n(self) -> int:
        """The number of samples that the metric covers."""
        return len(self.rows)

    def worst_case(self) -> np.ndarray[Any, Any]:
        """The scores of the covered samples, unscored ones as the worst case."""
        import numpy as np

        values = self.values[self.rows]
        return np.where(np.isnan(values), self.worst, values)

    def scored(self) -> np.ndarray[Any, Any]:
        """The scores of the covered samples that have one."""
        import numpy as np

        values = self.values[self.rows]
        scored: np.ndarray[Any, Any] = values[~np.isnan(values)]
        return scored

    def listed(self) -> list[float | None]:
        """The values, with None for NaN."""
        return [None if v != v else v for v in self.values.tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScores:
    """The scores of a run as columns by metric.

    answers: short digests of the answers, None where generation failed.  questions, texts: the questions and answers,
    empty for a baseline without them.  refused: metrics that are incomplete, with the reason why they cannot be used.
    decimals: how many decimals of the scores are kept, as in a baseline of an earlier version; None for all of them.
    cluster: what `image_ids` names and intervals are clustered by, "image" or a column of a table; a baseline file does
    not say, so that it is "image" there.
    without_scores: metrics that have a value and no scores, because it is another aggregate of other metrics' scores.
    """

    origin: str
    header: RunHeader
    ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    columns: Mapping[MetricKey, ScoreColumn]
    answers: tuple[str | None, ...]
    questions: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    refused: Mapping[MetricKey, str] = field(default_factory=dict)
    decimals: int | None = None
    without_scores: frozenset[MetricKey] = frozenset()
    cluster: str = "image"

    @property
    def clusters(self) -> str:
        """The clusters in words, for messages."""
        return clusters_in_words(self.cluster)

    def rows(self, key: MetricKey) -> np.ndarray[Any, Any]:
        """Positions of the samples that a metric covers; empty where the run has no such metric."""
        import numpy as np

        column = self.columns.get(key)
        return column.rows if column is not None else np.zeros(0, dtype=np.int64)

    def subset(self, ids: frozenset[str]) -> RunScores:
        """The scores of some of the samples; metrics that cover none of them are dropped."""
        import numpy as np

        kept = [k for k, i in enumerate(self.ids) if i in ids]
        place = np.full(len(self.ids), -1)
        place[kept] = np.arange(len(kept))
        columns = {
            key: replace(column, values=column.values[kept], rows=rows[rows >= 0])
            for key, column in self.columns.items()
            for rows in [place[column.rows]]
        }
        return replace(
            self,
            ids=tuple(self.ids[k] for k in kept),
            image_ids=tuple(self.image_ids[k] for k in kept),
            columns={key: column for key, column in columns.items() if column.n},
            answers=tuple(self.answers[k] for k in kept),
            questions=tuple(self.questions[k] for k in kept) if self.questions else (),
            texts=tuple(self.texts[k] for k in kept) if self.texts else (),
        )


def clusters_in_words(cluster: str) -> str:
    """What a number of clusters counts: images, or values of a column.

    >>> clusters_in_words("image"), clusters_in_words("patient_id")
    ('images', 'clusters of patient_id')
    """
    return "images" if cluster == "image" else f"clusters of {cluster}"


def answer_digest(text: str) -> str:
    """16 hex of the sha256 of an answer: tells answers apart where their text is not kept."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def read_run_scores(path: Path) -> RunScores:
    """The scores in a run's folder, or in a baseline file that `gate save=FILE` wrote.

    Raises:
        StoreError: anything is missing, malformed, doubled or inconsistent.
    """
    try:
        return _checked(_from_baseline(path) if path.is_file() else _from_folder(path))
    except (ValueError, OSError, OverflowError, RecursionError) as problem:
        raise StoreError(
            f"{path} is neither a run of evalkit nor a baseline that it wrote: {problem}. Make a baseline again with "
            "`python -m evalkit gate candidate=RUN save=FILE`."
        ) from problem


def read_all(paths: Sequence[Path]) -> list[RunScores]:
    """The scores of several runs in the order of their paths, two of them read at a time; see `read_run_scores`.

    Reading one keeps a core busy for half of the time only.  Notes are printed in the order of the paths.
    """
    runs = []
    with ThreadPoolExecutor(_READERS) as pool:
        for run, notes in pool.map(_read_noted, paths):
            for text in notes:
                console.note(text)
            if isinstance(run, EvalkitError):
                raise run
            runs.append(run)
    return runs


def _read_noted(path: Path) -> tuple[RunScores | EvalkitError, list[str]]:
    """The scores of a run, or why they cannot be used, and the notes that were to be printed meanwhile."""
    with console.captured(is_shown=False) as said:
        try:
            return read_run_scores(path), said.lines
        except EvalkitError as problem:
            return problem, said.lines


def _from_folder(path: Path) -> RunScores:
    run = open_run(path)
    if not run.is_verifiable:
        console.note(
            f"note: {path} is of an earlier version of evalkit, which kept no digests: its files are only checked "
            "against each other"
        )
    elif run.summary.digest is None:
        console.note(
            f"note: {path} is of an earlier version of evalkit, which kept no digest of summary.json and "
            "manifest.json: their slices, intervals and settings are not checked"
        )
    summary, answers = run.summary, run.answers()
    ids = tuple(answers.ids)
    columns = _scored_columns(summary, run.score_columns(ids), ids)
    prompts = run.prompts()
    for name in summary.files or ():
        if name.startswith("judged-"):
            run.check(name)
    check_fit(run, answers, columns, prompts)
    # As the judge was shown them: without thoughts.
    shown = run.predictions() if run.folder.judgments.is_file() else []
    judged = judged_columns(path, summary, {a.sample_id: separate(a.prediction).text for a in shown})
    judged_scores = {
        key: ScoreColumn.of(
            [c.values.get(i) for i in ids],
            [k for k, i in enumerate(ids) if i in c.values],
            signature=c.signature,
            higher_is_better=True,  # of every judged metric that runs can be compared by
        )
        for key, c in judged.items()
        if not c.refused
    }
    check_judged_fit(path, judged_scores, judged_numbers(path, summary))
    return RunScores(
        origin=str(path),
        header=_header(run, prompts),
        ids=ids,
        image_ids=tuple(answers.image_ids),
        columns=columns | judged_scores,
        answers=answer_digests(answers),
        questions=tuple(answers.questions),
        texts=tuple(map(_text_of, answers.texts, answers.errors)),
        refused={key: c.refused for key, c in judged.items() if c.refused},
        without_scores=frozenset(m.key for m in summary.metrics if m.n and m.key not in columns),
        cluster=summary.cluster,
    )


def answer_digests(answers: AnswerColumns) -> tuple[str | None, ...]:
    """The digest of each answer, None where generation failed; made once for equal answers."""
    texts = list(zip(answers.texts, answers.errors, answers.reasonings, strict=True))
    known = {text: _digest_of(*text) for text in set(texts)}
    return tuple(known[text] for text in texts)


def _digest_of(text: str | None, error: str | None, reasoning: str) -> str | None:
    """The digest of an answer; of its reasoning where it was cut there; None where generation failed."""
    if error == CUT_IN_REASONING:
        return answer_digest(f"({error}) {reasoning}")
    return None if text is None else answer_digest(text)


def _text_of(text: str | None, error: str | None) -> str:
    """The answer, or in brackets why there is none."""
    if text is not None:
        return text
    return f"({error})" if error == CUT_IN_REASONING else f"(failed: {error})"


def _scored_columns(
    summary: Summary, scores: Mapping[MetricKey, Sequence[ScoredPlaces]], ids: Sequence[str]
) -> dict[MetricKey, ScoreColumn]:
    """The columns of scores.jsonl, with the signature and direction that summary.json records of each."""
    import numpy as np

    values: dict[MetricKey, ScoredPlaces] = {}
    for key, parts in scores.items():
        places = np.concatenate([part.places for part in parts])
        if (count := np.bincount(places, minlength=1)).max() > 1:
            raise ValueError(f"two scores of {key.metric} for sample {ids[int(count.argmax())]}")
        values[key] = ScoredPlaces(places, np.concatenate([part.values for part in parts]))
    overall = {m.key: m for m in summary.metrics if m.slice == "all"}
    if lost := {m.protocol for m in overall.values() if m.n} - {key.protocol for key in values}:
        raise ValueError(f"scores.jsonl holds no score of protocol {sorted(lost)[0]}")
    return {key: _column(key, column, overall.get(key), ids) for key, column in values.items()}


def _column(key: MetricKey, column: ScoredPlaces, overall: MetricValue | None, ids: Sequence[str]) -> ScoreColumn:
    import numpy as np

    if overall is None or overall.signature is None:
        raise ValueError(f"scores.jsonl holds {key}, summary.json does not")
    if overall.higher_is_better is None:
        raise ValueError(f"summary.json gives {key} no direction")
    if len(column.places) != overall.n:
        raise ValueError(f"scores.jsonl holds {len(column.places)} of the {overall.n} scores of {key}")
    values = np.full(len(ids), np.nan)
    values[column.places] = column.values
    return ScoreColumn(
        values=values,
        rows=np.sort(column.places),
        signature=overall.signature,
        higher_is_better=overall.higher_is_better,
    )


def _header(run: StoredRun, prompts: PromptFile | None) -> RunHeader:
    summary = run.summary
    return RunHeader(
        task=summary.task,
        split=summary.split,
        data_sha256=summary.data_sha256,
        closed_rule=summary.closed_rule,
        prompt=summary.prompt,
        image=summary.image,
        limit=summary.limit,
        n=summary.n,
        model=summary.model,
        run_id=summary.run_id,
        evalkit=summary.evalkit,
        generation=summary.generation,
        status=run.manifest.status if run.manifest is not None else "unknown: it has no manifest.json",
        messages_sha256=prompts.header.messages_sha256 if prompts else None,
        images_sha256=prompts.header.images_sha256 if prompts else None,
    )


def _from_baseline(path: Path) -> RunScores:
    stored = baseline_at(path)
    names = set(stored.scores)
    if names != set(stored.rows) or names != set(stored.signatures) or names != set(stored.higher_is_better):
        raise ValueError("metrics without rows, signature or direction")
    if stored.decimals is not None and stored.decimals < KEPT_DECIMALS:
        raise ValueError(f"key 'decimals': found {stored.decimals}, expected null or {KEPT_DECIMALS}")
    return RunScores(
        origin=str(path),
        header=stored.header,
        ids=stored.ids,
        image_ids=stored.image_ids,
        columns={
            MetricKey.parse(name): ScoreColumn.of(
                values,
                stored.rows[name],
                signature=stored.signatures[name],
                higher_is_better=stored.higher_is_better[name],
            )
            for name, values in stored.scores.items()
        },
        answers=stored.answers,
        questions=stored.questions,
        texts=stored.texts,
        decimals=stored.decimals,
    )


def _checked(run: RunScores) -> RunScores:
    """The run, or a ValueError where anything that a comparison relies on does not hold: a gate must fail closed."""
    n = len(run.ids)
    if not n or n != run.header.n or len(set(run.ids)) != n or not all(run.ids):
        raise ValueError(f"{n} samples where the header says {run.header.n}, or repeated ids")
    if not all(len(c) == n for c in (run.image_ids, run.answers)):
        raise ValueError("columns of different lengths")
    if run.texts and (len(run.texts) != n or len(run.questions) != n):
        raise ValueError("columns of different lengths")
    if not (run.columns or run.refused):
        raise ValueError("no metrics")
    if not {len(a) for a in run.answers if a is not None} <= {16}:
        raise ValueError("invalid digests of answers")
    for key, column in run.columns.items():
        _check_column(key, column, n)
        check_signature(key, column.signature, run.header, column.n)
    return run


def _check_column(key: MetricKey, column: ScoreColumn, n: int) -> None:
    import numpy as np

    low, high = metric_bounds(key.metric, column.signature)
    low, high = -_LARGEST_SCORE if low is None else low, _LARGEST_SCORE if high is None else high
    if len(column.values) != n:
        raise ValueError("columns of different lengths")
    rows, values = column.rows, column.values
    covered = np.zeros(n, dtype=bool)
    if ((rows >= 0) & (rows < n)).all():
        covered[rows] = True
    if covered.sum() != len(rows):
        raise ValueError(f"the rows of {key} are invalid")
    valid = np.isnan(values) | (covered & (values >= low - ROUNDING) & (values <= high + ROUNDING))
    if not valid.all():
        k = int(valid.argmin())
        raise ValueError(
            f"{key} has the score {float(values[k])!r} at position {k}; expected one of {low:g} to {high:g}, for "
            "samples that the metric covers"
        )


def incomplete(run: RunScores) -> list[str]:
    """The reasons why a run is incomplete, in words: a gate must not use it."""
    found = []
    if run.header.status not in FINISHED:
        found.append(f"{run.origin} is not finished (status {run.header.status}); run its command again")
    if run.header.limit is not None:
        found.append(f"{run.origin} covers only the first {run.header.limit} samples (limit={run.header.limit})")
    if failed := [i for i, a in zip(run.ids, run.answers, strict=True) if a is None]:
        found.append(
            f"{run.origin} has no answer to {len(failed)} of {len(run.ids)} samples, first {failed[0]}; the same "
            "command asks the failed ones again"
        )
    return found


def baseline_file(run: RunScores, keys: Sequence[MetricKey], with_texts: bool) -> str:
    """The text of a baseline file with these metrics, tens of kilobytes.

    Raises:
        StoreError: the run lacks a metric, or it cannot be used.
    """
    for key in keys:
        if key in run.refused or key not in run.columns:
            why = run.refused.get(key) or f"it has {', '.join(sorted(map(str, run.columns)))}"
            raise StoreError(f"{run.origin} cannot be a baseline for {key}: {why}.")
    columns = {str(key): run.columns[key] for key in keys}
    return baseline_text(
        Baseline(
            header=run.header,
            signatures={name: c.signature for name, c in columns.items()},
            higher_is_better={name: c.higher_is_better for name, c in columns.items()},
            rows={name: tuple(c.rows.tolist()) for name, c in columns.items()},
            scores={name: tuple(c.listed()) for name, c in columns.items()},
            ids=run.ids,
            image_ids=run.image_ids,
            answers=run.answers,
            questions=run.questions if with_texts else (),
            texts=run.texts if with_texts else (),
            decimals=run.decimals,
            digest="",
        )
    )
