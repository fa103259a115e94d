"""A look at the first answers of a long run: whether the protocols can read them, before the rest is generated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.core import console
from evalkit.core.errors import EngineError
from evalkit.core.types import REASONING_ALONE, Prediction, Sample
from evalkit.scoring.base import ScoringProtocol

# A run with fewer missing answers is over as soon as a look at it.
LONG = 200
# Below this share of readable answers the run says so.
ENOUGH = 0.5
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The look at the first `n` answers, or at the first batch where it is larger.

    require: the least share of answers that every protocol can read; a run below it stops.  None: it only warns.
    """

    n: int
    require: float | None
    protocols: Sequence[ScoringProtocol]

    def of(self, n: int) -> Preflight | None:
        """The look at a run of n answers that are still missing; None where it is over as soon as a look at it."""
        return self if n >= LONG or (self.require is not None and n) else None

    def check(self, sample_of: Mapping[str, Sample], predictions: Sequence[Prediction]) -> None:
        """Report answers that cannot be read.

        Raises:
            EngineError: fewer than `require` can be read.
        """
        problems = Counter(filter(None, (self._problem(sample_of[p.sample_id], p) for p in predictions)))
        readable = 1 - problems.total() / len(predictions)
        least = ENOUGH if self.require is None else self.require
        if readable >= least:
            return
        shown = "; ".join(f"{count} {reason}" for reason, count in problems.most_common(SHOWN))
        text = (
            f"of the first {len(predictions)} answers {problems.total()} cannot be scored: {shown}. For cut answers "
            "raise generation.max_new_tokens; for answers in other words than the protocols read choose another "
            "task.prompt or protocol=NAME; for thoughts without an answer see docs/reasoning.md."
        )
        if self.require is not None:
            raise EngineError(
                f"preflight.require={self.require:g}: {text} The answers are kept; the same command goes on from them."
            )
        console.warn(f"preflight: {text}")

    def _problem(self, sample: Sample, prediction: Prediction) -> str:
        """Why a protocol cannot score an answer; empty if each can that scores this kind of row."""
        if prediction.is_cut:
            return "cut inside their reasoning"
        if prediction.error is not None:
            return "with reasoning alone" if prediction.error == REASONING_ALONE else f"failed ({prediction.error})"
        if not prediction.text:
            return "empty"
        scores = (score for protocol in self.protocols for score in protocol.score(sample, prediction))
        return next((f"unreadable for {s.protocol} ({s.reason})" for s in scores if s.value is None), "")
