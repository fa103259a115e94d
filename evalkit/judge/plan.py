"""Plan of a judge's calls: one item per answer, one slot per item x order x replicate, one call per distinct content.

Slots with the same content (question, reference and answer, or reference and answer with equal text under a swap)
share one call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.reasoning import separate
from evalkit.core.types import CHOICE, LETTERS, OPEN, ImageRef, Prediction, Sample, digest_json
from evalkit.judge.closed_rules import CLOSED_RULES, ONCE, TWICE, closed_credit
from evalkit.judge.config import CORRECTNESS, REFEREE, REFERENCE_FIRST, RELATIVE, JudgeConfig
from evalkit.judge.image_encoding import data_url
from evalkit.judge.parse_response import response_format
from evalkit.judge.prompts import Prompt, PromptMessage, load_prompt, render
from evalkit.judge.reply_forms import OPTION
from evalkit.scoring.protocols.choice_vlmevalkit import exact_match
from evalkit.scoring.protocols.medevalkit import unwrap
from evalkit.scoring.row_protocol import RowProtocol, answers_yes_or_no

# The end of a question in LLaVA-Med's files: a line break and the image mark, which one of its scripts cuts off.
IMAGE_MARK = "\n<image>"
YES_OR_NO = ("yes", "no")

ReadImage = Callable[[ImageRef], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One answer to judge; where there is none, `answer` is None and `error` is the reason.

    settled: the letter that exact matching reads, so that no referee is asked (Z for none of the options), or the name
    of the rule that scored a closed row.  credit: of the rule, which is the row's score where it is settled and is
    added to the judge's credit where it is not.
    """

    sample: Sample
    answer: str | None
    error: str = ""
    settled: str = ""
    credit: float = 0.0


@dataclass(frozen=True, slots=True)
class Slot:
    """One judgment: item index, presentation order, replicate index."""

    item: int
    order: str
    replicate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All calls of one judge for one run.

    id: 16 hex of the digest of keys and slots; judging the same run again gives the same id.  calls: key -> the slots
    that its reply fills.  digests: sha256 of each image that is sent; empty where none is.
    """

    config: JudgeConfig
    judged: str
    prompt: Prompt
    items: tuple[Item, ...]
    calls: Mapping[str, tuple[Slot, ...]]
    digests: Mapping[ImageRef, str]
    id: str

    @property
    def n_slots(self) -> int:
        """Number of judgments by calls."""
        return sum(len(slots) for slots in self.calls.values())

    @property
    def settled(self) -> list[Slot]:
        """The judgments that need no call."""
        replicates = range(self.config.replicates)
        places = [index for index, item in enumerate(self.items) if item.settled]
        return [Slot(index, REFERENCE_FIRST, replicate) for index in places for replicate in replicates]

    def messages(self, key: str, read_image: ReadImage) -> list[dict[str, Any]]:
        """The messages of a call in the form of the chat API, images as data URLs; the images are read here."""
        slot = self.calls[key][0]
        item = self.items[slot.item]
        messages: list[dict[str, Any]] = [{"role": m.role, "content": m.text} for m in rendered(self, item, slot.order)]
        if self.digests:
            images = [
                {"type": "image_url", "image_url": {"url": data_url(read_image(ref), str(ref))}}
                for ref in item.sample.images
            ]
            messages[-1]["content"] = [*images, {"type": "text", "text": messages[-1]["content"]}]
        return messages

    def n_images(self, key: str) -> int:
        """Number of images of a call."""
        return len(self.items[self.calls[key][0].item].sample.images) if self.digests else 0

    def characters(self, key: str) -> int:
        """Length of a call's text in characters."""
        slot = self.calls[key][0]
        return sum(len(m.text) for m in rendered(self, self.items[slot.item], slot.order))


