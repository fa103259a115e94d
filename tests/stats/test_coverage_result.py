"""The committed simulation supports the statements of the documentation."""

import json

from tests.support.paths import ROOT

RESULT = ROOT / "benchmarks/coverage.json"


def test_the_clustered_interval_covers_and_the_naive_one_does_not():
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    assert (result["sets"], result["questions"], result["images"]) == (2000, 451, 203)
    for found in result["coverage_of_95_percent_intervals"]:
        assert 0.94 <= found["clustered"] <= 0.97
        assert found["naive"] < 0.92
    for found in result["level_of_5_percent_paired_tests"]:
        assert found["clustered interval"] <= 0.06
        assert found["sign flip"] <= 0.06
