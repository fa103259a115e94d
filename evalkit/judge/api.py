"""The judge's top level: judge a run, recompute its scores, and what both say to the user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from evalkit.clients.response import Reply
from evalkit.core.files import write_json
from evalkit.core.types import Prediction, Sample
from evalkit.judge import image_encoding as pictures
from evalkit.judge.batch import collect, folder_of, write_requests
from evalkit.judge.budget import Budget, Estimate, estimate, spent_before
from evalkit.judge.cache import ReplyCache
from evalkit.judge.client import Asker, LocalAsker, ServerAsker
from evalkit.judge.config import JudgeConfig, check_lifetime
from evalkit.judge.executor import Session, error_record, fill, no_answer_records, plan_record
from evalkit.judge.journal import NAME, REPLIED, Journal, Judged, choose_judge, of_plan, read_lines
from evalkit.judge.metrics import Figures, compute
from evalkit.judge.plan import Plan, ReadImage, make_plan
from evalkit.runs.store import RunFolder

Say = Callable[[str], None]
Complete = Callable[[list[dict[str, Any]]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOutcome:
    """What a session of judging came to.

    asked: calls made in this session.  failed: of these, without a reply.  from_cache: judgments taken from the cache
    or another plan of the same run.  seconds: wall time of the calls.  files: batch request files that were written.
    """

    figures: Figures
    estimate: Estimate
    asked: int
    failed: int
    from_cache: int
    tokens_in: int
    tokens_out: int
    seconds: float
    files: tuple[Path, ...] = ()

    def check(self) -> None:
        """Raise Partial (exit code 3) when there is no number, or it is not over everything that was to be judged."""
        self.figures.check()


def judge_run(
    run_dir: Path,
    config: JudgeConfig,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    *,
    say: Say = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
    complete: Complete | None = None,
    read_image: ReadImage = pictures.read_image,
    today: date | None = None,
) -> JudgeOutcome:
    """Judge the answers of a run, going on where an earlier session stopped.

    Everything is appended to `judgments.jsonl` as it lands; `judged-NAME.json` holds the numbers.

    Args:
        run_dir: the run's folder.
        samples, predictions: of the run, joined here by id.
        say: takes lines for the user (the estimate, warnings).
        advance: called with the number of judgments that were just made.
        complete: for transport "local": chat messages (as the API takes them) to the reply's text.
        read_image: where the bytes of an image come from.

    Returns:
        The outcome; call its `check()` after showing it.

    Raises:
        ConfigError, DataError: the judge does not fit the run.
        JudgeError: no key, a refused key, an unknown or vanished model; before anything is spent.
        StoreError: another process judges this run, or its file is damaged.
    """
    plan = make_plan(config, samples, predictions, read_image)
    with RunFolder(run_dir).locked():
        return _judge(run_dir, plan, say, advance, complete, read_image, today or date.today())


def _judge(
    run_dir: Path,
    plan: Plan,
    say: Say,
    advance: Callable[[int], None],
    complete: Complete | None,
    read_image: ReadImage,
    today: date,
) -> JudgeOutcome:
    config = plan.config
    lines = read_lines(run_dir / NAME)
    done = of_plan(lines, plan.id)
    path = config.cache_path()
    cache = ReplyCache(path) if path is not None else None
    journal = Journal(run_dir / NAME)
    session = Session(
        plan=plan,
        journal=journal,
        cache=cache,
        budget=Budget(config, *spent_before(done.values())),
        read_image=read_image,
        advance=advance,
    )
    try:
        if not any(line["record"] == "plan" and line["plan"] == plan.id for line in lines):
            journal.write([plan_record(plan), *no_answer_records(plan)])
        waiting, from_cache = _from_cache(plan, _waiting(plan, done), lines, journal, cache)
        advance(plan.n_slots - sum(len(plan.calls[k]) for k in waiting))
        expected = estimate(plan, waiting)
        say(expected.sentence())
        files = _obtain(run_dir, session, waiting, complete, say, today)
    finally:
        journal.close()
        if cache is not None:
            cache.close()
    for text in session.notes:
        say(f"warning: {text}")
    figures = compute(_judged(run_dir, plan), max_failed=config.max_failed, stopped=session.stopped)
    write_json(run_dir / f"judged-{config.name}.json", summary(figures))
    return JudgeOutcome(
        figures=figures,
        estimate=expected,
        asked=session.asked,
        failed=session.failed,
        from_cache=from_cache,
        tokens_in=session.budget.tokens_in,
        tokens_out=session.budget.tokens_out,
        seconds=session.seconds,
        files=tuple(files),
    )


def _obtain(
    run_dir: Path, session: Session, waiting: list[str], complete: Complete | None, say: Say, today: date
) -> list[Path]:
    """Get what is waiting by the plan's transport; returns the request files that were written, where there are any."""
    config = session.plan.config
    if waiting and config.offline:
        session.stopped = "judge.offline=true, and these are neither in the run's folder nor in the cache"
    elif waiting and config.transport == "batch":
        return _batch(run_dir, session, waiting, say)
    elif waiting:
        asyncio.run(_ask(session, waiting, complete, say, today))
    return []


def _judged(run_dir: Path, plan: Plan) -> Judged:
    lines = read_lines(run_dir / NAME)
    return Judged(plan=plan_record(plan), records=tuple(of_plan(lines, plan.id).values()))


def _waiting(plan: Plan, done: Mapping[tuple[str, str, int], Mapping[str, Any]]) -> list[str]:
    """The calls whose reply is not yet in this plan's lines."""

    def is_done(index: int, order: str, replicate: int) -> bool:
        record = done.get((plan.items[index].sample.id, order, replicate))
        return record is not None and record["status"] in REPLIED

    return [key for key, slots in plan.calls.items() if not all(is_done(s.item, s.order, s.replicate) for s in slots)]


