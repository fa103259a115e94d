"""The input of a run: samples with the images that the model sees, the prompt record, the requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.core import console
from evalkit.core.errors import ConfigError, DataError, ModelError
from evalkit.core.image_changes import stated_digest
from evalkit.core.reasoning import opens_thought
from evalkit.core.types import Generation, ImageRef, Message, Request, Sample
from evalkit.engines.base import Engine
from evalkit.engines.loglikelihood import no_generation
from evalkit.models.reasoning_switch import switch_of
from evalkit.pipeline.image_modes import with_images
from evalkit.pipeline.requests import Requests
from evalkit.pipeline.settings import Settings
from evalkit.runs.prompt_record import PromptRecord, Template, collect
from evalkit.tasks.base import LoadedTask, Task, check_ids
from evalkit.tasks.draws import draw_number, first_samples
from evalkit.tasks.option_rows import continuations


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """The prompts of a run: the limited split, its samples with the images that the model sees, their messages."""

    loaded: LoadedTask
    samples: Sequence[Sample]
    messages: tuple[tuple[Message, ...], ...]
    record: PromptRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Everything that a model is given: prompts, and one generation request a sample."""

    prompts: Prompts
    requests: Requests


def build_input(
    task: Task,
    loaded: LoadedTask,
    digests: Mapping[ImageRef, str],
    engine: Engine,
    template: Template,
    settings: Settings,
) -> Input:
    """The input of a run.  Messages are built once: the prompt record and the requests both derive from them."""
    if settings.continuation is not None and not getattr(engine, "scores_options", False):
        raise ConfigError(
            f"scoring=loglikelihood is not possible with {settings.model} under engine={engine.name}, which gives no "
            "log-probabilities of options. Use engine=hf or engine=vllm with a checkpoint."
        )
    if settings.continuation is not None:
        check_no_thought(engine.generation)
    image_digests = digests if engine.needs_images else None
    generation = generation_of(engine, settings)
    if settings.confidence and settings.continuation is None:
        check_confidence(engine, generation, settings.model)
    prompts = build_prompts(task, loaded, image_digests, generation, template, settings, required=True)
    if settings.continuation is not None:
        check_closed_thought(prompts.record, template, settings.model)
    if engine.needs_images:
        check_image_count(prompts, getattr(engine, "max_images", None), settings.model)
    single = replace(generation, n=1)  # the number of draws is no part of a single one's key

    def make(place: int) -> Request:
        sample, messages = prompts.samples[place], prompts.messages[place]
        return request(sample, messages, engine, digests, single, settings.continuation, settings.confidence)

    return Input(prompts=prompts, requests=Requests.of(make, len(prompts.samples)))


def check_no_thought(generation: Generation) -> None:
    """Check that no thought is asked for where options are ranked.

    Raises:
        ConfigError: one is, or it has a budget.
    """
    for name, value in (("reasoning", generation.reasoning), ("reasoning_budget", generation.reasoning_budget)):
        if value not in ("auto", "off", None):
            raise ConfigError(
                f"generation.{name}={value} is not possible together with scoring=loglikelihood, which ranks the "
                "options right after the prompt and generates no thought. Leave it out; generation.reasoning=off "
                "closes the thought of a model whose template opens one."
            )


def check_closed_thought(record: PromptRecord, template: Template, model: str) -> None:
    """Check that no prompt after which options are ranked ends inside a thought; warn where nothing can close it.

    Raises:
        ConfigError: one does, and the switch of the model's chat template would close it.
    """
    if not (inside := inside_thoughts(record)):
        return
    said = (
        f"{len(inside)} of {len(record.ids)} prompts of {model} end inside a thought, which its chat template opens, "
        "and scoring=loglikelihood ranks the options right there"
    )
    try:
        switch = switch_of(template.text or "", "off")
    except ConfigError:
        switch = {}
    if switch and switch != template.switch:
        raise ConfigError(f"{said}. Set generation.reasoning=off, which closes the thought.")
    console.warn(
        f"{said}; the template has no switch that closes it, so that the numbers are those of the thought's first words"
    )


def inside_thoughts(record: PromptRecord) -> frozenset[str]:
    """The samples whose prompt ends with the opening mark of a thought, so that their answers begin inside of it."""
    ends = {text: opens_thought(text) for text in set(record.texts)} if record.rendered else {}
    return frozenset(i for i, text in zip(record.ids, record.texts, strict=True) if ends.get(text))


def check_confidence(engine: Engine, generation: Generation, model: str) -> None:
    """Check that the probability of a greedy answer can be asked for.

    Raises:
        ConfigError: the engine gives no probabilities, or the answers are not the greedy ones.
    """
    if not getattr(engine, "gives_probability", False):
        raise ConfigError(
            f"confidence=true is not possible with {model} under engine={engine.name}, which gives no probabilities of "
            "answers. Use engine=hf, vllm or server with a checkpoint, or scoring=loglikelihood for options."
        )
    if generation.reasoning_budget is not None:
        raise ConfigError(
            "confidence=true stores the probability of all that the model generates, and generation.reasoning_budget "
            "puts tokens of evalkit's among them. Leave one of the two out."
        )
    neutral = {"temperature": 0.0, "num_beams": 1, "repetition_penalty": 1.0}
    for name, value in neutral.items():
        if (given := getattr(generation, name)) != value:
            raise ConfigError(
                f"confidence=true stores the probability of the greedy answer, and {model} decodes with {name}="
                f"{given:g}. Set generation.{name}={value:g}, or leave out confidence."
            )


