"""Exports of a finished run to the formats of other tools.  Every number has its interval, n and unscored count."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path

from evalkit.core.errors import EvalkitError, first_line
from evalkit.core.plugins import broken, load, plugins
from evalkit.reports.export.run import FinishedRun, name_of, read_run

__all__ = ["WRITERS", "FinishedRun", "Writer", "export_names", "name_of", "read_run", "writer"]

# Writes a run's files into a folder and returns their paths; settings of its own are further keyword arguments.
Writer = Callable[..., list[Path]]

# One line a format: its name on the command line, and MODULE:FUNCTION in this folder.
_PLACES = {
    "croissant": "croissant:write_croissant",
    "every-eval-ever": "every_eval_ever:write_every_eval_ever",
    "hf-eval-results": "hub_results:write_hub_results",
    "hf-model-index": "model_index:write_model_index",
    "inspect": "inspect_log:write_inspect_log",
    "latex": "latex_table:write_latex",
    "lm-eval": "lm_eval:write_lm_eval",
}


def _writer(place: str) -> Writer:
    module, _, name = place.partition(":")
    found: Writer = getattr(import_module(f"{__name__}.{module}"), name)
    return found


WRITERS: dict[str, Writer] = {name: _writer(place) for name, place in _PLACES.items()}


def export_names() -> list[str]:
    """The formats that `writer` has: evalkit's own and those of plug-ins."""
    return list(dict.fromkeys((*WRITERS, *plugins("exports"))))


def writer(name: str) -> Writer:
    """The writer of a format, a plug-in's too.

    Raises:
        ConfigError: the plug-in cannot be used.
    """
    if name in WRITERS:
        return WRITERS[name]
    plugin = plugins("exports")[name]
    found = load(plugin)
    if not callable(found):
        raise broken(plugin, "it is not a function")

    @wraps(found)
    def write(run: FinishedRun, out: Path, **settings: str) -> list[Path]:
        try:
            return list(found(run, out, **settings))
        except (EvalkitError, OSError):
            raise
        except Exception as problem:
            raise broken(plugin, f"{type(problem).__name__}: {first_line(problem)}") from problem

    return write
