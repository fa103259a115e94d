"""engine=server: a model behind an OpenAI-compatible server (vLLM, SGLang, TGI, `transformers serve`, a hosted one)."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalkit.clients.openai_client import Caller, ChatServer, check_key_name, check_url, place_of
from evalkit.clients.response import CallFailed, Reply
from evalkit.core import console
from evalkit.core.errors import ConfigError, EngineError, Partial
from evalkit.core.types import Prediction, Request, digest_json
from evalkit.engines import chat_format as wire
from evalkit.engines.loaded_model import failed, failure
from evalkit.engines.preprocess import SAMPLE_FAULTS, by_image
from evalkit.engines.request_schedule import Schedule, Session, Turn, told_of_interrupts
from evalkit.engines.server_info import Served, look_up
from evalkit.models.checkpoint import CheckpointSpec

# Failures with no answer between them: an outage, and to go on would only make it longer.
OUTAGE = 10
# When the first so many requests are refused in the same words, the fault is not theirs.
REFUSALS_BEFORE_GIVING_UP = 8
CALLER = Caller(name="engine=server", group="engine", model_setting="engine.served_model", error=EngineError)


class ServerEngine:
    """Generates by asking a server.

    Args:
        spec: the model; its decoding settings are used, its weights are not looked for.
        url: of the server, up to and with `/v1`.
        served_model: the id that the server knows the model by; None: `served_as` of the model's YAML, else its source.
        revision: which weights these are (a commit, a digest), for the record and the answers' key; nobody checks it.
        api_key_env: the environment variable that holds the key; None for a server that wants none.
        concurrency: requests in flight.
        timeout: seconds a request may take; retries: further attempts after it was refused for now, broken or lost.
        lead: send an image's first question ahead of its others, so that they find its part of the prompt cached.
        unlisted: take a model that the server's list of models does not name.
        send_template: send the chat template of the model's YAML along, to servers that take one (vLLM with
            --trust-request-chat-template); false: the server's own is used.
        extra_body: further parameters of the request's JSON, sent as they are.
    """

    name = "server"
    needs_images = True
    local_weights = False

    def __init__(
        self,
        *,
        spec: CheckpointSpec,
        url: str | None = None,
        served_model: str | None = None,
        revision: str | None = None,
        api_key_env: str | None = None,
        concurrency: int = 16,
        timeout: float = 300.0,
        retries: int = 5,
        lead: bool = True,
        unlisted: bool = False,
        send_template: bool = False,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        check_url(url, "engine.url", "engine=server")
        check_key_name(api_key_env, "engine.api_key_env")
        for name, value, fine in (
            ("concurrency", concurrency, 1 <= concurrency <= 1000),
            ("timeout", timeout, timeout > 0),
            ("retries", retries, retries >= 0),
        ):
            if not fine:
                raise ConfigError(f"engine.{name}={value} is not possible.")
        self.spec = spec
        self.generation = spec.generation
        self.url = str(url)
        self.model = _model_id(spec, served_model)
        self.revision = revision
        self.api_key_env = api_key_env
        self.concurrency, self.timeout, self.retries = concurrency, timeout, retries
        self.lead = lead
        self.extra = _extra(spec, send_template, extra_body)
        self.template_sent = send_template
        self.parameters = wire.parameters(self.generation)
        self.served = asyncio.run(self._look_up(unlisted))
        self.identity = digest_json([self.name, self.model, revision, self.served.says, self.extra])
        self._counts: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._returned: Counter[str] = Counter()
        self._fingerprints: Counter[str] = Counter()
        self._dropped: set[str] = set()
        self._refusals: Counter[str] = Counter()
        self._in_a_row = 0

    def _connect(self) -> ChatServer:
        return ChatServer(
            url=self.url,
            model=self.model,
            caller=CALLER,
            key=_read_key(self.api_key_env, self.url),
            key_env=self.api_key_env,
            timeout=self.timeout,
            retries=self.retries,
            concurrency=self.concurrency,
            dispensable=wire.dispensable(self.generation),
            dropped=set(),
        )

    async def _look_up(self, unlisted: bool) -> Served:
        server = self._connect()
        try:
            return await look_up(server, unlisted=unlisted)
        finally:
            await server.close()

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.  Answers are given out as they arrive.

        Raises:
            EngineError: the key is refused, the model is gone, or nothing at all is answered.
            Partial: the server went away in the middle.
        """
        if not requests:
            return
        if self.spec.chat_template is not None and not self.template_sent:
            console.note(
                f"note: {self.spec.name} has a chat template in its YAML, and the server uses its own; start the "
                "server with the same (vLLM: --chat-template FILE), or say engine.send_template=true"
            )
        with asyncio.Runner() as runner:
            server = self._connect()
            groups = by_image(requests)
            session = Session(Schedule(iter(groups), self.lead), lambda turn: self._ask(server, turn))
            with told_of_interrupts(runner.get_loop(), session.interrupt):
                try:
                    runner.run(session.start(min(self.concurrency, len(requests))))
                    while batch := runner.run(session.batch()):
                        yield batch
                finally:
                    runner.run(session.close())
                    runner.run(server.close())
                    self._dropped |= server.dropped
                if session.interrupted:
                    raise KeyboardInterrupt

    async def _ask(self, server: ChatServer, turn: Turn) -> Prediction:
        request = turn.request
        try:
            urls = await turn.group.urls()
        except SAMPLE_FAULTS as problem:
            return failed(request, problem)
        if turn.request is turn.group.requests[0]:
            self._counts["image_encodes"] += len(urls)
        attempts: list[str] = []
        try:
            reply = await server.ask(wire.body(request, urls, self.model, self.extra), attempts)
        except CallFailed as problem:
            self._attempts.update(attempts)
            self._failed(problem)
            return failure(request, str(problem), attempts)
        self._attempts.update(attempts)
        self._count(reply)
        return wire.answered(request, reply, attempts)

    def _count(self, reply: Reply) -> None:
        self._in_a_row = 0
        self._counts["replies"] += 1
        for name, value in (
            ("prompt_tokens", reply.tokens_in),
            ("cached_tokens", reply.tokens_cached),
            ("answer_tokens", reply.tokens_out),
        ):
            if value is not None:
                self._counts[name] += value
        self._returned[str(reply.model)] += 1
        self._fingerprints[str(reply.fingerprint)] += 1

    def _failed(self, problem: CallFailed) -> None:
        """Count a call without a reply; raise where to go on makes no sense."""
        self._counts["failed"] += 1
        if not problem.passing:
            self._refusals[str(problem)] += 1
            if not self._counts["replies"] and self._refusals[str(problem)] >= REFUSALS_BEFORE_GIVING_UP:
                raise EngineError(
                    f"{self.spec.name}: the server {place_of(self.url)} refuses every request: {problem}. The model, "
                    "the settings that are sent (engine.extra_body, generation) or the server's own limits do not fit."
                )
            return
        self._in_a_row += 1
        if self._in_a_row < max(OUTAGE, self.concurrency):
            return
        said = f"{self._in_a_row} requests in a row to {place_of(self.url)} brought no reply, the last: {problem}."
        if not self._counts["replies"]:
            raise EngineError(f"{said} Nothing was answered; look at the server's log.")
        raise Partial(f"{said} What is answered is kept; the same command goes on from there.")

    def facts(self) -> dict[str, Any]:
        """See `Engine.facts`.  The weights are on another machine: what is said of them here is the server's word."""
        return {
            "engine": self.name,
            "server": place_of(self.url),
            "served_model": self.model,
            "weights_sha256": None,
            "weights": "not seen by evalkit: which weights answered is the server's word, and revision the user's",
            "revision": self.revision,
            "listed": self.served.listed,
            "server_says": self.served.says,
            "chat_template": "the model's, sent with each request" if self.template_sent else "the server's own",
            "image_processor": "the server's own",
            "dtype": "the server's own",
            "sent": self.parameters,
            "extra_body": {k: v for k, v in self.extra.items() if k != "chat_template"},
            "not_standard": sorted((set(self.parameters) | set(self.extra)) - wire.STANDARD - self._dropped),
            "refused_by_server": sorted(self._dropped),
            "concurrency": self.concurrency,
            "timeout": self.timeout,
            "retries": self.retries,
            "lead": self.lead,
            "attempts": dict(self._attempts),
            "models_returned": dict(self._returned),
            "system_fingerprints": dict(self._fingerprints),
            "counters": dict(self._counts),
        }


