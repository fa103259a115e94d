"""Checks of a training's evaluations before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.api.scoring import score
from evalkit.core.errors import ConfigError, ModelError, did_you_mean
from evalkit.integrations.live import LiveTask


def check_plan(plan: Sequence[LiveTask], processor: Any, best: str | None) -> None:
    """Read the data of every task and check protocols, processor and the metric that decides.

    Raises:
        EvalkitError: something would stop the first evaluation.
    """
    for part in ("tokenizer", "image_processor"):
        if getattr(processor, part, None) is None:
            raise ModelError(
                f"EvalCallback needs the processor of the model, and {type(processor).__name__} has no {part}. Give it "
                "as EvalCallback(processor=PROCESSOR) or Trainer(processing_class=PROCESSOR)."
            )
    known: dict[str, str | None] = {}
    for live in plan:
        known |= {f"{live.label}/{name}": direction for name, direction in _metrics(live).items()}
    if best is None:
        return
    if best not in known:
        raise ConfigError(f"best={best} is not measured. {did_you_mean(best, list(known))}")
    if known[best] is None:
        raise ConfigError(f"best={best} is not possible: the metric is neither better nor worse where it is higher.")


def _metrics(live: LiveTask) -> dict[str, str | None]:
    """The metrics of a task as PROTOCOL/METRIC, with their directions: those of empty answers, which need no model."""
    data = live.load()
    if not len(data):
        raise ConfigError(f"tasks: {live.label} has no samples with these settings.")
    result = score([""] * len(data), data, protocols=live.arguments.get("protocols"))
    overall = result.metrics[result.metrics.slice == "all"]
    pairs = zip(overall.protocol, overall.metric, overall.direction, strict=True)
    return {f"{protocol}/{metric}": direction for protocol, metric, direction in pairs}
