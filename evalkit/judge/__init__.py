"""Scores by a language model: pinned judges, both answer orders, stored judgments, agreement with people."""
