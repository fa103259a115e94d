"""engine=server: a model on an OpenAI-compatible server (vLLM, SGLang, TGI, `transformers serve`, a hosted service)."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalkit.clients.openai_client import MAX_REPLY_BYTES, Caller, ChatServer
from evalkit.clients.response import CallFailed, Reply
from evalkit.clients.server_settings import check_key_name, check_url, server_label
from evalkit.core import console
from evalkit.core.errors import ConfigError, EngineError, Partial
from evalkit.core.types import Prediction, Request, digest_json
from evalkit.engines import chat_format
from evalkit.engines.loaded_model import failed_prediction, prediction_of_error
from evalkit.engines.preprocess import SAMPLE_FAULTS, group_by_image
from evalkit.engines.request_schedule import RequestSchedule, RequestSession, ScheduledRequest, handle_interrupt
from evalkit.engines.server_info import ServedModel, look_up
from evalkit.models.checkpoint import CheckpointSpec

# This many failures in a row are an outage, which the run does not wait out.
MAX_FAILURES_IN_A_ROW = 10
# If this many first requests are refused with the same message, the cause is not the requests.
MAX_INITIAL_REFUSALS = 8
# Names that differ with every reply identify nothing: the user is told of the first ones, the record has some more.
MAX_MODELS_SAID, MAX_NAMES_KEPT = 5, 50
CALLER = Caller(name="engine=server", group="engine", model_setting="engine.served_model", error=EngineError)


class ServerEngine:
    """Generates by sending requests to a server.

    Args:
        spec: the model; its decoding settings are used, its weights are not needed locally.
        url: of the server, up to and including `/v1`.
        served_model: the model's id on the server; None: `served_as` of the model's YAML, else its source.
        revision: revision of the weights (a commit, a digest), for the record and the answers' key; it is not verified.
        api_key_env: environment variable that holds the API key; None for a server without a key.
        concurrency: maximum number of requests in flight.
        timeout: seconds that one attempt of a request may take, from connecting to the last byte of the reply.
        retries: further attempts after a request was refused temporarily, failed or was lost.
        lead: send an image's first question before its others, so that these find its part of the prompt cached.
        unlisted: accept a model that is not in the server's list of models.
        send_template: send the chat template of the model's YAML with each request, to servers that accept one (vLLM
            with --trust-request-chat-template); false: the server's template is used.
        extra_body: further parameters of the request's JSON, sent unchanged.
        max_reply_bytes: limit of a reply, also after decompression; a larger one is a failed request.
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
        max_reply_bytes: int = MAX_REPLY_BYTES,
    ) -> None:
        check_url(url, "engine.url", "engine=server")
        check_key_name(api_key_env, "engine.api_key_env")
        for name, value, valid in (
            ("concurrency", concurrency, 1 <= concurrency <= 1000),
            ("timeout", timeout, timeout > 0),
            ("retries", retries, retries >= 0),
            ("max_reply_bytes", max_reply_bytes, max_reply_bytes > 0),
        ):
            if not valid:
                raise ConfigError(f"engine.{name}={value} is not a valid value; see conf/engine/server.yaml.")
        self.spec = spec
        self.generation = spec.generation
        self.max_images = spec.max_images
        self.url = str(url)
        self.model = _model_id(spec, served_model)
        self.revision = revision
        self.api_key_env = api_key_env
        self.concurrency, self.timeout, self.retries = concurrency, timeout, retries
        self.max_reply_bytes = max_reply_bytes
        self.lead = lead
        self.extra = _extra(spec, send_template, extra_body)
        self.template_sent = send_template
        self.parameters = chat_format.parameters(self.generation)
        self.served = asyncio.run(self._look_up(unlisted))
        self.identity = digest_json([self.name, self.model, revision, self.served.reported, self.extra])
        self._counts: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._returned: Counter[str] = Counter()
        self._fingerprints: Counter[str] = Counter()
        self._dropped: set[str] = set()
        self._refusals: Counter[str] = Counter()
        self._failures_in_a_row = 0

    def _connect(self) -> ChatServer:
        return ChatServer(
            url=self.url,
            model=self.model,
            caller=CALLER,
            key=self._key(),
            key_env=self.api_key_env,
            timeout=self.timeout,
            retries=self.retries,
            concurrency=self.concurrency,
            dispensable=chat_format.dispensable(self.generation),
            dropped=set(),
            max_reply_bytes=self.max_reply_bytes,
        )

    def _key(self) -> str | None:
        return _read_key(self.api_key_env, self.url)

    async def _look_up(self, unlisted: bool) -> ServedModel:
        server = self._connect()
        try:
            return await look_up(server, unlisted=unlisted)
        finally:
            await server.close()

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.  Predictions are yielded as replies arrive.

        Raises:
            EngineError: the key is refused, the model is no longer served, or no request is answered.
            Partial: the server stopped answering during the run.
        """
        if not requests:
            return
        if self.spec.chat_template is not None and not self.template_sent:
            console.note(
                f"note: {self.spec.name} has a chat template in its YAML, but the server uses its own; start the "
                "server with the same template (vLLM: --chat-template FILE), or set engine.send_template=true"
            )
        with asyncio.Runner() as runner:
            server = self._connect()
            schedule = RequestSchedule(iter(group_by_image(requests)), self.lead)
            session = RequestSession(schedule, lambda scheduled: self._send(server, scheduled))
            with handle_interrupt(runner.get_loop(), session.interrupt):
                try:
                    runner.run(session.start(min(self.concurrency, len(requests))))
                    while batch := runner.run(session.next_batch()):
                        yield batch
                finally:
                    runner.run(session.close())
                    runner.run(server.close())
                    self._dropped |= server.dropped
                if session.interrupted:
                    raise KeyboardInterrupt

    async def _send(self, server: ChatServer, scheduled: ScheduledRequest) -> Prediction:
        request = scheduled.request
        try:
            urls = await scheduled.group.urls()
        except SAMPLE_FAULTS as problem:
            return prediction_of_error(request, problem)
        if request is scheduled.group.requests[0]:
            self._counts["image_encodes"] += len(urls)
        attempts: list[str] = []
        try:
            reply = await server.ask(chat_format.body(request, urls, self.model, self.extra), attempts)
        except CallFailed as problem:
            self._attempts.update(attempts)
            self._count_failure(problem)
            return failed_prediction(request, str(problem), attempts)
        self._attempts.update(attempts)
        self._count_reply(reply)
        return chat_format.prediction_of(request, reply, attempts)

    def _count_reply(self, reply: Reply) -> None:
        self._failures_in_a_row = 0
        self._counts["replies"] += 1
        for name, value in (
            ("prompt_tokens", reply.tokens_in),
            ("cached_tokens", reply.tokens_cached),
            ("answer_tokens", reply.tokens_out),
        ):
            if value is not None:
                self._counts[name] += value
        is_new = reply.model not in self._returned and len(self._returned) < MAX_MODELS_SAID
        if reply.model and reply.model != self.model and is_new:
            console.warn(
                f"engine=server asked {server_label(self.url)} for the model {self.model!r}, and its replies name "
                f"{reply.model!r}: the numbers are those of whatever answered. The manifest records both names"
            )
        _tally(self._returned, str(reply.model))
        _tally(self._fingerprints, str(reply.fingerprint))

    def _count_failure(self, problem: CallFailed) -> None:
        """Count a call without a reply; raise an error if further requests would fail too."""
        self._counts["failed"] += 1
        if not problem.transient:
            if self._counts["replies"]:
                return
            self._refusals[str(problem)] += 1
            if self._refusals[str(problem)] >= MAX_INITIAL_REFUSALS:
                raise EngineError(
                    f"{self.spec.name}: the server {server_label(self.url)} refuses every request: {problem}. Check "
                    "the model, the settings that are sent (engine.extra_body, generation) and the server's limits."
                )
            return
        self._failures_in_a_row += 1
        if self._failures_in_a_row < max(MAX_FAILURES_IN_A_ROW, self.concurrency):
            return
        message = (
            f"{self._failures_in_a_row} requests in a row to {server_label(self.url)} got no reply, the last: "
            f"{problem}."
        )
        if not self._counts["replies"]:
            raise EngineError(f"{message} Nothing was answered; see the server's log.")
        raise Partial(f"{message} The answers so far are kept; run the same command again to continue.")

    def metadata(self) -> dict[str, Any]:
        """See `Engine.metadata`.  The weights are on another machine; the record holds what the server reports."""
        return {
            "engine": self.name,
            "server": server_label(self.url),
            "served_model": self.model,
            "weights_sha256": None,
            "weights": "not verified by evalkit: the weights are reported by the server, the revision by the user",
            "revision": self.revision,
            "listed": self.served.listed,
            "server_says": self.served.reported,
            "chat_template": "the model's, sent with each request" if self.template_sent else "the server's own",
            "image_processor": "the server's own",
            "dtype": "the server's own",
            "sent": self.parameters,
            "extra_body": {k: v for k, v in self.extra.items() if k != "chat_template"},
            "not_standard": sorted((set(self.parameters) | set(self.extra)) - chat_format.STANDARD - self._dropped),
            "refused_by_server": sorted(self._dropped),
            "concurrency": self.concurrency,
            "timeout": self.timeout,
            "retries": self.retries,
            "lead": self.lead,
            "attempts": dict(self._attempts),
            "models_returned": dict(self._returned),
            "other_models": sorted(name for name in self._returned if name not in (self.model, "None")),
            "system_fingerprints": dict(self._fingerprints),
            "counters": dict(self._counts),
        }


def _tally(names: Counter[str], name: str) -> None:
    """Count a name that replies give, names after the first MAX_NAMES_KEPT together."""
    names[name if name in names or len(names) < MAX_NAMES_KEPT else "(other names)"] += 1


def _model_id(spec: CheckpointSpec, given: str | None) -> str:
    model_id = given or spec.config.get("served_as") or spec.config.get("source")
    if not model_id:
        raise ConfigError(
            f"{spec.name} has no source that could be its id on the server; set engine.served_model=ID to the id in "
            "the server's list of models."
        )
    return str(model_id)


def _extra(spec: CheckpointSpec, send_template: bool, extra_body: Mapping[str, Any] | None) -> dict[str, Any]:
    extra = dict(extra_body or {})
    reserved = chat_format.STANDARD | {"top_k", "repetition_penalty", "chat_template", "n", "stream"}
    if taken := sorted(reserved & set(extra)):
        raise ConfigError(
            f"engine.extra_body may not contain {', '.join(taken)}: decoding is set by the model's YAML "
            "(generation=NAME), the template by engine.send_template."
        )
    if not send_template:
        return extra
    if spec.chat_template is None:
        raise ConfigError(
            f"engine.send_template=true: {spec.name} has no chat template in its YAML (chat_template), so there is "
            "none to send; without the setting, the server uses the checkpoint's template."
        )
    return {**extra, "chat_template": spec.chat_template}


def _read_key(name: str | None, url: str) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"engine=server needs a key for {server_label(url)}, but the environment variable {name} is not set. Set "
            "the variable (never put the key on the command line or in a YAML), or name another variable with "
            "engine.api_key_env."
        )
    return key
