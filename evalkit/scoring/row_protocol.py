"""What every protocol of this package has in common: which metrics a row gets, and what an error does to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.types import CLOSED, OPEN, Metric, Prediction, Sample, Score

# Most values are one of these; a million scores need not hold a million floats.
_ENDS: Mapping[float | None, float | None] = {0.0: 0.0, 1.0: 1.0, None: None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a protocol says of one answer for one metric; None with a reason where it cannot be read."""

    value: float | None
    reason: str = ""
    extracted: str = ""
    note: str = ""


class RowProtocol(ABC):
    """Scores each answer by itself.  A subclass reads the answer, `marks`.

    rule: what is closed: "label" (the row's own), "yesno" (every reference is yes or no; other rows are open), "none".
    rules: those of them that a YAML may choose from.
    norm: the normaliser, as it stands in signatures.

    name, version: what the protocol is called and how often its meaning has changed.
    source: the paper and file that it follows.
    unscored: "exclude" or "wrong", how a row that could not be read counts in the headline value.
    tasks: the tasks whose rows its authors score in this way; empty where it fits any.
    card: what a reader must know and no setting says (rows, prompt, aggregation, known bugs and their effect).
    """

    metrics: tuple[Metric, ...]
    rule: str = "label"
    rules: tuple[str, ...] = ("label", "yesno")
    norm: str = "none"

    def __init__(
        self,
        *,
        name: str,
        version: int,
        source: str = "",
        rule: str | None = None,
        unscored: str = "exclude",
        tasks: Sequence[str] = (),
        card: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.source = source
        if rule is not None:
            self.rule = one_of("rule", rule, self.rules)
        self.unscored = one_of("unscored", unscored, ("exclude", "wrong"))
        self.tasks = tuple(tasks)
        self.card = dict(card or {})
        self._names: dict[bool | None, list[str]] = {}  # of the metrics over closed, open and unlabelled rows

    @abstractmethod
    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        """A mark for each metric whose rows include this one; more are ignored."""

    def is_closed(self, sample: Sample) -> bool | None:
        if self.rule == "none":
            return None
        return answers_yes_or_no(sample) if self.rule == "yesno" else labelled_closed(sample)

    def settings(self) -> dict[str, str]:
        return {"rule": self.rule, "norm": self.norm, "unscored": self.unscored}

    def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
        closed = self.is_closed(sample)
        if (names := self._names.get(closed)) is None:
            names = self._names[closed] = [m.name for m in self.metrics if not m.of and covers(m, closed)]
        if prediction.text is None:
            error = Mark(value=None, reason=f"error: {prediction.error}")
            marks: Mapping[str, Mark] = dict.fromkeys(names, error)
        elif names:
            marks = self.marks(sample, prediction.text)
        return [
            Score(
                sample_id=sample.id,
                protocol=self.name,
                metric=name,
                value=_ENDS.get(marks[name].value, marks[name].value),
                extracted=marks[name].extracted,
                reason=marks[name].reason,
                note=marks[name].note,
            )
            for name in names
        ]


def covers(metric: Metric, closed: bool | None) -> bool:
    """Whether the metric is over a row that is closed (True), open (False) or neither (None)."""
    return metric.rows == "all" or (closed is not None and metric.rows == ("closed" if closed else "open"))


def labelled_closed(sample: Sample) -> bool | None:
    """The row's own label: CLOSED, OPEN, or neither."""
    return {CLOSED: True, OPEN: False}.get(sample.answer_type or "")


def answers_yes_or_no(sample: Sample, tidy: Callable[[str], str] = lambda text: text.strip().lower()) -> bool:
    """Whether every reference is yes or no: closed by the answer, which is what data without labels can offer."""
    return all(tidy(reference) in {"yes", "no"} for reference in references(sample))


def references(sample: Sample) -> list[str]:
    """The references that hold any text."""
    return [reference for reference in sample.references if reference.strip()]


def best_of(candidates: Iterable[Mapping[str, float]], extracted: str) -> dict[str, Mark]:
    """The best value of each metric over the references: no published protocol has more than one of them."""
    first, *others = candidates
    best = dict(first)
    for values in others:
        best = {name: max(value, values[name]) for name, value in best.items()}
    return {name: Mark(value=float(value), extracted=extracted) for name, value in best.items()}


def one_of(setting: str, value: str, allowed: tuple[str, ...]) -> str:
    """The value, if it is one of those allowed.

    Raises ConfigError otherwise.
    """
    if value not in allowed:
        raise ConfigError(f"protocol setting {setting}={value!r} is not known. {did_you_mean(str(value), allowed)}")
    return value
