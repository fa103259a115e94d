"""What two records of what is asked have otherwise, in words: `gate prompts=true`."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass

from evalkit.runs.prompt_record import COMPARED, Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is asked otherwise.  settings: in words.  prompts, images: ids of the samples.  added, gone: ids.

    notes: what a reader must know that is no change.
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


def compare(before: Asked, now: Asked) -> Changes:
    """What is asked otherwise than before; the messages before the chat template where one side has none."""
    both = before.rendered and now.rendered
    skipped = {k for k in ("tokens", "files") if before.header[k] is None or now.header[k] is None}
    settings = [
        f"{k}: {json.dumps(before.header[k])} -> {json.dumps(now.header[k])}"
        for k in COMPARED
        if k not in skipped and before.header[k] != now.header[k]
    ]
    if both and before.header["template"] != now.header["template"]:
        settings.append("chat template:\n" + difference(before.header["template"], now.header["template"]))
    if (before.images is None) != (now.images is None):
        settings.append("one side sees images and the other none")
    if before.rendered != now.rendered:
        # Fails closed: what the template made of the messages can be held against nothing.
        lacking = now if before.rendered else before
        settings.append(
            f"the chat template is known on one side only: {lacking.origin} was recorded where the model's tokenizer "
            "files were not; `fetch` them (no weights are needed) and record it again"
        )
    notes = [] if both else ["no chat template: the messages before the template are compared"]
    if before.header.get("data_sha256") != now.header.get("data_sha256"):
        notes.append("the data differ (data_sha256): questions, reference answers or ids")
    if before.header["model"] != now.header["model"]:
        notes.append(f"the models differ: {before.header['model']} and {now.header['model']}")
    place = {i: k for k, i in enumerate(now.ids)}
    shared = [(k, place[i]) for k, i in enumerate(before.ids) if i in place]
    one, two = (before.texts, now.texts) if both else (before.messages, now.messages)
    seen, shown = _pictures(before), _pictures(now)
    return Changes(
        settings=tuple(settings),
        prompts=tuple(before.ids[a] for a, b in shared if one[a] != two[b]),
        images=tuple(before.ids[a] for a, b in shared if seen and shown and seen[a] != shown[b]),
        added=tuple(sorted(set(now.ids) - set(before.ids))),
        gone=tuple(sorted(set(before.ids) - set(now.ids))),
        notes=tuple(notes),
    )


def _pictures(asked: Asked) -> tuple[tuple[str, ...], ...]:
    return asked.images or ()


def difference(old: str, new: str) -> str:
    """The lines that differ, marked - and +, line breaks of the texts shown."""
    lines = difflib.ndiff(old.splitlines(), new.splitlines())
    return "\n".join(f"    {line}" for line in lines if line[:1] in "-+")


def describe(before: Asked, now: Asked, changes: Changes, most: int) -> str:
    """The changes as text, the first few prompts and images in full."""
    lines = [f"note: {text}" for text in changes.notes]
    lines += [f"changed: {text}" for text in changes.settings]
    old, new = ({i: k for k, i in enumerate(side.ids)} for side in (before, now))
    for ids, what in (
        (changes.gone, "samples are asked no more"),
        (changes.added, "samples are new"),
        (changes.images, "samples have other images"),
        (changes.prompts, "samples have another prompt"),
    ):
        if ids:
            lines.append(f"{len(ids)} {what}: {', '.join(ids[:most])}{' …' if len(ids) > most else ''}")
    for i in changes.images[:most]:
        a, b = _pictures(before)[old[i]], _pictures(now)[new[i]]
        lines.append(f"  {i}: image {before.image_ids[old[i]]} {' '.join(a)} -> {now.image_ids[new[i]]} {' '.join(b)}")
    for i in changes.prompts[:most]:
        lines += [f"  {i}:", difference(before.texts[old[i]], now.texts[new[i]])]
    end = "changed" if changes.any else f"all {now.header['n']} samples are asked the same"
    lines.append(f"{before.origin} against {now.origin}: {end}")
    return "\n".join(lines)
