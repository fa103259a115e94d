"""Checkpoints for the engine's tests: a random LLaVA, and the trained one of the package where it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_llava as tiny

from evalkit.engines.hf import HfEngine
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.types import Prediction, Request

Answer = tuple[str | None, str, int | None]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors are faster on one thread, above all beside other processes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def engine(folder: Path) -> Callable[..., HfEngine]:
    """Makes engines on the CPU, in float32 unless said otherwise."""

    def make(spec: CheckpointSpec | None = None, **settings: Any) -> HfEngine:
        return HfEngine(**{"spec": spec or tiny.spec(folder), "device": "cpu", "dtype": "float32", **settings})

    return make


def answers(engine: HfEngine, requests: list[Request]) -> dict[str, Answer]:
    """sample id -> (text, finish reason, tokens); every request exactly once, none failed."""
    given: list[Prediction] = [p for batch in engine.generate(requests) for p in batch]
    assert sorted(p.fingerprint for p in given) == sorted(r.fingerprint for r in requests)
    assert [p.error for p in given if p.error] == []
    return {p.sample_id: (p.text, p.finish_reason, p.n_tokens) for p in given}
