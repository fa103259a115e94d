"""Settings of a run, from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evalkit.core.errors import ConfigError
from evalkit.pipeline.shards import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The run's own settings, from the command line.

    preflight: number of answers that are looked at before the others are asked; None for no look.  preflight_require:
    see `evalkit.pipeline.preflight`.
    continuation: under scoring=loglikelihood, how an option goes on from the prompt (`tasks.option_rows`); None where
    answers are generated.
    confidence: the log-probability of each answer is asked for and stored.
    reasoning: "auto" splits a model's thoughts off its answers, "keep" scores each text as it came.

    Raises:
        ConfigError: preflight is below 1, or preflight_require is no share.
    """

    model: str
    image: str = "original"
    limit: int | None = None
    out: Path = Path("runs")
    resume: bool = True
    dry_run: bool = False
    shard: Shard | None = None
    reasoning: str = "auto"
    preflight: int | None = None
    preflight_require: float | None = None
    continuation: str | None = None
    confidence: bool = False

    def __post_init__(self) -> None:
        if self.preflight is not None and self.preflight < 1:
            raise ConfigError(f"preflight={self.preflight} is invalid; expected a number of answers, or null for none.")
        if self.preflight_require is not None and not 0 < self.preflight_require <= 1:
            raise ConfigError(
                f"preflight.require={self.preflight_require} is invalid; expected a share above 0, at most 1."
            )

    @property
    def scoring(self) -> str:
        """What answers are made of: "generation" or "loglikelihood"."""
        return "generation" if self.continuation is None else "loglikelihood"
