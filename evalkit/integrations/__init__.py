"""Training loops and experiment trackers (docs/training.md, docs/trackers.md)."""

from evalkit.integrations.live import LiveEvaluation, evaluate_live

__all__ = ["LiveEvaluation", "evaluate_live"]
