"""The prompt record: the prompt of every sample, the digests of its images, the generation settings.

A run keeps it next to its answers (`prompts.json`) and derives its requests from the same messages; `gate prompts=true`
compares two records.  Making one loads no weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.core.columns import column_values
from evalkit.core.errors import StoreError
from evalkit.core.image_changes import stated_digest
from evalkit.core.images import CONVERSION
from evalkit.core.types import Generation, ImagePlace, ImageRef, Message, Sample, digest_json
from evalkit.models import components
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.doctor import bundled_template, special_tokens
from evalkit.models.reasoning_switch import switch_of
from evalkit.models.templates import render, without_marks
from evalkit.runs.read import prompts_at
from evalkit.runs.schema import PromptFile, PromptHeader
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import check_if_finished
from evalkit.tasks.base import LoadedTask

# Files next to the weights that turn text and pixels into the model's input, and that end its answers.
FILES = (
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "generation_config.json",
    "preprocessor_config.json", "processor_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json",
)  # fmt: skip
# Hex digits of an image's digest in the record.
SHOWN_DIGITS = 16
# The fields of the header that determine the model's input; the others say where the record comes from.
COMPARED = ("task", "split", "image", "image_conversion", "generation", "tokens", "files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A model's chat template (None where unknown) and the special tokens that it names.

    files: name -> 16 hex of the sha256 of the processor's files.  switch: variables that make the model think or not.
    """

    text: str | None = None
    tokens: Mapping[str, str] | None = None
    files: Mapping[str, str] | None = None
    switch: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRecord:
    """The prompts of a run: per sample the text (rendered; the messages where there is no template), a digest of the
    messages before the template, and the digests of the images.  `images` is None for a model without images."""

    origin: str
    header: PromptHeader
    ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    texts: tuple[str, ...]
    messages: tuple[str, ...]
    images: tuple[tuple[str, ...], ...] | None

    @property
    def rendered(self) -> bool:
        """Whether the texts are the prompts after the chat template."""
        return self.header.template is not None


def template_of(spec: CheckpointSpec | None) -> Template:
    """The template of a checkpoint, read from its small files; empty where the checkpoint is not on this machine."""
    if spec is None:
        return Template()
    located = components.locate(spec.config)
    folders = [p.folder for p in located if p.folder is not None and p.role not in ("vision tower", "adapter")]
    if not folders or located[0].folder is None:
        return Template()
    text = spec.chat_template if spec.chat_template is not None else bundled_template(located[0].folder)
    special: dict[str, str] = {}
    for folder in reversed(folders):
        special |= special_tokens(folder)
    files = {name: _short((folder / name).read_bytes()) for folder in reversed(folders) for name in _present(folder)}
    switch = {} if text is None else switch_of(text, spec.generation.reasoning)
    return Template(text=text, tokens=special, files=dict(sorted(files.items())), switch=switch)


def _present(folder: Path) -> list[str]:
    return [name for name in FILES if (folder / name).is_file()]


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def collect(
    loaded: LoadedTask,
    samples: Sequence[Sample],
    messages: Sequence[tuple[Message, ...]],
    digests: Mapping[ImageRef, str] | None,
    *,
    model: str,
    image: str,
    limit: int | None,
    generation: Generation,
    template: Template,
) -> PromptRecord:
    """The prompt record of samples.

    Args:
        samples: with the images that the model sees.
        messages: the chat messages of each sample.
        digests: sha256 of each image; None for a model without images.

    Raises:
        ModelError: the chat template cannot be rendered here.
    """
    distinct = dict.fromkeys(messages)
    variables = {**(template.tokens or {}), **template.switch}
    shown = {m: _plain(m) if template.text is None else render(template.text, m, variables) for m in distinct}
    short = {ms: digest_json([[m.role, [_part(p) for p in m.content]] for m in ms])[:16] for ms in distinct}
    digests_of = tuple(short[ms] for ms in messages)
    images = None if digests is None else _shown_digests(column_values(samples, "images"), digests)
    ids = tuple(column_values(samples, "id"))
    header = PromptHeader(
        model=model,
        task=loaded.name,
        split=loaded.split,
        n=len(samples),
        data_sha256=loaded.data_sha256,
        prompt=loaded.prompt,
        image=image,
        image_conversion=None if images is None else CONVERSION,
        limit=limit,
        generation={k: list(v) if isinstance(v, tuple) else v for k, v in generation.record().items()},
        template=template.text,
        tokens=None if template.tokens is None else dict(template.tokens),
        files=None if template.files is None else dict(template.files),
        messages_sha256=_messages_digest(ids, digests_of),
        images_sha256=_images_digest(ids, images),
    )
    return PromptRecord(
        origin=f"{model} on {loaded.name} as configured now",
        header=header,
        ids=ids,
        image_ids=tuple(column_values(samples, "image_id")),
        texts=tuple(shown[m] for m in messages),
        messages=digests_of,
        images=images,
    )


