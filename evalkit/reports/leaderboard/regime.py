"""How a model had met a set before it was asked about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.core.errors import ConfigError

# In a model's `trained_on`: every set that is not named.
OTHERS = "*"
# Regimes that have a ranking, each of its own.  What a model was trained on has to be known for that.
RANKED = {
    "zero-shot": "zero-shot",
    "fine-tuned": "fine-tuned on the set",
    "trained-on-this-split": "trained on this very split",
}


def standing(model: Mapping[str, Any], task: str, split: str) -> dict[str, str]:
    """What a leaderboard must know of a model beside its numbers: role, regime, and the splits it was trained on.

    model: its YAML's content, where `trained_on` is a mapping: task -> splits, `*` for every other task, and an empty
    list says that the model has not seen the set.  A task that is not named there, or no such key: unknown.

    Raises:
        ConfigError: `trained_on` is something else.
    """
    role = "baseline" if model.get("kind") == "baseline" else "model"
    said = model.get("trained_on") or {}
    if not isinstance(said, Mapping) or not all(_is_list_of_text(v) for v in said.values()):
        raise ConfigError(f"trained_on is {said!r}, expected a mapping: task (or *) -> list of splits, [] for none.")
    splits = said.get(task, said.get(OTHERS))
    if splits is None:
        return {"role": role, "regime": "unknown", "train": ""}
    regime = "trained-on-this-split" if split in splits else "fine-tuned" if splits else "zero-shot"
    return {"role": role, "regime": regime, "train": ", ".join(splits)}


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)
