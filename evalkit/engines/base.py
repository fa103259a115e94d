"""Contract between engines, which answer requests, and the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from evalkit.core.types import Generation, Prediction, Request


class Engine(Protocol):
    """Answers requests in batches, in any order.

    `identity` is the digest of everything on the model's side that determines an answer (weights, template, dtype ...)
    and is known before any weights are loaded.  `needs_images` is False for baselines that do not use the image.  An
    engine may have `max_images`, the most images that its model takes in one question; without it, or with None, no
    limit is known.  `scores_options` is True where it answers requests with continuations, by `Prediction.options`.

    Four more may be there: `decoding`, a word that stands in signatures in place of `generation`, of an engine that
    does not know how its answers are decoded; `generation_suffix`, a text behind the decoding settings of signatures,
    for what the model is asked in another way than they say; `use_folder(path)`, called with the run's folder before
    `generate`; `status()`, a short text for the progress line, such as the cost so far.
    """

    name: str
    identity: str
    needs_images: bool
    generation: Generation

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """Yield the predictions of each batch as it completes; every request exactly once, a failure as an error."""
        ...

    def metadata(self) -> dict[str, Any]:
        """Record for the manifest: classes, versions, device, counters.  Complete only after `generate`."""
        ...
