"""Interface of a scoring protocol, between the scorers and the rest of evalkit.

A protocol is `conf/protocol/NAME.yaml`: `target:` names the class, the other keys are its keyword arguments
(always `name` and `version`, then the settings that determine its number).
"""

from __future__ import annotations

from typing import Protocol

from evalkit.core.types import Metric, Prediction, Sample, Score


class ScoringProtocol(Protocol):
    """Turns one answer into the scores of every metric that applies to its row.

    Pure: no state, and the order of the calls does not matter.  `Prediction.text` is the answer without the model's
    thought; a protocol whose authors' code reads the text as it came has an attribute `reads` with the value "raw" and
    reads `Prediction.raw` where there is one.

    unscored: "exclude" or "wrong": how the headline value counts a row that could not be scored.  The other reading
    is always reported next to it.
    """

    name: str
    version: int
    unscored: str
    metrics: tuple[Metric, ...]

    def is_closed(self, sample: Sample) -> bool | None:
        """Whether the protocol counts the row as closed; None where it counts it as neither closed nor open."""
        ...

    def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
        """Exactly one Score for each metric that has scores of its own and whose rows include this sample.

        A prediction with an error gives value None, with the reason, for each of them.
        """
        ...

    def settings(self) -> dict[str, str]:
        """Settings that determine the number (strip_role: no, normaliser: vqa2 ...), for the signature, in order."""
        ...
