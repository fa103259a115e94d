"""Training exposure: whether a model was trained on a data set before it was evaluated on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.core.errors import ConfigError

# The key in a model's `trained_on` for every task that is not named.
OTHER_TASKS = "*"
# Regimes that are ranked, each in tables of its own: regime -> its name in headings.  An unknown regime is not ranked.
RANKED_REGIMES = {
    "zero-shot": "zero-shot",
    "fine-tuned": "fine-tuned on the set",
    "trained-on-this-split": "trained on this very split",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingExposure:
    """A model's exposure to a data set.

    role: "model" or "baseline".  regime: "zero-shot", "fine-tuned", "trained-on-this-split" or "unknown".  train: the
    splits that the model was trained on, comma-separated.
    """

    role: str = "model"
    regime: str = "unknown"
    train: str = ""


def training_exposure(model: Mapping[str, Any], task: str, split: str) -> TrainingExposure:
    """The training exposure of a model to a split of a task.

    Args:
        model: the content of the model's YAML.  Its `trained_on` maps a task to the splits that the model was trained
            on; `*` is for every other task, an empty list says that the model has not seen the set.  A task without an
            entry is unknown.

    Raises:
        ConfigError: `trained_on` is not such a mapping.
    """
    role = "baseline" if model.get("kind") == "baseline" else "model"
    trained_on = model.get("trained_on") or {}
    if not isinstance(trained_on, Mapping) or not all(_is_list_of_text(v) for v in trained_on.values()):
        raise ConfigError(
            f"trained_on is {trained_on!r}, expected a mapping: task (or *) -> list of splits, [] for none."
        )
    splits = trained_on.get(task, trained_on.get(OTHER_TASKS))
    if splits is None:
        return TrainingExposure(role=role)
    regime = "trained-on-this-split" if split in splits else "fine-tuned" if splits else "zero-shot"
    return TrainingExposure(role=role, regime=regime, train=", ".join(splits))


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)
