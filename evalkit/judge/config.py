"""Configuration of a judge: server, dated model, parameters, prompt, budget.

One YAML per judge under conf/judge; its keys are the fields of `JudgeConfig`.  The API key of a hosted server is read
from an environment variable when a client is created; no field of this class contains it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from evalkit.clients.openai_client import MAX_REPLY_BYTES
from evalkit.clients.server_settings import check_key_name, check_url, server_label
from evalkit.core.errors import ConfigError, JudgeError, did_you_mean
from evalkit.core.files import cache_folder, expand_home
from evalkit.core.setting_types import check_ranges
from evalkit.core.types import digest_json
from evalkit.judge.closed_rules import CLOSED_RULES, COUNTINGS, ONCE
from evalkit.judge.config_checks import NAME, check_others, check_price
from evalkit.judge.reply_forms import ReplyForm, reply_form

RELATIVE = "relative"
CORRECTNESS = "correctness"
REFEREE = "referee"
REFERENCE_FIRST = "reference_first"
CANDIDATE_FIRST = "candidate_first"

CHOICES: dict[str, tuple[str, ...]] = {
    "judged": ("auto", RELATIVE, CORRECTNESS, REFEREE),
    "structured": ("auto", "off"),
    "style": ("evalkit", "llava-med-1.0", "llava-med-1.5", "medevalkit", "medevalkit-slake"),
    "rows": ("open", "all"),
    "order": (REFERENCE_FIRST, "swap"),
    "transport": ("server", "batch", "local"),
    "closed": ("judge", *CLOSED_RULES),
    "counting": COUNTINGS,
}
# Words of engine.batch, which a judge does not have.
ENGINE_BATCHES = ("write", "submit", "collect")
NO_BATCH_SERVICE = (
    "a judge's batches are not submitted by evalkit, as engine.batch=submit does for a model's. judge.transport=batch "
    "writes the request files into RUN/judge-batch; upload them to the provider's batch service, put its output files "
    "(.jsonl) beside them, and run the same command again."
)
HOSTED = ("api.openai.com",)
# Settings that do not determine a judgment.
NOT_IN_PLANS = (
    "cache", "offline", "concurrency", "timeout", "retries", "max_reply_bytes", "budget_usd", "budget_tokens",
)  # fmt: skip
# Settings for the ways of other authors; records leave out those that change nothing, as earlier versions did.
OTHERS = {"prompt": None, "reply": None, "rounds": 1, "again": "", "closed": "judge", "counting": ONCE}
DATED = re.compile(r"(19|20)\d\d-?\d\d-?\d\d|-\d{4}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """A judge, its requests and its limits.

    Args:
        name: as in `judge=NAME`; part of every judgment and metric.
        model: its name on the server; a dated snapshot wherever there is one.
        base_url: of an OpenAI-compatible server, including `/v1`.
        api_key_env: name of the environment variable with the API key; None for a server without keys.
        revision: commit of open weights; part of the plan and of the cache key.
        shutdown: ISO date on which the provider turns the model off; None where none is announced.
        price: {"input": USD, "output": USD (per million tokens), "date": ISO date, "batch_factor": share of the price
            that a batch costs}; None where it is unknown, which is not zero.
        parameters: of every request (temperature, seed, max_tokens ...), sent unchanged.
        structured: "auto" requests JSON under a schema, and continues without where the server refuses; "off" never
            requests it.
        judged: "relative" (two scores of 1 to 10), "correctness" (one verdict), "referee" (the option that an answer
            to a multiple-choice question states, where exact matching does not read one), "auto" (relative where the
            samples have a context for a judge, else correctness).
        prompt: name of the shipped prompt; None for that of the judged task.  prompt_version: of the shipped prompt.
        prompt_file: a user's own prompt instead, a Jinja file with the same variables.
        reply: form of the replies and the credit of each label (`evalkit.judge.reply_forms`); None for evalkit's own.
        rounds, again: number of replies to one prompt, and the text that asks for the next one; the majority counts.
        closed: "judge", or the rule that scores closed rows without a call (`evalkit.judge.closed_rules`).
        counting: how often a closed row counts, "once", or "zero" or "twice" as in faults of the authors' code.
        style: form of question, context and answers in the prompt: evalkit's own, or that of other authors' scripts
            (docs/judge.md).
        rows: samples that correctness covers, "open" or "all".
        order: "reference_first", or "swap" for both orders of reference and candidate and their mean.
        replicates: number of judgments per answer and order.
        send_images: attach the image.
        max_failed: largest share of answers without a judgment at which a value is still reported.
        concurrency: calls in flight.
        timeout: of an attempt of a call, in seconds, from connecting to the last byte; retries: further attempts.
        max_reply_bytes: limit of a reply, also after decompression; a larger one is a failed call.
        budget_usd, budget_tokens: limits over all calls of this judge for this run, earlier sessions included.
        image_tokens: assumed tokens per image, for estimates and budgets.
        cache: SQLite file of replies; "default" for the user's cache folder, None for none.
        offline: use the run folder and the cache only.
        transport: "server", "batch" (write and collect the provider's batch files) or "local" (a callable).
    """

    name: str
    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    revision: str | None = None
    shutdown: str | None = None
    price: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    structured: str = "auto"
    judged: str = "auto"
    prompt: str | None = None
    prompt_version: int = 1
    prompt_file: str | None = None
    style: str = "evalkit"
    reply: Mapping[str, Any] | None = None
    rounds: int = 1
    again: str = ""
    closed: str = "judge"
    counting: str = ONCE
    rows: str = "open"
    order: str = REFERENCE_FIRST
    replicates: int = 1
    send_images: bool = False
    max_failed: float = 0.02
    concurrency: int = 16
    timeout: float = 120.0
    retries: int = 5
    max_reply_bytes: int = MAX_REPLY_BYTES
    budget_usd: float | None = None
    budget_tokens: int | None = None
    image_tokens: int = 1100
    cache: str | None = "default"
    offline: bool = False
    transport: str = "server"

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"judge.name={self.name[:80]!r} is not possible: it names the file of the judge's scores. Expected "
                "letters, digits, '.', '_', '+' and '-', at most 100."
            )
        for key, allowed in CHOICES.items():
            given = getattr(self, key)
            if key == "transport" and given in ENGINE_BATCHES:
                raise ConfigError(f"judge.transport={given} is not possible: {NO_BATCH_SERVICE}")
            if given not in allowed:
                raise ConfigError(f"judge.{key}={given} is not a valid value. {did_you_mean(str(given), allowed)}")
        _check_numbers(self)
        _check_server(self)
        check_price(self.price)
        check_others(self)
        if self.judged == REFEREE and self.order != REFERENCE_FIRST:
            raise ConfigError("judge.order=swap is not possible for a referee, which is not shown the right option.")
        if self.budget_usd is not None and self.price is None:
            raise ConfigError(
                f"judge.budget_usd={self.budget_usd} cannot be enforced: the price of judge {self.name!r} is unknown. "
                "Give judge.price.input and judge.price.output (USD per million tokens) and judge.price.date, or use "
                "judge.budget_tokens."
            )

    @property
    def server(self) -> str:
        """Host, port and path of the server, for plans and cache keys."""
        if self.transport == "local":
            return "in-process"
        return server_label(self.base_url or "")

    @property
    def form(self) -> ReplyForm | None:
        """The form of the replies; None for evalkit's own."""
        return None if self.reply is None else reply_form(self.reply, "judge.reply")

    @property
    def orders(self) -> tuple[str, ...]:
        """The presentation orders of reference and candidate."""
        return (REFERENCE_FIRST, CANDIDATE_FIRST) if self.order == "swap" else (REFERENCE_FIRST,)

    @property
    def max_output_tokens(self) -> int:
        """Upper bound of the tokens of one reply."""
        given = self.parameters.get("max_completion_tokens", self.parameters.get("max_tokens", 1024))
        return int(given)

    def cache_path(self) -> Path | None:
        """File of the replies of all runs; None for no cache."""
        if self.cache is None:
            return None
        if self.cache != "default":
            return expand_home(self.cache)
        return cache_folder() / "judge.sqlite"

    def record(self) -> dict[str, Any]:
        """The settings that determine the judgments, for the plan line of judgments.jsonl."""
        kept = asdict(self)
        for key in NOT_IN_PLANS:
            del kept[key]
        for key, plain in OTHERS.items():
            if kept[key] == plain:
                del kept[key]
        if self.reply is not None:
            kept["reply"] = asdict(reply_form(self.reply, "judge.reply"))
        return {**kept, "price": dict(self.price) if self.price else None, "parameters": dict(self.parameters)}

    def digest(self) -> str:
        """8 hex of the digest of `record`."""
        return digest_json(self.record())[:8]


def read_key(config: JudgeConfig) -> str | None:
    """The API key from the environment; None for a server without keys.

    Raises:
        JudgeError: the environment variable is not set.
    """
    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise JudgeError(
            f"Judge {config.name!r} needs a key for {config.server}, and the environment variable {config.api_key_env} "
            "is not set. No request was sent and nothing was spent. Set the variable (never put the key on the command "
            "line or in a YAML), choose another with judge.api_key_env, or use a local server: judge=server "
            "judge.base_url=http://localhost:8000/v1 judge.model=NAME."
        )
    return key


def check_lifetime(config: JudgeConfig, today: date, announced: str | None = None) -> list[str]:
    """Warnings about the lifetime of a judge: an announced shutdown, a model name without a date.

    Args:
        announced: the `shutdown_date` that the server reports; takes precedence over the YAML.

    Raises:
        JudgeError: the model was already shut down.
    """
    warnings: list[str] = []
    shutdown = announced or config.shutdown
    if shutdown:
        day = date.fromisoformat(shutdown)
        if day <= today:
            raise JudgeError(
                f"Judge {config.name!r} is not available: {config.model} was shut down on {day}. No request was sent "
                "and nothing was spent. Stored judgments can still be aggregated; for new ones choose another judge "
                "(`python -m evalkit list judges`), which gives different numbers."
            )
        warnings.append(
            f"judge {config.name}: {config.model} will be shut down on {day}, in {(day - today).days} days; after that "
            "these judgments cannot be repeated. Keep judgments.jsonl, or use a judge with open weights."
        )
    host = urlsplit(config.base_url or "").hostname
    if host in HOSTED and config.model and not DATED.search(config.model):
        warnings.append(
            f"judge {config.name}: {config.model} is an alias without a date; its model can change between two calls. "
            "Prefer a dated snapshot."
        )
    return warnings


def _check_numbers(config: JudgeConfig) -> None:
    usd, tokens = config.budget_usd, config.budget_tokens
    rules = {
        "replicates": (config.replicates >= 1, "a number of judgments of each answer, from 1"),
        "rounds": (1 <= config.rounds <= 9 and config.rounds % 2 == 1, "an odd number from 1 to 9"),
        "max_failed": (0 <= config.max_failed < 1, "a share from 0 to below 1, such as 0.02"),
        "concurrency": (1 <= config.concurrency <= 1000, "a number of requests in flight, 1 to 1000"),
        "timeout": (config.timeout > 0, "seconds above 0"),
        "retries": (config.retries >= 0, "a number of further attempts, 0 for none"),
        "max_reply_bytes": (config.max_reply_bytes > 0, "a number of bytes of 1 or more"),
        "budget_usd": (usd is None or usd > 0, "an amount above 0, or null for no limit"),
        "budget_tokens": (tokens is None or tokens > 0, "a number of tokens of 1 or more, or null for no limit"),
        "prompt_version": (config.prompt_version >= 1, "a version from 1"),
        "image_tokens": (config.image_tokens >= 0, "a number of tokens, 0 for none"),
    }
    check_ranges("judge", *((key, getattr(config, key), *rule) for key, rule in rules.items()))
    if config.shutdown is not None and not is_date(config.shutdown):
        raise ConfigError(f"judge.shutdown={config.shutdown} is not a date of the form 2027-01-14.")


def is_date(value: object) -> bool:
    """Whether a value is the text of a date, in the ISO form."""
    try:
        date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return True


def _check_server(config: JudgeConfig) -> None:
    if not config.model:
        raise ConfigError(f"Judge {config.name!r} has no model; set judge.model=NAME, its name on the server.")
    if config.transport == "server" or config.base_url:
        check_url(config.base_url, "judge.base_url", f"Judge {config.name!r}")
    check_key_name(config.api_key_env, "judge.api_key_env")
