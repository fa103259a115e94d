"""Base class of the protocols in this package: selects the metrics of a row and handles failed predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.types import CHOICE, CLOSED, OPEN, Metric, Prediction, Sample, Score

# Kinds of rows, by the answer that is expected.
RowKind = Literal["closed", "open", "choice"]

# For a rule that is the same for closed and open rows.
ACCURACIES = (
    Metric(name="accuracy"),
    Metric(name="closed_accuracy", rows="closed"),
    Metric(name="open_accuracy", rows="open"),
)

# Most values are one of these; sharing the objects keeps a million scores from holding a million floats.
_SHARED_VALUES: Mapping[float | None, float | None] = {0.0: 0.0, 1.0: 1.0, None: None}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """Result of one metric for one answer: a value, or None with the reason why the answer could not be scored.

    extracted: what was read out of the answer.  note: audit trail (an alias used, a rule applied).
    """

    value: float | None
    reason: str = ""
    extracted: str = ""
    note: str = ""


class RowProtocol(ABC):
    """Scores each answer by itself.  A subclass defines `metrics` and reads the answer in `metric_results`.

    rule: definition of a closed row: "label" (the row's own label), "yesno" (every reference is yes or no; all other
    rows are open) or "none".
    rules: the values of `rule` that a YAML may choose from.
    norm: the name of the normaliser in signatures.
    reads_letters: it reads the letter of an option, so that `task.prompt=options` letters them.

    name, version: the protocol's name, and a number that goes up whenever its meaning changes.
    source: the paper and file that it follows.
    unscored: "exclude" or "wrong": how the headline value counts a row that could not be scored.
    reads: "answer" (the text without the model's thought) or "raw" (the text as it came, thoughts included, where the
    authors' code reads it so).
    tasks: the tasks whose rows the authors score in this way; empty where it fits any task.
    by_name: it is left out of protocol=all, because it needs time or data that the other protocols do not.
    card: facts that no setting states (rows, prompt, aggregation, known bugs and their effect).
    """

    metrics: tuple[Metric, ...]
    rule: str = "label"
    rules: tuple[str, ...] = ("label", "yesno")
    norm: str = "none"
    reads_letters: bool = False

    def __init__(
        self,
        *,
        name: str,
        version: int,
        source: str = "",
        rule: str | None = None,
        unscored: str = "exclude",
        reads: str = "answer",
        tasks: Sequence[str] = (),
        by_name: bool = False,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.source = source
        if rule is not None:
            self.rule = one_of("rule", rule, self.rules)
        self.unscored = one_of("unscored", unscored, ("exclude", "wrong"))
        self.reads = one_of("reads", reads, ("answer", "raw"))
        self.tasks = tuple(tasks)
        self.by_name = by_name
        self.card = dict(card or {})
        self._names: dict[RowKind | None, list[str]] = {}  # names of the metrics that cover rows of a kind

    @abstractmethod
    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        """A result for each metric whose rows include this sample, by metric name; others are ignored."""

    def is_closed(self, sample: Sample) -> bool | None:
        if self.rule == "none":
            return None
        return answers_yes_or_no(sample) if self.rule == "yesno" else labelled_closed(sample)

    def row_kind(self, sample: Sample) -> RowKind | None:
        """The kind of a row: multiple choice by its label, else closed, open or neither by `rule`."""
        if sample.answer_type == CHOICE:
            return "choice"
        closed = self.is_closed(sample)
        return None if closed is None else "closed" if closed else "open"

    def covers(self, metric: Metric, kind: RowKind | None) -> bool:
        """Whether the metric covers rows of a kind.  `all` covers multiple choice only where letters are read."""
        if metric.rows == "all":
            return kind != "choice" or self.reads_letters
        return metric.rows == kind

    def settings(self) -> dict[str, str]:
        return {"rule": self.rule, "norm": self.norm, "unscored": self.unscored}

    def gold_form(self, gold: str) -> str:
        """A gold answer as this protocol compares it; empty where its normaliser leaves nothing ("A" is an article)."""
        return gold.strip()

    def uncounted(self, sample: Sample) -> str:
        """The reason why a CLOSED row is outside the protocol's closed metrics; empty where it is counted."""
        del sample
        return ""

    def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
        kind = self.row_kind(sample)
        if (names := self._names.get(kind)) is None:
            names = self._names[kind] = [m.name for m in self.metrics if not m.of and self.covers(m, kind)]
        if prediction.text is None:
            reason = str(prediction.error) if prediction.is_cut else f"error: {prediction.error}"
            error = MetricResult(value=None, reason=reason)
            results: Mapping[str, MetricResult] = dict.fromkeys(names, error)
        elif names:
            is_raw = self.reads == "raw" and prediction.raw is not None
            results = self.metric_results(sample, str(prediction.raw) if is_raw else prediction.text)
            if missing := [name for name in names if name not in results]:
                raise ConfigError(
                    f"The protocol {self.name} gave no result of its metric {missing[0]} for sample {sample.id}; a "
                    "value or a reason was expected for each metric of the row. Correct metric_results of its class."
                )
        return [
            Score(
                sample_id=sample.id,
                protocol=self.name,
                metric=name,
                value=_SHARED_VALUES.get(results[name].value, results[name].value),
                extracted=results[name].extracted,
                reason=results[name].reason,
                note=results[name].note,
            )
            for name in names
        ]


def labelled_closed(sample: Sample) -> bool | None:
    """Closed by the row's own label: True for CLOSED, False for OPEN, None for any other or no label."""
    return {CLOSED: True, OPEN: False}.get(sample.answer_type or "")


def closed_unless_open(sample: Sample) -> bool:
    """Closed by the row's own label, and where it has none: for MedEvalKit and MedVLMBench on SLAKE."""
    return labelled_closed(sample) is not False


def answers_yes_or_no(sample: Sample, normalise: Callable[[str], str] = lambda text: text.strip().lower()) -> bool:
    """Whether every reference is yes or no: the definition of closed for data without labels."""
    return all(normalise(reference) in {"yes", "no"} for reference in references(sample))


def references(sample: Sample) -> list[str]:
    """The references that contain any text."""
    return [reference for reference in sample.references if reference.strip()]


def best_of(candidates: Iterable[Mapping[str, float]], extracted: str) -> dict[str, MetricResult]:
    """The highest value of each metric over the references.

    The published protocols all have one reference, so taking the best is evalkit's own extension.
    """
    first, *others = candidates
    best = dict(first)
    for values in others:
        best = {name: max(value, values[name]) for name, value in best.items()}
    return {name: MetricResult(value=float(value), extracted=extracted) for name, value in best.items()}


def all_accuracies(hit: float) -> dict[str, float]:
    """The same value for the accuracy over all rows and for those over closed and open rows."""
    return dict.fromkeys((metric.name for metric in ACCURACIES), hit)


def one_of(setting: str, value: str, allowed: tuple[str, ...]) -> str:
    """The value of a setting, checked against the allowed ones.  Raises ConfigError for any other."""
    if value not in allowed:
        raise ConfigError(f"Invalid protocol setting {setting}={value!r}. {did_you_mean(str(value), allowed)}")
    return value
