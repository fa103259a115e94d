"""The verbs of the command line: each takes the plain configuration and returns an exit code."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from evalkit.cli.config import Config

# Which module a verb is in, so that starting one verb never imports another's.
MODULES = {
    "run": "run", "merge": "run", "score": "run", "bench": "run", "compare": "compare", "gate": "gate",
    "judge": "judge", "judge_check": "judge", "fetch": "models", "doctor": "models", "convert": "models",
    "report": "reports", "paper": "reports", "board": "reports", "export": "reports", "audit": "audit",
}  # fmt: skip


def find(verb: str) -> Callable[[Config], int]:
    """The function of a verb."""
    function: Callable[[Config], int] = getattr(import_module(f"evalkit.cli.commands.{MODULES[verb]}"), verb)
    return function
