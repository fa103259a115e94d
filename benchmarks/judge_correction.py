"""Coverage of the corrected accuracy and of kappa: `python benchmarks/judge_correction.py [--sets 2000] [--out FILE]`.

500 answers, two an image, truth correlated within an image (beta-binomial); a judge with a sensitivity and a
specificity labels all, people label some: at random, or as many of each verdict.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.judge.correction import corrected_accuracy, effective_size
from evalkit.judge.kappa import LabelPair, added_pairs, jackknife_interval
from evalkit.judge.prediction_powered import JudgedAnswers, LabelledAnswers, prediction_powered_accuracy

SEED, N, PER_IMAGE, ICC = 20261129, 500, 2, 0.2
JUDGES = ((0.6, 0.9, 0.85), (0.6, 0.75, 0.7), (0.9, 0.95, 0.7), (0.8, 0.97, 0.9), (0.5, 0.95, 0.95))


def drawn(rng: np.random.Generator, judge: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, truth and verdict (1 or 0) of each answer."""
    truth, sensitivity, specificity = judge
    image, spread = np.repeat(np.arange(N // PER_IMAGE), PER_IMAGE), (1 - ICC) / ICC
    right = rng.random(N) < rng.beta(truth * spread, (1 - truth) * spread, size=N // PER_IMAGE)[image]
    judged = np.where(right, rng.random(N) < sensitivity, rng.random(N) >= specificity)
    return image, right, judged


def picked(rng: np.random.Generator, judged: np.ndarray, n: int, by_verdict: bool) -> np.ndarray:
    """Places of the answers to label."""
    if not by_verdict:
        return rng.choice(N, size=n, replace=False)
    sides = [np.flatnonzero(judged == verdict) for verdict in (True, False)]
    return np.concatenate([rng.choice(side, size=min(n // 2, len(side)), replace=False) for side in sides])


def rogan_gladen(image: np.ndarray, right: np.ndarray, judged: np.ndarray, places: np.ndarray) -> tuple[float, float]:
    """Bounds of the correction by sensitivity and specificity, for comparison."""
    sides = [places[right[places] == side] for side in (True, False)]
    hits = [(judged[sides[0]]).astype(float).tolist(), (~judged[sides[1]]).astype(float).tolist()]
    if not all(hits):
        return np.nan, np.nan
    sizes = [effective_size(h, image[side].tolist()) for h, side in zip(hits, sides, strict=True)]
    found = corrected_accuracy(
        float(judged.mean()), float(np.mean(hits[1])), float(np.mean(hits[0])),
        effective_size(judged.astype(float).tolist(), image.tolist()), sizes[1], sizes[0],
    )  # fmt: skip
    return (np.nan, np.nan) if found.low is None else (found.low, found.high)


def cell(
    rng: np.random.Generator, judge: tuple[float, float, float], n: int, by_verdict: bool, sets: int
) -> dict[str, object]:
    hits, widths, values, old = 0, [], [], [0, 0]
    for _ in range(sets):
        image, right, judged = drawn(rng, judge)
        places = picked(rng, judged, n, by_verdict)
        found = prediction_powered_accuracy(
            JudgedAnswers(judged.tolist(), image.tolist()),
            LabelledAnswers(
                right[places].tolist(), judged[places].tolist(), image[places].tolist(), [1.0] * len(places)
            ),
        )
        if found.value is not None:  # else refused: too few labels of a verdict
            hits += found.low <= judge[0] <= found.high
            widths.append(found.high - found.low)
            values.append(found.value)
        low, high = rogan_gladen(image, right, judged, places)
        old[0] += bool(low <= judge[0] <= high)
    return {
        "truth_sensitivity_specificity": judge, "labels": n, "by_verdict": by_verdict,
        "coverage": round(hits / len(values), 4), "refused": sets - len(values),
        "width": round(float(np.mean(widths)), 4),
        "bias": round(float(np.mean(values)) - judge[0], 4), "coverage_rogan_gladen": old[0] / sets,
    }  # fmt: skip


def kappa_cell(rng: np.random.Generator, judge: tuple[float, float, float], n: int, sets: int) -> dict[str, object]:
    """Coverage of kappa's interval, with and without the added pairs."""
    truth, se, sp = judge
    cells = {(1, 1): truth * se, (1, 0): truth * (1 - se), (0, 1): (1 - truth) * (1 - sp), (0, 0): (1 - truth) * sp}
    observed, said = cells[1, 1] + cells[0, 0], cells[1, 1] + cells[0, 1]
    expected = truth * said + (1 - truth) * (1 - said)
    true, hits, given = (observed - expected) / (1 - expected), [0, 0], [0, 0]
    for _ in range(sets):
        image, right, judged = drawn(rng, judge)
        # The answers of some images, all of each.
        places = np.flatnonzero(np.isin(image, rng.choice(N // PER_IMAGE, size=n // PER_IMAGE, replace=False)))
        pairs = [LabelPair(float(a), float(b)) for a, b in zip(right[places], judged[places], strict=True)]
        for way, added in enumerate((added_pairs((0.0, 1.0)), ())):
            interval = jackknife_interval(_plain_kappa, pairs, image[places].tolist(), added=added)
            if interval is not None and interval.low is not None:
                given[way] += 1
                hits[way] += interval.low <= true <= interval.high
    return {
        "truth_sensitivity_specificity": judge, "labels": n, "kappa": round(true, 3),
        "coverage": round(hits[0] / max(1, given[0]), 4),
        "coverage_plain_jackknife": round(hits[1] / max(1, given[1]), 4),
    }  # fmt: skip


def _plain_kappa(pairs: list[LabelPair], weights: list[float]) -> float | None:
    """Kappa of two labels from the 2x2 table, faster than scikit-learn's; the tests compare the two."""
    total = sum(weights)
    agree = sum(w for (a, b), w in zip(pairs, weights, strict=True) if a == b) / total
    first = sum(w * a for (a, _), w in zip(pairs, weights, strict=True)) / total
    second = sum(w * b for (_, b), w in zip(pairs, weights, strict=True)) / total
    expected = first * second + (1 - first) * (1 - second)
    return None if expected >= 1 else (agree - expected) / (1 - expected)


def table(result: dict[str, Any]) -> str:
    """Coverage, width and bias of the corrected accuracy as docs/statistics.md shows them."""
    lines = [
        "| truth / sensitivity / specificity | labels | covers | width | bias | Rogan-Gladen covers |",
        "|---|---|---|---|---|---|",
    ]
    for c in result["accuracy"]:
        n = c["labels"]
        drawn_as = f"{n // 2} + {n // 2} by verdict" if c["by_verdict"] else f"{n} at random"
        numbers = f"{100 * c['coverage']:.1f} | {100 * c['width']:.1f} | {100 * c['bias']:+.1f}"
        lines.append(f"| {_judge(c)} | {drawn_as} | {numbers} | {100 * c['coverage_rogan_gladen']:.1f} |")
    return "\n".join(lines)


def kappa_table(result: dict[str, Any]) -> str:
    """Coverage of kappa's interval as docs/statistics.md shows it."""
    lines = [
        "| truth / sensitivity / specificity | labels | kappa | covers | plain jackknife |",
        "|---|---|---|---|---|",
    ]
    for c in result["kappa"]:
        shares = f"{100 * c['coverage']:.1f} | {100 * c['coverage_plain_jackknife']:.1f}"
        lines.append(f"| {_judge(c)} | {c['labels']} | {c['kappa']:.2f} | {shares} |")
    return "\n".join(lines)


def _judge(c: dict[str, Any]) -> str:
    return " / ".join(f"{share:g}" for share in c["truth_sensitivity_specificity"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    started, rng = time.perf_counter(), np.random.default_rng(SEED)
    cells = [cell(rng, j, n, by, options.sets) for j in JUDGES for n, by in ((60, False), (100, False), (100, True))]
    kappas = [kappa_cell(rng, j, n, options.sets // 4) for j in JUDGES for n in (60, 100)]
    result = {
        "command": f"python benchmarks/judge_correction.py --sets {options.sets}", "sets": options.sets,
        "sets_of_kappa": options.sets // 4, "accuracy": cells, "kappa": kappas,
    }  # fmt: skip
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result), kappa_table(result), sep="\n\n")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
