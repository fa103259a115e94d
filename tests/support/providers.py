"""Stand-ins for the providers of conf/provider: each answers and refuses as the documentation in its YAML says.

A stand-in has its own routes, header with the key, list of models, and a rule that says which requests it refuses; what
it got is in `requests`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY = "sk-test-0123456789abcdef"
Body = dict[str, Any]
# (status, content) of a refusal; None where the request is answered.
Rule = Callable[[Body], "tuple[int, Any] | None"]


def openai_error(message: str, param: str | None = None, code: str | None = None) -> tuple[int, Any]:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return 400, {"error": error}


def _unknown(body: Body, allowed: set[str]) -> str | None:
    return next((name for name in body if name not in allowed | {"model", "messages"}), None)


STANDARD = {"temperature", "top_p", "seed", "stop", "max_tokens", "max_completion_tokens", "n", "stream"}


def openai(body: Body) -> tuple[int, Any] | None:
    """A reasoning model of OpenAI: no max_tokens, no temperature but 1, no stop, no unknown argument."""
    if name := _unknown(body, STANDARD):
        return openai_error(f"Unrecognized request argument supplied: {name}")
    if "max_tokens" in body:
        return openai_error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    if body.get("temperature", 1) != 1:
        return openai_error(
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
            "supported.",
            "temperature",
            "unsupported_value",
        )
    for name in ("stop", "top_p"):
        if name in body:
            return openai_error(
                f"Unsupported parameter: '{name}' is not supported with this model.", name, "unsupported_parameter"
            )
    return None


def azure(body: Body) -> tuple[int, Any] | None:
    """A deployment of an older model, which knows no max_completion_tokens."""
    if name := _unknown(body, STANDARD - {"max_completion_tokens"}):
        return openai_error(f"Unrecognized request argument supplied: {name}")
    return None


def gemini(body: Body) -> tuple[int, Any] | None:
    """Google's form of a refusal: a list, with every unknown name in one message."""
    allowed = {"temperature", "top_p", "stop", "max_tokens", "max_completion_tokens", "n", "stream", "reasoning_effort"}
    if unknown := [name for name in body if name not in allowed | {"model", "messages"}]:
        said = "\n".join(
            f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in unknown
        )
        return 400, [{"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}]
    return None


def anthropic(body: Body) -> tuple[int, Any] | None:
    """A model that takes no temperature; fields that are not supported are ignored without a word."""
    if "temperature" in body:
        message = "temperature is deprecated for this model."
        return 400, {"error": {"message": message, "type": "invalid_request_error", "code": None, "param": None}}
    return None


def openrouter(body: Body) -> tuple[int, Any] | None:
    """top_k below 0 is out of range; without require_parameters a provider may ignore what it is sent."""
    if body.get("top_k", 0) < 0:
        return 400, {"error": {"message": "Number must be greater than or equal to 0 at top_k", "code": 400}}
    if body.get("provider") != {"require_parameters": True}:
        return 400, {"error": {"message": "the stand-in wants providers that follow every parameter", "code": 400}}
    return None


def vllm(body: Body) -> tuple[int, Any] | None:
    """vLLM takes the further parameters of open models; a limit beyond its context is refused."""
    if body["max_tokens"] > 100:
        message = f"'max_tokens' or 'max_completion_tokens' is too large: {body['max_tokens']}."
        return 400, {"error": {"message": message, "type": "BadRequestError", "param": "max_tokens", "code": 400}}
    return None


def sglang(body: Body) -> tuple[int, Any] | None:
    """SGLang validates with pydantic."""
    if name := _unknown(body, STANDARD | {"top_k", "repetition_penalty"}):
        detail = [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]
        return 422, {"detail": detail}
    return None


def ignores(*names: str) -> Rule:
    """A server that ignores what it does not know, so that the test must look at what it was sent."""

    def rule(body: Body) -> tuple[int, Any] | None:
        return (500, {"error": {"message": f"the stand-in was sent {names}"}}) if set(names) & set(body) else None

    return rule


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """What a provider's documentation says about it.

    base: the path of its address.  chat: the path of calls.  header: with the key, None for servers without keys.
    models: ids in its list of models, None where the key gets none.  query: of each call.
    """

    rule: Rule
    base: str = "/v1"
    chat: str = "/v1/chat/completions"
    header: tuple[str, str] | None = ("authorization", f"Bearer {KEY}")
    models: tuple[str, ...] | None = ("some-model",)
    query: Mapping[str, str] = field(default_factory=dict)


STAND_INS = {
    "openai": StandIn(rule=openai),
    "azure": StandIn(
        rule=azure,
        base="",
        chat="/openai/deployments/some-model/chat/completions",
        header=("api-key", KEY),
        models=None,
        query={"api-version": "2024-10-21"},
    ),
    "gemini": StandIn(
        rule=gemini, base="/v1beta/openai", chat="/v1beta/openai/chat/completions", models=("models/some-model",)
    ),
    "anthropic": StandIn(rule=anthropic, models=None),
    "openrouter": StandIn(rule=openrouter, base="/api/v1", chat="/api/v1/chat/completions"),
    "vllm": StandIn(rule=vllm, header=None),
    "sglang": StandIn(rule=sglang, header=None),
    "llamacpp": StandIn(rule=ignores("repetition_penalty"), header=None, models=("/models/some.gguf",)),
    "lmstudio": StandIn(rule=ignores("repetition_penalty"), header=None),
    "ollama": StandIn(rule=ignores("repetition_penalty", "top_k"), header=None),
}


class ProviderServer:
    """A stand-in on loopback; `requests` has (method, path, headers, body) of each request."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self.requests: list[tuple[str, str, dict[str, str], Body]] = []

    def __enter__(self) -> ProviderServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(*outer.answer("GET", self.path, dict(self.headers), {}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(*outer.answer("POST", self.path, dict(self.headers), body))

            def _send(self, status: int, content: Any) -> None:
                payload = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{self.stand_in.base}"

    @property
    def calls(self) -> list[Body]:
        return [body for method, _, _, body in self.requests if method == "POST"]

    def answer(self, method: str, path: str, headers: dict[str, str], body: Body) -> tuple[int, Any]:
        """The status and the content of a reply."""
        lower = {name.lower(): value for name, value in headers.items()}
        self.requests.append((method, path, lower, body))
        stand_in, parts = self.stand_in, urlsplit(path)
        if stand_in.header is not None and lower.get(stand_in.header[0]) != stand_in.header[1]:
            return 401, {"error": {"message": "invalid key", "code": "invalid_api_key"}}
        if stand_in.header is None and ({"authorization", "api-key"} & set(lower)):
            return 401, {"error": {"message": "a key was sent to a server without keys"}}
        if method == "GET" and parts.path == f"{stand_in.base}/models" and stand_in.models is not None:
            return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in stand_in.models]}
        if parts.path != stand_in.chat or dict(parse_qsl(parts.query)) != dict(stand_in.query) or method == "GET":
            return 404, {"error": {"message": f"no {method} {path}", "code": "404"}}
        if (refusal := stand_in.rule(body)) is not None:
            return refusal
        message = {"role": "assistant", "content": "yes"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102}
        return 200, {"id": "c", "object": "chat.completion", "model": "some-model", "choices": [choice], "usage": usage}
