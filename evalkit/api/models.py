"""What `evaluate` accepts as a model: a name or place of a checkpoint, a model in memory, a function, a client."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from evalkit.cli.config import Config, build
from evalkit.cli.factories import FROM_CONFIG, FUNCTION, ModelMaker, make_spec
from evalkit.cli.model_identity import location_name
from evalkit.core.errors import ConfigError

EXPECTED = (
    "expected the name of a registered model, a folder or hub id, a transformers model with its processor, a function "
    "(image, question) -> text, or a client of the openai package"
)
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
# Names of a function's arguments, in lower case and without the s of a plural.
_QUESTION = ("question", "prompt", "text", "query")
_IMAGE = ("image", "img", "picture", "pil_image", "pic")
# Of clients: what engine=server could not send along.
_CLIENT_SETTINGS = {"_custom_headers": "default_headers", "_custom_query": "default_query"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenModel:
    """A model as settings and objects.

    settings: words of the command line.  maker: makes engine and template.  change: what is recorded of an object in
    the configuration.  use: entered around the run.
    """

    settings: Mapping[str, Any]
    maker: ModelMaker = FROM_CONFIG
    change: Callable[[Config], Config] = field(default=lambda config: config)
    use: Callable[[], AbstractContextManager[None]] = nullcontext


def choose_model(
    model: Any, processor: Any, *, name: str | None, digest: str | None, batch_size: int | None
) -> ChosenModel:
    """The model of a call.

    Args:
        processor: of a transformers model.
        name: of the row.
        digest: the caller's name for the weights, or for what a function computes.
        batch_size: of a function that takes lists; for a checkpoint a setting of the engine.

    Raises:
        ConfigError: it is no model, or an argument does not fit it.
    """
    model, second = model if isinstance(model, tuple) and len(model) == 2 else (model, None)
    if second is not None and processor is not None:
        raise ConfigError("The processor is given twice: as model=(MODEL, PROCESSOR) and as processor=.")
    second = processor if second is None else second
    batch = {} if batch_size is None else {"engine.batch_size": batch_size}
    if isinstance(model, str | os.PathLike):
        _refuse(second, "processor", "the processor of a named checkpoint is its own")
        _refuse(digest, "digest", "the weights of a named checkpoint have a digest of their own")
        return ChosenModel(settings={"model": os.fspath(model), **batch})
    if is_transformers_model(model):
        return _held(model, second, name, digest, batch)
    if is_client(model):
        _refuse(digest, "digest", "what a server runs is in engine.revision")
        _refuse(batch_size, "batch_size", "requests to a server go out one by one, engine.concurrency at a time")
        return _client(model, second)
    if callable(model):
        _refuse(second, "processor", "a function gets the image and the text")
        return _function(model, name, digest, batch_size)
    raise ConfigError(f"model={_shown(model)} is not possible: {EXPECTED}.")


def _refuse(value: Any, argument: str, why: str) -> None:
    if value is not None:
        raise ConfigError(f"{argument}= is not possible with this model: {why}.")


def _shown(value: Any) -> str:
    return f"{str(value)[:80]!r} of type {type(value).__name__}"


def is_transformers_model(value: Any) -> bool:
    """Whether an object is a model of transformers, or one of peft around it."""
    return all(hasattr(value, name) for name in ("generate", "state_dict", "config", "forward"))


def is_client(value: Any) -> bool:
    """Whether an object is a client of the openai package."""
    return any(f"{c.__module__.partition('.')[0]}.{c.__name__}" in _CLIENTS for c in type(value).__mro__)


_CLIENTS = ("openai.OpenAI", "openai.AsyncOpenAI")


def _recorded(config: Config, model: Mapping[str, Any], option: str) -> dict[str, Any]:
    """The configuration with what is known of an object in place of a checkpoint's source."""
    own = {**config["model"], **model}
    return {**config, "model": own, "choices": {**config["choices"], "model": option}}


