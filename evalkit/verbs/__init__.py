"""The verbs of the command line: each takes the plain configuration and returns an exit code."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from evalkit.config import Config

# Which module a verb is in, so that starting one verb never imports another's.
MODULES = {
    "run": "runs", "merge": "runs", "score": "runs", "bench": "runs", "compare": "compare", "gate": "gate",
    "judge": "judging", "judge_check": "judging", "fetch": "models", "doctor": "models", "convert": "models",
    "report": "pages", "paper": "pages", "board": "pages", "export": "pages", "audit": "data",
}  # fmt: skip


def find(verb: str) -> Callable[[Config], int]:
    """The function of a verb."""
    function: Callable[[Config], int] = getattr(import_module(f"evalkit.verbs.{MODULES[verb]}"), verb)
    return function
