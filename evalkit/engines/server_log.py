"""Counts of a server's replies and failures, and the decision when a run on a server is over."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from evalkit.clients.response import CallFailed, Reply
from evalkit.core import console
from evalkit.core.errors import EngineError, Partial

# This many failures in a row are an outage, which the run does not wait out.
MAX_FAILURES_IN_A_ROW = 10
# If this many first requests are refused with the same message, the cause is not the requests.
MAX_INITIAL_REFUSALS = 8
# Names that differ with every reply identify nothing: the user is told of the first ones, the record has some more.
MAX_MODELS_SAID, MAX_NAMES_KEPT = 5, 50


@dataclass(slots=True, kw_only=True)
class ServerLog:
    """What a server has answered.

    name: of the row.  model: as it was asked for.  server: its label.  concurrency: calls in flight.
    """

    name: str
    model: str
    server: str
    concurrency: int
    counts: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    _returned: Counter[str] = field(default_factory=Counter)
    _fingerprints: Counter[str] = field(default_factory=Counter)
    _refusals: Counter[str] = field(default_factory=Counter)
    _failures_in_a_row: int = 0

    def note_reply(self, reply: Reply) -> None:
        """Count a reply; say so where it is of another model than the one asked for."""
        self._failures_in_a_row = 0
        self.counts["replies"] += 1
        for name, value in (
            ("prompt_tokens", reply.tokens_in),
            ("cached_tokens", reply.tokens_cached),
            ("answer_tokens", reply.tokens_out),
        ):
            if value is not None:
                self.counts[name] += value
        is_new = reply.model not in self._returned and len(self._returned) < MAX_MODELS_SAID
        if reply.model and reply.model != self.model and is_new:
            console.warn(
                f"engine=server asked {self.server} for the model {self.model!r}, and its replies name "
                f"{reply.model!r}: the numbers are those of whatever answered. The manifest records both names"
            )
        _tally(self._returned, str(reply.model))
        _tally(self._fingerprints, str(reply.fingerprint))

    def note_failure(self, problem: CallFailed) -> None:
        """Count a call without a reply; raise an error if further requests would fail too."""
        self.counts["failed"] += 1
        if not problem.transient:
            if self.counts["replies"]:
                return
            self._refusals[str(problem)] += 1
            if self._refusals[str(problem)] >= MAX_INITIAL_REFUSALS:
                raise EngineError(
                    f"{self.name}: the server {self.server} refuses every request: {problem}. Check the model, the "
                    "settings that are sent (engine.extra_body, generation) and the server's limits."
                )
            return
        self._failures_in_a_row += 1
        if self._failures_in_a_row < max(MAX_FAILURES_IN_A_ROW, self.concurrency):
            return
        message = f"{self._failures_in_a_row} requests in a row to {self.server} got no reply, the last: {problem}."
        if not self.counts["replies"]:
            raise EngineError(f"{message} Nothing was answered; see the server's log.")
        raise Partial(f"{message} The answers so far are kept; run the same command again to continue.")

    def record(self) -> dict[str, Any]:
        """What the manifest has of it."""
        return {
            "attempts": dict(self.attempts),
            "models_returned": dict(self._returned),
            "other_models": sorted(name for name in self._returned if name not in (self.model, "None")),
            "system_fingerprints": dict(self._fingerprints),
            "counters": dict(self.counts),
        }


def _tally(names: Counter[str], name: str) -> None:
    """Count a name that replies give, names after the first MAX_NAMES_KEPT together."""
    names[name if name in names or len(names) < MAX_NAMES_KEPT else "(other names)"] += 1
