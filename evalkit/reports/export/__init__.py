"""Exports of a finished run to the formats of other tools.  Every number has its interval, n and unscored count."""

from evalkit.reports.export.every_eval_ever import write_every_eval_ever
from evalkit.reports.export.latex_table import write_latex
from evalkit.reports.export.lm_eval import write_lm_eval
from evalkit.reports.export.model_index import write_model_index
from evalkit.reports.export.run import FinishedRun, name_of, read_run

WRITERS = {
    "every-eval-ever": write_every_eval_ever,
    "hf-model-index": write_model_index,
    "latex": write_latex,
    "lm-eval": write_lm_eval,
}

__all__ = ["WRITERS", "FinishedRun", "name_of", "read_run"]
