"""Judging with a real OpenAI-compatible server, `transformers serve` with a tiny LLaVA, images included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.core.types import ImageRef
from evalkit.judge.api import judge_run, recompute
from evalkit.judge.plan import make_plan
from tests.support.judge_samples import answers, chat, config
from tests.support.real_server import serve

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% else %}<image>{% endif %}{% endfor %}"
    "{% endif %}\n{% endfor %}assistant: "
)


def tiny_llava(folder: Path) -> None:
    """A LLaVA whose every answer is "8 4" line by line: its output layer is zero, so the first token always wins."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )
    from transformers.models.clip import CLIPImageProcessor

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["8 4\n", "<s>", "</s>", "<pad>", "<image>", *letters])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )
    tokenizer.add_tokens(["8 4\n"])
    text = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=8192, bos_token_id=1, eos_token_id=2, pad_token_id=3,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14,
        projection_dim=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_index=4, image_seq_length=4)
    )
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(URL, model) of a running server."""
    folder = tmp_path_factory.mktemp("served")
    model = folder / "tiny-llava"
    tiny_llava(model)
    with serve(model, folder) as url:
        yield url, str(model)


@pytest.mark.slow
def test_a_run_is_judged_by_a_real_server_with_and_without_images(tmp_path: Path, served: tuple[str, str]) -> None:
    from PIL import Image

    url, model = served
    samples = []
    for number, sample in enumerate(chat(6)):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (20 + number, 30), (40 * number, 90, 10)).save(path)
        samples.append(replace(sample, images=(ImageRef(kind="file", path=str(path)),)))

    def read(ref: ImageRef) -> bytes:
        return Path(ref.path).read_bytes()

    settings = {
        "model": model,
        "api_key_env": None,
        "concurrency": 3,
        "timeout": 120.0,
        "order": "swap",
        "parameters": {"temperature": 0, "max_tokens": 6},
    }
    tokens, characters = {}, {}
    for seeing in (False, True):
        run = tmp_path / f"run-{seeing}"
        made = config(url, send_images=seeing, **settings)
        outcome = judge_run(run, made, samples, answers(samples), read_image=read)
        outcome.check()
        assert outcome.n_calls == 12 and outcome.n_failed_calls == 0
        judged = outcome.scores
        assert judged.outcomes == {"judged": 12}
        assert judged.find("relative_score").value == pytest.approx(1.0), "this judge always prefers the first answer"
        assert judged.find("flip_rate").value == 1.0
        assert recompute(run) == judged
        again = judge_run(run, made, samples, answers(samples), read_image=read)
        assert again.n_calls == 0
        tokens[seeing] = outcome.tokens_in
        plan = make_plan(made, samples, answers(samples), read)
        characters[seeing] = sum(plan.characters(key) for key in plan.calls)
    # One token per character and four per image, as the server counts them.
    assert tokens[True] - tokens[False] == characters[True] - characters[False] + 12 * 4, (
        "the server counted the images"
    )
