"""The budget of a thought, token by token: where it ends, what closes it, and how long the answer after it may be.

The rule: a thought that is still open after `reasoning_budget` new tokens is closed with the model's own end mark, and
the answer is drawn ("force"), or the answer ends there, cut ("fail").  `max_new_tokens` then counts from the end of the
thought, whoever closed it, and from the start of an answer without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.core.reasoning import last_opening, may_hold_mark, split
from evalkit.core.thought_ends import closing_mark
from evalkit.engines.loaded_model import AnswerRules, decode_answer, has_ended

# Tokens in which the newest mark is looked for; the longest one has about ten.
WINDOW = 24
# Tokens of the prompt's end in which a template opens a thought.
PROMPT_END = 48


def opening_of(rules: AnswerRules, prompt: Sequence[int]) -> str:
    """The mark at the end of a prompt that opens a thought; "" where it opens none."""
    return last_opening(rules.processor.tokenizer.decode(list(prompt[-PROMPT_END:]), skip_special_tokens=False))


class ThoughtLimit:
    """The state of one answer under a budget.

    opening: see `opening_of`.  is_forced: the thought was closed for the model.  length: number of tokens at which the
    answer reached its limit; None before.
    """

    def __init__(self, rules: AnswerRules, opening: str) -> None:
        self.rules = rules
        self.opening = opening
        self.is_forced = False
        self.length: int | None = None
        self._is_open = bool(opening)
        self._answer_from: int | None = None
        self._closing: list[int] = []

    def next_token(self) -> int | None:
        """The token that comes next whatever the model says; None where the model chooses."""
        return self._closing.pop(0) if self._closing else None

    def take(self, ids: Sequence[int]) -> bool:
        """Note the newest of an answer's tokens; returns whether the answer is at its limit."""
        g, n = self.rules.generation, len(ids)
        assert g.reasoning_budget is not None, "there is a limit only under a budget"
        if self.length is not None:
            return True
        if self._answer_from is None:
            self._read(ids, at_limit=n >= g.reasoning_budget)
        if self._answer_from is None and self._is_open and n >= g.reasoning_budget:
            self._close(ids)
        if self._answer_from is not None and n - self._answer_from >= g.max_new_tokens:
            self.length = n
        if self._answer_from is None and not self._is_open and n >= g.max_new_tokens:
            self.length = n
        return self.length is not None

    def part_length(self, n: int) -> int:
        """The tokens after `n` that may be drawn at once: up to the budget, or to the end of the answer."""
        g = self.rules.generation
        assert g.reasoning_budget is not None, "there is a limit only under a budget"
        if self._answer_from is not None:
            end = self._answer_from + g.max_new_tokens
        else:
            end = g.reasoning_budget if n < g.reasoning_budget else g.max_new_tokens
        return max(1, end - n)

    def replay(self, ids: Sequence[int]) -> ThoughtLimit:
        """Take the tokens of a finished answer, up to its end."""
        for n in range(1, len(ids) + 1):
            if has_ended(self.rules, ids[:n]) or self.take(ids[:n]):
                break
        return self

    def _read(self, ids: Sequence[int], *, at_limit: bool) -> None:
        """Look for marks where the newest tokens may have made one."""
        tokenizer: Any = self.rules.processor.tokenizer
        newest = tokenizer.decode(list(ids[-WINDOW:]), skip_special_tokens=False)
        if not at_limit and not may_hold_mark(newest):
            return
        found = split(decode_answer(tokenizer, ids), opened=bool(self.opening))
        self._is_open = found.is_cut
        if found.found and not found.is_cut:
            self._answer_from = len(ids)

    def _close(self, ids: Sequence[int]) -> None:
        """End the thought at its budget, or the answer with it."""
        tokenizer: Any = self.rules.processor.tokenizer
        mark = closing_mark(self.opening + decode_answer(tokenizer, ids))
        if self.rules.generation.reasoning_overflow == "fail" or mark is None:
            self.length = len(ids)
            return
        self._closing = [int(i) for i in tokenizer.encode(mark, add_special_tokens=False)]
        self._answer_from = len(ids) + len(self._closing)
        self.is_forced = True
