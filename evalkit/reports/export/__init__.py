"""A finished run in the forms that other tools read.  No number leaves without its interval, n and unscored count."""

from evalkit.reports.export.every_eval_ever import write_every_eval_ever
from evalkit.reports.export.latex_table import write_latex
from evalkit.reports.export.lm_eval import write_lm_eval
from evalkit.reports.export.model_index import write_model_index
from evalkit.reports.export.run import FinishedRun, Number, read_run

WRITERS = {
    "every-eval-ever": write_every_eval_ever,
    "hf-model-index": write_model_index,
    "latex": write_latex,
    "lm-eval": write_lm_eval,
}

__all__ = ["WRITERS", "FinishedRun", "Number", "read_run"]
