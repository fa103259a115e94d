"""Other people's score files: the review JSONL of LLaVA and the two of LLaVA-Med, as judgments of our own form.

- LLaVA: `tuple` [first, second] with `content`, and a `category`; [-1, -1] is its way to say that parsing failed.
- LLaVA-Med 1.5: `gpt_eval`, the judge's text, with `type` and `domain`.  LLaVA-Med 1.0: the same under `result`.

In all of them the reference stands first and was never swapped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.types import digest_json
from evalkit.judge.config import REFERENCE_FIRST, RELATIVE
from evalkit.judge.journal import NAME, Journal, Judged
from evalkit.judge.metrics import Figures, compute
from evalkit.judge.parse_response import HIGHEST, LOWEST, Verdict, read_verdict

# The authors' precedence: a figure of two domains belongs to the first of these.
DOMAINS = ("chest_xray", "mri", "histology", "gross", "ct_scan")
TEXTS = {"gpt_eval": "llava-med-1.5", "result": "llava-med-1.0", "content": "llava", "review": "llava"}


def domain_of(flags: Mapping[str, Any]) -> str | None:
    """The domain of a figure under the authors' precedence; None when no flag is set."""
    return next((name for name in DOMAINS if flags.get(name)), None)


def read_reviews(path: Path, *, judge: str = "review", max_failed: float = 0.02) -> Judged:
    """The judgments in a review file; `evalkit.judge.metrics.compute` makes the numbers.

    Args:
        judge: the name to show, since most files do not say who judged.
        max_failed: largest share of unreadable reviews at which a number is still given.

    Raises:
        DataError: a line is not a review, or a question is reviewed twice.
    """
    records: list[dict[str, Any]] = []
    seen: set[str] = set()
    form = ""
    for where, row in _rows(path):
        record, form = _record(row, where)
        if record["sample_id"] in seen:
            raise DataError(
                f"{where}: question {record['sample_id']} is reviewed a second time; keep one review a question (an "
                "interrupted run was perhaps appended to)."
            )
        seen.add(record["sample_id"])
        records.append(record)
    if not records:
        raise DataError(f"{path} holds no reviews.")
    plan = _plan(path, judge, form, len(records), max_failed)
    return Judged(plan=plan, records=tuple({**r, "plan": plan["plan"], "judge": judge} for r in records))


def figures_of_reviews(path: Path, *, judge: str = "review", max_failed: float = 0.02) -> Figures:
    """The numbers of a review file."""
    return compute(read_reviews(path, judge=judge, max_failed=max_failed))


def keep(judged: Judged, run_dir: Path) -> None:
    """Append read-in judgments to a run's judgments.jsonl."""
    journal = Journal(run_dir / NAME)
    journal.write([judged.plan, *judged.records])
    journal.close()


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"The review file {path} cannot be read ({problem}).") from problem
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except ValueError as problem:
            raise DataError(f"{where} is not JSON ({problem}).") from problem
        if not isinstance(row, dict) or "question_id" not in row:
            raise DataError(f"{where} is not a review: an object with question_id was expected.")
        yield where, row


def _record(row: Mapping[str, Any], where: str) -> tuple[dict[str, Any], str]:
    field = next((name for name in TEXTS if isinstance(row.get(name), str)), None)
    pair = row.get("tuple")
    if field is None and not isinstance(pair, list):
        raise DataError(f"{where} holds no review: one of {', '.join(TEXTS)} or tuple was expected.")
    text = str(row[field]) if field is not None else ""
    verdict = _of_tuple(pair) if isinstance(pair, list) else read_verdict(RELATIVE, text)
    judged = verdict.first is not None
    tags = {"type": row.get("type") or row.get("category"), "domain": domain_of(row.get("domain") or {})}
    record = {
        "record": "judgment",
        "sample_id": str(row["question_id"]),
        "image_id": str(row.get("pair_id") or row.get("image") or row["question_id"]),
        "tags": {k: str(v) for k, v in tags.items() if v},
        "order": REFERENCE_FIRST,
        "replicate": 0,
        "key": "",
        "status": verdict.status,
        "scores": {"reference": verdict.first, "candidate": verdict.second} if judged else None,
        "verdict": None,
        "why": verdict.why,
        "raw": text,
        "cached": False,
    }
    return record, TEXTS[field] if field is not None else "llava"


def _of_tuple(pair: list[Any]) -> Verdict:
    numbers = [float(v) for v in pair if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(pair) != 2 or len(numbers) != 2 or not all(LOWEST <= v <= HIGHEST for v in numbers):
        return Verdict(status="unreadable", why=f"scores {pair} are not two numbers of {LOWEST} to {HIGHEST}")
    return Verdict(status="judged", first=numbers[0], second=numbers[1])


def _plan(path: Path, judge: str, form: str, n: int, max_failed: float) -> dict[str, Any]:
    return {
        "record": "plan",
        "plan": digest_json([str(path.name), judge, form, n])[:16],
        "judge": judge,
        "judged": RELATIVE,
        "server": "unknown",
        "model_requested": "unknown",
        "prompt": f"review:{form}",
        "prompt_sha256": "unknown",
        "style": form,
        "n_items": n,
        "n_judgments": n,
        "config": {
            "order": REFERENCE_FIRST,
            "replicates": 1,
            "max_failed": max_failed,
            "parameters": {},
            "revision": None,
            "send_images": False,
        },
    }
