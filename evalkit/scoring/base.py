"""What a scoring protocol is: the contract between scorers and the rest of evalkit.

A protocol is `conf/protocol/NAME.yaml`: `target:` names the class, the other keys are its keyword arguments
(always `name` and `version`, then the settings that make its number).
"""

from __future__ import annotations

from typing import Protocol

from evalkit.core.types import Metric, Prediction, Sample, Score


class ScoringProtocol(Protocol):
    """Turns one answer into the scores of every metric that applies to its row.  Pure: no state, no order.

    unscored: "exclude" or "wrong", how the headline value counts a row that could not be scored; the other reading
    always stands beside it.
    """

    name: str
    version: int
    unscored: str
    metrics: tuple[Metric, ...]

    def is_closed(self, sample: Sample) -> bool | None:
        """Whether the protocol counts the row as closed; None where it counts it as neither."""
        ...

    def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
        """One Score for each metric with scores of its own whose rows include this sample, no more and no fewer.

        A prediction with an error gives value None with the reason for every one of them.
        """
        ...

    def settings(self) -> dict[str, str]:
        """What else makes the number (strip_role: no, normaliser: vqa2 ...), for the signature, in fixed order."""
        ...
