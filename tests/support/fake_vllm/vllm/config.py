"""The part of the model's config that is asked for: the mode of models whose image places attend both ways."""

from __future__ import annotations


class ModelConfig:
    is_mm_prefix_lm = False
