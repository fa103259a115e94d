"""The values that travel along the path, on one page.

raw row -> Sample -> Request -> Prediction -> Score -> Row.  Every type is frozen and checks itself when it is
made, so a later hop never meets a half-valid value.  A failure is data here (`Prediction.error`,
`Score.reason`), never an empty string or a zero.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

OPEN = "OPEN"
CLOSED = "CLOSED"

# Made once: a run digests every request.
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """Where an image is, not the image: nothing is opened until `evalkit.core.images` is asked.

    kind: "file" (path), "zip" (path of the archive, member), "parquet" (path, member = "column:row"),
    "draw" (path = "module:function" of evalkit, member = its argument) or "blank" (a grey image of the size
    of the image that `path` and `member` of another reference describe, kept in `of`).
    """

    kind: Literal["file", "zip", "parquet", "draw", "blank"]
    path: str = ""
    member: str = ""
    of: ImageRef | None = None

    def __str__(self) -> str:
        if self.kind == "blank":
            return f"blank of {self.of}"
        return f"{self.path}::{self.member}" if self.member else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One question about one image (or several), with its gold answers.

    `image_id` names the cluster: samples that share it are not independent.  `tags` are the slice keys
    (answer_type, modality, organ, language, leak flags ...), values are strings.  `context` is what a judge that
    cannot see the image may be told of it (a caption, the text that mentions it); no model under test is shown it.
    """

    id: str
    image_id: str
    question: str
    references: tuple[str, ...]
    images: tuple[ImageRef, ...] = ()
    choices: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a Sample needs a non-empty id")
        if not any(ref.strip() for ref in self.references):
            raise ValueError(f"sample {self.id!r}: no reference answer with any text in it")

    @property
    def answer_type(self) -> str | None:
        """OPEN, CLOSED, or None where the data carries no such label and none was derived."""
        return self.tags.get("answer_type")


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """The place of image number `index` (into `Request.images`) inside a message."""

    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat turn: text and image places in the order in which the model is to see them."""

    role: Literal["system", "user", "assistant"]
    content: tuple[str | ImagePlace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Decoding settings.  Greedy unless a temperature is given; `seed` matters only when sampling."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    num_beams: int = 1
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one sample asks of a model: complete, so that an engine never looks back at the task.

    `question` and `answer_type` are what image-blind baselines answer from; engines use `messages`.
    `image_digests` (sha256, one an image) identify the pixels; `checkpoint` is the digest of the weights.
    `fingerprint` (sha256 over the sample's id, the prompt, image bytes, weights and settings) is the answer's key.
    """

    sample_id: str
    image_id: str
    question: str
    answer_type: str | None
    messages: tuple[Message, ...]
    images: tuple[ImageRef, ...]
    image_digests: tuple[str, ...]
    generation: Generation
    checkpoint: str
    fingerprint: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        content = {
            "sample_id": self.sample_id,
            "messages": [
                [m.role, [c if isinstance(c, str) else {"image": c.index} for c in m.content]] for m in self.messages
            ],
            "images": list(self.image_digests),
            "generation": {f.name: getattr(self.generation, f.name) for f in fields(self.generation)},
            "checkpoint": self.checkpoint,
        }
        object.__setattr__(self, "fingerprint", digest_json(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What came back: exactly one of `text` and `error`.  An empty text is an answer; an error is not.

    `attempts` says how each attempt went ("503", "no reply", "200") where asking took more than one or came to nothing.
    """

    sample_id: str
    text: str | None = None
    error: str | None = None
    finish_reason: Literal["stop", "length", "error", "unknown"] = "unknown"
    n_tokens: int | None = None
    seconds: float | None = None
    fingerprint: str = ""
    attempts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.text is None) == (self.error is None):
            raise ValueError(f"prediction for {self.sample_id!r}: exactly one of text and error must be given")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One metric of one sample.  `value` is None exactly when `reason` says why it could not be scored.

    `extracted` is what the scorer read out of the answer; `note` an audit trail (an alias used, a rule that fired).
    """

    sample_id: str
    protocol: str
    metric: str
    value: float | None
    extracted: str = ""
    reason: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.reason):
            raise ValueError(f"score {self.metric} of {self.sample_id!r}: a value or a reason, not both or neither")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"score {self.metric} of {self.sample_id!r}: {self.value} is not a finite number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that a protocol defines: which rows it is over and how their scores become one value.

    rows: "closed", "open" or "all".  aggregate: a key of `evalkit.stats.AGGREGATES` ("mean" almost always) or of
    `evalkit.stats.labels.LABEL_AGGREGATES`.  of: the metric of the same protocol whose scores are aggregated, where it
    has none of its own (a macro average is another aggregate of the same hits).
    """

    name: str
    rows: Literal["closed", "open", "all"] = "all"
    aggregate: str = "mean"
    of: str = ""
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a result table.

    `n` is how many rows the dataset says the metric is over, unscored ones included; `value` is over the scored
    ones, `value_unscored_wrong` counts each unscored one as the worst that it could be
    (0, or 1 where lower is better).  Fractions, not percentages.
    """

    model: str
    task: str
    split: str
    protocol: str
    metric: str
    slice: str
    value: float | None
    value_unscored_wrong: float | None
    low: float | None
    high: float | None
    n: int
    n_unscored: int
    n_clusters: int
    signature: str


def digest_json(content: Any) -> str:
    """sha256 (hex) of the canonical JSON of `content`: sorted keys, no spaces, UTF-8.

    >>> digest_json({"b": 1, "a": [2]}) == digest_json({"a": [2], "b": 1})
    True
    """
    return hashlib.sha256(_CANONICAL.encode(content).encode("utf-8")).hexdigest()
