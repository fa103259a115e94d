"""Engine without a model, for tests of everything else: answers by rule, with configurable failures and delays."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalkit.core.errors import ConfigError
from evalkit.core.types import Generation, Prediction, Request, digest_json

RULES = ("question", "yes", "digest")


class ScriptedEngine:
    """Answers by rule, without a model.

    Args:
        answers: sample id -> text, for the samples listed.
        rule: for all other samples: "question" repeats the question, "yes" answers yes, "digest" gives the first eight
            hex digits of the request's fingerprint, so that any change of the request changes the answer.
        fail: ids of samples whose generation fails.
        batch_size: requests per batch.
        seconds: duration of a batch.
    """

    name = "scripted"
    needs_images = False
    generation = Generation(max_new_tokens=16)

    def __init__(
        self,
        *,
        answers: Mapping[str, str] | None = None,
        rule: str = "question",
        fail: Sequence[str] = (),
        batch_size: int = 8,
        seconds: float = 0.0,
    ) -> None:
        if rule not in RULES:
            raise ConfigError(f"model.rule={rule} is not a known rule. Known: {', '.join(RULES)}.")
        self.answers = dict(answers or {})
        self.rule = rule
        self.fail = frozenset(str(i) for i in fail)
        self.batch_size = batch_size
        self.seconds = seconds
        self.identity = digest_json([self.name, self.answers, rule])
        self._n_requests = 0

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`."""
        for start in range(0, len(requests), self.batch_size):
            batch = requests[start : start + self.batch_size]
            time.sleep(self.seconds)
            self._n_requests += len(batch)
            yield [self._answer(r) for r in batch]

    def _answer(self, request: Request) -> Prediction:
        fingerprint = request.fingerprint
        if request.sample_id in self.fail:
            return Prediction(
                sample_id=request.sample_id, error="scripted failure", finish_reason="error", fingerprint=fingerprint
            )
        by_rule = {"question": request.question, "yes": "yes", "digest": fingerprint[:8]}[self.rule]
        text = self.answers.get(request.sample_id, by_rule)
        return Prediction(
            sample_id=request.sample_id,
            text=text,
            finish_reason="stop",
            n_tokens=len(text.split()),
            fingerprint=fingerprint,
        )

    def metadata(self) -> dict[str, Any]:
        """See `Engine.metadata`."""
        return {"engine": self.name, "asked": self._n_requests}
