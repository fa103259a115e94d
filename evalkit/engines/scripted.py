"""A model without weights, for tests of everything around a model: answers by rule, fails and waits on command."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalkit.core.errors import ConfigError
from evalkit.core.types import Generation, Prediction, Request, digest_json

RULES = ("question", "yes", "digest")


class ScriptedEngine:
    """Answers without looking.

    Args:
        answers: sample id -> text, for the samples that it names.
        rule: for all others: "question" repeats the question, "yes" says yes, "digest" gives eight hex of the
            request's fingerprint, so that any change of what is asked shows.
        fail: ids of samples whose generation fails.
        batch_size: requests a batch.
        seconds: how long a batch takes.
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
            raise ConfigError(f"model.rule={rule} is not possible. Known: {', '.join(RULES)}.")
        self.answers = dict(answers or {})
        self.rule = rule
        self.fail = frozenset(str(i) for i in fail)
        self.batch_size = batch_size
        self.seconds = seconds
        self.identity = digest_json([self.name, self.answers, rule])
        self._asked = 0

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`."""
        for start in range(0, len(requests), self.batch_size):
            batch = requests[start : start + self.batch_size]
            time.sleep(self.seconds)
            self._asked += len(batch)
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

    def facts(self) -> dict[str, Any]:
        """See `Engine.facts`."""
        return {"engine": self.name, "asked": self._asked}
