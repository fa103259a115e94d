"""Budgets of thoughts under engine=vllm: an answer is asked for in parts, and a thought closed between two of them.

vLLM's own `thinking_token_budget` needs the model's marks as a setting of the server and has another rule; asked in
parts, answers follow the rule of `evalkit.engines.thought_limit`, token by token, and vLLM's prefix cache keeps all
that came before.  A part ends where a thought would reach its budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit.core.types import Prediction
from evalkit.engines.loaded_model import has_ended, make_prediction, prediction_of_error
from evalkit.engines.thought_limit import ThoughtLimit, opening_of
from evalkit.engines.vllm_prompts import PreparedRequest, PromptRules, nan_reason, no_answer_reason

# Seeds of the parts of an answer lie so far apart; the parts of one answer must not repeat their random numbers.
_SEED_STEP = 7919
_SEEDS = 2**31


@dataclass(slots=True)
class LimitedAnswer:
    """An answer under a budget, as far as it has come.

    ids: its tokens, with those that close its thought.  is_done: no part is missing.  problem: why it has no answer.
    """

    rules: PromptRules
    row: PreparedRequest
    limit: ThoughtLimit
    ids: list[int] = field(default_factory=list)
    n_parts: int = 0
    is_done: bool = False
    has_ended: bool = False
    problem: Exception | None = None

    @classmethod
    def of(cls, rules: PromptRules, row: PreparedRequest) -> LimitedAnswer:
        """An answer of which there is nothing yet."""
        return cls(rules, row, ThoughtLimit(rules, opening_of(rules, row.prompt["prompt_token_ids"])))

    @property
    def n_asked(self) -> int:
        """The number of tokens to ask for next."""
        return self.limit.part_length(len(self.ids))

    def next_part(self) -> PreparedRequest:
        """The request for the next part: the prompt with all tokens so far."""
        prompt = dict(self.row.prompt)
        prompt["prompt_token_ids"] = [*prompt["prompt_token_ids"], *self.ids]
        sampling = {**self.row.sampling, "max_tokens": self.n_asked}
        if "seed" in sampling:
            sampling["seed"] = (sampling["seed"] + self.n_parts * _SEED_STEP) % _SEEDS
        return replace(self.row, prompt=prompt, sampling=sampling)

    def take(self, output: Any) -> None:
        """Add a part: a `vllm.RequestOutput`, or the exception with which vLLM refused it."""
        if isinstance(output, Exception):
            self.is_done, self.problem = True, output
            return
        completion = output.outputs[0]
        new = [int(i) for i in completion.token_ids]
        reason = nan_reason(output) or no_answer_reason(self.rules, self.n_asked, completion.finish_reason, new)
        self.n_parts += 1
        if reason:
            self.is_done, self.problem = True, ValueError(reason)
            return
        for token in new:
            if self._add(token) or self._close():
                return
        if completion.finish_reason == "stop":  # some versions do not return the token that ended the answer
            self.is_done = self.has_ended = True

    def _add(self, token: int) -> bool:
        """Add a token; returns whether the answer is done with it: ended, or at its limit."""
        self.ids.append(token)
        self.has_ended = has_ended(self.rules, self.ids)
        self.is_done = self.has_ended or self.limit.take(self.ids)
        return self.is_done

    def _close(self) -> bool:
        """Add the tokens that close the thought, if it has reached its budget; returns whether it had."""
        is_closed = False
        while not self.is_done and (token := self.limit.next_token()) is not None:
            is_closed = True
            self._add(token)
        return is_closed

    def prediction(self, seconds: float) -> Prediction:
        """The finished answer; `seconds` is its share of its window."""
        if self.problem is not None:
            return prediction_of_error(self.row.request, self.problem)
        made = make_prediction(self.rules, self.row.request, self.ids, seconds)
        finish = "stop" if self.has_ended else made.finish_reason
        return replace(made, finish_reason=finish, thought_forced=self.limit.is_forced)


def answer_in_parts(
    rules: PromptRules, rows: Sequence[PreparedRequest], generate: Callable[[Sequence[PreparedRequest]], Sequence[Any]]
) -> list[LimitedAnswer]:
    """The answers of rows under a budget.

    Args:
        generate: rows -> an output each, in their order.
    """
    answers = [LimitedAnswer.of(rules, row) for row in rows]
    while waiting := [a for a in answers if not a.is_done]:
        for answer, output in zip(waiting, generate([a.next_part() for a in waiting]), strict=True):
            answer.take(output)
    return answers
