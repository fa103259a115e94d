"""engine=server: a model on an OpenAI-compatible server (vLLM, SGLang, TGI, `transformers serve`, a hosted service)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from evalkit.clients.budget import Budget, Tokens
from evalkit.clients.file_server import FileServer
from evalkit.clients.openai_client import MAX_REPLY_BYTES, Caller, ChatServer
from evalkit.clients.providers import Provider
from evalkit.clients.rate_limits import RateWaits
from evalkit.clients.redaction import redactor
from evalkit.clients.response import CallFailed, Reply
from evalkit.clients.server_settings import check_key_name, check_url, server_label
from evalkit.core import console
from evalkit.core.errors import ConfigError, EngineError, Partial
from evalkit.core.setting_types import check_ranges
from evalkit.core.types import Prediction, Request, digest_json
from evalkit.engines import chat_format
from evalkit.engines.loaded_model import failed_prediction, prediction_of_error
from evalkit.engines.preprocess import SAMPLE_FAULTS, group_by_image
from evalkit.engines.request_schedule import RequestSchedule, RequestSession, ScheduledRequest, handle_interrupt
from evalkit.engines.server_batch import ServerBatch
from evalkit.engines.server_info import ServedModel, look_up
from evalkit.engines.server_log import ServerLog
from evalkit.engines.server_request import (
    decoding,
    extra_parameters,
    find_price,
    make_parameters,
    model_id,
    read_key,
)
from evalkit.engines.server_state import ServerState, upper_bound
from evalkit.models.checkpoint import CheckpointSpec, refuse_changes

PIXELS = "a number of pixels of 1 or more, or null for images in their full size"
USD = "an amount above 0, or null for no limit; dry_run=true shows what would be asked without asking"
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
        provider: content of the server's preset; None for a server that follows the interface.
        api_version: of Azure's interface; None: that of the preset.
        drop: parameters that are not sent; `max_tokens` is sent as `max_completion_tokens` instead.
        max_pixels: images with more pixels are scaled down before they are sent; None: full size.
        price_per_million: USD per million tokens of prompt and answer; None: the preset's price of the model.
        budget_usd: what all starts of this run together may cost.
        batch: "write", "submit" or "collect" the requests as batches; None: they are sent one by one.
        url_from: environment variable that the address is from, for the record.
    """

    name = "server"
    needs_images = True
    local_weights = False
    gives_probability = True

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
        provider: Mapping[str, Any] | None = None,
        api_version: str | None = None,
        drop: Sequence[str] = (),
        max_pixels: int | None = None,
        price_per_million: Sequence[float] | None = None,
        budget_usd: float | None = None,
        batch: Literal["write", "submit", "collect"] | None = None,
        url_from: str | None = None,
    ) -> None:
        self.provider = Provider.of(provider or {})
        url = url or self.provider.url
        check_url(url, "engine.url", "engine=server", self.provider.address)
        check_key_name(api_key_env, "engine.api_key_env")
        check_ranges(
            "engine",
            ("concurrency", concurrency, 1 <= concurrency <= 1000, "a number of requests in flight, 1 to 1000"),
            ("timeout", timeout, timeout > 0, "seconds above 0"),
            ("retries", retries, retries >= 0, "a number of further attempts, 0 for none"),
            ("max_reply_bytes", max_reply_bytes, max_reply_bytes > 0, "a number of bytes of 1 or more"),
            ("max_pixels", max_pixels, max_pixels is None or max_pixels > 0, PIXELS),
            ("budget_usd", budget_usd, budget_usd is None or budget_usd > 0, USD),
        )
        refuse_changes(spec, "engine=server, whose server has the weights")
        self.spec = spec
        self.generation = spec.generation
        self.max_images = spec.max_images
        self.url, self.url_from = str(url), url_from
        self.model = model_id(spec, served_model)
        self.revision = revision
        self.api_key_env = api_key_env
        self.api = self.provider.api(api_version)
        self.concurrency, self.timeout, self.retries = concurrency, timeout, retries
        self.max_reply_bytes = max_reply_bytes
        self.lead, self.max_pixels, self.batch = lead, max_pixels, batch
        if batch == "submit" and not self.provider.batch:
            raise ConfigError(
                f"engine.batch=submit is not possible with engine.provider={self.provider.name}, which has no batches "
                "in OpenAI's form. Use engine.batch=write for a service that takes the files, or no engine.batch."
            )
        self.extra = extra_parameters(spec, send_template, extra_body, self.provider)
        self.template_sent = send_template
        self.sent = decoding(spec, self.provider)
        parameters = make_parameters(spec, self.provider, drop)
        self.left_out_from_start = sorted(parameters.dropped)
        self.state = ServerState(
            parameters=parameters,
            budget=Budget(
                price=find_price(self.provider, self.model, price_per_million, budget_usd),
                usd=budget_usd,
                is_batch=batch is not None,
            ),
            waits=RateWaits(say=lambda text: console.note(f"engine=server: {text}")),
            provider=self.provider.name,
        )
        self.served = asyncio.run(self._look_up(unlisted))
        self.identity = digest_json(
            [self.name, self.model, revision, self.served.reported, self.extra, *self._departures()]
        )
        self.log = ServerLog(name=spec.name, model=self.model, server=server_label(self.url), concurrency=concurrency)

    def _departures(self) -> list[dict[str, Any]]:
        """What makes the answers others than those to the full request; nothing for runs of earlier versions."""
        left_out = chat_format.left_out(self.generation, self.left_out_from_start)
        found = {"left_out": list(left_out), "max_pixels": self.max_pixels}
        return [{name: value for name, value in found.items() if value}] if any(found.values()) else []

    @property
    def generation_suffix(self) -> str:
        """The part of a signature's decoding settings about what was not sent as it is: see `Engine`."""
        left_out = chat_format.left_out(self.generation, self.state.parameters.dropped)
        without = f".without-{'+'.join(left_out)}" if left_out else ""
        return without + (f".px{self.max_pixels}" if self.max_pixels else "")

    def use_folder(self, folder: Path) -> None:
        """See `Engine`: parameters that the server refused and tokens that were paid are kept for the next start."""
        self.state.use_folder(folder)

    def status(self) -> str:
        """See `Engine`: tokens, price, and waiting for the server's rate limit."""
        return self.state.sentence()

    def _connect(self) -> FileServer:
        return FileServer(
            url=self.url,
            model=self.model,
            caller=CALLER,
            key=self._key(),
            key_env=self.api_key_env,
            timeout=self.timeout,
            retries=self.retries,
            concurrency=self.concurrency,
            parameters=self.state.parameters,
            api=self.api,
            waits=self.state.waits,
            max_reply_bytes=self.max_reply_bytes,
        )

    def _key(self) -> str | None:
        return read_key(self.api_key_env, self.url)

    async def _look_up(self, unlisted: bool) -> ServedModel:
        server = self._connect()
        try:
            return await look_up(server, unlisted=unlisted, provider=self.provider)
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
        self._say_departures()
        try:
            yield from self._by_batch(requests) if self.batch else self._one_by_one(requests)
        finally:
            self.state.note_refusals(self.left_out_from_start)
            self.state.save(now=True)

    def _count_of_batch(self, reply: Reply) -> None:
        self.state.budget.count(reply)
        self.log.note_reply(reply)

    def _say_departures(self) -> None:
        if self.spec.chat_template is not None and not self.template_sent:
            console.note(
                f"note: {self.spec.name} has a chat template in its YAML, but the server uses its own; start the "
                "server with the same template (vLLM: --chat-template FILE), or set engine.send_template=true"
            )
        for name in chat_format.left_out(self.generation, self.left_out_from_start):
            console.note(f"note: engine=server: {name} is not sent, so the server's default applies")
        for text in self.provider.notes:
            console.note(f"note: {self.provider.name}: {text}")

    def _by_batch(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        batch = ServerBatch(
            self.state.folder,
            self._connect,
            redactor(self._key()),
            self._adapted_body,
            self._count_of_batch,
            self.max_pixels,
        )
        bound = [upper_bound(request) for request in requests]
        total = Tokens(sum(t.tokens_in for t in bound), sum(t.tokens_out for t in bound))
        if self.batch != "collect":
            self.state.budget.check_whole(total)
        yield from batch.generate(str(self.batch), requests)

    def _one_by_one(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        with asyncio.Runner() as runner:
            server = self._connect()
            schedule = RequestSchedule(iter(group_by_image(requests)), self.lead, self.max_pixels)
            session = RequestSession(schedule, lambda scheduled: self._send(server, scheduled))
            with handle_interrupt(runner.get_loop(), session.interrupt):
                try:
                    runner.run(session.start(min(self.concurrency, len(requests))))
                    while batch := runner.run(session.next_batch()):
                        self.state.note_refusals(self.left_out_from_start)
                        self.state.save()
                        yield batch
                finally:
                    runner.run(session.close())
                    runner.run(server.close())
                if session.interrupted:
                    raise KeyboardInterrupt

    def _body(self, request: Request, urls: Sequence[str]) -> dict[str, Any]:
        return chat_format.body(request, urls, self.model, self.sent, self.extra)

    def _adapted_body(self, request: Request, urls: Sequence[str]) -> dict[str, Any]:
        return self.state.parameters.apply(self._body(request, urls))

    async def _ask(self, server: ChatServer, request: Request, urls: Sequence[str], attempts: list[str]) -> Reply:
        """Make one call within the budget.

        Raises:
            Partial: the call could exceed the budget.
        """
        budget, body = self.state.budget, self._body(request, urls)
        if not budget.limited:
            reply = await server.ask(body, attempts)
            budget.count(reply)
            return reply
        limit = upper_bound(request)
        if (reserved := await budget.reserve(limit)) is None:
            raise Partial(
                f"{budget.exhausted}. The answers so far are kept; the same command with a larger engine.budget_usd "
                "goes on."
            )
        settled = None
        try:
            settled = await server.ask(body, attempts)
            return settled
        finally:
            await budget.settle(reserved, limit, settled)

    async def _send(self, server: ChatServer, scheduled: ScheduledRequest) -> Prediction:
        request = scheduled.request
        try:
            urls = await scheduled.group.urls()
        except SAMPLE_FAULTS as problem:
            return prediction_of_error(request, problem)
        if request is scheduled.group.requests[0]:
            self.log.counts["image_encodes"] += len(urls)
        attempts: list[str] = []
        try:
            reply = await self._ask(server, request, urls, attempts)
        except CallFailed as problem:
            self.log.attempts.update(attempts)
            self.log.note_failure(problem)
            return failed_prediction(request, str(problem), attempts)
        self.log.attempts.update(attempts)
        self.log.note_reply(reply)
        return chat_format.prediction_of(request, reply, attempts)

    def metadata(self) -> dict[str, Any]:
        """See `Engine.metadata`.  The weights are on another machine; the record holds what the server reports."""
        parameters = self.state.parameters
        return {
            "engine": self.name,
            "server": server_label(self.url),
            "server_from": self.url_from,
            "served_model": self.model,
            "weights_sha256": None,
            "weights": "not verified by evalkit: the weights are reported by the server, the revision by the user",
            "revision": self.revision,
            "listed": self.served.listed,
            "server_says": self.served.reported,
            "chat_template": "the model's, sent with each request" if self.template_sent else "the server's own",
            "image_processor": "the server's own",
            "dtype": "the server's own",
            "sent": self.sent,
            "extra_body": {k: v for k, v in self.extra.items() if k != "chat_template"},
            "not_standard": sorted((set(self.sent) | set(self.extra)) - chat_format.STANDARD - parameters.dropped),
            "refused_by_server": sorted(self.state.refused),
            "not_sent": self.left_out_from_start,
            "sent_as": dict(sorted(parameters.renamed.items())),
            "provider": self.provider.name or None,
            "max_pixels": self.max_pixels,
            "batch": self.batch is not None,
            "cost": self.state.record(),
            "concurrency": self.concurrency,
            "timeout": self.timeout,
            "retries": self.retries,
            "lead": self.lead,
            **self.log.record(),
        }
