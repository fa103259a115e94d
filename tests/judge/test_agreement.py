"""Agreement with people: measures against other implementations, the correction against published values."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core.errors import DataError
from evalkit.judge.agreement import check_labels
from evalkit.judge.api import judge_run
from evalkit.judge.correction import corrected_accuracy, effective_size
from evalkit.judge.human_labels import read_labels
from evalkit.judge.kappa import cohen_kappa, jackknife_interval, krippendorff_alpha
from evalkit.judge.labelled_answers import majority
from tests.support.fake_server import FakeServer, scores, verdict
from tests.support.judge_samples import answers, chat, config, vqa

LEVELS = (0.0, 0.5, 1.0)
units = st.lists(st.lists(st.sampled_from(LEVELS), min_size=1, max_size=4), min_size=1, max_size=25)


@settings(deadline=None)  # the first call imports nltk
@given(units, st.booleans())
def test_alpha_equals_nltk(values: list[list[float]], interval: bool) -> None:
    from nltk.metrics.agreement import AnnotationTask
    from nltk.metrics.distance import binary_distance, interval_distance

    ours = krippendorff_alpha(values, interval=interval)
    paired = [v for v in values if len(v) > 1]
    if len({x for v in paired for x in v}) < 2:
        assert ours is None
        return
    data = [(f"rater{r}", f"unit{u}", x) for u, v in enumerate(paired) for r, x in enumerate(v)]
    reference = AnnotationTask(data, distance=interval_distance if interval else binary_distance).alpha()
    assert ours == pytest.approx(reference, abs=1e-9)


def test_alpha_of_krippendorffs_own_example() -> None:
    # Krippendorff 2011, data of section C: four observers, twelve units, missing values; nominal 0.743, interval 0.849.
    rows = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    by_unit = [[float(v) for v in column if v is not None] for column in zip(*rows, strict=True)]
    assert krippendorff_alpha(by_unit) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(by_unit, interval=True) == pytest.approx(0.849, abs=5e-4)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LEVELS), st.sampled_from(LEVELS)), max_size=40))
def test_kappa_equals_its_definition_and_is_none_where_undefined(pairs: list[tuple[float, float]]) -> None:
    values = {v for pair in pairs for v in pair}
    if len(values) < 2:
        assert cohen_kappa(pairs, LEVELS) is None
        return
    n = len(pairs)
    for quadratic in (False, True):

        def weight(a: float, b: float, quadratic: bool = quadratic) -> float:
            return (a - b) ** 2 if quadratic else float(a != b)

        observed = sum(weight(a, b) for a, b in pairs) / n
        expected = sum(weight(a, b) for a, _ in pairs for _, b in pairs) / n**2
        assert cohen_kappa(pairs, LEVELS, quadratic=quadratic) == pytest.approx(1 - observed / expected)


def test_the_jackknife_of_a_mean_is_the_clustered_interval() -> None:
    from evalkit.stats import mean_interval

    rng = random.Random(1)
    clusters = [f"c{i // 3}" for i in range(60)]
    values = [rng.random() for _ in clusters]
    ours = jackknife_interval(lambda rows, _: math.fsum(rows) / len(rows), values, clusters, low=0.0, high=1.0)
    other = mean_interval(values, clusters, bounded=False)
    assert ours is not None and other is not None
    assert (ours.low, ours.high) == pytest.approx((other.low, other.high), abs=2e-3)


@pytest.mark.parametrize(
    ("given_", "value", "low", "high"),
    [
        # Values of the authors' published code, to four places.
        ((0.5, 0.9, 0.9, 10_000, 5_000, 5_000), 0.5, 0.4857, 0.5143),
        ((0.7, 0.8, 0.9, 200, 100, 100), 0.7143, 0.6002, 0.8322),
        ((0.95, 0.7, 0.95, 50, 20, 30), 1.0, 0.8147, 1.0),
    ],
)
def test_the_corrected_accuracy_equals_the_published_values(
    given_: tuple, value: float, low: float, high: float
) -> None:
    found = corrected_accuracy(*given_)
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high), abs=1e-4)


def test_a_perfect_judge_needs_no_correction_and_one_at_chance_gives_no_value() -> None:
    assert corrected_accuracy(0.6, 1.0, 1.0, 1000, 500, 500).value == pytest.approx(0.6)
    blind = corrected_accuracy(0.6, 0.4, 0.6, 1000, 500, 500)
    assert blind.value is None and "no better than chance" in blind.why


def test_the_corrected_interval_has_its_nominal_coverage() -> None:
    rng = random.Random(7)
    truth, q0, q1, n, m = 0.4, 0.85, 0.9, 400, 120
    p = truth * q1 + (1 - truth) * (1 - q0)

    def share(k: int, chance: float) -> float:
        return sum(rng.random() < chance for _ in range(k)) / k

    hits = 0
    for _ in range(300):
        found = corrected_accuracy(share(n, p), share(m, q0), share(m, q1), n, m, m)
        assert found.low is not None and found.high is not None
        hits += found.low <= truth <= found.high
    assert 0.91 <= hits / 300 <= 0.99


def test_clustered_answers_have_a_smaller_effective_size() -> None:
    values = [float(i % 2) for i in range(50) for _ in range(4)]
    clusters = [i for i in range(50) for _ in range(4)]
    assert effective_size(values, clusters) == pytest.approx(49, abs=1.5)
    assert effective_size(values, list(range(200))) == 200
    assert effective_size([1.0] * 200, clusters) == 50


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def labelled(n: int, seed: int = 0) -> list[dict]:
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        human = rng.choice(["correct", "partly", "wrong"])
        judge = human if rng.random() < 0.8 else rng.choice(["correct", "partly", "wrong"])
        rows.append(
            {"sample_id": f"s{i}", "image_id": f"i{i // 3}", "model": "ab"[i % 2], "label": human, "judge": judge}
        )
    return rows


def test_agreement_is_reported_for_all_and_for_every_answering_model(tmp_path: Path) -> None:
    from sklearn.metrics import cohen_kappa_score, recall_score

    rows = labelled(120)
    found = check_labels(write(tmp_path / "l.jsonl", rows))
    assert [g.model for g in found.groups] == ["all", "a", "b"]
    whole = found.groups[0]
    human, judge = [r["label"] for r in rows], [r["judge"] for r in rows]
    assert whole.n == 120 and whole.n_images == 40
    assert whole.get("raw_agreement").value == pytest.approx(
        sum(a == b for a, b in zip(human, judge, strict=True)) / 120
    )
    assert whole.get("cohen_kappa").value == pytest.approx(cohen_kappa_score(human, judge))
    right, judged_right = [h == "correct" for h in human], [j == "correct" for j in judge]
    assert whole.get("sensitivity").value == pytest.approx(recall_score(right, judged_right))
    assert whole.get("specificity").value == pytest.approx(recall_score(right, judged_right, pos_label=False))
    for measure in whole.measures:
        if measure.measure != "krippendorff_alpha_people":
            assert measure.low < measure.value < measure.high, measure
    assert whole.get("krippendorff_alpha_people").value is None, "one rater alone has no agreement"
    assert any("one rater" in note for note in found.notes)
    assert json.dumps(found.record())


def test_several_raters_vote_and_their_agreement_is_reported(tmp_path: Path) -> None:
    rows = []
    for i in range(30):
        votes = ["correct", "correct", "wrong"] if i % 2 else ["wrong", "wrong", "wrong"]
        rows += [
            {"sample_id": str(i), "rater": f"r{k}", "label": v, "judge": "correct" if i % 2 else "wrong"}
            for k, v in enumerate(votes)
        ]
    rows += [
        {"sample_id": "split", "rater": f"r{k}", "label": v, "judge": "wrong"}
        for k, v in enumerate(["correct", "wrong"])
    ]
    found = check_labels(write(tmp_path / "l.jsonl", rows))
    assert found.groups[0].get("raw_agreement").value == 1.0
    assert found.groups[0].get("krippendorff_alpha_people").value < 1
    assert found.left_out == {"people are split": 1}


def test_cannot_tell_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*labelled(30), {"sample_id": "x", "model": "a", "label": "cannot_tell", "judge": "wrong"}]
    rows.append({"sample_id": "y", "model": "a", "label": "wrong", "judge": "cannot_tell"})
    found = check_labels(write(tmp_path / "l.jsonl", rows))
    assert found.groups[0].n == 30
    assert found.left_out == {"people cannot tell": 1, "no judgment, or the judge cannot tell": 1}


def test_a_judged_run_is_compared_with_people_and_its_score_corrected(tmp_path: Path) -> None:
    samples = vqa(200)
    truth = {s.id: int(s.id[1:]) % 4 != 0 for s in samples}

    def behave(n: int, body: dict):
        number = int(body["messages"][1]["content"].split("organ is number ")[1].split("?")[0])
        right = truth[f"q{number}"]
        # One of five wrong answers is rated correct, no correct one is rated wrong.
        return verdict("correct" if right or number % 5 == 0 else "wrong")

    with FakeServer(behave) as server:
        outcome = judge_run(tmp_path / "run", config(server.url, rows="all"), samples, answers(samples))
    people = [{"sample_id": s.id, "label": "correct" if truth[s.id] else "wrong"} for s in samples[:80]]
    found = check_labels(write(tmp_path / "l.jsonl", people), run=tmp_path / "run")
    whole = found.groups[0]
    assert whole.n_images == 40
    assert whole.get("sensitivity").value == 1.0 and whole.get("specificity").value == pytest.approx(0.8)
    assert whole.get("judged_accuracy").value == outcome.scores.find("judged_accuracy").value == pytest.approx(0.8)
    corrected = whole.get("corrected_accuracy")
    assert corrected.value == pytest.approx(0.75) and corrected.n == 200
    assert corrected.low < 0.75 < corrected.high and corrected.high - corrected.low > 0.05


def test_scores_are_compared_as_scores(tmp_path: Path) -> None:
    samples = chat(20)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        judge_run(tmp_path / "run", config(server.url), samples, answers(samples))
    people = [{"sample_id": s.id, "label": 4 if i % 4 else 6} for i, s in enumerate(samples)]
    found = check_labels(write(tmp_path / "l.jsonl", people), run=tmp_path / "run")
    assert found.scale == "score" and found.groups[0].get("raw_agreement").value == 0.75
    with pytest.raises(DataError, match="judged by scores"):
        check_labels(write(tmp_path / "v.jsonl", [{"sample_id": "1", "label": "wrong"}]), run=tmp_path / "run")


def test_labels_of_several_models_need_a_model_to_be_compared_with_one_run(tmp_path: Path) -> None:
    samples = vqa(8)
    with FakeServer(lambda n, b: verdict("correct")) as server:
        judge_run(tmp_path / "run", config(server.url), samples, answers(samples))
    rows = [{"sample_id": s.id, "model": m, "label": "wrong" if m == "b" else "correct"} for s in samples for m in "ab"]
    file = write(tmp_path / "l.jsonl", rows)
    with pytest.raises(DataError, match="answers_of=NAME"):
        check_labels(file, run=tmp_path / "run")
    found = check_labels(file, run=tmp_path / "run", model="a")
    assert found.groups[0].get("raw_agreement").value == 1.0
    assert found.left_out["of another model than the run's"] == 8


def test_csv_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "l.csv"
    file.write_text("\ufeffsample_id,human,judge\na,1,1\nb,0,0\nc,yes,no\nd,true,partly\n", encoding="utf-8")
    assert check_labels(file).groups[0].get("raw_agreement").value == 0.5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no labels"),
        ([{"id": "a", "judge": "wrong"}], "column label is missing"),
        ([{"sample": "a", "label": "wrong"}], "column sample_id is missing"),
        ([{"sample_id": "a", "label": "maybe", "judge": "wrong"}], "not a verdict"),
        ([{"sample_id": "a", "label": 11, "judge": 3}], "not a score"),
        ([{"sample_id": "a", "label": 5, "judge": 3}, {"sample_id": "b", "label": "wrong", "judge": 3}], "one kind"),
        ([{"sample_id": "a", "label": "wrong"}], "no column judge"),
        ([{"sample_id": "a", "label": "wrong", "judge": "wrong"}] * 2, "twice by one rater"),
        ([{"sample_id": "a", "label": "cannot_tell", "judge": "wrong"}], "no answer has both"),
    ],
)
def test_a_bad_label_file_is_refused_with_the_reason(tmp_path: Path, rows: list[dict], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_labels(write(tmp_path / "l.jsonl", rows))


@pytest.mark.parametrize(("values", "expected"), [([], None), ([1.0], 1.0), ([1.0, 0.0], None), ([1.0, 0.0, 1.0], 1.0)])
def test_the_majority_is_none_for_ties_and_without_values(values: list[float], expected: float | None) -> None:
    assert majority(values) == expected


def test_line_breaks_and_unicode_lines_inside_a_cell_of_labels_end_no_row(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('sample_id,label,note\na\u2028b,correct,"two\nlines\x0b"\nc,wrong,\n', encoding="utf-8-sig")
    assert [(line.sample_id, line.human) for line in read_labels(path).lines] == [("a\u2028b", 1.0), ("c", 0.0)]
    path.write_text("sample_id,label,label\na,correct,wrong\n")
    with pytest.raises(DataError, match="'label' more than once"):
        read_labels(path)
    doubled = tmp_path / "labels.jsonl"
    doubled.write_text('{"sample_id": "a\u2028b", "label": "correct"}\n{"sample_id": "c", "label": 1, "label": 0}\n')
    with pytest.raises(DataError, match=r"labels\.jsonl:2 is not JSON \(the key 'label' occurs twice"):
        read_labels(doubled)
