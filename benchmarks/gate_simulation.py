"""Rate of wrong verdicts of the gate, over simulated pairs of runs of the sizes of VQA-RAD, SLAKE and PathVQA.

    python benchmarks/gate_simulation.py [--pairs 2000] [--out benchmarks/results/gate-simulation.json]
    python benchmarks/gate_simulation.py --limits [--out benchmarks/results/gate-limits.json]

Each pair is decided by the gate's own `decide`.  Two equal models differ on a share `churn` of the answers, half of
them for the worse; a worse model also loses `worse` times the margin.  Losses and gains of one image's
questions come together (Dirichlet-multinomial, intraclass correlation `icc`).  "Theory" is the normal approximation
with the exact clustered variance of this model.  A pass or improvement of a model that is worse by the margin or more
is a wrong pass; the gate promises at most 5 % of them.  `--limits` has what is outside of that promise: a candidate
that loses every answer of some images or videos and none of others, and fails of a candidate that is within the margin.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import NormalDist

import numpy as np

from evalkit import __version__
from evalkit.analysis.gate.inputs import RunPair
from evalkit.analysis.gate.verdicts import ALPHA, BOUND, FAIL, IMPROVED, INCONCLUSIVE, PASS, decide, smallest_margin
from evalkit.analysis.run_scores import RunScores, ScoreColumn
from evalkit.core.signature import Signature
from evalkit.core.types import MetricKey
from evalkit.runs.schema import RunHeader

# Images by how many test questions they have, in the released sets (VQA-RAD as on OSF, SLAKE's English rows, PathVQA as
# on the Hugging Face hub).
IMAGES = {
    "vqa-rad": {1: 62, 2: 79, 3: 33, 4: 19, 5: 5, 6: 4, 7: 1},
    "slake": {
        5: 2, 6: 2, 7: 7, 8: 16, 9: 15, 10: 10, 11: 5, 12: 6, 13: 1, 14: 5, 15: 22, 16: 2, 17: 1, 18: 1, 20: 1,
    },
    "path-vqa": {
        1: 5, 2: 28, 3: 66, 4: 122, 5: 40, 6: 76, 7: 138, 8: 129, 9: 34, 10: 25, 11: 46, 12: 40, 13: 24, 14: 4, 15: 15,
        16: 27, 17: 12, 18: 8, 19: 7, 20: 3, 21: 3, 22: 2, 23: 1, 25: 1, 27: 1, 28: 1,
    },
}  # fmt: skip
# Rows and videos of each source of ColonINST, from its guideline, videos of a source taken as equally long; the last
# group has the images that belong to no known video.
VIDEOS = {
    "coloninst-cls": ((29592, 105), (4872, 17), (1129, 46), (2306, 64), (1658, 43), (5727, 5727)),
    "coloninst-reg": ((4214, 17), (660, 660)),
}
METRIC = MetricKey("strict", "accuracy")
# Sizes of a change of a graded score.
STEPS = (0.5, 1.0)
ACCURACY = 0.7
HEADER = RunHeader(
    task="", split="test", data_sha256="same", closed_rule="same", prompt="same", image="same", limit=None, n=0,
    model="simulated", run_id="simulated", evalkit=__version__, generation="same", status="done",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A simulated setting.

    worse: how many margins the candidate is worse.  churn: share of answers on which equal models differ.  icc:
    intraclass correlation of changes on one image.  graded: scores change by a half as well as by a whole.
    whole: every answer of an image (a video, of ColonINST) is lost, or none.  rows_alone: the data do not name the
    images or videos, so that the gate takes each row as a cluster of its own.
    """

    task: str
    worse: float
    churn: float
    margin: float
    icc: float = 0.1
    graded: bool = False
    # Not in the representation, from which the seed of the published settings is made.
    whole: bool = field(default=False, repr=False)
    rows_alone: bool = field(default=False, repr=False)

    @property
    def shares(self) -> tuple[float, float]:
        """The shares of answers that are lost and won; larger where a change is less than a whole."""
        size = sum(STEPS) / len(STEPS) if self.graded else 1.0
        return (self.churn / 2 + self.worse * self.margin) / size, self.churn / 2 / size