def _from_cache(
    plan: Plan, keys: Sequence[str], lines: Sequence[Mapping[str, Any]], journal: Journal, cache: ReplyCache | None
) -> tuple[list[str], int]:
    """Fill what is known by content, from this run's other plans or the cache: (calls left, judgments filled)."""
    here = {r["key"]: r for r in lines if r["record"] == "judgment" and r["status"] in REPLIED}
    left: list[str] = []
    found: dict[str, Reply] = {}
    for key in keys:
        record = cache.get(key) if cache is not None else None
        reply = Reply.of(record) if record is not None else _reply_in(here.get(key))
        if reply is None:
            left.append(key)
            continue
        found[key] = reply
    fill(plan, journal, found, cached=True)
    return left, sum(len(plan.calls[key]) for key in found)


def _reply_in(record: Mapping[str, Any] | None) -> Reply | None:
    """The reply behind a line of judgments.jsonl."""
    if record is None:
        return None
    refused = record["status"] == "refused" and record["finish_reason"] != "content_filter"
    return Reply(
        text=None if refused else record["raw"],
        refusal=record["raw"] if refused else None,
        finish=record["finish_reason"],
        model=record["model_returned"],
        fingerprint=record["system_fingerprint"],
        tokens_in=record["usage"]["tokens_in"],
        tokens_out=record["usage"]["tokens_out"],
        seconds=record["seconds"],
        dropped=tuple(record["dropped"]),
    )


async def _ask(session: Session, keys: Sequence[str], complete: Complete | None, say: Say, today: date) -> None:
    config = session.plan.config
    if config.transport == "local":
        if complete is None:
            raise RuntimeError("transport=local needs the callable `complete`")
        asker: Asker = LocalAsker(config, complete)
    else:
        for text in check_lifetime(config, today):
            say(f"warning: {text}")
        asker = ServerAsker(config)
    try:
        if isinstance(asker, ServerAsker):
            await asker.check()
            if asker.announced and asker.announced != config.shutdown:
                for text in check_lifetime(config, today, asker.announced):
                    say(f"warning: {text}")
        await session.run(keys, asker)
    finally:
        await asker.close()


def _batch(run_dir: Path, session: Session, keys: list[str], say: Say) -> list[Path]:
    """Land what output files hold; write request files for the rest."""
    plan = session.plan
    folder = folder_of(run_dir, plan)
    found = collect(folder, plan) if folder.is_dir() else None
    wanted = set(keys)
    if found is not None:
        for key, reply in found.replies.items():
            if key in wanted:
                session.asked += 1
                session.land({key: reply})
                session.budget.tokens_in += reply.tokens_in or 0
                session.budget.tokens_out += reply.tokens_out or 0
        for key, why in found.failures.items():
            if key in wanted:
                session.asked += 1
                session.failed += 1
                session.journal.write([error_record(plan, slot, key, why) for slot in plan.calls[key]])
        if found.strangers:
            say(f"warning: {found.strangers} lines of the output in {folder} are of other requests and were left alone")
    left = [k for k in keys if found is None or k not in found.replies]
    if not left:
        return []
    files = write_requests(folder, plan, left, session.read_image)
    session.stopped = (
        f"{len(left)} requests are written to {', '.join(str(f) for f in files[:3])}; hand them to the provider's "
        f"batch service, put its output files (.jsonl) into {folder}, and run the same command again"
    )
    return files


def recompute(path: Path, judge: str | None = None, *, max_failed: float | None = None) -> Figures:
    """The judged scores of a run from its `judgments.jsonl` alone: no answers, no task, no judge are needed.

    Args:
        path: the run's folder or the file.
        judge: which judge, where several judged.
        max_failed: instead of the limit that the judgments were made under.
    """
    return compute(choose_judge(path, judge), max_failed=max_failed)


def summary(figures: Figures) -> dict[str, Any]:
    """The content of judged-NAME.json."""
    content = asdict(figures)
    content["metrics"] = content.pop("figures")
    return {"schema": 1, **content}


def remarks(figures: Figures) -> list[str]:
    """What a reader of the numbers must know, in sentences."""
    said: list[str] = []
    lost = {k: n for k, n in figures.outcomes.items() if k not in ("judged", "no_answer")}
    if lost:
        said.append(f"judgments without a score: {', '.join(f'{n} {k}' for k, n in sorted(lost.items()))}")
    if figures.n_no_answer:
        said.append(f"{figures.n_no_answer} of {figures.n} samples have no answer to judge and are not in the values")
    if figures.n_cannot_tell:
        said.append(f"for {figures.n_cannot_tell} of {figures.n} answers the judge says that it cannot tell")
    by_name = {f.metric: f for f in figures.figures if f.slice == "all"}
    flip, effect = by_name.get("flip_rate"), by_name.get("order_effect")
    if flip is not None and flip.value is not None and effect is not None and effect.value is not None:
        unit = "points of 10" if figures.judged == "relative" else "of the credit"
        said.append(
            f"order of the answers: the judge changed its mind in {flip.value:.1%} of the pairs; being first is worth "
            f"{effect.value:+.2f} {unit}"
        )
        if flip.value >= 0.5:
            said.append("more than half of the preferences follow the order and not the answers: do not use this judge")
    if figures.spread.get("within_item_sd") is not None:
        said.append(
            f"{figures.spread['replicates']} replicates: standard deviation within an item "
            f"{figures.spread['within_item_sd']:.3f}, between replicates' scores {figures.spread['scores_sd']:.4f}"
        )
    return said
