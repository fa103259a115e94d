"""Fake of the part of vLLM's ModelConfig that evalkit inspects: bidirectional attention over image tokens."""

from __future__ import annotations


class ModelConfig:
    is_mm_prefix_lm = False
