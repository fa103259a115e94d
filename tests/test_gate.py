"""The gate: verdicts, refusals, and that nothing malformed ever passes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.errors import ConfigError, DataError, EvalkitError, StoreError
from evalkit.gate import FAIL, IMPROVED, INCONCLUSIVE, PASS, judge, junit, markdown, overall, record
from evalkit.paired import Scored, baseline_content, pair, read_scored

METRIC = "strict closed_accuracy"
HEADER = {
    "task": "toy", "split": "test", "data_sha256": "d", "closed_rule": "label", "prompt": "plain@0",
    "image": "original", "limit": None, "model": "m", "run_id": "m-1", "evalkit": "0", "generation": "greedy.max16",
}  # fmt: skip


def run(values: list[float | None], origin: str = "a", **header: Any) -> Scored:
    n = len(values)
    return Scored(
        origin=origin,
        header=HEADER | {"n": n} | header,
        ids=tuple(str(k) for k in range(n)),
        image_ids=tuple(f"i{k // 3}" for k in range(n)),
        scores={METRIC: tuple(values)},
        rows={METRIC: tuple(range(n))},
        signatures={METRIC: f"closed_accuracy|task:toy.test|n:{n}|protocol:strict.1|prompt:p|gen:{origin}|v:0"},
        questions=tuple(f"q{k}" for k in range(n)),
        texts=tuple(f"t{k}{v}" for k, v in enumerate(values)),
    )


def flip(values: list[float | None], worse: int, better: int, seed: int = 0) -> list[float | None]:
    """`worse` ones become zeros and `better` zeros become ones, at random places."""
    randomly = random.Random(seed)
    new = list(values)
    for k in randomly.sample([k for k, v in enumerate(values) if v == 1.0], worse):
        new[k] = 0.0
    for k in randomly.sample([k for k, v in enumerate(values) if v == 0.0], better):
        new[k] = 1.0
    return new


BASE: list[float | None] = [1.0] * 2000 + [0.0] * 1000
random.Random(3).shuffle(BASE)


@pytest.mark.parametrize(
    ("worse", "better", "expected"),
    [
        (0, 0, PASS),
        (60, 60, PASS),
        (0, 300, IMPROVED),
        (300, 0, FAIL),
        (160, 60, INCONCLUSIVE),  # 3.3 points worse in point, but the bound on "worse than the margin" decides below
        (90, 30, INCONCLUSIVE),  # 2 points worse: exactly the margin
    ],
)
def test_the_verdict_of_known_changes(worse: int, better: int, expected: str) -> None:
    margin = 0.02 if expected != INCONCLUSIVE or worse < 100 else 0.035
    (verdict,) = judge(run(BASE), run(flip(BASE, worse, better), "b"), [METRIC], margin)
    assert verdict.verdict == expected


def test_a_small_set_cannot_pass_a_changed_model() -> None:
    small = BASE[:60]
    (verdict,) = judge(run(small), run(flip(small, 3, 3), "b"), [METRIC], 0.02)
    assert verdict.verdict == INCONCLUSIVE


def test_failing_to_answer_never_helps() -> None:
    without: list[float | None] = [None if v == 0.0 else v for v in BASE]
    (verdict,) = judge(run(BASE), run(without, "b"), [METRIC], 0.02)
    assert verdict.paired.difference == 0.0
    silent: list[float | None] = [None] * len(BASE)
    assert judge(run(BASE), run(silent, "b"), [METRIC], 0.02)[0].verdict == FAIL


@pytest.mark.parametrize("key", ["task", "split", "data_sha256", "closed_rule", "prompt", "image", "limit"])
def test_different_conditions_are_refused_with_the_difference(key: str) -> None:
    with pytest.raises(DataError, match=f"{key}: .* against other"):
        judge(run(BASE), run(BASE, "b", **{key: "other"}), [METRIC], 0.02)


def test_another_protocol_version_is_refused_and_another_decoding_is_not() -> None:
    other = run(BASE, "b")
    changed = {METRIC: other.signatures[METRIC].replace("strict.1", "strict.2")}
    newer = Scored(**{f: getattr(other, f) for f in Scored.__dataclass_fields__} | {"signatures": changed})
    with pytest.raises(DataError, match=r"protocol: strict\.1 against strict\.2"):
        judge(run(BASE), newer, [METRIC], 0.02)


def test_other_samples_are_refused() -> None:
    fewer = run(BASE[:-1], "b", n=len(BASE))
    with pytest.raises(DataError, match="1 only in the first"):
        judge(run(BASE), fewer, [METRIC], 0.02)


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.0, 2.0])
def test_a_margin_that_is_no_fraction_is_refused(margin: float) -> None:
    with pytest.raises(ConfigError, match="margin"):
        judge(run(BASE), run(BASE), [METRIC], margin)


def test_the_order_of_the_candidate_does_not_matter() -> None:
    values = flip(BASE, 40, 20)
    straight = run(values, "b")
    mixed = list(range(len(values)))
    random.Random(9).shuffle(mixed)
    shuffled = Scored(
        **{f: getattr(straight, f) for f in Scored.__dataclass_fields__}
        | {f: tuple(getattr(straight, f)[k] for k in mixed) for f in ("ids", "image_ids", "questions", "texts")}
        | {"scores": {METRIC: tuple(straight.scores[METRIC][k] for k in mixed)}}
    )
    assert pair(run(BASE), straight, METRIC, 0.9) == pair(run(BASE), shuffled, METRIC, 0.9)


def test_the_reports_say_the_same() -> None:
    base, candidate = run(BASE), run(flip(BASE, 300, 0), "b")
    content = record(judge(base, candidate, [METRIC], 0.02), base, candidate)
    assert content["verdict"] == FAIL
    assert len(content["flipped"]) == 300
    assert "evalkit gate: fail" in markdown(content)
    suite = ElementTree.fromstring(junit(content))
    assert (suite.get("failures"), suite.get("tests")) == ("1", "1")
    assert suite.find("testcase/failure") is not None


def test_untrusted_answers_cannot_break_the_summary() -> None:
    base, candidate = run(BASE), run(flip(BASE, 1, 0), "b")
    nasty = Scored(
        **{f: getattr(candidate, f) for f in Scored.__dataclass_fields__}
        | {"texts": tuple("a | b\n<script>x</script>`" for _ in candidate.texts)}
    )
    text = markdown(record(judge(base, nasty, [METRIC], 0.02), base, nasty))
    assert "<script>" not in text
    assert all(line.count("|") == 5 for line in text.split("changed scores")[1].splitlines() if line.startswith("|"))


def test_one_failure_fails_the_whole_gate_and_all_must_improve() -> None:
    def verdicts(*kinds: str) -> list[Any]:
        made = judge(run(BASE), run(BASE), [METRIC], 0.02)[0]
        return [type(made)(**{f: getattr(made, f) for f in made.__dataclass_fields__} | {"verdict": k}) for k in kinds]

    assert overall(verdicts(PASS, FAIL, INCONCLUSIVE)) == FAIL
    assert overall(verdicts(PASS, INCONCLUSIVE)) == INCONCLUSIVE
    assert overall(verdicts(PASS, IMPROVED)) == PASS
    assert overall(verdicts(IMPROVED, IMPROVED)) == IMPROVED


def test_a_saved_baseline_reads_back_and_gates_the_same(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text(baseline_content(run(BASE), [METRIC], with_texts=False), encoding="utf-8")
    assert path.stat().st_size < 100_000
    candidate = run(flip(BASE, 300, 0), "b")
    assert judge(read_scored(path), candidate, [METRIC], 0.02)[0].verdict == FAIL


def mutilate(content: dict[str, Any], how: int, where: float) -> Any:
    """One of thirty ways in which a baseline is not one."""
    n = len(content["ids"])
    k = min(int(where * n), n - 1)
    scores, rows = content["scores"][METRIC], content["rows"][METRIC]
    ways: list[Any] = [
        lambda: content.pop("kind"), lambda: content.update(kind="other"), lambda: content.pop("header"),
        lambda: content.update(header=[]), lambda: content["header"].pop("n"),
        lambda: content["header"].update(n=n + 1),
        lambda: content["header"].pop("data_sha256"), lambda: content["header"].update(data_sha256="other"),
        lambda: content["header"].update(prompt=None), lambda: content.pop("ids"), lambda: content.update(ids=[]),
        lambda: content["ids"].pop(k), lambda: content["ids"].__setitem__(k, content["ids"][k - 1]),
        lambda: content["ids"].__setitem__(k, "stranger"), lambda: content["ids"].__setitem__(k, None),
        lambda: content.pop("image_ids"), lambda: content["image_ids"].pop(k), lambda: content.pop("scores"),
        lambda: content.update(scores={}), lambda: content["scores"].update({METRIC: []}), lambda: scores.pop(k),
        lambda: scores.__setitem__(k, "1"), lambda: scores.__setitem__(k, True), lambda: scores.__setitem__(k, 1e12),
        lambda: scores.__setitem__(k, [1]), lambda: content.pop("rows"), lambda: rows.pop(k), lambda: rows.append(k),
        lambda: rows.__setitem__(k, n), lambda: content.pop("signatures"), lambda: content.update(signatures={}),
        lambda: content["signatures"].update({METRIC: "nonsense"}),
        lambda: content["signatures"].update({METRIC: None}),
    ]  # fmt: skip
    ways[how % len(ways)]()
    return content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(how=st.integers(0, 32), where=st.floats(0, 1))
def test_no_malformed_baseline_ever_passes(tmp_path: Path, how: int, where: float) -> None:
    small = BASE[:30]
    content = json.loads(baseline_content(run(small), [METRIC], with_texts=True))
    path = tmp_path / "base.json"
    path.write_text(json.dumps(mutilate(content, how, where)), encoding="utf-8")
    with pytest.raises(EvalkitError):
        judge(read_scored(path), run(small, "b"), [METRIC], 0.02)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"kind": 1}', "\x00\x01"])
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "base.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StoreError):
        read_scored(path)
    with pytest.raises(StoreError):
        read_scored(tmp_path / "missing")
