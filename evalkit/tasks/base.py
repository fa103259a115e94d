"""Interface of a task, between the datasets and the rest of evalkit.

A task is a class named by `target:` in `conf/task/NAME.yaml`; the YAML's other keys are its keyword arguments.
The class implements `load`, `load_train` and `messages`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

from evalkit.core.columns import column_values
from evalkit.core.errors import DataError, EvalkitError
from evalkit.core.packed_samples import PackedSamples
from evalkit.core.types import Message, Sample, digest_json_items

# Ids named in a message.
SHOWN_IDS = 5
# Errors of `load` and `load_train` that say that there is no such split: a class of the user's may open a file that is
# not there, or look a split up in a table.
NO_SPLIT = (EvalkitError, OSError, LookupError, NotImplementedError)


# Not slotted: the digest is computed once and kept on the instance.
@dataclass(frozen=True, kw_only=True)
class LoadedTask:
    """One split of a dataset, normalised and checked.

    form: the released form that was recognised ("osf-json", "hf-parquet" ...).
    closed_rule: "label" or "yesno", the definition of CLOSED ("none" where a task has no closed rows).
    prompt: the prompt variant as NAME@HASH (8 hexadecimal digits), for signatures.
    skipped: rows left out, one message with the reason for each, shown to the user.
    notes: facts that affect how the numbers are read (a leak, a derived label), shown to the user once.
    cluster: what makes rows dependent: "image", or the name of a column (a patient).
    order: other numberings of the same rows (`{"hf": ("id of HF row 0", ...)}`), for joining other tools' predictions.
    """

    name: str
    split: str
    form: str
    samples: Sequence[Sample]
    closed_rule: str
    prompt: str
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cluster: str = "image"
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.samples, PackedSamples):
            return
        samples = self.samples if isinstance(self.samples, Sequence) else tuple(self.samples)
        own = set(map(type, samples)) - {Sample}  # a class of the user's may have samples of its own
        try:
            object.__setattr__(self, "samples", samples if own else PackedSamples.of(samples))
        except TypeError as problem:
            raise DataError(
                f"task {self.name} ({self.split}): a sample has a value that is neither a text nor a tuple of texts "
                f"({problem}). Expected texts as the values of `tags` and `context`, tuples or lists of texts as "
                "`references` and `choices`; correct the task's class."
            ) from problem

    @cached_property
    def data_sha256(self) -> str:
        """Digest of ids, image ids, questions, references and answer types, in id order.

        Image bytes have their own digest (`images_sha256` in the manifest), so that a run and a re-scoring of its
        answers on a machine without images are recognised as being over the same rows.
        """
        ids = tuple(column_values(self.samples, "id"))
        places = sorted(range(len(ids)), key=ids.__getitem__)
        if any(ids[k] == ids[following] for k, following in pairwise(places)):
            places.sort(key=self._row)
        return digest_json_items(map(self._row, places))

    def _row(self, place: int) -> list[Any]:
        s = self.samples[place]
        return [s.id, s.image_id, s.question, list(s.references), s.answer_type or ""]


def check_ids(loaded: LoadedTask) -> None:
    """Check that no two samples have one id: answers and scores are kept by it.

    Raises:
        DataError: some have; names the first ones.
    """
    counts = Counter(column_values(loaded.samples, "id"))
    if repeated := [i for i, n in counts.items() if n > 1]:
        rows = sum(counts[i] for i in repeated)
        raise DataError(
            f"task {loaded.name} ({loaded.split}): {rows} of {len(loaded.samples)} samples share an id with another "
            f"one, {len(repeated)} ids in all, first {', '.join(map(repr, repeated[:SHOWN_IDS]))}. Answers and scores "
            "are kept by id: give each row its own (the task's class makes them), or remove repeated rows."
        )


def load_train(task: Task) -> LoadedTask:
    """The train split of a task.

    Raises:
        DataError: the task's class has none (no method `load_train`, or one that raises NotImplementedError).
    """
    method = getattr(task, "load_train", None)
    try:
        if method is not None:
            train: LoadedTask = method()
            return train
    except NotImplementedError:
        pass
    name = getattr(task, "name", type(task).__name__)
    raise DataError(
        f"task {name} has no train split: its class has no `load_train`. Baselines that learn from one "
        "(model=majority, model=lookup) and comparisons with it are not possible."
    )


def why_no_split(problem: BaseException) -> str:
    """The reason why a split cannot be read, from one of NO_SPLIT."""
    return str(problem) if isinstance(problem, EvalkitError) else f"{type(problem).__name__}: {problem}"


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
