"""A random LLaVA of a few thousand parameters with images and requests: small, and sensitive to every mistake.

Weights are large, so that logits differ clearly; one token in six ends an answer, so that lengths vary.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

from evalkit.core.types import Generation, ImagePlace, ImageRef, Message, Request
from evalkit.models.checkpoint import CheckpointSpec

WORDS = [f"w{i}" for i in range(150)]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> look {% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %} answer"
)
IMAGE_LAST = TEMPLATE.replace("<image> look ", "").replace(" answer", " <image> answer")


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "look", "answer", *WORDS]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )


def processor(size: int = 56) -> Any:
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, do_convert_rgb=True
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def randomise(model: Any, seed: int = 0) -> Any:
    """Set large random weights; with a parameter of zeros the image might have no effect and no test could fail."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        scale = 0.5 if parameter.ndim < 2 else 1.2 / parameter[0].numel() ** 0.5
        noise = torch.randn(parameter.shape, generator=generator) * scale
        parameter.data = noise + (1.0 if parameter.ndim < 2 and bool((parameter == 1).all()) else 0.0)
    return model.eval()


def model(size: int = 56, *, hidden: int = 48, heads: int = 4) -> Any:
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, MistralConfig

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=size,
            patch_size=14,
        ),
        text_config=MistralConfig(
            vocab_size=7 + len(WORDS), hidden_size=hidden, intermediate_size=96, num_hidden_layers=3,
            num_attention_heads=heads, num_key_value_heads=heads // 2, sliding_window=None,
            eos_token_id=2, bos_token_id=1, pad_token_id=0,
        ),
        image_token_index=4, image_seq_length=(size // 14) ** 2, vision_feature_layer=-1,
    )  # fmt: skip
    made = randomise(LlavaForConditionalGeneration(config))
    made.generation_config.eos_token_id = [2, *range(7, 7 + len(WORDS), 6)]
    made.generation_config.suppress_tokens = [4]
    return made


def save(folder: Path, made: Any = None, prepared: Any = None) -> Path:
    (made or model()).save_pretrained(folder)
    (prepared or processor()).save_pretrained(folder)
    return folder


def name_tower_as_published(folder: Path) -> None:
    """Give the vision tower's tensors the names of published checkpoints, whatever transformers wrote."""
    from safetensors.torch import load_file, save_file

    level = "vision_tower.vision_model."
    path = folder / "model.safetensors"
    named = {k if level in k else k.replace("vision_tower.", level): t for k, t in load_file(path).items()}
    save_file(named, path, metadata={"format": "pt"})


def spec(folder: Path, **settings: Any) -> CheckpointSpec:
    template = settings.pop("chat_template", None)
    return CheckpointSpec(
        name="tiny",
        config={"source": str(folder)},
        chat_template=template,
        generation=Generation(**{"max_new_tokens": 12, **settings}),
    )


def draw(path: Path, seed: int, size: tuple[int, int] = (60, 80)) -> ImageRef:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return ImageRef(kind="file", path=str(path))


def requests(
    folder: Path,
    questions: list[int],
    generation: Generation,
    *,
    words: tuple[int, int] = (1, 9),
    vocabulary: list[str] = WORDS,
) -> list[Request]:
    """Make `questions[i]` requests about image i, with questions of different lengths, in random order."""
    folder.mkdir(exist_ok=True)
    rng = random.Random(0)
    made = []
    for number, count in enumerate(questions):
        ref = draw(folder / f"{number}.png", number)
        digest = hashlib.sha256(Path(ref.path).read_bytes()).hexdigest()
        for i in range(count):
            text = " ".join(rng.choices(vocabulary, k=rng.randint(*words)))
            made.append(
                Request(
                    sample_id=f"{number}-{i}",
                    image_id=str(number),
                    question=text,
                    answer_type=None,
                    messages=(Message(role="user", content=(ImagePlace(), text)),),
                    images=(ref,),
                    image_digests=(digest,),
                    generation=generation,
                    checkpoint="tiny",
                )
            )
    rng.shuffle(made)
    return made
