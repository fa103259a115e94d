"""Interface of a task, between the datasets and the rest of evalkit.

A task is a class named by `target:` in `conf/task/NAME.yaml`; the YAML's other keys are its keyword arguments.
The class implements `load`, `load_train` and `messages`.
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

    form: the released form that was recognised ("osf-json", "hf-parquet" ...).
    closed_rule: "label" or "yesno", the definition of CLOSED ("none" where a task has no closed rows).
    prompt: the prompt variant as NAME@HASH (8 hexadecimal digits), for signatures.
    skipped: rows left out, one message with the reason for each, shown to the user.
    notes: facts that affect how the numbers are read (a leak, a derived label), shown to the user once.
    order: other numberings of the same rows (`{"hf": ("id of HF row 0", ...)}`), for joining other tools' predictions.
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

        Image bytes have their own digest (`images_sha256` in the manifest), so that a run and a re-scoring of its
        answers on a machine without images are recognised as being over the same rows.
        """
        rows = sorted([s.id, s.image_id, s.question, list(s.references), s.answer_type or ""] for s in self.samples)
        return digest_json(rows)


class Task(Protocol):
    """Adapter of one dataset."""

    def load(self, *, images: bool = True) -> LoadedTask:
        """Load the configured split.  images=False: image references need not resolve (scoring needs no images)."""
        ...

    def load_train(self) -> LoadedTask:
        """Load the train split of the same copy, without images, for the image-blind baselines."""
        ...

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """Chat messages for a sample under the task's prompt setting."""
        ...
