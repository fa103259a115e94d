"""Scores by a language model to be believed: pinned, swapped, counted, stored, and measured against people."""
