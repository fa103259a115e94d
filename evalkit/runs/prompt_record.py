"""What is asked of a model, recorded without one: the prompt of every sample, the digests of its images, the settings.

A run keeps the record beside its answers (`prompts.json`); `gate prompts=true` compares two of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalkit.core.errors import StoreError
from evalkit.core.files import key_a_line, read_json
from evalkit.core.images import CONVERSION
from evalkit.core.types import Generation, ImageRef, Message, Sample, digest_json
from evalkit.models import components as parts
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.doctor import bundled_template, special_tokens
from evalkit.models.templates import render
from evalkit.tasks.base import LoadedTask, Task

KIND = "evalkit prompts"
SCHEMA = 1
NAME = "prompts.json"
# The files beside the weights that make text and pixels into what the model sees, and end its answers.
FILES = (
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "generation_config.json",
    "preprocessor_config.json", "processor_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json",
)  # fmt: skip
# Of the header, what is asked; the rest says where it comes from.
COMPARED = ("task", "split", "image", "image_conversion", "generation", "tokens", "files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """How a model's messages become text: its chat template (None where it is not known here) and what that names.

    files: name -> 16 hex of sha256 of the processor's files.
    """

    text: str | None = None
    tokens: Mapping[str, str] | None = None
    files: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A record: per sample the text (rendered, or the messages where there is no template), a digest of the messages
    before the template, and the digests of the images; `images` is None for a model that sees none."""

    origin: str
    header: Mapping[str, Any]
    ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    texts: tuple[str, ...]
    messages: tuple[str, ...]
    images: tuple[tuple[str, ...], ...] | None

    @property
    def rendered(self) -> bool:
        """Whether the texts are the prompts after the chat template."""
        return self.header["template"] is not None


def template_of(spec: CheckpointSpec | None) -> Template:
    """The template of a checkpoint, from small files alone; an empty one where it is not on this machine."""
    if spec is None:
        return Template()
    found = parts.locate(spec.config)
    folders = [p.folder for p in found if p.folder is not None and p.role != "vision tower"]
    if not folders or found[0].folder is None:
        return Template()
    text = spec.chat_template if spec.chat_template is not None else bundled_template(found[0].folder)
    named: dict[str, str] = {}
    for folder in reversed(folders):
        named |= special_tokens(folder)
    files = {name: _short((folder / name).read_bytes()) for folder in reversed(folders) for name in _present(folder)}
    return Template(text=text, tokens=named, files=dict(sorted(files.items())))


def _present(folder: Path) -> list[str]:
    return [name for name in FILES if (folder / name).is_file()]


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def collect(
    task: Task,
    loaded: LoadedTask,
    samples: Sequence[Sample],
    digests: Mapping[ImageRef, str] | None,
    *,
    model: str,
    image: str,
    limit: int | None,
    generation: Generation,
    template: Template,
) -> Asked:
    """The record of what is asked for samples.

    Args:
        samples: with the images that the model is to see.
        digests: sha256 of each image; None for a model that sees none.
    """
    messages = [task.messages(s) for s in samples]
    shown = [_plain(m) if template.text is None else render(template.text, m, template.tokens) for m in messages]
    images = None if digests is None else tuple(tuple(_image(r, digests) for r in s.images) for s in samples)
    ids = tuple(s.id for s in samples)
    short = tuple(digest_json([[m.role, [_part(p) for p in m.content]] for m in ms])[:16] for ms in messages)
    header = {
        "model": model,
        "task": loaded.name,
        "split": loaded.split,
        "n": len(samples),
        "data_sha256": loaded.data_sha256,
        "prompt": loaded.prompt,
        "image": image,
        "image_conversion": None if images is None else CONVERSION,
        "limit": limit,
        "generation": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(generation).items()},
        "template": template.text,
        "tokens": None if template.tokens is None else dict(template.tokens),
        "files": None if template.files is None else dict(template.files),
        **_digests(ids, short, images),
    }
    return Asked(
        origin=f"{model} on {loaded.name} as they are now",
        header=header,
        ids=ids,
        image_ids=tuple(s.image_id for s in samples),
        texts=tuple(shown),
        messages=short,
        images=images,
    )


