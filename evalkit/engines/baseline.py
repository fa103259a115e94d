"""Engine for text-only baselines: no weights, no images, answers from the question alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from evalkit.core.types import Generation, Prediction, Request, digest_json


class TextOnlyBaseline(Protocol):
    """Baseline that answers a question without its image."""

    def answer(self, question: str, answer_type: str | None) -> str:
        """Return the text of the answer."""
        ...


class BaselineEngine:
    """Answers with a fitted baseline, in chunks of requests."""

    name = "baseline"
    needs_images = False
    generation = Generation(max_new_tokens=1)
    chunk = 1024

    def __init__(self, *, baseline: TextOnlyBaseline, model: str, trained_on: str) -> None:
        self.baseline = baseline
        self.trained_on = trained_on
        self.identity = digest_json([self.name, model, trained_on])

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`."""
        for start in range(0, len(requests), self.chunk):
            yield [self._answer(r) for r in requests[start : start + self.chunk]]

    def _answer(self, request: Request) -> Prediction:
        return Prediction(
            sample_id=request.sample_id,
            text=self.baseline.answer(request.question, request.answer_type),
            finish_reason="stop",
            fingerprint=request.fingerprint,
        )

    def metadata(self) -> dict[str, Any]:
        """See `Engine.metadata`."""
        return {"engine": self.name, "trained_on": self.trained_on}
