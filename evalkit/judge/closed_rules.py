"""Rules by which judges of other authors score closed rows, and their ways of counting these."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evalkit.core.types import Prediction, Sample
from evalkit.scoring.protocols.coloneval import ColonEval
from evalkit.scoring.protocols.inspect_evals import InspectEvals
from evalkit.scoring.protocols.medevalkit import MedEvalKit
from evalkit.scoring.row_protocol import RowProtocol

# Name of a rule -> the protocol of that name, whose closed_accuracy is the credit of a closed row; of ColonEval, which
# knows no closed rows, the accuracy, which it leaves open where its authors ask a referee.
CLOSED_RULES: Mapping[str, Callable[[], RowProtocol]] = {
    "medevalkit": lambda: MedEvalKit(name="medevalkit", version=1, rule="yesno", reads="raw"),
    "medevalkit-slake": lambda: MedEvalKit(name="medevalkit-slake", version=1, rule="label", reads="raw"),
    "inspect-evals": lambda: InspectEvals(name="inspect-evals", version=1),
    "coloneval": lambda: ColonEval(name="coloneval", version=1),
}
# A closed row counts once, by the rule.  MedEvalKit at 9b12e3b, with its judge on, counts none of PathVQA's (zero), and
# has SLAKE's judged as well and adds both (twice), so that its totals can exceed 100 %.
ONCE, ZERO, TWICE = "once", "zero", "twice"
COUNTINGS = (ONCE, ZERO, TWICE)


def closed_credit(rule: RowProtocol, sample: Sample, prediction: Prediction) -> float | None:
    """The credit of an answer by the rule; None where the rule leaves the row to the judge, and for a failed answer."""
    metric = "accuracy" if isinstance(rule, ColonEval) else "closed_accuracy"
    scores = (score for score in rule.score(sample, prediction) if score.metric == metric)
    return next((score.value for score in scores), None)
