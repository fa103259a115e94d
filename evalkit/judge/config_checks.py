"""Checks of a judge's settings that depend on each other, and of its price."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.judge.closed_rules import ONCE

if TYPE_CHECKING:
    from evalkit.judge.config import JudgeConfig

NAME = re.compile(r"(?!\.)[\w.+-]{1,100}")


def check_others(config: JudgeConfig) -> None:
    """Check the settings for the ways of other authors, which depend on each other."""
    if config.prompt is not None and not NAME.fullmatch(config.prompt):
        raise ConfigError(f"judge.prompt={config.prompt[:80]!r} is not the name of a shipped prompt.")
    if (config.form is not None or config.closed != "judge") and config.judged != "correctness":
        raise ConfigError(
            f"judge.reply and judge.closed belong to judge.judged=correctness, and it is {config.judged}: set it, or "
            "remove them."
        )
    if config.closed != "judge" and config.rows != "all":
        raise ConfigError(
            f"judge.closed={config.closed} scores closed rows, which judge.rows=open leaves out: all is needed."
        )
    if config.counting != ONCE and config.closed == "judge":
        raise ConfigError(f"judge.counting={config.counting} needs the rule of the closed rows: set judge.closed.")
    if config.rounds > 1 and (config.form is None or not config.again.strip() or config.transport == "batch"):
        raise ConfigError(
            f"judge.rounds={config.rounds} needs judge.reply, the text judge.again that asks for the next reply, and a "
            "server or a local judge, as a batch has one reply a request."
        )


def check_price(price: Mapping[str, Any] | None) -> None:
    if price is None:
        return
    known = ("input", "output", "date", "batch_factor")
    for key in price:
        if key not in known:
            raise ConfigError(f"judge.price.{key} is not a setting. {did_you_mean(key, known)}")
    for key in ("input", "output"):
        if not isinstance(price.get(key), int | float) or price[key] < 0:
            raise ConfigError(f"judge.price.{key} must be a price in USD per million tokens.")
    if not price.get("date"):
        raise ConfigError("judge.price.date must be the date of these prices.")