def _model_id(spec: CheckpointSpec, given: str | None) -> str:
    known = given or spec.config.get("served_as") or spec.config.get("source")
    if not known:
        raise ConfigError(
            f"{spec.name} has no source that a server would name it by; give engine.served_model=ID as the server "
            "lists it."
        )
    return str(known)


def _extra(spec: CheckpointSpec, send_template: bool, extra_body: Mapping[str, Any] | None) -> dict[str, Any]:
    extra = dict(extra_body or {})
    ours = wire.STANDARD | {"top_k", "repetition_penalty", "chat_template", "n", "stream"}
    if taken := sorted(ours & set(extra)):
        raise ConfigError(
            f"engine.extra_body may not hold {', '.join(taken)}: decoding is set by the model's YAML "
            "(generation=NAME), the template by engine.send_template."
        )
    if not send_template:
        return extra
    if spec.chat_template is None:
        raise ConfigError(
            f"engine.send_template=true: {spec.name} has no chat template in its YAML (chat_template), so there is "
            "none to send; the server's own is the checkpoint's."
        )
    return {**extra, "chat_template": spec.chat_template}


def _read_key(name: str | None, url: str) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"engine=server needs a key for {place_of(url)}, and the environment variable {name} is not set. Set the "
            "variable (never the key on the command line or in a YAML), or name another with engine.api_key_env."
        )
    return key