def make_plan(
    config: JudgeConfig, samples: Sequence[Sample], predictions: Sequence[Prediction], read_image: ReadImage
) -> Plan:
    """The plan for a run's answers.

    Raises:
        ConfigError: the judged task does not fit the samples.
        DataError: samples and predictions do not belong to the same run.
    """
    judged = judged_task(config, samples)
    items = make_items(config, judged, samples, predictions)
    prompt = load_prompt(config, judged)
    digests: dict[ImageRef, str] = {}
    if config.send_images:
        wanted = dict.fromkeys(ref for item in items if item.answer is not None for ref in item.sample.images)
        if not wanted:
            raise ConfigError("judge.send_images=true, but the samples of this task have no images.")
        digests = {ref: hashlib.sha256(read_image(ref)).hexdigest() for ref in wanted}
    draft = Plan(config=config, judged=judged, prompt=prompt, items=items, calls={}, digests=digests, id="")
    calls: dict[str, list[Slot]] = {}
    for slot in _slots(config, items):
        calls.setdefault(call_key(draft, slot), []).append(slot)
    slots = {key: tuple(filled) for key, filled in calls.items()}
    listed = [[key, [[items[s.item].sample.id, s.order, s.replicate] for s in filled]] for key, filled in slots.items()]
    unanswered = [item.sample.id for item in items if item.answer is None]
    settled = [[item.sample.id, item.settled] for item in items if item.settled]
    identity = digest_json([config.name, config.digest(), listed, unanswered, *([settled] if settled else [])])[:16]
    return Plan(config=config, judged=judged, prompt=prompt, items=items, calls=slots, digests=digests, id=identity)


def judged_task(config: JudgeConfig, samples: Sequence[Sample]) -> str:
    """The judged task: the configured one; for "auto", relative where every sample has a context for a judge."""
    if config.judged != "auto":
        return config.judged
    return RELATIVE if samples and all(s.context for s in samples) else CORRECTNESS


def make_items(
    config: JudgeConfig, judged: str, samples: Sequence[Sample], predictions: Sequence[Prediction]
) -> tuple[Item, ...]:
    """The samples that the judged task covers, each with its answer, joined by id.

    Raises:
        ConfigError: the task has no open questions and judge.rows=open, or a referee's no multiple choice.
        DataError: the predictions do not belong to the samples.
    """
    answers = {p.sample_id: p for p in predictions}
    ids = {s.id for s in samples}
    if len(answers) != len(predictions) or (strays := [i for i in answers if i not in ids]):
        found = f"answers for unknown samples such as {strays[0]!r}" if len(answers) == len(predictions) else "repeats"
        raise DataError(
            f"The run's predictions do not fit the task's samples: {found}. Does the run have another task or split?"
        )
    chosen = list(samples)
    if judged == CORRECTNESS and config.rows == "open":
        chosen = [s for s in samples if s.answer_type == OPEN]
        if not chosen:
            raise ConfigError(
                "No sample of this task is marked OPEN, so judge.rows=open covers none; judge.rows=all judges every "
                "sample."
            )
    if judged == REFEREE:
        chosen = [s for s in samples if s.answer_type == CHOICE and len(s.references) == 1]
        if not chosen:
            raise ConfigError("No sample of this task is multiple choice with one right option: nothing for a referee.")
    missing = [s.id for s in chosen if s.id not in answers]
    if missing and len(missing) == len(chosen):
        raise DataError("The run has no predictions for this task's samples.")
    items = tuple(_item(s, answers.get(s.id)) for s in chosen)
    if config.closed != "judge":
        rule = CLOSED_RULES[config.closed]()
        return tuple(_by_rule(item, rule, config.counting, answers) for item in items)
    return tuple(map(_matched, items)) if judged == REFEREE else items


def _item(sample: Sample, prediction: Prediction | None) -> Item:
    if prediction is None:
        return Item(sample=sample, answer=None, error="the run has no answer for it")
    prediction = separate(prediction)  # older runs keep thoughts in the text; a judge is never shown one
    if prediction.error is not None:
        why = prediction.error if prediction.is_cut else f"the model failed: {prediction.error}"
        return Item(sample=sample, answer=None, error=why)
    return Item(sample=sample, answer=prediction.text)


def _matched(item: Item) -> Item:
    """The item with the letter that VLMEvalKit's exact matching reads."""
    return item if item.answer is None else replace(item, settled=exact_match(item.answer, item.sample.choices))


def _by_rule(item: Item, rule: RowProtocol, counting: str, answers: Mapping[str, Prediction]) -> Item:
    """The item of a closed row with the credit of the rule; any other as it is."""
    if item.answer is None or (credit := closed_credit(rule, item.sample, answers[item.sample.id])) is None:
        return item
    if counting == TWICE:
        return replace(item, credit=credit)
    return replace(item, settled=rule.name, credit=credit if counting == ONCE else 0.0)