def sizes(task: str) -> np.ndarray:
    """The number of questions of each image, shape (images,); of each video for ColonINST."""
    if task in VIDEOS:
        return np.concatenate([np.diff(np.arange(k + 1) * rows // k) for rows, k in VIDEOS[task]])
    return np.repeat(list(IMAGES[task]), list(IMAGES[task].values()))


def baseline(setting: Setting) -> RunScores:
    """A run of the set's size, all of its scores 0."""
    task, of_each = setting.task, sizes(setting.task)
    n = int(of_each.sum())
    image = (np.arange(n) if setting.rows_alone else np.repeat(np.arange(len(of_each)), of_each)).astype(str).tolist()
    column = ScoreColumn.of(
        (0.0,) * n,
        range(n),
        signature=Signature.of(METRIC.metric, {"task": task, "protocol": f"{METRIC.protocol}.1"}),
        higher_is_better=True,
    )
    return RunScores(
        origin="baseline",
        header=replace(HEADER, task=task, n=n),
        ids=tuple(map(str, range(n))),
        image_ids=tuple(image),
        columns={METRIC: column},
        answers=("0" * 16,) * n,
    )


def with_scores(run: RunScores, values: np.ndarray) -> RunScores:
    """The run with other scores."""
    column = replace(run.columns[METRIC], values=values.astype(float))
    return replace(run, columns={METRIC: column})


def changes(rng: np.random.Generator, setting: Setting) -> np.ndarray:
    """The change of each question's score, shape (questions,): -1 (lost), 0 or 1 (won), or half of it."""
    lost, won = setting.shares
    images = sizes(setting.task)
    if setting.whole:
        return np.repeat(np.where(rng.random(len(images)) < lost, -1.0, 0.0), images)
    spread = (1 - setting.icc) / setting.icc if setting.icc else math.inf
    shares = np.tile([lost, won, 1 - lost - won], (len(images), 1))
    if math.isfinite(spread):
        drawn = np.stack([rng.gamma(max(p * spread, 1e-12), size=len(images)) for p in shares[0]], axis=1)
        shares = drawn / drawn.sum(axis=1, keepdims=True)
    row = np.repeat(shares, images, axis=0)
    where = rng.random(len(row))
    found = np.where(where < row[:, 0], -1.0, np.where(where < row[:, 0] + row[:, 1], 1.0, 0.0))
    return found * rng.choice(STEPS, size=len(found)) if setting.graded else found


def pair_of(rng: np.random.Generator, setting: Setting, empty: RunScores) -> RunPair:
    """A baseline and a candidate whose scores differ by `changes`; every changed score is another answer."""
    delta = changes(rng, setting)
    before = np.where(delta == 0, rng.random(len(delta)) < ACCURACY, np.maximum(-delta, 0.0))
    after = before + delta
    candidate = replace(
        with_scores(empty, after),
        origin="candidate",
        answers=tuple("0" * 16 if d == 0 else "1" * 16 for d in delta.tolist()),
    )
    return RunPair(with_scores(empty, before), candidate)


def standard_error(setting: Setting) -> float:
    """The exact standard error of the mean difference under the model."""
    lost, won = setting.shares
    images = sizes(setting.task).astype(float)
    steps = STEPS if setting.graded else (1.0,)
    size, square = sum(steps) / len(steps), sum(s * s for s in steps) / len(steps)
    within = square * (lost + won) - (size * (won - lost)) ** 2
    between = setting.icc * size * size * (lost + won - (won - lost) ** 2)
    variance = (images * within + images * (images - 1) * between).sum()
    return float(math.sqrt(variance) / images.sum())


def theory(setting: Setting) -> dict[str, float]:
    """Normal approximation of the shares of passes (improvements among them) and fails."""
    error = standard_error(setting)
    normal, standard = NormalDist(-setting.worse * setting.margin, error), NormalDist()
    passed = 1 - normal.cdf(-setting.margin + standard.inv_cdf(1 - BOUND) * error)
    failed = normal.cdf(min(-setting.margin, -standard.inv_cdf(1 - ALPHA) * error))
    return {"pass": passed, "fail": failed, "inconclusive": 1 - passed - failed}


def simulate(setting: Setting, pairs: int, seed: int) -> dict[str, object]:
    """The shares of verdicts over `pairs` pairs."""
    rng = np.random.default_rng([seed, *map(ord, repr(setting))])
    empty, verdicts = baseline(setting), Counter[str]()
    for _ in range(pairs):
        (comparison,) = decide([pair_of(rng, setting, empty)], [[METRIC]], {METRIC: setting.margin})
        verdicts[comparison.verdicts[0].verdict] += 1
    images = sizes(setting.task)
    passed = (verdicts[PASS] + verdicts[IMPROVED]) / pairs
    return {
        "task": setting.task,
        "n": int(images.sum()),
        "images": len(images),
        "margin": setting.margin,
        "true_difference": -setting.worse * setting.margin,
        "churn": setting.churn,
        "icc": setting.icc,
        "graded": setting.graded,
        **({"whole": "videos" if setting.task in VIDEOS else "images"} if setting.whole else {}),
        **({"rows_alone": True} if setting.rows_alone else {}),
        "pairs": pairs,
        "pass": passed,
        "of_which_improved": verdicts[IMPROVED] / pairs,
        "fail": verdicts[FAIL] / pairs,
        "inconclusive": verdicts[INCONCLUSIVE] / pairs,
        "theory": {k: round(v, 4) for k, v in theory(setting).items()},
        "wrong_passes": passed if setting.worse >= 1 else None,
    }


def certifiable(task: str, churn: float, icc: float) -> float:
    """The margin, rounded up to a tenth of a point, that an equal candidate passes in four cases of five."""
    images = sizes(task)
    effect = 1 + icc * ((images**2).sum() / images.sum() - 1)
    return math.ceil(1000 * smallest_margin(int(images.sum() / effect), churn)) / 1000


def settings() -> list[Setting]:
    """Equal, worse by the margin and by twice it; then worse by the margin in settings that are hard for the test."""
    found = []
    for task in IMAGES:
        for worse in (0, 1, 2):
            found.append(Setting(task=task, worse=worse, churn=0.10, margin=certifiable(task, 0.10, 0.1)))
            found.append(Setting(task=task, worse=worse, churn=0.02, margin=0.02))
        found += [
            Setting(task=task, worse=1, churn=0.0, margin=0.02),
            Setting(task=task, worse=1, churn=0.10, margin=0.02, icc=0.0),
            Setting(task=task, worse=1, churn=0.10, margin=0.02, icc=0.3),
            Setting(task=task, worse=1, churn=0.20, margin=0.05),
            Setting(task=task, worse=1, churn=0.10, margin=0.02, graded=True),
        ]
    return found


def limits() -> list[Setting]:
    """Outside of the promise: whole images or videos lost, and a candidate that is worse by less than the margin."""
    found = []
    for task in IMAGES:
        whole = Setting(task=task, worse=1, churn=0.0, margin=0.01, whole=True)
        found += [replace(whole, margin=margin) for margin in (0.01, 0.02, 0.03)]
        within = Setting(task=task, worse=0.5, churn=0.10, margin=0.02)
        found += [replace(within, worse=worse) for worse in (0.5, 0.75, 0.9)]
    for task, rows_alone in (("coloninst-cls", False), ("coloninst-reg", False), ("coloninst-reg", True)):
        lost = Setting(task=task, worse=1, churn=0.0, margin=0.01, whole=True, rows_alone=rows_alone)
        found += [replace(lost, margin=margin) for margin in (0.01, 0.02, 0.03)]
    return found


def table(cells: list[dict[str, object]]) -> str:
    """The settings with all three truths, as docs/gate.md shows them: percent, theory in brackets."""
    rows = [
        "| set | questions / images | churn | margin | the candidate is | passes | fails | inconclusive |",
        "|---|---|---|---|---|---|---|---|",
    ]
    truths = {0: "equal", 1: "worse by the margin", 2: "worse by twice the margin"}
    whole = {(c["task"], c["churn"], c["margin"]) for c in cells if c["true_difference"] < -1.5 * c["margin"]}
    for c in cells:
        if (c["task"], c["churn"], c["margin"]) in whole and (c["icc"], c["graded"]) == (0.1, False):
            shares = " | ".join(
                f"{100 * c[k]:.1f} ({100 * c['theory'][k]:.1f})" for k in ("pass", "fail", "inconclusive")
            )
            rows.append(
                f"| {c['task']} | {c['n']:,} / {c['images']} | {100 * c['churn']:.0f} % | {100 * c['margin']:.1f} | "
                f"{truths[round(-c['true_difference'] / c['margin'])]} | {shares} |"
            )
    return "\n".join(rows)


def limits_table(cells: list[dict[str, object]]) -> str:
    """What is outside of the promise, as docs/gate.md shows it: percent, a row a set."""
    rows = [
        "| set (questions / images or videos) | lost whole | margin 1 / 2 / 3: passes | "
        "worse by 0.5 / 0.75 / 0.9 of the margin 2: passes | fails |",
        "|---|---|---|---|---|",
    ]
    groups: dict[tuple[object, bool], list[dict[str, object]]] = {}
    for c in cells:
        groups.setdefault((c["task"], bool(c.get("rows_alone"))), []).append(c)
    for (task, alone), found in groups.items():
        whole, within = ([c for c in found if bool(c.get("whole")) == flag] for flag in (True, False))
        passes, part, fails = (
            " / ".join(f"{100 * c[key]:.1f}" for c in of) or "–"
            for of, key in ((whole, "pass"), (within, "pass"), (within, "fail"))
        )
        what = f"{whole[0]['whole']}{', which the data do not name' if alone else ''}"
        rows.append(f"| {task} ({whole[0]['n']:,} / {whole[0]['images']:,}) | {what} | {passes} | {part} | {fails} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gate-simulation.json"))
    parser.add_argument("--limits", action="store_true", help="the settings outside of the promise")
    parser.add_argument("--processes", type=int, default=1, help="settings at a time; the figures do not depend on it")
    arguments = parser.parse_args()
    started, cells = time.monotonic(), []
    one = partial(simulate, pairs=arguments.pairs, seed=arguments.seed)
    with ProcessPoolExecutor(arguments.processes) as pool:
        for cell in pool.map(one, limits() if arguments.limits else settings()):
            cells.append(cell)
            print(json.dumps(cell), flush=True)
    print((limits_table if arguments.limits else table)(cells))
    wrong = [float(c["wrong_passes"]) for c in cells if c["wrong_passes"] is not None]
    result = {
        "command": f"python benchmarks/gate_simulation.py --pairs {arguments.pairs} --seed {arguments.seed}"
        + (" --limits" if arguments.limits else ""),
        "evalkit": __version__,
        "alpha": ALPHA,
        "nominal_level_of_the_bound": BOUND,
        "most_wrong_passes": max(wrong),
        "mean_wrong_passes": sum(wrong) / len(wrong),
        "seconds": round(time.monotonic() - started),
        "cells": cells,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
