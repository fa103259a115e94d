"""The values that travel along the path, on one page.

raw row -> Sample -> Request -> Prediction -> Score -> MetricValue.  Every type is frozen and checks itself when it is
created, so a later step never receives a half-valid value.  A failure is data here (`Prediction.error`,
`Score.reason`), never an empty string or a zero.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, NamedTuple

from evalkit.core.signature import Signature

# Values of the tag `answer_type`.  CHOICE: a multiple-choice question whose options are `Sample.choices`.
OPEN = "OPEN"
CLOSED = "CLOSED"
CHOICE = "CHOICE"

# Letters of options, in order.
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# A tag with more values than this names samples and does not make slices.  ColonINST has 43 categories.
MAX_SLICE_VALUES = 64

# The error of an answer that ends inside its reasoning: a cut answer, neither a failure nor a text to score.
CUT_IN_REASONING = "cut inside its reasoning"
# The error of an answer that ended by itself and has reasoning alone.
REASONING_ALONE = "the reply contains reasoning and no answer"

# One object for all samples without tags or context; nothing changes a sample's.
_NONE: Mapping[str, str] = {}
# Made once: a run digests every request.
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
# Items of a list that are digested at a time.
_ITEMS = 256
# Parts of requests whose canonical JSON is kept.
_SHARED_TEXTS = 1024
# Places for the mark that closes a thought.
CLOSING_TOKENS = 32
# Decoding settings that were added after the first runs, with their defaults: the names of earlier answers stay.
_LATER = {"n": 1, "reasoning": "auto", "reasoning_budget": None, "reasoning_overflow": "force"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """Reference to an image.  Nothing is opened before `evalkit.core.images` reads it.

    kind: "file" (path), "zip" (path of the archive, member), "parquet" (path, member = "column:row"),
    "draw" (path = "module:function", one of `images.DRAWINGS`, member = its argument), or a change of the image that
    `of` refers to (`evalkit.core.image_changes`): "blank", "blurred", "noisy".
    """

    kind: Literal["file", "zip", "parquet", "draw", "blank", "blurred", "noisy"]
    path: str = ""
    member: str = ""
    of: ImageRef | None = None

    def __str__(self) -> str:
        if self.of is not None:
            return f"{self.kind} of {self.of}"
        return f"{self.path}::{self.member}" if self.member else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One question about one image (or several), with its gold answers.

    `image_id` names the cluster: samples that share it are not independent.  `tags` are the slice keys
    (answer_type, modality, organ, language, leak flags ...), values are strings.  `context`: text for a judge that
    cannot see the image (a caption, the text that mentions the image).  Never shown to the evaluated model.
    `verbatim`: the question with the white space that the data set has inside it; "" where `question` is the same.
    `image_name`: the images themselves, where `image_id` names a larger cluster, such as a patient; else "".
    `choices`: the texts of the options in order, without letters.  The references of a CHOICE sample are the texts of
    the right options, exactly as in `choices`, whatever the data set states (a letter, a number, a text).
    """

    id: str
    image_id: str
    question: str
    references: tuple[str, ...]
    images: tuple[ImageRef, ...] = ()
    choices: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=lambda: _NONE)
    context: Mapping[str, str] = field(default_factory=lambda: _NONE)
    verbatim: str = ""
    image_name: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a Sample needs a non-empty id")
        for name in ("references", "images", "choices"):  # a task of the user's may give a list
            if type(given := getattr(self, name)) is list:
                object.__setattr__(self, name, tuple(given))
        if not any(ref.strip() for ref in self.references):
            raise ValueError(f"sample {self.id!r}: no reference answer with any text in it")
        if self.answer_type == CHOICE:
            if not 2 <= len(self.choices) <= len(LETTERS) or len(set(self.choices)) < len(self.choices):
                raise ValueError(f"sample {self.id!r}: a choice needs 2 to 26 different options, not {self.choices}")
            if missing := [ref for ref in self.references if ref not in self.choices]:
                raise ValueError(f"sample {self.id!r}: the right answer {missing[0]!r} is none of its options")

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters of a CHOICE sample's right options in order, as in ("B",); empty for other samples."""
        if self.answer_type != CHOICE:
            return ()
        return tuple(LETTERS[k] for k, choice in enumerate(self.choices) if choice in self.references)

    @property
    def pictures(self) -> str:
        """The name of the images that are shown, whatever the cluster is."""
        return self.image_name or self.image_id

    @property
    def prompt_question(self) -> str:
        """The question as a model is asked it, with its own white space."""
        return self.verbatim or self.question

    @property
    def answer_type(self) -> str | None:
        """OPEN, CLOSED, CHOICE, or None where the data carries no such label and none was derived."""
        return self.tags.get("answer_type")


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """Position of image number `index` (into `Request.images`) inside a message."""

    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat turn: text and image positions in the order in which the model sees them."""

    role: Literal["system", "user", "assistant"]
    content: tuple[str | ImagePlace, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", tuple(self.content))  # a task of the user's may give a list


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Decoding settings.  Greedy unless a temperature is given; `seed` matters only when sampling.

    n: answers that are drawn of each sample.  reasoning: whether the model is asked to think, by the switch of its chat
    template or server; "auto" leaves the switch alone.  reasoning_budget: tokens that a thought may have, after which
    it is closed and the answer drawn ("force"), or the answer is cut ("fail"); `max_new_tokens` is then the limit of
    the answer alone.

    Raises:
        ValueError: several answers are asked for that would all be the same one, or a limit is below 1.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    num_beams: int = 1
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    n: int = 1
    reasoning: Literal["auto", "on", "off"] = "auto"
    reasoning_budget: int | None = None
    reasoning_overflow: Literal["force", "fail"] = "force"

    def __post_init__(self) -> None:
        if self.n < 1 or (self.reasoning_budget is not None and self.reasoning_budget < 1):
            raise ValueError(f"n={self.n}, reasoning_budget={self.reasoning_budget}: expected 1 or more")
        if self.reasoning_overflow != "force" and self.reasoning_budget is None:
            raise ValueError(
                f"reasoning_overflow={self.reasoning_overflow} says what happens to a thought that reaches its budget, "
                "and reasoning_budget is not set"
            )
        if self.reasoning_budget is not None and self.num_beams > 1:
            raise ValueError(f"reasoning_budget needs one beam, and num_beams is {self.num_beams}")
        if self.n > 1 and (self.temperature <= 0 or self.num_beams > 1):
            raise ValueError(
                f"n={self.n} draws several answers of each sample, which needs temperature above 0 and no beams: "
                f"temperature is {self.temperature:g}, num_beams {self.num_beams}. Set temperature=0.7, or leave n out"
            )

    @property
    def most_new_tokens(self) -> int:
        """The most tokens that an answer may have, its thought and the mark that closes it included."""
        budget = self.reasoning_budget
        return self.max_new_tokens if budget is None else budget + CLOSING_TOKENS + self.max_new_tokens

    def record(self) -> dict[str, Any]:
        """The settings by name, for digests and files; later additions only where they differ from their default.

        >>> "n" in Generation().record(), Generation(temperature=0.5, n=2).record()["n"]
        (False, 2)
        """
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in given.items() if k not in _LATER or v != _LATER[k]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One generation request, complete: an engine never needs the task.

    `question` and `answer_type` are what image-blind baselines answer from; engines use `messages`.
    `continuations`: texts whose log-probability after the prompt is asked for, in place of an answer; () to generate.
    `with_probability`: the log-probability of the answer is asked for too.
    `image_digests` (sha256, one an image) identify the pixels; `checkpoint` is the digest of the weights.
    `draw`: which of the sample's answers it is, from 0; None where only one is drawn.
    `fingerprint` (sha256 over sample id, prompt, image digests, weights and settings) is the key of the answer.
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
    continuations: tuple[str, ...] = ()
    draw: int | None = None
    with_probability: bool = False
    fingerprint: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        before = {
            "checkpoint": self.checkpoint,
            **({"continuations": list(self.continuations)} if self.continuations else {}),
            **({} if self.draw is None else {"draw": self.draw}),
        }
        after = {"sample_id": self.sample_id, **({"with_probability": True} if self.with_probability else {})}
        # The canonical JSON of all of it, whose longest parts many requests share.
        text = (
            f'{_CANONICAL.encode(before)[:-1]},"generation":{_generation_text(self.generation)},'
            f'"images":{_CANONICAL.encode(self.image_digests)},"messages":{_messages_text(self.messages)},'
            f"{_CANONICAL.encode(after)[1:]}"
        )
        object.__setattr__(self, "fingerprint", _digest_text(text))

    @property
    def placed(self) -> tuple[int, ...]:
        """The numbers of the images in the order in which the messages place them; () without images.

        Templates mark places alone, so that an engine that renders text gives the images in this order.
        """
        places = (part.index for m in self.messages for part in m.content if isinstance(part, ImagePlace))
        return tuple(places) if self.images else ()

    @property
    def placed_images(self) -> tuple[ImageRef, ...]:
        """The images in the order of their places."""
        return tuple(self.images[k] for k in self.placed)

    @property
    def placed_digests(self) -> tuple[str, ...]:
        """The digests of the images in the order of their places; equal ones are one prefix."""
        return tuple(self.image_digests[k] for k in self.placed)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionScore:
    """The log-probability of an option's continuation after the prompt.

    text: the continuation, without the space that may join it to the prompt.  logprob: natural logarithm, summed over
    its `n_tokens` tokens.
    """

    text: str
    logprob: float
    n_tokens: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.logprob) or self.n_tokens < 1:
            raise ValueError(f"option {self.text!r}: {self.logprob} over {self.n_tokens} tokens is not possible")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer to a request: exactly one of `text` and `error`.  An empty text is an answer; an error is not.

    `attempts` lists the outcome of each attempt ("503", "no reply", "200") where there was more than one, or none
    succeeded.  `reasoning` is the thought that the model wrote besides its answer (see `evalkit.core.reasoning`); `raw`
    the text as it came, where a thought was split off it.  `options`: one score for each of the request's
    continuations, in their order; `text` is then the continuation with the highest sum, empty where two tie.
    `thought_forced`: the thought reached its budget and was closed for the model.
    `logprob`: the log-probability of all generated tokens, where it was asked for (`Request.with_probability`).
    `thought_tokens`: tokens of the thought with its marks, where the engine or server knows them.
    """

    sample_id: str
    text: str | None = None
    error: str | None = None
    finish_reason: Literal["stop", "length", "error", "unknown"] = "unknown"
    n_tokens: int | None = None
    seconds: float | None = None
    fingerprint: str = ""
    attempts: tuple[str, ...] = ()
    reasoning: str = ""
    raw: str | None = None
    options: tuple[OptionScore, ...] = ()
    thought_forced: bool = False
    logprob: float | None = None
    thought_tokens: int | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.error is None):
            raise ValueError(f"prediction for {self.sample_id!r}: exactly one of text and error must be given")
        if self.logprob is not None and not -math.inf < self.logprob <= 0:
            raise ValueError(f"prediction for {self.sample_id!r}: {self.logprob} is no log-probability")

    @property
    def is_cut(self) -> bool:
        """Whether the answer ends inside its reasoning: it is unscored and truncated, and asking again is no use."""
        return self.error == CUT_IN_REASONING

    @property
    def failed(self) -> bool:
        """Whether there is no answer because generation failed."""
        return self.error is not None and not self.is_cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One metric of one sample.  `value` is None exactly when `reason` says why it could not be scored.

    `extracted` is the part of the answer that the scorer used; `note` an audit trail (an alias used, a rule applied).
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
    """Definition of a metric of a protocol: the samples that it covers and how their scores become one value.

    rows: "closed", "open", "choice" or "all".  aggregate: a key of `evalkit.stats.AGGREGATES` ("mean" almost always) or
    of `evalkit.stats.labels.LABEL_AGGREGATES`.  of: the metric of the same protocol whose scores are aggregated, for a
    metric without scores of its own (a macro average is another aggregate of the same hits).
    is_secondary: it is computed and recorded, but a run's table shows it only with `metrics=all`.
    """

    name: str
    rows: Literal["closed", "open", "choice", "all"] = "all"
    aggregate: str = "mean"
    of: str = ""
    higher_is_better: bool = True
    is_secondary: bool = False


