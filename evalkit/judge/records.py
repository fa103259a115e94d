"""Lines of judgments.jsonl for a plan: the plan itself, judgments from replies, failed calls, missing answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from evalkit.clients.response import Reply
from evalkit.core.types import LETTERS
from evalkit.judge.budget import price_of
from evalkit.judge.columns import answers_digest
from evalkit.judge.config import REFEREE, REFERENCE_FIRST, RELATIVE
from evalkit.judge.parse_response import Verdict, read_verdict
from evalkit.judge.plan import Plan, Slot, options_of
from evalkit.judge.reply_forms import OPTION, RIGHT_OR_WRONG, ReplyForm
from evalkit.runs.schema import JudgePlan, JudgeScores, Judgment, TokenUsage


def plan_line(plan: Plan) -> JudgePlan:
    """The line that describes a plan."""
    return JudgePlan(
        plan=plan.id,
        judge=plan.config.name,
        judged=plan.judged,
        server=plan.config.server,
        model_requested=plan.config.model,
        prompt=plan.prompt.name,
        prompt_sha256=plan.prompt.sha256,
        style=plan.config.style,
        n_items=len(plan.items),
        answers_sha256=answers_digest({item.sample.id: item.answer for item in plan.items}),
        n_judgments=plan.n_slots + len(plan.settled),
        config=plan.config.record(),
        created=_now(),
    )


def judgments_of(plan: Plan, replies: Mapping[str, Reply], *, cached: bool) -> Iterator[Judgment]:
    """The judgments in replies, by call key; one for every slot of the call."""
    form = plan.config.form
    for key, reply in replies.items():
        for slot in plan.calls[key]:
            options = options_of(plan.config, plan.items[slot.item].sample)
            verdict = read_verdict(
                plan.judged, reply.text, refusal=reply.refusal, finish=reply.finish, options=options, form=form,
                rounds=plan.config.rounds,
            )  # fmt: skip
            yield _judgment(plan, slot, key, reply, verdict, cached=cached)


def _judgment(plan: Plan, slot: Slot, key: str, reply: Reply, verdict: Verdict, *, cached: bool) -> Judgment:
    return replace(
        error_judgment(plan, slot, key, verdict.why),
        status=verdict.status,
        scores=_scores(plan, slot, verdict),
        verdict=verdict.label,
        raw=reply.refusal if reply.text is None else reply.text,
        model_returned=reply.model,
        system_fingerprint=reply.fingerprint,
        finish_reason=reply.finish,
        dropped=reply.dropped,
        usage=TokenUsage(tokens_in=reply.tokens_in, tokens_out=reply.tokens_out),
        usd=0.0 if cached else price_of(plan.config, reply.tokens_in, reply.tokens_out),
        seconds=reply.seconds,
        cached=cached,
    )


def error_judgment(plan: Plan, slot: Slot, key: str, why: str) -> Judgment:
    """The judgment of a call without a reply."""
    sample = plan.items[slot.item].sample
    return Judgment(
        plan=plan.id,
        judge=plan.config.name,
        sample_id=sample.id,
        image_id=sample.image_id,
        tags=dict(sample.tags),
        order=slot.order,
        replicate=slot.replicate,
        key=key,
        model_requested=plan.config.model,
        prompt=plan.prompt.name,
        prompt_sha256=plan.prompt.sha256,
        created=_now(),
        status="error",
        scores=None,
        verdict=None,
        why=why,
    )


def missing_answers(plan: Plan) -> Iterator[Judgment]:
    """One judgment of status "no_answer" for each sample without an answer."""
    for index, item in enumerate(plan.items):
        if item.answer is None:
            yield replace(error_judgment(plan, Slot(index, REFERENCE_FIRST, 0), "", item.error), status="no_answer")


def settled_judgments(plan: Plan) -> Iterator[Judgment]:
    """The judgments that exact matching, or the rule of closed rows, gives without a call."""
    for slot in plan.settled:
        item = plan.items[slot.item]
        is_option = plan.judged == REFEREE
        by_rule = JudgeScores(reference=item.credit, candidate=item.credit)
        yield replace(
            error_judgment(plan, slot, "", ""),
            status="judged",
            scores=_hit(plan, slot, item.settled) if is_option else by_rule,
            verdict=item.settled,
            why=None,
            raw=f"exact matching: {item.settled}" if is_option else f"by the rule {item.settled}: {item.credit:g}",
        )


def _hit(plan: Plan, slot: Slot, letter: str) -> JudgeScores:
    """1 where a letter is that of the right option, else 0."""
    hit = float(letter in plan.items[slot.item].sample.letters)
    return JudgeScores(reference=hit, candidate=hit)


def _scores(plan: Plan, slot: Slot, verdict: Verdict) -> JudgeScores | None:
    if plan.judged == REFEREE:
        return None if verdict.label is None else _hit(plan, slot, verdict.label)
    form = plan.config.form
    if form is not None and verdict.label is not None:
        credit, added = form.credit[_label_in(form, plan, slot, verdict.label)], plan.items[slot.item].credit
        return JudgeScores(reference=float(credit == 1.0) + added, candidate=credit + added)
    if plan.judged != RELATIVE or verdict.first is None or verdict.second is None:
        return None
    if slot.order == REFERENCE_FIRST:
        return JudgeScores(reference=verdict.first, candidate=verdict.second)
    return JudgeScores(reference=verdict.second, candidate=verdict.first)


def _label_in(form: ReplyForm, plan: Plan, slot: Slot, label: str) -> str:
    """The label that has a credit: of an option, whether it is the right one."""
    if form.form != OPTION:
        return label
    sample = plan.items[slot.item].sample
    options = options_of(plan.config, sample)
    right = {reference if sample.choices else reference.strip().lower() for reference in sample.references}
    hit = label in LETTERS[: len(options)] and options[LETTERS.index(label)] in right
    return RIGHT_OR_WRONG[0 if hit else 1]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
