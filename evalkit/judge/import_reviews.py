"""Import of review files of other tools as judgments: the JSON Lines of LLaVA and of both LLaVA-Med versions.

- LLaVA: `tuple` [first, second] with `content`, and a `category`; [-1, -1] marks a failed parse.
- LLaVA-Med 1.5: `gpt_eval`, the judge's text, with `type` and `domain`.  LLaVA-Med 1.0: the same under `result`.

All of them present the reference first, without a swap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.json_text import finite_number, lines_of, shown
from evalkit.core.reasoning import split
from evalkit.core.types import digest_json
from evalkit.judge.config import REFERENCE_FIRST, RELATIVE
from evalkit.judge.journal import Journal, PlanJudgments
from evalkit.judge.parse_response import HIGHEST, LOWEST, Verdict, read_verdict
from evalkit.records.json_lines import located_objects
from evalkit.runs.schema import JudgePlan, JudgeScores, Judgment
from evalkit.runs.store import RunFolder, cut_torn_line
from evalkit.runs.verify import list_files, listed_files, stored_judgments
from evalkit.tasks.llava_med_chat import DOMAINS

# Fields with the text of a review, and the style of the tool that writes them.
STYLES = {"gpt_eval": "llava-med-1.5", "result": "llava-med-1.0", "content": "llava", "review": "llava"}


def domain_of(flags: Mapping[str, Any]) -> str | None:
    """The domain of a figure under the authors' precedence; None when no flag is set."""
    return next((name for name in DOMAINS if flags.get(name)), None)


def read_reviews(path: Path, *, judge: str = "review", max_failed: float = 0.02) -> PlanJudgments:
    """The judgments in a review file; `evalkit.judge.metrics.compute` computes their values.

    Args:
        judge: name of the judge, since most files do not record it.
        max_failed: largest share of unreadable reviews at which a value is still reported.

    Raises:
        DataError: a line is not a review, or a question is reviewed twice.
    """
    reviews: list[_Review] = []
    seen: set[str] = set()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"The review file {path} cannot be read ({problem}).") from problem
    for where, content in located_objects(path, lines_of(text), "A review file has one JSON object per line."):
        review = _review(content, where)
        if review.sample_id in seen:
            raise DataError(
                f"{where}: question {review.sample_id} is reviewed a second time; keep one review per question (an "
                "interrupted run was perhaps appended to)."
            )
        seen.add(review.sample_id)
        reviews.append(review)
    if not reviews:
        raise DataError(f"{path} has no reviews.")
    plan = _plan(path, judge, reviews[-1].style, len(reviews), max_failed)
    return PlanJudgments(plan=plan, judgments=tuple(_judgment(r, plan) for r in reviews))


def append_judgments(judged: PlanJudgments, run_dir: Path) -> None:
    """Append imported judgments to a run's judgments.jsonl."""
    folder = RunFolder(run_dir)
    with folder.locked():
        cut_torn_line(folder.judgments)
        stored_judgments(folder, listed_files(folder))  # refuses judgments that were changed
        journal = Journal(folder.judgments)
        journal.write([judged.plan, *judged.judgments])
        journal.close()
        list_files(folder, present=(folder.judgments.name,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Review:
    """One review.  style: the prompt style of the tool that wrote it."""

    sample_id: str
    image_id: str
    tags: Mapping[str, str]
    verdict: Verdict
    text: str
    style: str


def _review(content: Mapping[str, Any], where: str) -> _Review:
    if "question_id" not in content:
        raise DataError(f"{where} is not a review: expected an object with question_id.")
    field = next((name for name in STYLES if isinstance(content.get(name), str)), None)
    pair = content.get("tuple")
    if field is None and not isinstance(pair, list):
        raise DataError(f"{where} has no review: expected one of {', '.join(STYLES)} or tuple.")
    text = str(content[field]) if field is not None else ""
    flags = content.get("domain") or {}
    if not isinstance(flags, Mapping):
        raise DataError(f"{where}: domain is {shown(flags)}, expected an object of domains that are true or false.")
    tags = {"type": content.get("type") or content.get("category"), "domain": domain_of(flags)}
    return _Review(
        sample_id=str(content["question_id"]),
        image_id=str(content.get("pair_id") or content.get("image") or content["question_id"]),
        tags={k: str(v) for k, v in tags.items() if v},
        verdict=_verdict(pair, text),
        text=text,
        style=STYLES[field] if field is not None else "llava",
    )


def _verdict(pair: Any, text: str) -> Verdict:
    """The verdict of a review: its pair of scores, unless they are from an unfinished thought; else by its text."""
    if not isinstance(pair, list) or split(text).is_cut:
        return read_verdict(RELATIVE, text)
    return _verdict_of_pair(pair)


def _verdict_of_pair(pair: list[Any]) -> Verdict:
    numbers = [number for v in pair if (number := finite_number(v)) is not None]
    if len(pair) != 2 or len(numbers) != 2 or not all(LOWEST <= v <= HIGHEST for v in numbers):
        return Verdict(status="unreadable", why=f"scores {pair} are not two numbers of {LOWEST} to {HIGHEST}")
    return Verdict(status="judged", first=numbers[0], second=numbers[1])


def _judgment(review: _Review, plan: JudgePlan) -> Judgment:
    verdict = review.verdict
    scores = None
    if verdict.first is not None and verdict.second is not None:
        scores = JudgeScores(reference=verdict.first, candidate=verdict.second)
    return Judgment(
        plan=plan.plan,
        judge=plan.judge,
        sample_id=review.sample_id,
        image_id=review.image_id,
        tags=review.tags,
        order=REFERENCE_FIRST,
        replicate=0,
        key="",
        status=verdict.status,
        scores=scores,
        verdict=None,
        why=verdict.why,
        raw=review.text,
    )


def _plan(path: Path, judge: str, style: str, n: int, max_failed: float) -> JudgePlan:
    return JudgePlan(
        plan=digest_json([path.name, judge, style, n])[:16],
        judge=judge,
        judged=RELATIVE,
        server="unknown",
        model_requested="unknown",
        prompt=f"review:{style}",
        prompt_sha256="unknown",
        style=style,
        n_items=n,
        n_judgments=n,
        config={
            "order": REFERENCE_FIRST,
            "replicates": 1,
            "max_failed": max_failed,
            "parameters": {},
            "revision": None,
            "send_images": False,
        },
    )
