"""Is the judge right?  Its verdicts against people's, for every answering model, with intervals clustered by image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.core.errors import DataError
from evalkit.judge.config import RELATIVE
from evalkit.judge.correction import corrected_accuracy, effective_size
from evalkit.judge.human_labels import LabelLine, Labels, read_labels
from evalkit.judge.items import ItemResult, item_results
from evalkit.judge.journal import choose_judge
from evalkit.judge.kappa import cohen_kappa, jackknife_interval, krippendorff_alpha, raw_agreement
from evalkit.stats import Interval, mean_interval

ALL = "all"
VERDICT_LABELS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One answer: what people say of it (the majority), what each of them says, and what the judge says."""

    image_id: str
    model: str
    human: float
    raters: tuple[float, ...]
    judge: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measure with its interval; `why` says why there is none.  n: answers that it is over."""

    measure: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The measures of one answering model, or of all."""

    model: str
    n: int
    n_images: int
    measures: tuple[Measured, ...]

    def get(self, measure: str) -> Measured:
        """A measure by its name."""
        return next(m for m in self.measures if m.measure == measure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What a label file says of a judge.

    left_out: answers without a pair of labels, by reason; they are in no measure.
    """

    judge: str
    scale: str
    groups: tuple[Group, ...]
    left_out: dict[str, int]
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def check_labels(
    labels: Path, *, run: Path | None = None, judge: str | None = None, model: str | None = None
) -> Agreement:
    """Agreement of a judge with human labels.

    Args:
        labels: CSV or JSON lines (evalkit.judge.human_labels).
        run: a judged run (folder or its judgments.jsonl); its judgments stand for the file's column `judge`, and its
            judged accuracy is corrected for the judge's mistakes.
        judge: which judge of the run, where several judged.
        model: which model's answers the run holds, where the file has labels of several; the others are left out.

    Returns:
        The measures for all answers and for each answering model: raw_agreement, cohen_kappa, quadratic_kappa,
        krippendorff_alpha (judge and people as raters), krippendorff_alpha_people; for verdicts also sensitivity,
        specificity, judged_accuracy and corrected_accuracy.

    Raises:
        DataError: the file is no label file, says nothing of the run's samples, or has no judge's labels.
    """
    read = read_labels(labels)
    items = None
    name = "column judge"
    if run is not None:
        judged = choose_judge(run, judge)
        if (judged.plan["judged"] == RELATIVE) != (read.scale == "score"):
            kind = "scores" if judged.plan["judged"] == RELATIVE else "verdicts"
            raise DataError(f"{labels}: the labels are {read.scale}s, but the run was judged by {kind}.")
        items = {item.sample_id: item for item in item_results(judged)}
        name = str(judged.plan["judge"])
    elif not read.has_judge:
        raise DataError(f"{labels} has no column judge, and no judged run was given (run=DIR) to take its place.")
    named = sorted({line.model for line in read.lines})
    if items is not None and model is None and len(named) > 1:
        raise DataError(
            f"{labels} has labels of {len(named)} answering models ({', '.join(named[:5])}), and the run holds the "
            "answers of one; say which with model=NAME."
        )
    pairs, left_out = _pairs(read, items, model)
    if not pairs:
        raise DataError(f"{labels}: no answer has both a human label and a judgment ({dict(left_out)}).")
    models = sorted({p.model for p in pairs})
    groups = [(ALL, pairs)]
    if len(models) > 1:
        groups += [(m, [p for p in pairs if p.model == m]) for m in models]
    whole = list(items.values()) if items is not None else None
    measured = tuple(_group(m, mine, read.scale, whole) for m, mine in groups)
    return Agreement(
        judge=name, scale=read.scale, groups=measured, left_out=dict(left_out), notes=tuple(_notes(read, models))
    )


def _pairs(labels: Labels, items: dict[str, ItemResult] | None, model: str | None) -> tuple[list[Pair], Counter[str]]:
    grouped: dict[tuple[str, str], list[LabelLine]] = {}
    for line in labels.lines:
        grouped.setdefault((line.sample_id, line.model), []).append(line)
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for (sample_id, of_model), lines in grouped.items():
        if model is not None and items is not None and of_model not in ("", model):
            left_out["of another model than the run's"] += 1
            continue
        if len({line.judge for line in lines}) > 1:
            raise DataError(f"sample {sample_id!r}: the column judge says different things for one answer.")
        said = tuple(line.human for line in lines if line.human is not None)
        human = majority(said)
        if human is None:
            left_out["people cannot tell" if not said else "people are split"] += 1
            continue
        item = items.get(sample_id) if items is not None else None
        value = judge_value(item, labels.scale) if items is not None else lines[0].judge
        if value is None:
            left_out["no judgment, or the judge cannot tell"] += 1
            continue
        image = item.image_id if item is not None else lines[0].image_id
        pairs.append(Pair(image_id=image, model=of_model, human=human, raters=said, judge=value))
    return pairs, left_out


def majority(values: Sequence[float]) -> float | None:
    """The value that most give; None for none, and where two are equally frequent."""
    ranked = Counter(values).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def judge_value(item: ItemResult | None, scale: str) -> float | None:
    """A judged item as a label: the nearest verdict to its mean credit, or its score as a whole number."""
    if item is None or item.status != "judged":
        return None
    if scale == "verdict":
        return min(VERDICT_LABELS, key=lambda v: (abs(v - item.candidate), v))
    return float(math.floor(item.candidate + 0.5))


def _group(model: str, pairs: Sequence[Pair], scale: str, whole: Sequence[ItemResult] | None) -> Group:
    labels = list(VERDICT_LABELS) if scale == "verdict" else [float(v) for v in range(1, 11)]
    rounded = [replace(p, human=_whole(p.human, scale)) for p in pairs]

    def both(rows: Sequence[Pair]) -> list[tuple[float, float]]:
        return [(p.human, p.judge) for p in rows]

    graded = scale == "score"
    statistics: dict[str, Callable[[Sequence[Pair]], float | None]] = {
        "cohen_kappa": lambda rows: cohen_kappa(both(rows), labels),
        "quadratic_kappa": lambda rows: cohen_kappa(both(rows), labels, quadratic=True),
        "krippendorff_alpha": lambda rows: krippendorff_alpha([(*p.raters, p.judge) for p in rows], interval=graded),
        "krippendorff_alpha_people": lambda rows: krippendorff_alpha([p.raters for p in rows], interval=graded),
    }
    clusters = [p.image_id for p in rounded]
    agreed = [float(p.human == p.judge) for p in rounded]
    measures = [_measured("raw_agreement", raw_agreement(both(rounded)), mean_interval(agreed, clusters), len(pairs))]
    for measure, statistic in statistics.items():
        interval = jackknife_interval(statistic, rounded, clusters)
        measures.append(_measured(measure, statistic(rounded), interval, len(pairs)))
    if scale == "verdict":
        measures += _binary(rounded, whole)
    return Group(model=model, n=len(pairs), n_images=len(set(clusters)), measures=tuple(measures))


def _whole(value: float, scale: str) -> float:
    return value if scale == "verdict" else float(math.floor(value + 0.5))


def _binary(pairs: Sequence[Pair], whole: Sequence[ItemResult] | None) -> list[Measured]:
    """Right or not right (partly is not): sensitivity, specificity, and the judged accuracy with its correction."""
    right = [p for p in pairs if p.human == 1.0]
    wrong = [p for p in pairs if p.human != 1.0]
    sensitivity = _share("sensitivity", [float(p.judge == 1.0) for p in right], [p.image_id for p in right])
    specificity = _share("specificity", [float(p.judge != 1.0) for p in wrong], [p.image_id for p in wrong])
    measures = [sensitivity, specificity]
    if whole is None:
        return measures
    told = [i for i in whole if i.status == "judged"]
    values = [float(judge_value(i, "verdict") == 1.0) for i in told]
    clusters = [i.image_id for i in told]
    judged = _share("judged_accuracy", values, clusters)
    measures.append(judged)
    if sensitivity.value is None or specificity.value is None or judged.value is None:
        why = "labels of right and of wrong answers are both needed"
        return [*measures, Measured(measure="corrected_accuracy", value=None, why=why)]
    corrected = corrected_accuracy(
        judged.value,
        specificity.value,
        sensitivity.value,
        effective_size(values, clusters),
        effective_size([float(p.judge != 1.0) for p in wrong], [p.image_id for p in wrong]),
        effective_size([float(p.judge == 1.0) for p in right], [p.image_id for p in right]),
    )
    measures.append(
        Measured(
            measure="corrected_accuracy",
            value=corrected.value,
            low=corrected.low,
            high=corrected.high,
            n=len(told),
            why=corrected.why,
        )
    )
    return measures


def _share(measure: str, values: Sequence[float], clusters: Sequence[str]) -> Measured:
    value = math.fsum(values) / len(values) if values else None
    return _measured(measure, value, mean_interval(values, clusters), len(values))


def _measured(measure: str, value: float | None, interval: Interval | None, n: int) -> Measured:
    if value is None:
        return Measured(measure=measure, value=None, n=n, why="undefined: no such labels, or all are equal")
    if interval is None or interval.low is None or interval.high is None:
        return Measured(measure=measure, value=value, n=n, why=interval.method if interval is not None else "")
    return Measured(measure=measure, value=value, low=interval.low, high=interval.high, n=n)


def _notes(labels: Labels, models: Sequence[str]) -> list[str]:
    notes = []
    if len(models) < 2:
        notes.append(
            "the labels are of one answering model (or name none): agreement depends strongly on who answered, so do "
            "not carry it over to another model"
        )
    if len({line.rater for line in labels.lines}) < 2:
        notes.append("one rater: how well people agree among themselves is not known, and a judge cannot be above that")
    return notes
