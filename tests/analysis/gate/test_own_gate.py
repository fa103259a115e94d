"""evalkit's own gate on phantom-llava detects one changed answer, whatever changed it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.__main__ import main
from evalkit.analysis.run_scores import read_run_scores
from evalkit.core.types import Prediction, Request
from evalkit.engines.hf import HfEngine
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.phantom import Phantom
from tests.support.paths import ROOT

BASELINE = ROOT / "leaderboards" / "gate" / "phantom-llava-phantom.json"


def phantom_llava(place: Path) -> Path:
    made = ("model=phantom-llava", "task=phantom", "task.n_test=4", "leaderboard=null")
    assert main([*made, f"out={place}"]) == 0
    (folder,) = [p for p in place.iterdir() if p.is_dir()]
    return folder


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom_llava(tmp_path_factory.mktemp("base"))


def gate(baseline: Path, candidate: Path, out: Path) -> tuple[int, dict]:
    code = main(["gate", f"baseline={baseline}", f"candidate={candidate}", "exact=true", f"out={out}"])
    return code, json.loads((out / "gate.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_same_code_gives_the_same_answers(baseline: Path, tmp_path: Path) -> None:
    code, content = gate(baseline, phantom_llava(tmp_path / "again"), tmp_path)
    assert (code, content["verdict"], content["comparisons"][0]["n_moved"]) == (0, "pass", 0)


def test_two_answers_with_each_others_images_fail_the_gate(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that swaps the images of two requests, as a fault in its batching would."""
    texts = dict(zip((run := read_run_scores(baseline)).ids, run.texts, strict=True))
    generate = HfEngine.generate
    swapped: list[str] = []

    def confused(engine: HfEngine, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        a, b = next(
            (a, b)
            for k, a in enumerate(requests)
            for b in requests[k + 1 :]
            if a.question == b.question and a.image_id != b.image_id and texts[a.sample_id] != texts[b.sample_id]
        )
        swapped.extend((a.sample_id, b.sample_id))
        other = {
            a.sample_id: replace(a, images=b.images, image_digests=b.image_digests),
            b.sample_id: replace(b, images=a.images, image_digests=a.image_digests),
        }
        original = {r.sample_id: r.fingerprint for r in requests}  # the pipeline refuses unknown requests
        for answered in generate(engine, [other.get(r.sample_id, r) for r in requests]):
            yield [replace(p, fingerprint=original[p.sample_id]) for p in answered]

    monkeypatch.setattr(HfEngine, "generate", confused)
    code, content = gate(baseline, phantom_llava(tmp_path / "confused"), tmp_path)
    assert (code, content["verdict"]) == (1, "fail")
    assert {m["sample_id"] for m in content["comparisons"][0]["moved"]} == set(swapped)


@pytest.mark.slow
def test_two_samples_with_each_others_images_in_the_data_are_refused(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that swaps two images: the prompts have different images, so the runs are not comparable."""
    load = Phantom.load

    def mistaken(task: Phantom, *, images: bool = True) -> LoadedTask:
        loaded = load(task, images=images)
        first, *between, last = loaded.samples
        swapped = (replace(first, images=last.images), *between, replace(last, images=first.images))
        return replace(loaded, samples=swapped)

    monkeypatch.setattr(Phantom, "load", mistaken)
    code, content = gate(baseline, phantom_llava(tmp_path / "mistaken"), tmp_path)
    assert (code, content["verdict"]) == (2, "refused")
    assert "images_sha256" in content["reason"]


def test_the_committed_baseline_is_whole_and_ci_gates_on_it_exactly() -> None:
    run = read_run_scores(BASELINE)
    assert (run.header.model, len(run.ids), len(run.texts)) == ("phantom-llava", 600, 600)
    assert len(run.columns) == 3
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (line,) = [line for line in script.splitlines() if "evalkit gate" in line]
    assert "baseline=leaderboards/gate/phantom-llava-phantom.json" in line and "exact=true" in line
