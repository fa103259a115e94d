"""The settings `scoring`, `loglikelihood`, `choices` and `generation.n`, kept in a run's configuration of its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, checked_choice, choice_prompt, every_protocol
from evalkit.core.errors import ConfigError

if TYPE_CHECKING:
    from evalkit.runs.schema import Manifest
    from evalkit.tasks.base import Task

SCORING = ("generation", "loglikelihood")
# Settings beside the chosen options of the config groups.
ORDER_SETTINGS = ("shuffle", "seed")
# Settings of a task that decide which rows a run asks and how often.
OF_THE_RUN = ("option_rows", "orders", "orders_seed", "draws")


def scoring_of(config: Config) -> str:
    """The setting `scoring`."""
    return checked_choice(config.get("scoring", SCORING[0]), SCORING, "scoring")


def continuation_kind(config: Config) -> str | None:
    """What is scored of an option under scoring=loglikelihood: "letter", "number" or "text"; else None.

    Raises:
        ConfigError: the label is asked for, and the prompt gives the options none.
    """
    if scoring_of(config) == SCORING[0]:
        return None
    given = config.get("loglikelihood") or {}
    kind = checked_choice(given.get("continuation", "label"), ("label", "text"), "loglikelihood.continuation")
    if kind == "text" or config["task"].get("template"):
        return "text" if kind == "text" else "letter"
    prompt = choice_prompt(config["task"])
    if prompt not in ("letters", "numbers"):
        raise ConfigError(
            f"loglikelihood.continuation=label scores the letter or number of an option, and the prompt {prompt} gives "
            "the options none. Set task.choice_prompt=letters (task.prompt=letters where the task has one prompt), or "
            "loglikelihood.continuation=text."
        )
    return str(prompt).removesuffix("s")


def with_scoring(config: Config) -> Config:
    """The configuration with the protocols and rows of scoring=loglikelihood.

    Raises:
        ConfigError: a chosen protocol reads other answers than the run makes.
    """
    chosen = config.get("protocol") or {}
    needing = [n for n, content in chosen.items() if isinstance(content, Mapping) and content.get("scoring")]
    if scoring_of(config) == SCORING[0]:
        if needing:
            raise ConfigError(
                f"protocol={needing[0]} reads log-probabilities of options, which a run with scoring=loglikelihood "
                "stores, and no other."
            )
        return config
    fitting = {name: content for name, content in every_protocol().items() if content.get("scoring") == SCORING[1]}
    if others := [name for name in chosen if name != "all" and name not in needing]:
        raise ConfigError(
            f"protocol={others[0]} reads a text, and scoring=loglikelihood generates none. Leave protocol out, or "
            f"choose from {', '.join(fitting)}."
        )
    protocols = fitting if not needing or "all" in chosen else chosen
    rows = "choice+yes-no" if (config.get("loglikelihood") or {}).get("yes_no") else "choice"
    task = {**config["task"], "option_rows": rows, "baseline_protocols": list(protocols)}
    return {**config, "protocol": protocols, "task": task}


def with_orders(config: Config) -> Config:
    """The configuration with `choices.shuffle` and `choices.seed` as settings of the task."""
    choices = {key: value for key, value in config["choices"].items() if key not in ORDER_SETTINGS}
    shuffle, seed = (config["choices"].get(key) for key in ORDER_SETTINGS)
    orders = {} if shuffle is None else {"orders": shuffle, "orders_seed": seed or 0}
    return {**config, "choices": choices, "task": {**config["task"], **orders}}


def with_draws(config: Config, n: int) -> Config:
    """The configuration with the number of answers that are drawn of each sample as a setting of the task.

    Raises:
        ConfigError: nothing is generated, or the questions are asked in several orders too.
    """
    if n == 1:
        return config
    if scoring_of(config) != SCORING[0] or config["task"].get("orders") is not None:
        other = "scoring=loglikelihood" if scoring_of(config) != SCORING[0] else "choices.shuffle"
        raise ConfigError(f"generation.n={n} is not possible together with {other}; leave one of them out.")
    return {**config, "task": {**config["task"], "draws": n}}


def with_run_options(config: Config, manifest: Manifest | None) -> Config:
    """The configuration of a re-scoring, with the rows, orders and protocols of the run that made the answers.

    manifest: of that run; None for answers from other files.

    Raises:
        ConfigError: see `with_scoring`.
    """
    scoring = SCORING[0] if manifest is None else manifest.scoring
    stored = {} if manifest is None else manifest.section("task")
    config = with_scoring({**config, "scoring": scoring})
    own = {key: stored[key] for key in OF_THE_RUN if stored.get(key) is not None}
    return {**config, "task": {**config["task"], **own}}


def with_option_settings(task: Task, content: Mapping[str, Any]) -> Task:
    """A task with the rows and the orders of options that its configuration asks for."""
    from evalkit.tasks.choice_orders import ChoiceOrdersTask
    from evalkit.tasks.draws import DrawsTask
    from evalkit.tasks.option_rows import OptionRowsTask

    if content.get("option_rows"):
        task = OptionRowsTask(task, str(content["option_rows"]))
    if content.get("orders") is not None:
        task = ChoiceOrdersTask(task, int(content["orders"]), int(content.get("orders_seed") or 0))
    if content.get("draws") is not None:
        task = DrawsTask(task, int(content["draws"]))
    return task
