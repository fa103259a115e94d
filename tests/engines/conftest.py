"""Fixtures of the engine tests: a random LLaVA checkpoint, and engines that use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.engines.hf import HfEngine
from evalkit.models.checkpoint import CheckpointSpec
from tests.support import tiny_llava as tiny


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: faster for tiny tensors, above all when other processes run."""
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
    """Factory of engines on the CPU, in float32 by default."""

    def make(spec: CheckpointSpec | None = None, **settings: Any) -> HfEngine:
        return HfEngine(**{"spec": spec or tiny.spec(folder), "device": "cpu", "dtype": "float32", **settings})

    return make
