"""The random LLaVA of `tiny_llava` with marks of a thought among its words; it closes some thoughts by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import tiny_llava as tiny

WORDS = tiny.WORDS[:-2]
# The template opens the thought, as Qwen's do; the switch writes an empty one.
TEMPLATE = (
    tiny.TEMPLATE + "{% if enable_thinking is not defined or enable_thinking %} <think>"
    "{% else %} <think> </think>{% endif %}"
)


def save(folder: Path, size: int = 56, **sizes: Any) -> Path:
    """Save the model with all its files.  size: of images; sizes: of its language model."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = tiny.processor(size)
    words = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "look", "answer", *WORDS, "<think>", "</think>"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    made.tokenizer = type(made.tokenizer)(tokenizer_object=core, additional_special_tokens=["<image>"], **special)
    made.chat_template = TEMPLATE
    model = tiny.model(size, **sizes)
    model.generation_config.eos_token_id = [2, *range(7, 7 + 40, 6)]
    return tiny.save(folder, model, made)
