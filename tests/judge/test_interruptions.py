"""A judge that is killed at any moment leaves judged numbers that are old, new or without a value, and pays once."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.analysis.run_scores import read_run_scores
from evalkit.core.errors import EvalkitError, StoreError
from evalkit.judge.api import judge_run
from evalkit.judge.config import JudgeConfig
from evalkit.judge.import_reviews import append_judgments, read_reviews
from evalkit.judge.journal import Journal
from evalkit.judge.results import judged_numbers, judged_scores
from evalkit.reports.export import read_run
from evalkit.runs.verify import open_run
from tests.support.interruptions import How, interrupted, moments_of
from tests.support.made_runs import answered, made_run, made_samples

SAMPLES = made_samples(8)
ANSWERS = [answered(s, "yes") for s in SAMPLES]


def reply(messages: list[dict[str, Any]]) -> str:
    """A verdict that follows from what is asked, so that every session gives the same."""
    right = sum(map(ord, str(messages))) % 3
    return json.dumps({"verdict": ("correct", "wrong", "partly")[right], "why": "so"})


def judge(run: Path, **changes: Any) -> None:
    config = JudgeConfig(
        name="tiny", model="tiny-judge", transport="local", rows="all", cache=None, retries=0, **changes
    )
    judge_run(run, config, SAMPLES, ANSWERS, complete=reply)


def judged_anew(run: Path) -> None:
    """Judge in both orders, each write of the journal a moment of its own."""
    write = Journal.write

    def flushed(self: Journal, records: Any) -> None:
        write(self, records)
        os.fsync(self._file.fileno())

    Journal.write = flushed  # type: ignore[method-assign]
    try:
        judge(run, order="swap")
    finally:
        Journal.write = write  # type: ignore[method-assign]


def view(run: Path) -> Any:
    """The judged columns of the gate, the numbers of exports and the scores of the page; what is refused as text."""
    try:
        scores = read_run_scores(run)
        numbers = judged_numbers(run, open_run(run).summary)
        exported = read_run(run)
    except EvalkitError as problem:
        return str(problem)
    assert {n.protocol for n in exported.numbers} >= {f"judge:{j.judge}" for j in numbers}
    columns = {k: tuple(map(float, c.values)) for k, c in scores.columns.items() if k.protocol.startswith("judge:")}
    values = {(m.metric, m.slice): m.value for j in numbers for m in j.metrics}
    return columns, values, [(s.sample_id, s.value) for s in judged_scores(run, "tiny")]


@pytest.mark.parametrize(
    ("before", "how"),
    [
        pytest.param("judged", "kill", id="judged-kill"),
        pytest.param("not judged", "kill", id="not judged-kill", marks=pytest.mark.slow),
        pytest.param("judged", "full disk", id="judged-full disk", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_judging_that_is_interrupted_at_any_moment_shows_no_new_judgment_beside_an_old_number(
    before: str, how: How, tmp_path: Path
) -> None:
    base = made_run(tmp_path / "base", SAMPLES, ANSWERS, protocols=("strict",), config={})
    if before == "judged":
        judge(base)
    whole = tmp_path / "whole" / "run"
    shutil.copytree(base, whole)
    n = moments_of(lambda: judged_anew(whole), whole)
    old, new = view(base), view(whole)
    assert n > 10 and old != new and not isinstance(new, str)
    seen: Counter[str] = Counter()
    for at in range(1, n + 1):
        run = tmp_path / str(at) / "run"
        shutil.copytree(base, run)
        interrupted(lambda run=run: judged_anew(run), run, at, how)  # type: ignore[misc]
        found = view(run)
        if found not in (old, new):
            columns, values, scores = found
            assert not columns, "the gate takes nothing from a session that has not ended"
            assert before == "judged" or not any(values.values())
            # Numbers are those of the last session that ended, or none.
            assert values == old[1] or not any(values.values()), (at, values)
            assert scores in (old[2], [])
        seen["new" if found == new else "old" if found == old else "unfinished"] += 1
        judge(run, order="swap")
        assert view(run) == new
        lines = (run / "judgments.jsonl").read_text(encoding="utf-8").splitlines()
        paid = Counter((r["key"], r["order"]) for r in map(json.loads, lines) if r["record"] == "judgment")
        first = 8 if before == "judged" else 0
        assert sum(paid.values()) == first + 16, "no judgment is asked twice"
    assert seen["unfinished"] > 0
    print(f"judge, {before}, {how}: {n} moments, {dict(seen)}")


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    run = made_run(tmp_path / "run", SAMPLES, ANSWERS, protocols=("strict",), config={})
    judge(run)
    return run


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        text = (run / name).read_text(encoding="utf-8")
        assert old in text
        (run / name).write_text(text.replace(old, new), encoding="utf-8")

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        edited("judgments.jsonl", '"verdict": "wrong"', '"verdict": "correct"'),
        edited("judged-tiny.json", '"value": ', '"value": 0'),
        lambda run: (run / "judgments.jsonl").unlink(),
        lambda run: (run / "judged-tiny.json").unlink(),
    ],
    ids=["a judgment", "a number", "no judgments", "no numbers"],
)
def test_judged_files_that_were_changed_are_refused_by_everything_that_reads_them(
    edit: Callable[[Path], None], judged: Path
) -> None:
    edit(judged)
    with pytest.raises(StoreError, match=r"(judg\S+ is not the file|not valid JSON)"):
        read_run(judged)


def test_judging_goes_on_from_no_judgments_that_were_changed(judged: Path) -> None:
    edited("judgments.jsonl", '"verdict": "wrong"', '"verdict": "correct"')(judged)
    before = (judged / "judgments.jsonl").read_bytes()
    with pytest.raises(StoreError, match=r"judgments\.jsonl is not the file"):
        judge(judged, order="swap")
    assert (judged / "judgments.jsonl").read_bytes() == before


def test_other_answers_leave_no_judged_number_of_the_earlier_ones(judged: Path) -> None:
    """A run that starts over under the same judge's file."""
    wrong = [answered(s, "no") for s in SAMPLES]
    made_run(judged, SAMPLES, wrong, protocols=("strict",), config={})
    (numbers,) = judged_numbers(judged, open_run(judged).summary)
    assert all(m.value is None for m in numbers.metrics)
    assert "is of other answers" in numbers.problem
    assert not [k for k in read_run_scores(judged).columns if k.protocol.startswith("judge:")]


def test_the_same_answers_under_other_protocols_keep_their_judged_numbers(judged: Path) -> None:
    before = view(judged)
    made_run(judged, SAMPLES, ANSWERS, protocols=("strict", "exact-match"), config={})
    assert view(judged) == before


def test_imported_reviews_are_listed_and_later_changes_refused(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", SAMPLES, ANSWERS, protocols=("strict",), config={})
    reviews = tmp_path / "reviews.jsonl"
    line = {"question_id": "q0", "gpt_eval": "8 7\nfine", "type": "conversation", "domain": {"mri": True}}
    reviews.write_text(json.dumps(line) + "\n", encoding="utf-8")
    append_judgments(read_reviews(reviews), run)
    open_run(run).check()
    edited("judgments.jsonl", "fine", "bad")(run)
    with pytest.raises(StoreError, match=r"judgments\.jsonl is not the file"):
        append_judgments(read_reviews(reviews), run)
