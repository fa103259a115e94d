"""Agreement of a judge with human labels, for every answering model, with intervals clustered by image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.core.errors import DataError
from evalkit.judge.config import RELATIVE
from evalkit.judge.human_labels import Labels, read_labels
from evalkit.judge.items import item_results
from evalkit.judge.journal import PlanJudgments, choose_judge
from evalkit.judge.kappa import LabelPair, added_pairs, cohen_kappa, jackknife_interval, krippendorff_alpha
from evalkit.judge.label_sampling import Sampling, sampling_of
from evalkit.judge.labelled_answers import VERDICT_LABELS, LabelledAnswer, labelled_answers
from evalkit.judge.parse_response import HIGHEST, LOWEST
from evalkit.judge.verdict_measures import AgreementMeasure, binary_measures, measured, share

ALL = "all"


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
        run: a judged run (folder or its judgments.jsonl).  Where the labels are of its answers, its judgments replace
            the file's column `judge`, and its accuracy is estimated from both (`prediction_powered_accuracy`).  Where
            they are of others, its judged accuracy is corrected by the judge's errors on those (`corrected_accuracy`).
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
    items = {item.sample_id: item for item in item_results(judged)} if judged is not None else None
    elsewhere = items is not None and read.has_judge and not any(line.sample_id in items for line in read.lines)
    _check_fit(labels, read, judged, model, elsewhere=elsewhere)
    answers, left_out = labelled_answers(read, None if elsewhere else items, model)
    if not answers:
        raise DataError(f"{labels}: no answer has both a human label and a judgment ({dict(left_out)}).")
    models = sorted({a.model for a in answers})
    by_model = {ALL: answers}
    if len(models) > 1:
        by_model |= {m: [a for a in answers if a.model == m] for m in models}
    sampling = sampling_of(read, answers, items, elsewhere=elsewhere)
    if sampling.weights is not None:
        weighted = [replace(a, weight=w) for a, w in zip(answers, sampling.weights, strict=True)]
        by_model = {name: [w for w in weighted if name in (ALL, w.model)] for name in by_model}
    return Agreement(
        judge=judged.plan.judge if judged is not None else "column judge",
        scale=read.scale,
        groups=tuple(_agreement(m, own, read.scale, sampling) for m, own in by_model.items()),
        left_out=dict(left_out),
        notes=(*_notes(read, models), *sampling.notes),
    )


def _check_fit(path: Path, labels: Labels, judged: PlanJudgments | None, model: str | None, *, elsewhere: bool) -> None:
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
    if model is None and len(models) > 1 and not elsewhere:
        raise DataError(
            f"{path} has labels of {len(models)} answering models ({', '.join(models[:5])}), and the run has the "
            "answers of one; choose it with answers_of=NAME."
        )


def _agreement(model: str, answers: Sequence[LabelledAnswer], scale: str, sampling: Sampling) -> ModelAgreement:
    rounded = [replace(a, human=_rounded(a.human, scale)) for a in answers]
    clusters = [a.image_id for a in rounded]
    agreed = [float(a.human == a.judge) for a in rounded]
    measures = [share("raw_agreement", agreed, clusters, [a.weight for a in rounded])]
    total = math.fsum(a.weight for a in rounded)
    weights = [a.weight * len(rounded) / total for a in rounded]  # on average 1, as the added pairs assume
    seen = sorted({v for a in rounded for v in (a.human, a.judge, *a.raters)})
    added = [
        (replace(rounded[0], human=pair.first, judge=pair.second, raters=tuple(pair)), weight)
        for pair, weight in added_pairs(seen)
    ]
    for name, statistic in _kappas(scale).items():
        interval = jackknife_interval(statistic, rounded, clusters, weights=weights, added=added)
        measures.append(measured(name, statistic(rounded, weights), interval, len(rounded)))
    if scale == "verdict":
        measures += binary_measures(rounded, sampling)
    return ModelAgreement(model=model, n=len(answers), n_images=len(set(clusters)), measures=tuple(measures))


def _kappas(scale: str) -> dict[str, Callable[[Sequence[LabelledAnswer], Sequence[float]], float | None]]:
    """The measures of agreement beyond chance, each a function of answers and their weights."""
    labels = list(VERDICT_LABELS) if scale == "verdict" else [float(v) for v in range(LOWEST, HIGHEST + 1)]
    graded = scale == "score"

    def pairs(rows: Sequence[LabelledAnswer]) -> list[LabelPair]:
        return [LabelPair(a.human, a.judge) for a in rows]

    return {
        "cohen_kappa": lambda rows, w: cohen_kappa(pairs(rows), labels, sample_weight=w),
        "quadratic_kappa": lambda rows, w: cohen_kappa(pairs(rows), labels, quadratic=True, sample_weight=w),
        "krippendorff_alpha": lambda rows, w: krippendorff_alpha(
            [(*a.raters, a.judge) for a in rows], interval=graded, sample_weight=w
        ),
        "krippendorff_alpha_people": lambda rows, w: krippendorff_alpha(
            [a.raters for a in rows], interval=graded, sample_weight=w
        ),
    }


def _rounded(value: float, scale: str) -> float:
    return value if scale == "verdict" else float(math.floor(value + 0.5))


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
