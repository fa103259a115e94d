"""Exports of a finished run to the formats of other tools.  Every number has its interval, n and unscored count."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from evalkit.reports.export.run import FinishedRun, name_of, read_run

__all__ = ["WRITERS", "FinishedRun", "Writer", "name_of", "read_run"]

# Writes a run's files into a folder and returns their paths; settings of its own are further keyword arguments.
Writer = Callable[..., list[Path]]

# One line a format: its name on the command line, and MODULE:FUNCTION in this folder.
_PLACES = {
    "every-eval-ever": "every_eval_ever:write_every_eval_ever",
    "hf-model-index": "model_index:write_model_index",
    "latex": "latex_table:write_latex",
    "lm-eval": "lm_eval:write_lm_eval",
}


def _writer(place: str) -> Writer:
    module, _, name = place.partition(":")
    found: Writer = getattr(import_module(f"{__name__}.{module}"), name)
    return found


WRITERS: dict[str, Writer] = {name: _writer(place) for name, place in _PLACES.items()}
