"""The same text for every sample, whatever the batch, the order, the sharing, the workers or an interruption."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_llava as tiny
from asking import Answer, answers

from evalkit.config import load_option
from evalkit.engines.hf import HfEngine
from evalkit.engines.prepare import by_image
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.types import Request

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
PHANTOM = Path(__file__).resolve().parents[2] / "evalkit" / "models" / "phantom-llava"


@pytest.fixture(scope="module", params=["random", "phantom"])
def spec(request: pytest.FixtureRequest, folder: Path) -> CheckpointSpec:
    if request.param == "random":
        return tiny.spec(folder)
    if not any(PHANTOM.glob("*.safetensors")):
        pytest.skip(f"no weights in {PHANTOM}")
    return CheckpointSpec.from_config(load_option("model", "phantom-llava") | {"name": "phantom-llava"})


@pytest.fixture(scope="module")
def asked(spec: CheckpointSpec, tmp_path_factory: pytest.TempPathFactory) -> list[Request]:
    words = tiny.WORDS if spec.name == "tiny" else ENGLISH
    return tiny.requests(tmp_path_factory.mktemp("images"), QUESTIONS, spec.generation, vocabulary=words)


@pytest.fixture(scope="module")
def alone(spec: CheckpointSpec, asked: list[Request]) -> dict[str, Answer]:
    """One request at a time, nothing shared: what every other way must give."""
    import torch

    torch.set_num_threads(1)
    return answers(
        HfEngine(spec=spec, device="cpu", dtype="float32", share_prefix="off", batch_size=1, workers=0), asked
    )


def test_the_answers_can_tell_a_mistake(alone: dict[str, Answer], spec: CheckpointSpec) -> None:
    if spec.name != "tiny":
        pytest.skip("only the random model is made to be sensitive")
    assert len({text for text, _, _ in alone.values()}) >= len(alone) - 2
    assert len({n for _, _, n in alone.values()}) >= 4
    assert {reason for _, reason, _ in alone.values()} == {"stop", "length"}


@pytest.mark.parametrize("share", ["off", "require"])
@pytest.mark.parametrize("batch_size", [1, 2, 8, 32, None])
def test_any_batch_size_gives_the_same_texts(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    asked: list[Request],
    alone: dict[str, Answer],
    share: str,
    batch_size: int | None,
) -> None:
    assert answers(engine(spec, share_prefix=share, batch_size=batch_size), asked) == alone


@pytest.mark.parametrize("settings", [{"max_batch_tokens": 60}, {"max_batch_tokens": 200}, {"exact": True}])
def test_any_token_budget_gives_the_same_texts(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    asked: list[Request],
    alone: dict[str, Answer],
    settings: dict[str, Any],
) -> None:
    assert answers(engine(spec, share_prefix="require", **settings), asked) == alone


@pytest.mark.parametrize("seed", [1, 2])
def test_any_order_gives_the_same_texts(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    asked: list[Request],
    alone: dict[str, Answer],
    seed: int,
) -> None:
    shuffled = random.Random(seed).sample(asked, len(asked))
    assert answers(engine(spec, share_prefix="require"), shuffled) == alone


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_that_divide_the_images_give_the_same_texts(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    asked: list[Request],
    alone: dict[str, Answer],
    workers: int,
) -> None:
    groups = by_image(asked)
    found: dict[str, Answer] = {}
    for worker in range(workers):
        part = [r for group in groups[worker::workers] for r in group]
        found |= answers(engine(spec, share_prefix="require"), part)
    assert found == alone


@pytest.mark.parametrize("batches", [1, 2])
def test_an_interrupted_run_goes_on_to_the_same_texts(
    engine: Callable[..., HfEngine],
    spec: CheckpointSpec,
    asked: list[Request],
    alone: dict[str, Answer],
    batches: int,
) -> None:
    first = engine(spec, share_prefix="require", batch_size=3).generate(asked)
    done = [p for _ in range(batches) for p in next(first)]
    first.close()  # type: ignore[attr-defined]
    found = {p.sample_id: (p.text, p.finish_reason, p.n_tokens) for p in done}
    rest = [r for r in asked if r.sample_id not in found]
    assert 0 < len(rest) < len(asked)
    assert found | answers(engine(spec, share_prefix="require"), rest) == alone


def test_parts_of_an_image_that_are_asked_apart_give_the_same_texts(
    engine: Callable[..., HfEngine], spec: CheckpointSpec, asked: list[Request], alone: dict[str, Answer]
) -> None:
    half = len(asked) // 2
    shared = engine(spec, share_prefix="require")
    assert answers(shared, asked[:half]) | answers(shared, asked[half:]) == alone


def test_exact_answers_do_not_depend_on_their_neighbours_in_half_precision(
    engine: Callable[..., HfEngine], folder: Path, asked: list[Request], tmp_path: Path
) -> None:
    spec = tiny.spec(folder)
    whole = answers(engine(spec, exact=True, dtype="bfloat16"), asked)
    other = engine(spec, exact=True, dtype="bfloat16")
    one_by_one = {k: v for r in reversed(asked) for k, v in answers(other, [r]).items()}
    assert whole == one_by_one
