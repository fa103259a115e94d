"""Agreement of a judge with human labels, for every answering model, with intervals clustered by image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core.errors import DataError
from evalkit.judge.config import RELATIVE
from evalkit.judge.correction import corrected_accuracy, effective_size
from evalkit.judge.human_labels import LabelLine, Labels, read_labels
from evalkit.judge.items import ItemResult, item_results
from evalkit.judge.journal import PlanJudgments, choose_judge
from evalkit.judge.kappa import LabelPair, cohen_kappa, jackknife_interval, krippendorff_alpha, raw_agreement
from evalkit.judge.parse_response import HIGHEST, LOWEST
from evalkit.stats import Interval, mean_interval

ALL = "all"
VERDICT_LABELS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledAnswer:
    """The labels of one answer: human (the majority of the raters), each rater's, the judge's."""

    image_id: str
    model: str
    human: float
    raters: tuple[float, ...]
    judge: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementMeasure:
    """The value of one measure over n answers, with its 95 % interval; `why`: the reason where there is none."""

    measure: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAgreement:
    """The measures for one answering model, or for all."""

    model: str
    n: int
    n_images: int
    measures: tuple[AgreementMeasure, ...]

    def get(self, measure: str) -> AgreementMeasure:
        """The measure of a name."""
        return next(m for m in self.measures if m.measure == measure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of a judge with the labels of a file.

    scale: "verdict" or "score".  left_out: answers without labels of both sides, by reason; no measure includes them.
    """

    judge: str
    scale: str
    groups: tuple[ModelAgreement, ...]
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
        labels: CSV or JSON lines; see `evalkit.judge.human_labels`.
        run: a judged run (folder or its judgments.jsonl); its judgments replace the file's column `judge`, and its
            judged accuracy is corrected for the judge's errors.
        judge: name of the judge, where the run has several.
        model: the model that the run belongs to, where the file has labels of several; the others are left out.

    Returns:
        The measures for all answers and for each answering model: raw_agreement, cohen_kappa, quadratic_kappa,
        krippendorff_alpha (judge and people as raters), krippendorff_alpha_people; for verdicts also sensitivity,
        specificity, judged_accuracy and corrected_accuracy.

    Raises:
        DataError: the file is not a label file, has no labels for the run's samples, or no labels of a judge.
    """
    read = read_labels(labels)
    judged = choose_judge(run, judge) if run is not None else None
    _check_fit(labels, read, judged, model)
    items = {item.sample_id: item for item in item_results(judged)} if judged is not None else None
    answers, left_out = _labelled_answers(read, items, model)
    if not answers:
        raise DataError(f"{labels}: no answer has both a human label and a judgment ({dict(left_out)}).")
    models = sorted({a.model for a in answers})
    by_model = {ALL: answers}
    if len(models) > 1:
        by_model |= {m: [a for a in answers if a.model == m] for m in models}
    judged_items = list(items.values()) if items is not None else None
    return Agreement(
        judge=judged.plan.judge if judged is not None else "column judge",
        scale=read.scale,
        groups=tuple(_agreement(m, own, read.scale, judged_items) for m, own in by_model.items()),
        left_out=dict(left_out),
        notes=tuple(_notes(read, models)),
    )


def _check_fit(path: Path, labels: Labels, judged: PlanJudgments | None, model: str | None) -> None:
    """Raise DataError where the labels and the judgments cannot be compared."""
    if judged is None:
        if not labels.has_judge:
            raise DataError(
                f"{path} has no column judge, and no judged run replaces it; add the column or give run=DIR."
            )
        return
    if (judged.plan.judged == RELATIVE) != (labels.scale == "score"):
        kind = "scores" if judged.plan.judged == RELATIVE else "verdicts"
        raise DataError(f"{path}: the labels are {labels.scale}s, but the run was judged by {kind}.")
    models = sorted({line.model for line in labels.lines})
    if model is None and len(models) > 1:
        raise DataError(
            f"{path} has labels of {len(models)} answering models ({', '.join(models[:5])}), and the run has the "
            "answers of one; choose it with answers_of=NAME."
        )


class _AnswerKey(NamedTuple):
    """A sample and the model that answered."""

    sample_id: str
    model: str


def _labelled_answers(
    labels: Labels, items: Mapping[str, ItemResult] | None, model: str | None
) -> tuple[list[LabelledAnswer], Counter[str]]:
    """The answers with labels of both sides, and the number of the others by reason."""
    grouped: dict[_AnswerKey, list[LabelLine]] = {}
    for line in labels.lines:
        grouped.setdefault(_AnswerKey(line.sample_id, line.model), []).append(line)
    answers: list[LabelledAnswer] = []
    left_out: Counter[str] = Counter()
    for (sample_id, answered_by), lines in grouped.items():
        if model is not None and items is not None and answered_by not in ("", model):
            left_out["of another model than the run's"] += 1
            continue
        if len({line.judge for line in lines}) > 1:
            raise DataError(f"sample {sample_id!r}: the column judge has different values for one answer.")
        raters = tuple(line.human for line in lines if line.human is not None)
        human = majority(raters)
        if human is None:
            left_out["people are split" if raters else "people cannot tell"] += 1
            continue
        item = items.get(sample_id) if items is not None else None
        value = judge_value(item, labels.scale) if items is not None else lines[0].judge
        if value is None:
            left_out["no judgment, or the judge cannot tell"] += 1
            continue
        image = item.image_id if item is not None else lines[0].image_id
        answers.append(LabelledAnswer(image_id=image, model=answered_by, human=human, raters=raters, judge=value))
    return answers, left_out


def majority(values: Sequence[float]) -> float | None:
    """The most frequent value; None without values, and where two are equally frequent."""
    ranked = Counter(values).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def judge_value(item: ItemResult | None, scale: str) -> float | None:
    """A judged item as a label: the verdict nearest to its mean credit, or its score rounded; None without a score."""
    if item is None or item.status != "judged":
        return None
    if scale == "verdict":
        return min(VERDICT_LABELS, key=lambda v: (abs(v - item.candidate), v))
    return float(math.floor(item.candidate + 0.5))


def _agreement(
    model: str, answers: Sequence[LabelledAnswer], scale: str, items: Sequence[ItemResult] | None
) -> ModelAgreement:
    labels = list(VERDICT_LABELS) if scale == "verdict" else [float(v) for v in range(LOWEST, HIGHEST + 1)]
    rounded = [replace(a, human=_rounded(a.human, scale)) for a in answers]

    def pairs(rows: Sequence[LabelledAnswer]) -> list[LabelPair]:
        return [LabelPair(a.human, a.judge) for a in rows]

    graded = scale == "score"
    statistics: dict[str, Callable[[Sequence[LabelledAnswer]], float | None]] = {
        "cohen_kappa": lambda rows: cohen_kappa(pairs(rows), labels),
        "quadratic_kappa": lambda rows: cohen_kappa(pairs(rows), labels, quadratic=True),
        "krippendorff_alpha": lambda rows: krippendorff_alpha([(*a.raters, a.judge) for a in rows], interval=graded),
        "krippendorff_alpha_people": lambda rows: krippendorff_alpha([a.raters for a in rows], interval=graded),
    }
    clusters = [a.image_id for a in rounded]
    agreed = [float(a.human == a.judge) for a in rounded]
    measures = [_measure("raw_agreement", raw_agreement(pairs(rounded)), mean_interval(agreed, clusters), len(rounded))]
    for name, statistic in statistics.items():
        interval = jackknife_interval(statistic, rounded, clusters)
        measures.append(_measure(name, statistic(rounded), interval, len(rounded)))
    if scale == "verdict":
        measures += _binary_measures(rounded, items)
    return ModelAgreement(model=model, n=len(answers), n_images=len(set(clusters)), measures=tuple(measures))


def _rounded(value: float, scale: str) -> float:
    return value if scale == "verdict" else float(math.floor(value + 0.5))


def _binary_measures(pairs: Sequence[LabelledAnswer], items: Sequence[ItemResult] | None) -> list[AgreementMeasure]:
    """Sensitivity, specificity, judged and corrected accuracy; an answer that is partly correct counts as wrong."""
    right = [p for p in pairs if p.human == 1.0]
    wrong = [p for p in pairs if p.human != 1.0]
    sensitivity = _share("sensitivity", [float(p.judge == 1.0) for p in right], [p.image_id for p in right])
    specificity = _share("specificity", [float(p.judge != 1.0) for p in wrong], [p.image_id for p in wrong])
    measures = [sensitivity, specificity]
    if items is None:
        return measures
    scored = [i for i in items if i.status == "judged"]
    values = [float(judge_value(i, "verdict") == 1.0) for i in scored]
    clusters = [i.image_id for i in scored]
    judged = _share("judged_accuracy", values, clusters)
    measures.append(judged)
    if sensitivity.value is None or specificity.value is None or judged.value is None:
        why = "labels of correct and of wrong answers are both needed"
        return [*measures, AgreementMeasure(measure="corrected_accuracy", value=None, why=why)]
    corrected = corrected_accuracy(
        judged.value,
        specificity.value,
        sensitivity.value,
        effective_size(values, clusters),
        effective_size([float(p.judge != 1.0) for p in wrong], [p.image_id for p in wrong]),
        effective_size([float(p.judge == 1.0) for p in right], [p.image_id for p in right]),
    )
    measures.append(
        AgreementMeasure(
            measure="corrected_accuracy",
            value=corrected.value,
            low=corrected.low,
            high=corrected.high,
            n=len(scored),
            why=corrected.why,
        )
    )
    return measures


def _share(measure: str, values: Sequence[float], clusters: Sequence[str]) -> AgreementMeasure:
    value = math.fsum(values) / len(values) if values else None
    return _measure(measure, value, mean_interval(values, clusters), len(values))


def _measure(measure: str, value: float | None, interval: Interval | None, n: int) -> AgreementMeasure:
    if value is None:
        return AgreementMeasure(measure=measure, value=None, n=n, why="undefined: no such labels, or all are equal")
    if interval is None or interval.low is None or interval.high is None:
        return AgreementMeasure(measure=measure, value=value, n=n, why=interval.method if interval is not None else "")
    return AgreementMeasure(measure=measure, value=value, low=interval.low, high=interval.high, n=n)


def _notes(labels: Labels, models: Sequence[str]) -> list[str]:
    notes = []
    if len(models) < 2:
        notes.append(
            "the labels belong to one answering model (or name none): agreement depends strongly on the model, so do "
            "not generalise it to other models"
        )
    if len({line.rater for line in labels.lines}) < 2:
        notes.append("one rater: the agreement among people is not known, and it limits the agreement of a judge")
    return notes
