"""Invariance of answers: batch, order, prefix sharing, workers and interruptions do not change a text."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import load_option
from evalkit.core.types import Request
from evalkit.engines import plain_decode, prefix_decode
from evalkit.engines.hf import HfEngine
from evalkit.engines.preprocess import Preprocessor, group_by_image
from evalkit.models.checkpoint import CheckpointSpec
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import Answer, answers
from tests.support.paths import PACKAGE
from tests.support.slow import mostly_slow

QUESTIONS = [6, 1, 4, 2, 1, 1]
ENGLISH = [
    "is",
    "the",
    "there",
    "what",
    "left",
    "right",
    "lung",
    "liver",
    "lesion",
    "organ",
    "image",
    "in",
    "how",
    "many",
]
PHANTOM = PACKAGE / "models" / "phantom-llava"


@pytest.fixture(scope="module", params=["random", "phantom"])
def spec(request: pytest.FixtureRequest, folder: Path) -> CheckpointSpec:
    if request.param == "random":
        return tiny.spec(folder)
    if not any(PHANTOM.glob("*.safetensors")):
        pytest.skip(f"no weights in {PHANTOM}")
    return CheckpointSpec.from_config(load_option("model", "phantom-llava") | {"name": "phantom-llava"})


@pytest.fixture(scope="module")
def requests(spec: CheckpointSpec, tmp_path_factory: pytest.TempPathFactory) -> list[Request]:
    words = tiny.WORDS if spec.name == "tiny" else ENGLISH
    return tiny.requests(tmp_path_factory.mktemp("images"), QUESTIONS, spec.generation, vocabulary=words)


@pytest.fixture(scope="module")
def alone(spec: CheckpointSpec, requests: list[Request]) -> dict[str, Answer]:
    """Reference answers: one request at a time, without sharing."""
    import torch

    torch.set_num_threads(1)
    return answers(
        HfEngine(spec=spec, device="cpu", dtype="float32", share_prefix="off", batch_size=1, workers=0), requests
    )


def test_the_reference_answers_vary_enough_to_detect_a_mistake(alone: dict[str, Answer], spec: CheckpointSpec) -> None:
    if spec.name != "tiny":
        pytest.skip("only the random model is made to be sensitive")
    assert len({text for text, _, _ in alone.values()}) >= len(alone) - 2
    assert len({n for _, _, n in alone.values()}) >= 4
    assert {reason for _, reason, _ in alone.values()} == {"stop", "length"}


@pytest.mark.parametrize("share", ["off", "require"])
@pytest.mark.parametrize("batch_size", [1, 2, 8, 32, None])
@pytest.mark.few(5)
def test_any_batch_size_gives_the_same_texts(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    requests: list[Request],
    alone: dict[str, Answer],
    share: str,
    batch_size: int | None,
) -> None:
    assert answers(engine(spec, share_prefix=share, batch_size=batch_size), requests) == alone


@pytest.mark.parametrize("settings", [{"max_batch_tokens": 60}, {"max_batch_tokens": 200}, {"exact": True}])
@pytest.mark.few(2)
def test_any_token_budget_gives_the_same_texts(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    requests: list[Request],
    alone: dict[str, Answer],
    settings: dict[str, Any],
) -> None:
    assert answers(engine(spec, share_prefix="require", **settings), requests) == alone


@pytest.mark.few(1)
@pytest.mark.parametrize("seed", [1, 2])
def test_any_order_gives_the_same_texts(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    requests: list[Request],
    alone: dict[str, Answer],
    seed: int,
) -> None:
    shuffled = random.Random(seed).sample(requests, len(requests))
    assert answers(engine(spec, share_prefix="require"), shuffled) == alone


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.few(1)
def test_workers_with_disjoint_images_give_the_same_texts(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    requests: list[Request],
    alone: dict[str, Answer],
    workers: int,
) -> None:
    groups = group_by_image(requests)
    found: dict[str, Answer] = {}
    for worker in range(workers):
        part = [r for group in groups[worker::workers] for r in group]
        found |= answers(engine(spec, share_prefix="require"), part)
    assert found == alone


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.few(2)
def test_an_interrupted_and_resumed_run_gives_the_same_texts(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    requests: list[Request],
    alone: dict[str, Answer],
    batches: int,
) -> None:
    first = engine(spec, share_prefix="require", batch_size=3).generate(requests)
    done = [p for _ in range(batches) for p in next(first)]
    first.close()  # type: ignore[attr-defined]
    found = {p.sample_id: (p.text, p.finish_reason, p.n_tokens) for p in done}
    rest = [r for r in requests if r.sample_id not in found]
    assert 0 < len(rest) < len(requests)
    assert found | answers(engine(spec, share_prefix="require"), rest) == alone


def test_questions_of_an_image_in_separate_calls_give_the_same_texts(
    engine: Callable[..., HfEngine], spec: CheckpointSpec, requests: list[Request], alone: dict[str, Answer]
) -> None:
    half = len(requests) // 2
    shared = engine(spec, share_prefix="require")
    assert answers(shared, requests[:half]) | answers(shared, requests[half:]) == alone


# --- half precision: the order of sums may flip a near-tie, unless `exact`


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Logits of every step by sample id, filled while an engine answers with prefixes."""
    seen: dict[str, list[Any]] = {}
    original = prefix_decode.answer

    def answer(loaded: Any, pack: Any, *, record: Any = None, **settings: Any) -> Any:
        if loaded.generation.max_new_tokens == 1:  # the check's changed image
            return original(loaded, pack, record=record, **settings)

        def keep(m: int, number: int, logits: Any) -> None:
            seen.setdefault(pack[m].group.rows[number].request.sample_id, []).append(logits.clone())
            if record is not None:
                record(m, number, logits)

        return original(loaded, pack, record=keep, **settings)

    monkeypatch.setattr(prefix_decode, "answer", answer)
    return seen


