"""Differences between two prompt records, in words: `gate prompts=true`."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass

from evalkit.runs.prompt_record import COMPARED, PromptRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptChanges:
    """Changes between two prompt records.

    settings: in words.  prompts, images: ids of the samples with a different prompt or image.  added, gone: ids of new
    and removed samples.  notes: remarks for the reader that are not changes.
    """

    settings: tuple[str, ...]
    prompts: tuple[str, ...]
    images: tuple[str, ...]
    added: tuple[str, ...]
    gone: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether anything changed."""
        return bool(self.settings or self.prompts or self.images or self.added or self.gone)


def compare(before: PromptRecord, now: PromptRecord) -> PromptChanges:
    """The changes from `before` to `now`.

    Compares the rendered prompts, or the messages before the chat template where one side has no template.
    """
    both = before.rendered and now.rendered
    place = {i: k for k, i in enumerate(now.ids)}
    shared = [(k, place[i]) for k, i in enumerate(before.ids) if i in place]
    one, two = (before.texts, now.texts) if both else (before.messages, now.messages)
    old, new = before.images or (), now.images or ()
    return PromptChanges(
        settings=tuple(_settings(before, now)),
        prompts=tuple(before.ids[a] for a, b in shared if one[a] != two[b]),
        images=tuple(before.ids[a] for a, b in shared if old and new and old[a] != new[b]),
        added=tuple(sorted(set(now.ids) - set(before.ids))),
        gone=tuple(sorted(set(before.ids) - set(now.ids))),
        notes=tuple(_notes(before, now)),
    )


def _settings(before: PromptRecord, now: PromptRecord) -> list[str]:
    old, new = before.header, now.header
    unknown = {k for k in ("tokens", "files") if getattr(old, k) is None or getattr(new, k) is None}
    changed = [k for k in COMPARED if k not in unknown and getattr(old, k) != getattr(new, k)]
    found = [f"{k}: {json.dumps(getattr(old, k))} -> {json.dumps(getattr(new, k))}" for k in changed]
    if old.template is not None and new.template is not None and old.template != new.template:
        found.append("chat template:\n" + difference(old.template, new.template))
    if (before.images is None) != (now.images is None):
        found.append("the model of one side takes images, the other does not")
    if before.rendered != now.rendered:
        # A change, so that the gate fails closed: rendered and unrendered prompts cannot be compared.
        lacking = now if before.rendered else before
        found.append(
            f"the chat template is known on one side only: {lacking.origin} was recorded on a machine without the "
            "model's tokenizer files; `fetch` them (no weights are needed) and record it again"
        )
    return found


def _notes(before: PromptRecord, now: PromptRecord) -> list[str]:
    found = [] if before.rendered and now.rendered else ["no chat template: messages before the template are compared"]
    if before.header.data_sha256 != now.header.data_sha256:
        found.append("the data differ (data_sha256): questions, reference answers or ids")
    if before.header.model != now.header.model:
        found.append(f"the models differ: {before.header.model} and {now.header.model}")
    return found


def difference(old: str, new: str) -> str:
    """The lines that differ, marked - and +, with the line breaks of the texts."""
    lines = difflib.ndiff(old.splitlines(), new.splitlines())
    return "\n".join(f"    {line}" for line in lines if line[:1] in "-+")


def describe(before: PromptRecord, now: PromptRecord, changes: PromptChanges, limit: int) -> str:
    """The changes as text, the first `limit` prompts and images in full."""
    lines = [f"note: {text}" for text in changes.notes]
    lines += [f"changed: {text}" for text in changes.settings]
    for ids, text in (
        (changes.gone, "samples were removed"),
        (changes.added, "samples were added"),
        (changes.images, "samples have different images"),
        (changes.prompts, "samples have a different prompt"),
    ):
        if ids:
            lines.append(f"{len(ids)} {text}: {', '.join(ids[:limit])}{' …' if len(ids) > limit else ''}")
    old, new = ({i: k for k, i in enumerate(side.ids)} for side in (before, now))
    for i in changes.images[:limit]:
        lines.append(f"  {i}: image {_images(before, old[i])} -> {_images(now, new[i])}")
    for i in changes.prompts[:limit]:
        lines += [f"  {i}:", difference(before.texts[old[i]], now.texts[new[i]])]
    end = "changed" if changes.any else f"all {now.header.n} samples have the same prompts and images"
    lines.append(f"{before.origin} against {now.origin}: {end}")
    return "\n".join(lines)


def _images(record: PromptRecord, place: int) -> str:
    digests = record.images[place] if record.images is not None else ()
    return f"{record.image_ids[place]} {' '.join(digests)}"
