"""What a task is: the contract between the datasets and the rest of evalkit.

A task is a class named by `target:` in `conf/task/NAME.yaml`; the YAML's other keys are its keyword arguments.
It has `load()`; nothing else is asked of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from evalkit.core.types import Message, Sample, digest_json


# Not slotted: the digest is computed once and kept on the instance.
@dataclass(frozen=True, kw_only=True)
class LoadedTask:
    """One split of a dataset, normalised and checked.

    form: which released form was recognised ("osf-json", "hf-parquet" ...).
    closed_rule: "label" or "yesno", what CLOSED means here.
    prompt: name@8-hex of the prompt variant, for signatures.
    skipped: rows left out, each with its reason, in words that are shown to the user.
    notes: what a reader of the numbers must know (a leak, a derived label); shown once.
    order: other numberings of the same rows (`{"hf": ("id of HF row 0", ...)}`), for joining foreign predictions.
    """

    name: str
    split: str
    form: str
    samples: tuple[Sample, ...]
    closed_rule: str
    prompt: str
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def data_sha256(self) -> str:
        """Digest of ids, image ids, questions, references and answer types, in id order.

        Pixels have their own digest (`images_sha256` in the manifest), so that a run and a re-scoring of its
        answers on a machine without images can be seen to be over the same rows.
        """
        rows = sorted([s.id, s.image_id, s.question, list(s.references), s.answer_type or ""] for s in self.samples)
        return digest_json(rows)


class Task(Protocol):
    """An adapter of one dataset."""

    def load(self, *, images: bool = True) -> LoadedTask:
        """The configured split.  images=False: references to images need not resolve (scoring needs none)."""
        ...

    def load_train(self) -> LoadedTask:
        """The train split of the same copy, never with images: what image-blind baselines learn from."""
        ...

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """The chat messages for a sample under the task's prompt setting."""
        ...
