"""A sample on one line, for dry runs."""

from __future__ import annotations

from evalkit.core.types import LETTERS, Sample


def described(sample: Sample) -> str:
    """Id, type, question, options, gold answers, cluster and tags of a sample."""
    options = ", ".join(f"{LETTERS[k]} {text}" for k, text in enumerate(sample.choices)) if sample.letters else ""
    gold = " or ".join(map(repr, sample.references)) + (f" ({', '.join(sample.letters)})" if sample.letters else "")
    tags = ", ".join(f"{tag} {value}" for tag, value in sample.tags.items() if tag != "answer_type")
    parts = [f"{sample.question[:80]!r}", f"options {options[:120]}" if options else "", f"gold {gold[:80]}"]
    parts += [f"{len(sample.images)} images" if len(sample.images) != 1 else "", f"cluster {sample.image_id}", tags]
    return f"{sample.id}, {sample.answer_type or 'no type'}: {'; '.join(part for part in parts if part)}"