def _image(ref: ImageRef, digests: Mapping[ImageRef, str]) -> str:
    known = digests[ref.of] if ref.kind == "blank" and ref.of is not None else digests[ref]
    return ("blank:" if ref.kind == "blank" else "") + known[:16]


def _part(part: Any) -> Any:
    return part if isinstance(part, str) else {"image": part.index}


def _plain(messages: Sequence[Message]) -> str:
    return "\n".join(
        f"{m.role}: " + "".join(p if isinstance(p, str) else f"<image {p.index}>" for p in m.content) for m in messages
    )


def _digests(
    ids: Sequence[str], messages: Sequence[str], images: Sequence[Sequence[str]] | None
) -> dict[str, str | None]:
    """The digests of all messages and of all images, sample by sample, in the order of the ids."""
    pictures = None if images is None else digest_json(sorted(zip(ids, map(list, images), strict=True)))
    return {"messages_sha256": digest_json(sorted(zip(ids, messages, strict=True))), "images_sha256": pictures}


def content(asked: Asked) -> str:
    """The record as a file: equal texts and images are written once, one key a line."""
    texts = list(dict.fromkeys(asked.texts))
    images = list(dict.fromkeys(asked.images or ()))
    place, spot = {t: k for k, t in enumerate(texts)}, {i: k for k, i in enumerate(images)}
    record = {
        "kind": KIND,
        "schema": SCHEMA,
        "header": dict(asked.header),
        "ids": list(asked.ids),
        "image_ids": list(asked.image_ids),
        "texts": texts,
        "text_of": [place[t] for t in asked.texts],
        "messages": list(asked.messages),
        "images": [list(i) for i in images],
        "images_of": None if asked.images is None else [spot[i] for i in asked.images],
    }
    return key_a_line(record)


def read_asked(path: Path) -> Asked:
    """A record from its file, or from the run that keeps it.

    Raises:
        StoreError: there is none, or anything in it is missing, malformed or does not fit the rest.
    """
    file = path / NAME if path.is_dir() else path
    record = read_json(file, "record of what was asked")
    try:
        return _checked(_from(record, str(path)))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as problem:
        raise StoreError(
            f"{file} is not a record of what was asked that evalkit wrote ({type(problem).__name__}: {problem}). Make "
            "it anew with `python -m evalkit gate prompts=true save=FILE model=NAME task=NAME`."
        ) from problem


def _from(record: Any, origin: str) -> Asked:
    if record["kind"] != KIND or record["schema"] != SCHEMA:
        raise ValueError(f"kind is {record['kind']!r}, schema {record['schema']!r}; expected {KIND!r}, {SCHEMA}")
    texts, images, of = record["texts"], [tuple(i) for i in record["images"]], record["images_of"]
    if any(type(k) is not int or k < 0 for k in [*record["text_of"], *(of or [])]):
        raise ValueError("places of texts or images that are no numbers")
    return Asked(
        origin=origin,
        header=dict(record["header"]),
        ids=tuple(record["ids"]),
        image_ids=tuple(record["image_ids"]),
        texts=tuple(texts[k] for k in record["text_of"]),
        messages=tuple(record["messages"]),
        images=None if of is None else tuple(images[k] for k in of),
    )


def _checked(asked: Asked) -> Asked:
    n, header = len(asked.ids), asked.header
    if missing := [k for k in ("model", "n", "limit", "template", *COMPARED) if k not in header]:
        raise KeyError(missing[0])
    columns = (asked.image_ids, asked.texts, asked.messages, asked.ids if asked.images is None else asked.images)
    if not n or n != header["n"] or len(set(asked.ids)) != n or any(len(c) != n for c in columns):
        raise ValueError(
            f"{n} samples where the header says {header['n']}, ids that repeat, or columns of other lengths"
        )
    if not all(isinstance(t, str) and t for t in (*asked.ids, *asked.texts, *asked.messages)):
        raise ValueError("ids, prompts or digests that are no text")
    found = _digests(asked.ids, asked.messages, asked.images)
    if wrong := [k for k, v in found.items() if header[k] != v]:
        raise ValueError(f"{wrong[0]} in the header is not that of the samples")
    return asked