def _held(model: Any, processor: Any, name: str | None, digest: str | None, batch: Mapping[str, Any]) -> ChosenModel:
    from evalkit.engines.held_model import HeldModel, as_found, prepared
    from evalkit.runs.prompt_record import Template

    if processor is None:
        raise ConfigError(
            f"The model {type(model).__name__} needs its processor: model=(MODEL, PROCESSOR) or processor=PROCESSOR, "
            "as AutoProcessor.from_pretrained gives it."
        )
    held = HeldModel(model, processor, digest)
    origin = str(getattr(model.config, "_name_or_path", "") or "")
    row = name or f"memory/{location_name(origin).rpartition('/')[2] if origin else type(model).__name__}"

    def engine(config: Config, given: str, train: Any) -> Any:
        del train
        target = "evalkit.engines.held_model:HeldModelEngine"
        settings = {k: v for k, v in config["engine"].items() if k != "shard"} | {"target": target}
        return build(settings, "engine", spec=make_spec(config, given), held=held)

    def template(config: Config, given: str) -> Template:
        own = prepared(make_spec(config, given), processor)
        text = own.chat_template
        tokens = {k: str(v) for k, v in own.tokenizer.special_tokens_map.items() if isinstance(v, str)}
        return Template(text=text if isinstance(text, str) else dict(text or {}).get("default"), tokens=tokens)

    def change(config: Config) -> Config:
        if (chosen := config["choices"].get("engine")) != "hf":
            raise ConfigError(f"engine={chosen} is not possible with a model in memory, which engine=hf runs.")
        about = f"{type(model).__name__} in memory"
        return _recorded(config, {"name": row, "about": about, "source": None, "digest": digest}, "memory")

    return ChosenModel(
        settings={"model": "python/memory", **batch},
        maker=ModelMaker(engine, template, _nothing),
        change=change,
        use=partial(as_found, model),
    )


def _nothing(config: Config, name: str) -> None:
    """Check nothing: the model is there."""


def _check_order(function: Any) -> None:
    """Raise ConfigError for a function with the question named first: it would get an image as its question."""
    try:
        names = [name.lower().rstrip("s") for name in inspect.signature(function).parameters][:2]
    except (TypeError, ValueError):  # a builtin without a signature
        return
    if len(names) == 2 and names[0] in _QUESTION and names[1] in _IMAGE:
        raise ConfigError(
            f"The function takes ({names[0]}, {names[1]}), and is called with the image first: expected "
            "(image, question), or with batch_size= (images, questions). Write it with the two exchanged."
        )


def _function(function: Any, name: str | None, digest: str | None, batch_size: int | None) -> ChosenModel:
    from evalkit.engines.function import FunctionEngine, described
    from evalkit.runs.prompt_record import Template

    _check_order(function)
    plain = described(function).rpartition(".")[2]
    row = name or f"python/{'function' if plain == '<lambda>' else plain}"
    made = FunctionEngine(function, name=row, digest=digest, batch_size=batch_size)

    def change(config: Config) -> Config:
        if config.get("generation") is not None:
            raise ConfigError("generation= is not possible with a function, which decodes as it does.")
        content = {"name": row, "kind": FUNCTION, "about": f"the function {described(function)}", "digest": digest}
        choices = {**config["choices"], "engine": FUNCTION, "model": FUNCTION}
        return {**config, "model": content, "engine": {"batch_size": batch_size}, "choices": choices}

    return ChosenModel(
        settings={"model": "python/function"},
        maker=ModelMaker(lambda *_: made, lambda *_: Template(), _nothing),
        change=change,
    )


def _client(client: Any, served: Any) -> ChosenModel:
    from evalkit.engines.server_client import HeldKey

    if type(client).__name__ not in ("OpenAI", "AsyncOpenAI"):
        raise ConfigError(
            f"A client of the class {type(client).__name__} is not possible: expected OpenAI or AsyncOpenAI. Give the "
            'address of the server as engine="server" with engine.url= and engine.api_key_env=.'
        )
    for attribute, argument in _CLIENT_SETTINGS.items():
        if dict(getattr(client, attribute, None) or {}):
            raise ConfigError(
                f"The client has {argument}=, which engine=server cannot send. Leave it out, or give a function that "
                "asks the client: evaluate(lambda image, question: …)."
            )
    if served is not None and not isinstance(served, str):
        raise ConfigError(f"The model's id on the server must be a text, not {_shown(served)}: model=(CLIENT, ID).")
    key = str(client.api_key or "") or None
    held = HeldKey(key)

    def engine(config: Config, given: str, train: Any) -> Any:
        del train
        target = "evalkit.engines.server_client:ClientEngine"
        settings = {k: v for k, v in config["engine"].items() if k != "shard"} | {"target": target}
        return build(settings, "engine", spec=make_spec(config, given), key=held)

    def check(config: Config, given: str) -> None:
        del given
        if not config["engine"].get("served_model"):
            raise ConfigError("Which model of the server? Give model=(CLIENT, ID) with the model's id on the server.")

    settings = {"engine": "server", "engine.url": str(client.base_url).rstrip("/")}
    option = served if served and _HUB_ID.fullmatch(served) else "python/client"
    named = {"engine.served_model": served} if served else {}
    return ChosenModel(
        settings={"model": option, **settings, **named},
        maker=ModelMaker(engine, FROM_CONFIG.template, check),
    )
