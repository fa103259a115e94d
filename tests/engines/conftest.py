"""Fixtures of the engine tests: a random LLaVA checkpoint, and engines that use it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.engines.hf import HfEngine
from evalkit.models.checkpoint import CheckpointSpec
from tests.support import tiny_llava as tiny
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: faster for tiny tensors, above all when other processes run."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The fake package of vLLM, freshly imported."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "vllm"}
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "support" / "fake_vllm"))
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "1")
    yield importlib.import_module("vllm")
    for name in [n for n in sys.modules if n.split(".")[0] == "vllm"]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def engine(folder: Path) -> Callable[..., HfEngine]:
    """Factory of engines on the CPU, in float32 by default."""

    def make(spec: CheckpointSpec | None = None, **settings: Any) -> HfEngine:
        return HfEngine(**{"spec": spec or tiny.spec(folder), "device": "cpu", "dtype": "float32", **settings})

    return make
