"""evalkit: a benchmark harness for medical visual question answering whose numbers can be trusted.

The names below are the Python interface (docs/python.md); each is imported when it is first used, so that `import
evalkit` takes milliseconds.
"""

from __future__ import annotations

# As type checkers know it; importing `typing` would take longer than everything else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from evalkit import errors
    from evalkit.api.comparison import Comparison, Verdict
    from evalkit.api.evaluation import evaluate
    from evalkit.api.reading import read_run, read_runs
    from evalkit.api.result import Result
    from evalkit.api.scoring import score
    from evalkit.api.task import TaskData, load_task
    from evalkit.api.value import Value

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "Result",
    "TaskData",
    "Value",
    "Verdict",
    "__version__",
    "errors",
    "evaluate",
    "load_task",
    "read_run",
    "read_runs",
    "score",
]
_MODULES = {
    "Comparison": "comparison",
    "Result": "result",
    "TaskData": "task",
    "Value": "value",
    "Verdict": "comparison",
    "evaluate": "evaluation",
    "load_task": "task",
    "read_run": "reading",
    "read_runs": "reading",
    "score": "scoring",
}


if not TYPE_CHECKING:  # a type checker would take every name for one of the module's

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        if name == "errors":
            return import_module("evalkit.errors")
        if name not in _MODULES:
            raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
        found = getattr(import_module(f"evalkit.api.{_MODULES[name]}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