def _slots(config: JudgeConfig, items: Sequence[Item]) -> Iterator[Slot]:
    for index, item in enumerate(items):
        if item.answer is None or item.settled:
            continue
        for order in config.orders:
            for replicate in range(config.replicates):
                yield Slot(index, order, replicate)


def rendered(plan: Plan, item: Item, order: str) -> list[PromptMessage]:
    """The messages about an item."""
    return render(plan.prompt, variables(plan.config, item, order, bool(plan.digests)))


def variables(config: JudgeConfig, item: Item, order: str, has_image: bool) -> dict[str, Any]:
    """The variables of a prompt, in the configured style.

    evalkit: the question without image mark, the mentions as sentences, empty where there are none.
    llava-med-1.0: the question without its last eight characters, the mentions as Python prints them, None where
    there are none.
    llava-med-1.5: the same, but the question with its image mark, as that version's script leaves it.
    medevalkit: as evalkit, the answer without its box or answer tag, both answers in lower case and stripped.
    medevalkit-slake: as evalkit, the answer without its box or answer tag.
    """
    sample = item.sample
    reference = sample.references[0] if len(sample.references) == 1 else " | ".join(sample.references)
    candidate = item.answer or ""
    is_plain = not config.style.startswith("llava-med")
    if config.style.startswith("medevalkit"):
        candidate = unwrap(candidate)
    if config.style == "medevalkit":
        candidate, reference = candidate.lower().strip(), reference.lower().strip()
    raw = sample.context.get("question", sample.question)
    if config.style == "llava-med-1.0":
        question = raw[: -len(IMAGE_MARK)]
    elif config.style == "llava-med-1.5":
        question = raw
    else:
        question = sample.question
    first = order == REFERENCE_FIRST
    return {
        "question": question,
        "caption": sample.context.get("caption", ""),
        "mentions": sample.context.get("mentions" if is_plain else "mentions_repr", "" if is_plain else "None"),
        "options": "\n".join(
            f"{letter}. {text}" for letter, text in zip(LETTERS, options_of(config, sample), strict=False)
        ),
        "reference": reference,
        "candidate": candidate,
        "answer_1": reference if first else candidate,
        "answer_2": candidate if first else reference,
        "first_is_reference": first,
        "has_image": has_image,
    }


def options_of(config: JudgeConfig, sample: Sample) -> Sequence[str]:
    """The options that a judge is shown: the row's own; yes and no where it is asked which of them an answer means."""
    is_referee = config.form is not None and config.form.form == OPTION
    return sample.choices or (YES_OR_NO if is_referee and answers_yes_or_no(sample) else ())


def call_key(plan: Plan, slot: Slot) -> str:
    """sha256 of everything that determines a reply: the same content is paid once, in this run and others."""
    config = plan.config
    item = plan.items[slot.item]
    images = [plan.digests[ref] for ref in item.sample.images] if plan.digests else []
    return digest_json(
        {
            "server": config.server,
            "model": config.model,
            "revision": config.revision,
            "messages": rendered(plan, item, slot.order),
            "images": images,
            "parameters": dict(config.parameters),
            "response_format": response_format(plan.judged) if wants_schema(config) else None,
            "replicate": slot.replicate,
            "prompt": plan.prompt.sha256,
            **({"rounds": config.rounds, "again": config.again} if config.rounds > 1 else {}),
        }
    )


def wants_schema(config: JudgeConfig) -> bool:
    """Whether the request asks for JSON under a schema; not where the prompt or the judge defines its own format."""
    return config.structured == "auto" and config.prompt_file is None and config.reply is None


def request_body(plan: Plan, key: str, read_image: ReadImage) -> dict[str, Any]:
    """The body of `POST /chat/completions` for a call."""
    config = plan.config
    parameters = dict(config.parameters)
    if "seed" in parameters:
        parameters["seed"] = int(parameters["seed"]) + plan.calls[key][0].replicate
    body = {"model": config.model, "messages": plan.messages(key, read_image), **parameters}
    if wants_schema(config):
        body["response_format"] = response_format(plan.judged)
    return body
