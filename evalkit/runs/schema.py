"""Everything that a run leaves on disk, as frozen, versioned types.  `docs/schemas/` holds their JSON Schemas.

| file | type |
|---|---|
| `manifest.json` | `Manifest` |
| `predictions.jsonl` | `PredictionLine`, one a sample |
| `scores.jsonl` | `evalkit.core.types.Score`, one a sample, protocol and metric |
| `summary.json` | `Summary`; with the model's training exposure, in a leaderboard's `results/`: `LeaderboardResult` |
| `prompts.json` | `PromptFile` |
| `judgments.jsonl` | `JudgePlan` and `Judgment` lines |
| `judged-NAME.json` | `JudgedFile` |
| a gate baseline, a leaderboard's `scores/` | `Baseline` |

`evalkit.runs.read` reads them (older versions too, through `evalkit.runs.legacy`), `evalkit.runs.codec.encode` turns
them into JSON.  A field that is added gets a default; a field that is renamed or removed raises the schema number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evalkit.core.signature import Signature
from evalkit.core.types import MetricValue, OptionScore, Prediction, Sample, UnscoredCount

MANIFEST_SCHEMA = 2
SUMMARY_SCHEMA = 2
BASELINE_SCHEMA = 3
JUDGED_SCHEMA = 2
PROMPT_SCHEMA = 1
# The fields of a manifest that determine the answers; their digest names the run.
IDENTITY = (
    "model", "checkpoint", "task", "split", "form", "n", "data_sha256", "images_sha256", "image_conversion", "prompt",
    "prompts_sha256", "image", "limit", "generation", "closed_rule",
)  # fmt: skip
BASELINE_KIND = "evalkit gate baseline"
PROMPT_KIND = "evalkit prompts"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionLine:
    """A line of predictions.jsonl: the answer next to its question, so that the file can be read on its own.

    reasoning, raw: the thought besides the answer, and the text as it came where a thought was split off it; options:
    log-probabilities under scoring=loglikelihood; thought_forced: the thought was closed at its budget; logprob: that
    of the answer under confidence=true; thought_tokens: those of the thought, where they are known.  All are left out
    of the line, like attempts, where there are none.
    """

    sample_id: str
    image_id: str
    question: str
    references: tuple[str, ...]
    answer_type: str | None
    text: str | None
    error: str | None
    finish_reason: Literal["stop", "length", "error", "unknown"]
    n_tokens: int | None
    seconds: float | None
    fingerprint: str
    attempts: tuple[str, ...] = ()
    reasoning: str = ""
    raw: str | None = None
    options: tuple[OptionScore, ...] = ()
    thought_forced: bool = False
    logprob: float | None = None
    thought_tokens: int | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.error is None):
            raise ValueError("exactly one of text and error must be given")
        if self.logprob is not None and not -math.inf < self.logprob <= 0:
            raise ValueError(f"logprob is {self.logprob}, not a finite number of at most 0")
        if self.seconds is not None and not math.isfinite(self.seconds):
            raise ValueError(f"seconds is {self.seconds}, not a finite number")

    @classmethod
    def of(cls, sample: Sample, prediction: Prediction) -> PredictionLine:
        """The line of a sample's answer."""
        return cls(
            sample_id=sample.id,
            image_id=sample.image_id,
            question=sample.question,
            references=sample.references,
            answer_type=sample.answer_type,
            text=prediction.text,
            error=prediction.error,
            finish_reason=prediction.finish_reason,
            n_tokens=prediction.n_tokens,
            seconds=prediction.seconds,
            fingerprint=prediction.fingerprint,
            attempts=prediction.attempts,
            reasoning=prediction.reasoning,
            raw=prediction.raw,
            options=prediction.options,
            thought_forced=prediction.thought_forced,
            logprob=prediction.logprob,
            thought_tokens=prediction.thought_tokens,
        )

    @property
    def prediction(self) -> Prediction:
        """The answer alone."""
        return Prediction(
            sample_id=self.sample_id,
            text=self.text,
            error=self.error,
            finish_reason=self.finish_reason,
            n_tokens=self.n_tokens,
            seconds=self.seconds,
            fingerprint=self.fingerprint,
            attempts=self.attempts,
            reasoning=self.reasoning,
            raw=self.raw,
            options=self.options,
            thought_forced=self.thought_forced,
            logprob=self.logprob,
            thought_tokens=self.thought_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolVersion:
    """A scoring protocol by its registry name and version."""

    name: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo:
    """Part `index` (from 1) of `of`, with `n` samples."""

    index: int
    of: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Wall time of generation, in seconds; n_asked: samples answered in this process.  Empty for scored answers."""

    seconds: float | None = None
    n_asked: int | None = None
    samples_per_second: float | None = None
    image_prefills: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersFile:
    """The file that scored answers came from, and how its rows were matched to samples."""

    path: str
    sha256: str | None
    format: str
    joined_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """The content of a file: its length in bytes and its sha256 (hex)."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that determines the numbers of a run.

    status: "running", "done" (a run, or a part of one) or "scored" (answers that came from a file); the last two are
    written last, after the summary.  config: the resolved
    configuration, in which tasks, models, engines and protocols are named by registry name (`choices`, `name`), never
    by module path.  facts: the engine's metadata.  checkpoint, images_sha256, prompts_sha256: None for scored answers.
    reasoning: the setting, "auto" (thoughts are split off the answers) or "keep".  answers: predictions.jsonl of a part
    that has ended; None in whole runs, whose summary has it, and in parts of earlier versions.  image_rules: rules by
    which DICOM and NIfTI files became pictures, with the number of pictures.  scoring: "generation", or
    "loglikelihood", where continuation says what is scored of an option: its letter, number or text.  digest: checksum
    of all else in the file but the timing (`evalkit.runs.read.record_digest`); None in manifests of earlier versions.
    """

    schema: int = MANIFEST_SCHEMA
    run_id: str
    model: str
    checkpoint: str | None = None
    task: str
    split: str
    form: str
    n: int
    data_sha256: str
    images_sha256: str | None = None
    image_conversion: str | None = None
    prompt: str
    prompts_sha256: str | None = None
    image: str
    limit: int | None = None
    generation: str
    closed_rule: str
    config: Mapping[str, Any]
    protocols: tuple[ProtocolVersion, ...] = ()
    predictions: AnswersFile | None = None
    status: str
    shard: ShardInfo | None = None
    evalkit: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    timing: Timing | None = None
    reasoning: str = "auto"
    answers: FileDigest | None = None
    image_rules: Mapping[str, int] = field(default_factory=dict)
    scoring: str = "generation"
    continuation: str | None = None
    digest: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for key in ("choices", "task", "model", "engine", "protocol"):
            if not isinstance(self.config.get(key) or {}, Mapping):
                raise ValueError(f"config.{key} is {self.config[key]!r}, expected an object")

    @property
    def is_finished(self) -> bool:
        """Whether every answer and score is there."""
        return self.status in ("done", "scored")

    def section(self, key: str) -> Mapping[str, Any]:
        """A part of the configuration; empty where the run has none."""
        return self.config.get(key) or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """summary.json: every number of a run, and the counts of everything that went wrong.

    cluster: what the intervals are clustered by, "image" or a column of a table; n_clusters: how many there are, None
    where each is an image.
    n_failed: samples without an answer.  n_empty: empty answers.  n_truncated: answers cut at the token limit or inside
    their reasoning.
    skipped: the first 20 reasons why rows of the data were left out.  sanity_checks: see
    `evalkit.analysis.sanity_checks`; empty where they were not computed.  warnings: why the numbers may say nothing
    about the model (all answers empty, or all the same), shown beside them.  files: name -> content of every file that
    belongs to these numbers, and of the judgments of finished sessions; judgments.jsonl may be longer, while a judge
    adds to it.  None for runs of earlier versions, which cannot be checked, and in a leaderboard.  digest: checksum of
    all else in the file but the timing; None there too.
    """

    schema: int = SUMMARY_SCHEMA
    run_id: str
    evalkit: str
    model: str
    task: str
    split: str
    form: str
    n: int
    n_images: int
    cluster: str = "image"
    n_clusters: int | None = None
    data_sha256: str
    closed_rule: str
    prompt: str
    image: str
    generation: str
    limit: int | None = None
    n_failed: int
    n_empty: int
    n_truncated: int
    n_skipped: int = 0
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metrics: tuple[MetricValue, ...]
    timing: Timing | None = None
    unscored: tuple[UnscoredCount, ...] = ()
    sanity_checks: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    files: Mapping[str, FileDigest] | None = None
    digest: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check_signatures(self.metrics)
        repeated = Counter((m.protocol, m.metric, m.slice) for m in self.metrics)
        if doubled := [" ".join(key) for key, n in repeated.items() if n > 1]:
            raise ValueError(f"the metric {doubled[0]!r} is there twice")
        if any(n < 0 for n in (self.n, self.n_images, self.n_failed, self.n_empty, self.n_truncated, self.n_skipped)):
            raise ValueError("a negative count")
        _check_baselines(self.sanity_checks)

    def find(self, protocol: str, metric: str, slice_name: str = "all") -> MetricValue | None:
        """The value of a metric over a slice; None where the run has no such metric."""
        wanted = (protocol, metric, slice_name)
        return next((m for m in self.metrics if (m.protocol, m.metric, m.slice) == wanted), None)


def _check_signatures(metrics: Iterable[MetricValue]) -> None:
    for m in metrics:
        if m.signature is None:
            raise ValueError(f"the metric '{m.key}' has no signature")


def _check_baselines(checks: Mapping[str, Any]) -> None:
    """Check the part of the sanity checks that leaderboards read."""
    baselines = checks.get("baselines") or {}
    found = baselines.get("metrics", ()) if isinstance(baselines, Mapping) else None
    keys = {"baseline", "protocol", "metric", "value"}
    if not isinstance(found, tuple | list) or not all(isinstance(m, Mapping) and keys <= set(m) for m in found):
        raise ValueError(f"sanity_checks.baselines is invalid, expected metrics with {', '.join(sorted(keys))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierResult:
    """A result that a row of a leaderboard had before; the fields are those of `LeaderboardResult`."""

    added: str | None = None
    evalkit: str
    answers: str | None = None
    metrics: tuple[MetricValue, ...]

    def __post_init__(self) -> None:
        _check_signatures(self.metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardResult(Summary):
    """A run's summary without its slices, as a leaderboard keeps it.

    role: "model" or "baseline".  regime: how the model was exposed to the data set before ("zero-shot", "fine-tuned",
    "trained-on-this-split", "unknown").  train: the splits that it was trained on.  added: the day (UTC, ISO 8601) on
    which the result was stored.  answers: sha256 of the ids and the digests of the answers.  Both are None where an
    earlier version stored the result.  history: what the result of this run was before, newest first.
    """

    role: str = "model"
    regime: str = "unknown"
    train: str = ""
    added: str | None = None
    answers: str | None = None
    history: tuple[EarlierResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHeader:
    """Origin of a run's scores: every field that two runs must share, or that is shown when they are compared."""

    task: str
    split: str
    data_sha256: str
    closed_rule: str
    prompt: str
    image: str
    limit: int | None
    n: int
    model: str
    run_id: str
    evalkit: str
    generation: str
    status: str
    messages_sha256: str | None = None
    images_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The scores of a run in one file, for `gate` and leaderboards.

    signatures, higher_is_better, rows and scores are by metric, `PROTOCOL METRIC`.  scores: one value a sample of
    `ids`, null where the sample is unscored or the metric does not cover it; rows: positions of the samples that it
    covers.  answers: 16 hex of the sha256 of each answer, null where generation failed.  questions, texts: empty where
    they are not kept.  decimals: how many decimals of the scores are kept, null for all of them; 6 in a file that does
    not say so.  digest: checksum of the rest; detects manual edits and bad merges.
    """

    kind: Literal["evalkit gate baseline"] = "evalkit gate baseline"
    schema: int = BASELINE_SCHEMA
    header: RunHeader
    signatures: Mapping[str, Signature]
    higher_is_better: Mapping[str, bool]
    rows: Mapping[str, tuple[int, ...]]
    scores: Mapping[str, tuple[float | None, ...]]
    ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    answers: tuple[str | None, ...]
    questions: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    decimals: int | None = 6
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptHeader:
    """Origin of a prompt record, and digests over all of its samples.

    generation: decoding settings.  template, tokens, files: the chat template, the special tokens that it names, and
    16 hex of the sha256 of each processor file; None where the checkpoint is not on this machine.
    """

    model: str
    task: str
    split: str
    n: int
    data_sha256: str | None = None
    prompt: str | None = None
    image: str
    image_conversion: str | None
    limit: int | None
    generation: Mapping[str, Any]
    template: str | None
    tokens: Mapping[str, str] | None
    files: Mapping[str, str] | None
    messages_sha256: str
    images_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFile:
    """prompts.json: the prompt and the image digests of every sample; equal texts and image lists are stored once.

    text_of, images_of: per sample the position in `texts` and `images`; images_of is None for a model without images.
    messages: per sample 16 hex of the digest of its messages before the chat template.
    """

    kind: Literal["evalkit prompts"] = "evalkit prompts"
    schema: int = PROMPT_SCHEMA
    header: PromptHeader
    ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    texts: tuple[str, ...]
    text_of: tuple[int, ...]
    messages: tuple[str, ...]
    images: tuple[tuple[str, ...], ...]
    images_of: tuple[int, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePlan:
    """A line of judgments.jsonl: which judge, how it is prompted, and how many samples and judgments are expected."""

    record: Literal["plan"] = "plan"
    plan: str
    judge: str
    judged: str
    server: str | None = None
    model_requested: str | None
    prompt: str
    prompt_sha256: str
    style: str
    n_items: int
    answers_sha256: str | None = None
    n_judgments: int
    config: Mapping[str, Any]
    created: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeScores:
    """The scores of one judgment, on the judge's scale: the reference answer's and the candidate's."""

    reference: float
    candidate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens of a judge's call; None where the server does not report them."""

    tokens_in: int | None = None
    tokens_out: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """A line of judgments.jsonl: one judgment, that is one item, presentation order and replicate index.

    status: "judged", "refused" or "unreadable" (the judge replied), "error" (no reply; the next session asks again) or
    "no_answer" (there was no answer to judge).  why: the reason for every status but "judged".  raw: the judge's reply.
    usd: price of the call, 0 for a cached reply.  Judgments imported from review files have neither prompt nor model.
    """

    record: Literal["judgment"] = "judgment"
    plan: str
    judge: str
    sample_id: str
    image_id: str
    tags: Mapping[str, str]
    order: str
    replicate: int
    key: str
    model_requested: str | None = None
    prompt: str | None = None
    prompt_sha256: str | None = None
    created: str | None = None
    status: Literal["judged", "refused", "unreadable", "error", "no_answer"]
    scores: JudgeScores | None
    verdict: str | None
    why: str | None
    raw: str | None = None
    model_returned: str | None = None
    system_fingerprint: str | None = None
    finish_reason: str | None = None
    dropped: tuple[str, ...] = ()
    usage: TokenUsage | None = None
    usd: float | None = None
    seconds: float | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedFile:
    """judged-NAME.json: the numbers of one judge.

    metrics: under the protocol `judge:NAME`, without a signature (the run's data complete it).  outcomes: judgments by
    status, "not asked" among them.  verdicts, reasons: counts.  spread: with replicates, the mean within-item standard
    deviation and the score of each replicate.  settings: everything that determined the judgments; models_returned: the
    model names that the server returned.  problem: why there are no numbers, or why they do not cover everything;
    empty when complete.
    """

    schema: int = JUDGED_SCHEMA
    judge: str
    judged: str
    plan: str
    metrics: tuple[MetricValue, ...]
    n: int
    n_failed: int
    n_no_answer: int
    n_cannot_tell: int
    outcomes: Mapping[str, int]
    verdicts: Mapping[str, int]
    reasons: Mapping[str, int]
    spread: Mapping[str, Any]
    settings: Mapping[str, str]
    models_returned: tuple[str, ...] = ()
    problem: str = ""

    def find(self, metric: str, slice_name: str = "all") -> MetricValue | None:
        """The value of a metric over a slice; None where there is no such metric."""
        return next((m for m in self.metrics if (m.metric, m.slice) == (metric, slice_name)), None)
