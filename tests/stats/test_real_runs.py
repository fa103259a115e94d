"""The authors' bootstrap intervals and McNemar tables for five real runs."""

import json

import pytest

from evalkit.stats import paired_interval
from tests.support.other_statistics import bootstrap_interval, mcnemar
from tests.support.paths import SHARED

RUNS = SHARED / "data/predictions/qwen2-vl-2b-vqa-rad"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not RUNS.is_dir(), reason=f"no real answers in {RUNS}; set EVALKIT_SHARED"),
]
# closed exact match, open F1, overall exact match
PRINTED = {
    "baseline": ((0.5060, 0.6255), (0.1508, 0.2540), (0.3348, 0.4257)),
    "lora_quick": ((0.4741, 0.5976), (0.2251, 0.3368), (0.3370, 0.4279)),
    "lora_rank4": ((0.7012, 0.8088), (0.2962, 0.4166), (0.4967, 0.5876)),
    "lora_rank8": ((0.6813, 0.7888), (0.2633, 0.3831), (0.4767, 0.5654)),
    "lora_rank16": ((0.6813, 0.7928), (0.2957, 0.4172), (0.4878, 0.5809)),
}


def read(run, field, kind=None):
    found = json.loads((RUNS / run / "per_example_scores.json").read_text(encoding="utf-8"))
    return [float(v) for v, q in zip(found[field], found["qtypes"], strict=True) if kind is None or q == kind]


@pytest.mark.few(2)
@pytest.mark.parametrize("run", PRINTED)
def test_the_bootstrap_intervals_are_reproduced_to_half_a_point(run):
    for values, printed in zip(
        (read(run, "correct", "closed"), read(run, "f1", "open"), read(run, "correct")), PRINTED[run], strict=True
    ):
        found = bootstrap_interval(values, range(len(values)), resamples=5000)
        assert (found.low, found.high) == pytest.approx(printed, abs=0.005)


@pytest.mark.parametrize("run", ["lora_quick", "lora_rank4", "lora_rank8", "lora_rank16"])
def test_the_mcnemar_tables_are_reproduced_exactly_and_the_paired_intervals_nearly(run):
    tests = json.loads((RUNS / f"statistical_tests/baseline_vs_{run}.json").read_text(encoding="utf-8"))["tests"]
    for title, kind in (("Closed EM", "closed"), ("Overall EM", None)):
        first, second = read("baseline", "correct", kind), read(run, "correct", kind)
        printed, found = tests[title], mcnemar(first, second)
        assert (found.only_first, found.only_second) == (printed["mcnemar"]["b"], printed["mcnemar"]["c"])
        assert found.p == pytest.approx(printed["mcnemar"]["p_value"], rel=1e-12)
        interval = paired_interval(first, second, range(len(first)))
        bounds = printed["paired_bootstrap"]
        assert (interval.low, interval.high) == pytest.approx((bounds["lower"], bounds["upper"]), abs=0.005)