def one_by_one(run: HfEngine, requests: list[Request]) -> dict[str, Answer]:
    return {k: v for r in reversed(requests) for k, v in answers(run, [r]).items()}


EXACT = [
    {},
    {"batch_size": 8},
    {"max_batch_tokens": 60},
    {"share_prefix": "off"},
    {"share_prefix": "off", "batch_size": 4},
]


@pytest.mark.parametrize("settings", mostly_slow(EXACT, [EXACT[1], EXACT[4]]), ids=str)
@pytest.mark.slow
def test_exact_logits_are_the_same_to_the_last_bit_in_half_precision(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    requests: list[Request],
    steps: dict[str, list[Any]],
    settings: dict[str, Any],
) -> None:
    """Holds alone and among others, in any order, with the image's prefix shared or recomputed."""
    import torch

    alone = one_by_one(engine(spec, exact=True, dtype="bfloat16", share_prefix="require"), requests)
    expected = dict(steps)
    steps.clear()
    run = engine(spec, exact=True, dtype="bfloat16", **settings)
    mixed = random.Random(5).sample(requests, len(requests))
    assert answers(run, mixed) == alone
    assert steps.keys() == expected.keys() == {r.sample_id for r in requests}, "every answer came from a prefix"
    for sample_id, logits in steps.items():
        assert all(torch.equal(a, b) for a, b in zip(logits, expected[sample_id], strict=True)), sample_id
    shared = settings.get("share_prefix") != "off"
    record = run.metadata()
    assert record["prefix_shared"] is shared
    assert record["counters"]["prefix_prefills"] == (len(QUESTIONS) if shared else len(requests))


@pytest.mark.slow
@pytest.mark.parametrize("share", ["auto", "off"])
def test_exact_logits_are_the_same_for_questions_without_a_common_prefix(
    engine: Callable[..., HfEngine], folder: Path, tmp_path: Path, steps: dict[str, list[Any]], share: str
) -> None:
    """The image comes after the question, so that only a question alone in its group has a prefix."""
    import torch

    spec = tiny.spec(folder, chat_template=tiny.IMAGE_LAST)
    requests = tiny.requests(tmp_path / "images", [3, 1, 2], spec.generation)
    alone = one_by_one(engine(spec, exact=True, dtype="bfloat16"), requests)
    expected = dict(steps)
    steps.clear()
    assert answers(engine(spec, exact=True, dtype="bfloat16", share_prefix=share), requests) == alone
    assert steps.keys() == expected.keys() == {r.sample_id for r in requests}
    for sample_id, logits in steps.items():
        assert all(torch.equal(a, b) for a, b in zip(logits, expected[sample_id], strict=True)), sample_id


@pytest.mark.slow
def test_half_precision_reports_how_many_answers_depend_on_the_batch(
    engine: Callable[..., HfEngine], folder: Path, tmp_path: Path
) -> None:
    """Random weights produce near-ties: some answers flip, and the rate equals a comparison by hand."""
    spec = tiny.spec(folder)
    many = tiny.requests(tmp_path / "images", [6, 1, 4, 2, 1, 1, 8, 9, 11, 3, 3, 5], spec.generation)
    run = engine(spec, dtype="bfloat16", measure_flips=len(many))
    batched = answers(run, many)
    alone = answers(engine(spec, dtype="bfloat16", share_prefix="off", batch_size=1), many)
    flips = run.metadata()["flips"]
    assert flips["n"] == len(many)
    assert flips["differ"] == sum(batched[i][0] != alone[i][0] for i in alone)
    assert flips["differ"] > 0, "the measurement could not have failed"
    assert flips["rate"] == pytest.approx(flips["differ"] / flips["n"], abs=1e-4)
    in_single = engine(spec, measure_flips=len(many))
    answers(in_single, many)
    assert in_single.metadata()["flips"]["differ"] == 0


@pytest.mark.slow
def test_flips_are_measured_by_default_in_half_precision_only(
    engine: Callable[..., HfEngine], spec: CheckpointSpec, requests: list[Request]
) -> None:
    half, single = engine(spec, dtype="bfloat16"), engine(spec)
    for run in (half, single):
        answers(run, requests)
    assert half.metadata()["flips"]["n"] == len(requests)
    assert "flips" not in single.metadata()


def test_under_a_repetition_penalty_prompts_are_padded_with_a_token_of_their_own(folder: Path, tmp_path: Path) -> None:
    """Some versions of transformers penalise padding too: an answer would depend on its batch."""
    spec = tiny.spec(folder, repetition_penalty=1.3)
    loaded = HfEngine(spec=spec, device="cpu", dtype="float32").load()
    asked = group_by_image(tiny.requests(tmp_path / "images", [4], spec.generation))
    (group,) = Preprocessor(loaded, workers=0).process_all(asked)
    inputs = plain_decode.collate(loaded, group.rows)
    assert not inputs["attention_mask"].all(), "nothing is padded in the test"
    for row, ids, mask in zip(group.rows, inputs["input_ids"], inputs["attention_mask"], strict=True):
        assert set(ids.tolist()) == set(row.ids)
        assert ids[mask == 1].tolist() == list(row.ids)
        assert loaded.image_token_id not in ids[mask == 0].tolist()
