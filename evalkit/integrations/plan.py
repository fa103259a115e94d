"""Checks of a training's evaluations before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.api.scoring import score
from evalkit.api.value import Value
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
    known = {f"{live.label}/{name}": value for live in plan for name, value in _metrics(live).items()}
    if best is None:
        return
    if best not in known:
        raise ConfigError(f"best={best} is not measured. {did_you_mean(best, list(known))}")
    if known[best].direction is None:
        raise ConfigError(f"best={best} is not possible: the metric is neither better nor worse where it is higher.")
    if (n := known[best].n_clusters) < 2:
        raise ConfigError(
            f"best={best} goes by the interval of the metric, and its {known[best].n} samples are about {n} image: "
            "raise limit= until there are several images."
        )


def _metrics(live: LiveTask) -> dict[str, Value]:
    """The metrics of a task as PROTOCOL/METRIC: those of empty answers, which need no model."""
    data = live.load()
    result = score([""] * len(data), data, protocols=live.arguments.get("protocols"))
    values = (Value.of(m) for m in result.summary.metrics if m.slice == "all")
    return {f"{value.protocol}/{value.metric}": value for value in values}