def _shown_digests(
    images: Iterable[tuple[ImageRef, ...]], digests: Mapping[ImageRef, str]
) -> tuple[tuple[str, ...], ...]:
    """The digests of the images of each sample, held once for all questions about them."""
    known: dict[tuple[ImageRef, ...], tuple[str, ...]] = {}
    found = []
    for of in images:
        if of not in known:
            known[of] = tuple(stated_digest(ref, digests, SHOWN_DIGITS) for ref in of)
        found.append(known[of])
    return tuple(found)


def _part(part: str | ImagePlace) -> object:
    return part if isinstance(part, str) else {"image": part.index}


def _plain(messages: Sequence[Message]) -> str:
    return "\n".join(f"{m.role}: {''.join(map(_plain_part, m.content))}" for m in messages)


def _plain_part(part: str | ImagePlace) -> str:
    return without_marks(part) if isinstance(part, str) else f"<image {part.index}>"


def _messages_digest(ids: Sequence[str], messages: Sequence[str]) -> str:
    """The digest of all messages, sample by sample, in the order of the ids."""
    return digest_json(sorted(zip(ids, messages, strict=True)))


def _images_digest(ids: Sequence[str], images: Sequence[Sequence[str]] | None) -> str | None:
    """The digest of all image digests, sample by sample, in the order of the ids."""
    return None if images is None else digest_json(sorted(zip(ids, map(list, images), strict=True)))


def as_file(record: PromptRecord) -> PromptFile:
    """The record as its file: equal texts and image lists are stored once."""
    texts = list(dict.fromkeys(record.texts))
    images = list(dict.fromkeys(record.images or ()))
    text_place, image_place = {t: k for k, t in enumerate(texts)}, {i: k for k, i in enumerate(images)}
    return PromptFile(
        header=record.header,
        ids=record.ids,
        image_ids=record.image_ids,
        texts=tuple(texts),
        text_of=tuple(text_place[t] for t in record.texts),
        messages=record.messages,
        images=tuple(images),
        images_of=None if record.images is None else tuple(image_place[i] for i in record.images),
    )


def read_prompt_record(path: Path) -> PromptRecord:
    """A prompt record from its file, or from the folder of the run that keeps it.

    Raises:
        StoreError: the file is missing, it is invalid or inconsistent, or was changed after its run ended.
    """
    file = RunFolder(path).prompts if path.is_dir() else path
    if path.is_dir():
        check_if_finished(RunFolder(path), file.name)
    stored = prompts_at(file)
    if problem := _inconsistency(stored):
        raise StoreError(
            f"{file} is not a prompt record that evalkit wrote: {problem}. Make it again with `python -m evalkit gate "
            "prompts=true save=FILE model=NAME task=NAME`."
        )
    of = stored.images_of
    return PromptRecord(
        origin=str(path),
        header=stored.header,
        ids=stored.ids,
        image_ids=stored.image_ids,
        texts=tuple(stored.texts[k] for k in stored.text_of),
        messages=stored.messages,
        images=None if of is None else tuple(stored.images[k] for k in of),
    )


def _inconsistency(stored: PromptFile) -> str:
    """The first contradiction within a record; "" for none."""
    n, header, of = len(stored.ids), stored.header, stored.images_of
    columns = (stored.image_ids, stored.text_of, stored.messages, stored.ids if of is None else of)
    if not n or n != header.n or len(set(stored.ids)) != n or any(len(c) != n for c in columns):
        return f"{n} samples where the header says {header.n}, repeated ids, or columns of different lengths"
    if any(not 0 <= k < len(stored.texts) for k in stored.text_of):
        return "text_of has positions outside of texts"
    if any(not 0 <= k < len(stored.images) for k in of or ()):
        return "images_of has positions outside of images"
    if not all((*stored.ids, *stored.texts, *stored.messages)):
        return "empty ids, prompts or digests"
    if header.messages_sha256 != _messages_digest(stored.ids, stored.messages):
        return "messages_sha256 in the header is not that of the samples"
    images = None if of is None else [stored.images[k] for k in of]
    if header.images_sha256 != _images_digest(stored.ids, images):
        return "images_sha256 in the header is not that of the samples"
    return ""
