"""Speed-up by sharing an image's prefix: python benchmarks/prefix.py --out benchmarks/results/prefix-cpu.json

A random LLaVA (`--size 80m`: ViT 336/14 of 6 layers x 384; Mistral of 8 layers x 768, 12 heads over 3 key-value heads,
MLP 2688; `--size 7b`: the shapes of ViT-L 336/14 and Mistral-7B) answers questions of 18 to 31 words after 585 shared
tokens, with 11, 8, 2 and 1 questions per image, as in SLAKE, PathVQA and VQA-RAD.  Answers end after about 4 tokens, 12
at most.  The measured time includes opening, resizing and normalising the images.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core import console
from evalkit.core.types import Generation, ImagePlace, ImageRef, Message, Request
from evalkit.engines.hf import HfEngine
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.pipeline.throughput import bench

WORDS = [f"w{i}" for i in range(4980)]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
SYSTEM = " ".join(WORDS[:8])
TEMPLATE = (
    "{{ bos_token }} " + SYSTEM + " {% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
)
# Two tokens in nine end an answer, which makes answers as short as those of the data sets.  (The next token of a random
# model depends mostly on the last one, so prompts end with a word of the question, or all answers would be equal.)
ENDS = [2, *(i for i in range(5, 5000) if i % 9 < 2)]


@dataclass(frozen=True, slots=True)
class Size:
    """Sizes of a random LLaVA, and how many images of each number of questions it answers: {questions: images}."""

    vision: dict[str, int]
    text: dict[str, int]
    workloads: dict[int, int]


SIZES = {
    "80m": Size(
        vision={"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 6},
        text={
            "hidden_size": 768, "intermediate_size": 2688, "num_hidden_layers": 8, "num_attention_heads": 12,
            "num_key_value_heads": 3,
        },
        workloads={11: 3, 8: 3, 2: 6, 1: 6},
    ),
    "7b": Size(
        vision={"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
        text={
            "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8,
        },
        workloads={11: 12, 8: 12, 2: 24, 1: 48},
    ),
}  # fmt: skip


def build(folder: Path, size: Size = SIZES["80m"], *, device: str = "cpu", dtype: str = "float32") -> None:
    """Write the checkpoint; on a GPU the weights of a large one are drawn in seconds."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        MistralConfig,
    )
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    text = MistralConfig(
        vocab_size=5000, sliding_window=None, bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.04,
        **size.text,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=336, patch_size=14, **size.vision),
        text_config=text,
        image_token_index=4,
        image_seq_length=576,
        vision_feature_layer=-2,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    with torch.device(device):
        model = LlavaForConditionalGeneration(config)
    torch.set_default_dtype(before)
    model.generation_config.eos_token_id = ENDS
    model.generation_config.suppress_tokens = [0, 1, 3, 4]
    model.save_pretrained(folder)
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}, do_convert_rgb=True
    )
    LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


def tokenizer() -> Any:
    """Make a tokenizer that splits words at white space."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=False))
    return PreTrainedTokenizerFast(tokenizer_object=core, additional_special_tokens=["<image>"], **names)


def requests(folder: Path, images: int, questions: int, generation: Generation, *, side: int = 512) -> list[Request]:
    """Make requests about images of side x side random pixels, in random order."""
    import numpy as np
    from PIL import Image

    rng = random.Random(questions)
    made = []
    for number in range(images):
        path = folder / f"{questions}-{number}.png"
        pixels = np.random.default_rng(100 * questions + number).integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        for i in range(questions):
            question = " ".join(rng.choices(WORDS, k=rng.randint(18, 31)))
            request = Request(
                sample_id=f"{number}-{i}",
                image_id=str(number),
                question=question,
                answer_type=None,
                messages=(Message(role="user", content=(ImagePlace(), question)),),
                images=(ImageRef(kind="file", path=str(path)),),
                image_digests=(digest,),
                generation=generation,
                checkpoint="benchmark",
            )
            made.append(request)
    rng.shuffle(made)
    return made


def main() -> None:
    """Measure, print the ratios and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="80m", choices=list(SIZES))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--questions", type=int, nargs="+", default=[11, 8, 2, 1], choices=[11, 8, 2, 1])
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[8, 16])
    parser.add_argument("--images", type=int, help="images of every workload; by default those of the size")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    generation = Generation(max_new_tokens=12)
    command = "python benchmarks/prefix.py " + " ".join(sys.argv[1:])
    results: dict[str, Any] = {
        "about": " ".join(__doc__.split("\n\n")[1].split()), "command": command, "workloads": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = SIZES[arguments.size]
        # The small model keeps the weights that earlier results were measured with.
        drawn = {"device": arguments.device, "dtype": arguments.dtype} if arguments.size == "7b" else {}
        build(folder / "model", size, **drawn)
        spec = CheckpointSpec(name="benchmark", config={"source": str(folder / "model")}, generation=generation)

        def make(**settings: Any) -> HfEngine:
            return HfEngine(spec=spec, dtype=arguments.dtype, device=arguments.device, **settings)

        for questions in arguments.questions:
            # The larger batch is measured for the first workload only, where it is no faster; this halves the time.
            sizes = arguments.batch_sizes if questions == arguments.questions[0] else arguments.batch_sizes[:1]
            workload = requests(folder, arguments.images or size.workloads[questions], questions, generation)
            console.note(f"{questions} questions per image, {len(workload)} in total")
            measured = bench(make, workload, batch_sizes=sizes, repetitions=arguments.repetitions)
            results["workloads"][str(questions)] = measured
            print(questions, json.dumps(measured["ratios"]), flush=True)
            if arguments.out:  # after each workload, so that an interrupted run keeps its results
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