def worst_score(higher_is_better: bool) -> float:
    """The score that an unscored sample counts as in the worst case: 0, or 1 where lower is better."""
    return 0.0 if higher_is_better else 1.0


class MetricKey(NamedTuple):
    """A metric of a protocol.  Its text form, `PROTOCOL METRIC`, is what settings and baseline files use.

    >>> MetricKey.parse("strict open_recall")
    MetricKey(protocol='strict', metric='open_recall')
    >>> str(MetricKey("strict", "open_recall"))
    'strict open_recall'
    """

    protocol: str
    metric: str

    @classmethod
    def parse(cls, text: str) -> MetricKey:
        """The key in `PROTOCOL METRIC`.

        Raises:
            ValueError: the text is not two words.
        """
        protocol, _, metric = text.partition(" ")
        if not protocol or not metric or " " in metric:
            raise ValueError(f"{text!r} does not name a metric; expected 'PROTOCOL METRIC', as in 'strict open_recall'")
        return cls(protocol, metric)

    def __str__(self) -> str:
        return f"{self.protocol} {self.metric}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValue:
    """The value of one metric over one slice, with what must travel with it.

    value, low, high, value_worst_case: fractions, not percentages (judged points keep their scale); low and high are
    the bounds of the 95 % interval.  n: how many samples the dataset says the metric is over, unscored ones included.
    value is over the scored samples; value_worst_case counts each unscored sample as the worst possible score (0, or 1
    where lower is better), and is None where no worst score is defined; low_worst_case and high_worst_case bound it.
    n_effective: Kish's effective number of clusters; None where it is not known.  higher_is_better is None for a
    quantity that is neither better nor worse (the order effect of a judge).  slice: `all` or `tag=value`.  signature:
    None only for judged values before the run that they belong to is known.
    """

    protocol: str
    metric: str
    slice: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    n_unscored: int = 0
    n_clusters: int = 0
    value_worst_case: float | None = None
    low_worst_case: float | None = None
    high_worst_case: float | None = None
    n_effective: float | None = None
    higher_is_better: bool | None
    signature: Signature | None = None

    def __post_init__(self) -> None:
        bounds = (self.low, self.high, self.low_worst_case, self.high_worst_case)
        numbers = (self.value, self.value_worst_case, self.n_effective, *bounds)
        if any(x is not None and not math.isfinite(x) for x in numbers):
            raise ValueError(f"{self.protocol} {self.metric}: {numbers} are not all finite numbers")
        if self.n < 0 or self.n_clusters < 0 or not 0 <= self.n_unscored <= self.n:
            raise ValueError(f"{self.protocol} {self.metric}: {self.n_unscored} unscored of {self.n} is not possible")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"{self.protocol} {self.metric}: the interval [{self.low}, {self.high}] is reversed")

    @property
    def key(self) -> MetricKey:
        """The metric, whatever the slice."""
        return MetricKey(self.protocol, self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnscoredCount:
    """Number of samples that a metric could not score for one reason."""

    protocol: str
    metric: str
    reason: str
    count: int


def digest_json(content: Any) -> str:
    """sha256 (hex) of the canonical JSON of `content`: sorted keys, no spaces, UTF-8 (half a surrogate pair included).

    >>> digest_json({"b": 1, "a": [2]}) == digest_json({"a": [2], "b": 1})
    True
    """
    return _digest_text(_CANONICAL.encode(content))


def _digest_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=_SHARED_TEXTS)
def _generation_text(generation: Generation) -> str:
    return _CANONICAL.encode(generation.record())


@lru_cache(maxsize=_SHARED_TEXTS)
def _messages_text(messages: tuple[Message, ...]) -> str:
    return _CANONICAL.encode(
        [[m.role, [c if isinstance(c, str) else {"image": c.index} for c in m.content]] for m in messages]
    )


def digest_json_items(items: Iterable[Any], before: str = "", after: str = "") -> str:
    """`digest_json` of a list, some items at a time, so that its text is never held as a whole.

    Args:
        before, after: canonical JSON around the list, where it is a part of the content.

    >>> items = [{"b": 1, "a": [2]}, None]
    >>> digest_json_items(iter(items), '["x",', "]") == digest_json(["x", items])
    True
    """
    hasher = hashlib.sha256(f"{before}[".encode())
    rest, between = iter(items), ""
    while some := list(islice(rest, _ITEMS)):
        text = f"{between}{_CANONICAL.encode(some)[1:-1]}"
        hasher.update(text.encode("utf-8", "surrogatepass"))
        between = ","
    hasher.update(f"]{after}".encode())
    return hasher.hexdigest()