def generation_of(engine: Engine, settings: Settings) -> Generation:
    """The decoding settings of a run: the engine's, or those of a run that generates nothing."""
    return engine.generation if settings.continuation is None else no_generation(engine.generation)


def build_prompts(
    task: Task,
    loaded: LoadedTask,
    digests: Mapping[ImageRef, str] | None,
    generation: Generation,
    template: Template,
    settings: Settings,
    *,
    required: bool = False,
) -> Prompts:
    """The prompts of a run and their record; needs no engine and no weights.

    Args:
        digests: sha256 of each image; None for a model without images.
        template: the model's chat template.  Where it cannot be rendered here, the record holds the messages before
            the template, with a warning.
        required: a model will be asked with this template, so it must be possible to render it at least with
            transformers.

    Raises:
        ModelError: it is required and refuses a sample's messages, or is not valid.
        DataError: two samples have one id.
    """
    check_ids(loaded)
    loaded = limited(loaded, settings.limit)
    samples = with_images(loaded.samples, settings.image, digests)
    known: dict[tuple[Message, ...], tuple[Message, ...]] = {}  # equal ones are held once
    messages = tuple(known.setdefault(m, m) for m in (tuple(task.messages(s)) for s in samples))

    def record(rendered_by: Template) -> PromptRecord:
        return collect(
            loaded,
            samples,
            messages,
            digests,
            model=settings.model,
            image=settings.image,
            limit=settings.limit,
            generation=generation,
            template=rendered_by,
        )

    try:
        return Prompts(loaded=loaded, samples=samples, messages=messages, record=record(template))
    except ModelError as problem:
        # The engine may support more of jinja than the plain rendering here; only that must not stop the run.
        if required and template.text is not None:
            for sample, asked in zip(samples, messages, strict=True):
                _check_template(template, asked, f"{settings.model}, sample {sample.id}")
        console.warn(f"prompts are recorded without the chat template, which cannot be rendered here: {problem}")
        plain = record(replace(template, text=None))
        return Prompts(loaded=loaded, samples=samples, messages=messages, record=plain)


def check_image_count(prompts: Prompts, most: int | None, model: str) -> None:
    """Check that no question has more images than the model takes.

    Raises:
        ConfigError: one has; the message names the first.
    """
    if most is None or not (above := [s for s in prompts.samples if len(s.images) > most]):
        return
    loaded = prompts.loaded
    raise ConfigError(
        f"{model} takes {most} image{'s' if most > 1 else ''} a question (max_images in its YAML), and {len(above)} of "
        f"{len(loaded.samples)} questions of {loaded.name} ({loaded.split}) have more, first {above[0].id} with "
        f"{len(above[0].images)}. Choose a model for several images, or leave those rows out."
    )


def _check_template(template: Template, messages: Sequence[Message], where: str) -> None:
    from evalkit.models.templates import render_by_transformers

    try:
        render_by_transformers(str(template.text), messages, {**(template.tokens or {}), **template.switch})
    except ModelError as problem:
        raise ModelError(f"{where}: {problem}") from None


def limited(loaded: LoadedTask, limit: int | None) -> LoadedTask:
    """The first `limit` samples.

    Raises:
        ConfigError: the limit is not positive.
    """
    if limit is None:
        return loaded
    if limit < 1:
        raise ConfigError(f"limit={limit} is not possible; give a number of samples of 1 or more.")
    return replace(loaded, samples=first_samples(loaded.samples, limit))


def select(samples: Sequence[Sample], ids: Sequence[str], origin: str) -> list[Sample]:
    """The samples of a run, in the order of its answers.

    Raises:
        DataError: the data no longer holds one of them.
    """
    by_id = {s.id: s for s in samples}
    if missing := [i for i in ids if i not in by_id]:
        raise DataError(
            f"{origin} answers {len(missing)} samples that are missing from its data now, first {missing[0]}. Give the "
            "data of the run with data.path=DIR."
        )
    return [by_id[i] for i in ids]


def request(
    sample: Sample,
    messages: tuple[Message, ...],
    engine: Engine,
    digests: Mapping[ImageRef, str],
    generation: Generation | None = None,
    continuation: str | None = None,
    confidence: bool = False,
) -> Request:
    """The request of a sample: for an answer, or with a continuation for the log-probabilities of its options.

    generation: decoding settings; None for the engine's.  confidence: ask for the answer's log-probability too.

    Raises:
        DataError: the messages do not place every image, or one that is not there.
    """
    made = Request(
        sample_id=sample.id,
        image_id=sample.image_id,
        question=sample.question,
        answer_type=sample.answer_type,
        messages=messages,
        images=sample.images if engine.needs_images else (),
        image_digests=tuple(stated_digest(ref, digests) for ref in sample.images) if engine.needs_images else (),
        generation=generation or engine.generation,
        draw=draw_number(sample),
        checkpoint=engine.identity,
        continuations=() if continuation is None else continuations(sample, continuation),
        with_probability=confidence and continuation is None,
    )
    if set(made.placed) != set(range(len(made.images))):
        raise DataError(
            f"Sample {sample.id} has {len(made.images)} images, and its messages place the numbers "
            f"{sorted(set(made.placed))}: every image from 0 must be placed, and no other one."
        )
    return made
