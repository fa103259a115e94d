"""Replies with HTTP 429 and the time that calls wait after them, which the SDK does not report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

LIMITED = "429"
# Seconds between two messages about waiting.
SECONDS_BETWEEN_NOTES = 30.0


@dataclass(slots=True, kw_only=True)
class RateWaits:
    """What the rate limits of a server cost.

    n: replies with HTTP 429.  seconds: waited after them, added over calls.  say: told of the first one, and of more
    some time later.
    """

    n: int = 0
    seconds: float = 0.0
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    _said: float | None = None
    _since: dict[int, float] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Number of calls that wait now."""
        return len(self._since)

    def attempt_begins(self, call: list[str]) -> None:
        """Note the next attempt of a call, which `call`, the list of its outcomes, stands for."""
        if (since := self._since.pop(id(call), None)) is not None:
            self.seconds += self.clock() - since

    def attempt_ends(self, call: list[str]) -> None:
        """Note the outcome of an attempt, the last one in the list."""
        if call and call[-1] == LIMITED:
            self.n += 1
            self._since[id(call)] = self.clock()
            if self._said is None or self.clock() - self._said >= SECONDS_BETWEEN_NOTES:
                self._said = self.clock()
                self.say(f"{self.sentence()}; waiting as the server asks")

    def call_ends(self, call: list[str]) -> None:
        """Note the end of a call, which waits no longer."""
        self._since.pop(id(call), None)

    def sentence(self) -> str:
        """What was waited so far; empty where nothing was."""
        if not self.n:
            return ""
        now = f", {self.waiting} waiting now" if self.waiting else ""
        return f"{self.n} refused for their rate (HTTP 429), {self.seconds:.0f} s waited{now}"
