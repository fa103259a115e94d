"""What a score is worth: baselines, yes/no reading, rewordings, rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.config import build, load_option
from evalkit.models.baselines import Majority
from evalkit.scoring import Context, score_all, tabulate
from evalkit.tasks.base import LoadedTask
from evalkit.types import Prediction, Sample
from evalkit.worth import consistency, rates, render, worth, yes_no


def sample(number: int, gold: str, **tags: str) -> Sample:
    kind = "CLOSED" if gold in ("yes", "no") else "OPEN"
    return Sample(
        id=str(number), image_id=f"i{number // 2}", question=f"Is it {number % 3}?", references=(gold,),
        tags={"answer_type": kind} | tags,
    )  # fmt: skip


def answer(number: int, text: str | None) -> Prediction:
    return Prediction(sample_id=str(number), text=text, error=None if text is not None else "boom")


def test_yes_no_answers_are_read_as_a_diagnostic_test() -> None:
    golds = ["yes", "yes", "yes", "no", "no", "left"]
    texts = ["yes", "Yes, it is", "no", "no", "yes", "yes"]
    read = yes_no([sample(k, g) for k, g in enumerate(golds)], [answer(k, t) for k, t in enumerate(texts)])
    assert read is not None
    assert (read["n"], read["n_read"]) == (5, 5)
    assert read["sensitivity"] == pytest.approx(2 / 3)
    assert read["specificity"] == pytest.approx(1 / 2)
    assert read["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (read["yes_said"], read["yes_gold"]) == (0.6, 0.6)


@pytest.mark.parametrize("text", ["", "normal", "yes and no", None])
def test_what_says_neither_is_not_read(text: str | None) -> None:
    assert yes_no([sample(0, "yes")], [answer(0, text)]) == {"n": 1, "n_read": 0}


def test_a_set_without_yes_no_rows_has_no_such_block() -> None:
    assert yes_no([sample(0, "lung")], [answer(0, "yes")]) is None


def test_rewordings_count_pairs_of_one_image() -> None:
    samples = [
        sample(0, "yes", pair="a"),
        sample(1, "yes", pair="a"),
        sample(2, "no", pair="b"),
        sample(3, "no", pair="b"),
    ]
    same = consistency(samples, [answer(0, "Yes."), answer(1, "yes"), answer(2, "no"), answer(3, "yes")])
    assert same == {"n_pairs": 2, "same_answer": 0.5}
    assert consistency(samples[:1], [answer(0, "yes")]) is None


def test_rates_count_failures_empties_and_refusals() -> None:
    samples = [sample(k, "yes") for k in range(4)]
    predictions = [answer(0, None), answer(1, " "), answer(2, "I'm sorry, I cannot tell"), answer(3, "yes")]
    scores = score_all(samples, predictions, [build(load_option("protocol", "strict"), "strict")])
    found = rates(samples, predictions, scores)
    assert (found["failed"], found["empty"], found["refusal"]) == (0.25, 0.25, 0.25)
    assert found["unparsable"] == 0.5


def test_a_model_that_is_the_baseline_has_no_lift_over_it_and_no_train_split_is_said(tmp_path: Path) -> None:
    samples = tuple(sample(k, "yes" if k % 3 else "no") for k in range(12))
    task = LoadedTask(name="t", split="test", form="made", samples=samples, closed_rule="label", prompt="p")
    protocols = [build(load_option("protocol", n), n) for n in ("llava-med", "strict")]
    fitted = Majority().fit(samples)
    predictions = [answer(k, fitted.answer(s.question, s.answer_type)) for k, s in enumerate(samples)]
    scores = score_all(samples, predictions, protocols)
    context = Context(model="m", task=task)
    rows = tabulate(samples, scores, protocols, context)
    block = worth(samples, predictions, scores, rows, protocols, context, task, tmp_path)
    lifts = [m["lift"] for m in block["baselines"]["metrics"] if m["baseline"] == "majority"]
    assert lifts and set(lifts) == {0.0}
    assert "lift +0.0" in render(block)
    unknown = worth(samples, predictions, scores, rows, protocols, context, "no train file", tmp_path)
    assert "not known: no train file" in render(unknown)


@pytest.mark.data
def test_the_leak_tags_of_the_real_sets(shared: Path) -> None:
    slake = build(load_option("task", "slake") | {"path": str(shared / "slake")}, "slake").load(images=False)
    leaked = {s.image_id for s in slake.samples if s.tags["leak"] == "zh-train"}
    assert (len(leaked), len({s.image_id for s in slake.samples})) == (72, 96)
    path = build(load_option("task", "pathvqa") | {"path": str(shared / "pathvqa" / "hf")}, "pathvqa").load(
        images=False
    )
    assert sum(s.tags["repeats"] == "conflicting" for s in path.samples) == 951
