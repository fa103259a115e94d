"""Conclusions from finished runs: comparisons, gate, sanity checks."""
