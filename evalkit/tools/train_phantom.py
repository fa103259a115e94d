"""Trains phantom-llava, the checkpoint that ships with evalkit: `python -m evalkit.tools.train_phantom OUT_DIR`.

Two stages, as LLaVA's own: the vision tower learns to see (here from the scenes' descriptions), then the whole model
learns to answer.  Only images of the train split are drawn.  Seeded, CPU, two threads; minutes.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.models.phantom_parts import IMAGE_TOKEN, IMAGE_TOKENS, make_model, make_processor
from evalkit.tasks.phantom import SceneQuestion, questions
from evalkit.tasks.phantom_draw import MODALITIES, ORGANS, SHAPES, SLOTS, Scene, draw, make_scene

TOKENIZER_IMAGES = 2000
_IGNORED = -100

# Several wordings of the request for a short answer, so that the model leans on none of them.
_SHORT_PROMPTS = (
    "{question}\nAnswer the question using a single word or phrase.",
    "{question}\nAnswer with a single word or a short phrase.",
    "{question}\nPlease answer the question in one word or a short phrase.",
)
_OPTIONS_PROMPT = "{question} Please choose from the following two options: [{options}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much training.  n_images: train images drawn; a step sees `batch` of them, with `questions` in stage two."""

    n_images: int = 24_000
    batch: int = 48
    questions: int = 5
    see_steps: int = 1_000
    answer_steps: int = 500
    see_lr: float = 1.5e-3
    answer_lr: float = 2e-3
    seed: int = 0


def train(out: Path, plan: Plan) -> list[float]:
    """Trains and saves model, tokenizer and processor into `out`.  Returns the second stage's losses, one a step."""
    import torch

    torch.set_num_threads(2)
    torch.manual_seed(plan.seed)
    members = [f"{plan.seed}/train/{index}" for index in range(plan.n_images)]
    scenes = [make_scene(member) for member in members]
    processor = make_processor(texts(scenes[:TOKENIZER_IMAGES]))
    model = make_model(processor.tokenizer)
    started = time.perf_counter()
    pixels = _pixels(processor, members)
    _say(f"drew {len(members)} images", started)
    learn_to_see(model, pixels, scenes, plan, started)
    losses = learn_to_answer(model, processor, pixels, scenes, plan, started)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return losses


def _say(text: str, started: float) -> None:
    print(f"{time.perf_counter() - started:7.1f} s  {text}", flush=True)  # noqa: T201


def texts(scenes: Iterable[Scene]) -> Iterator[str]:
    """What the tokenizer's vocabulary is made from: questions under every prompt, and answers."""
    for what in scenes:
        for asked in questions(what):
            yield from (prompt.format(question=asked.text) for prompt in _SHORT_PROMPTS)
            yield _OPTIONS_PROMPT.format(question=asked.text, options=", ".join(asked.choices))
            yield asked.answer


def _pixels(processor: Any, members: Sequence[str]) -> Any:
    """uint8 tensor (images, height, width): what the image processor makes of each, before rescaling."""
    import torch

    rows = []
    for start in range(0, len(members), 256):
        images = [draw(member) for member in members[start : start + 256]]
        made = processor.image_processor(
            images, do_rescale=False, do_normalize=False, return_tensors="pt", input_data_format=None
        )
        rows.append(made["pixel_values"][:, 0].round().clamp(0, 255).to(torch.uint8))
    return torch.cat(rows)


def _normalised(pixels: Any) -> Any:
    """float32 tensor (images, 3, height, width) in [-1, 1], as the image processor gives them."""
    grey = pixels.float() / 127.5 - 1
    return grey[:, None].expand(-1, 3, -1, -1)


def _schedule(optimiser: Any, steps: int) -> Any:
    """Linear warm-up over a twentieth of the steps, then a cosine to zero."""
    import torch

    warm = max(1, steps // 20)

    def factor(step: int) -> float:
        return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / steps)))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def _batches(plan: Plan, steps: int, stage: int) -> Iterator[Any]:
    """`steps` index tensors of `plan.batch` images: epochs of all images, each in a new order."""
    import torch

    generator = torch.Generator().manual_seed(plan.seed * 10 + stage)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < plan.batch:
            order = torch.randperm(plan.n_images, generator=generator)
        yield order[: plan.batch]
        order = order[plan.batch :]


def _labels(what: Scene) -> list[int]:
    """The scene as class numbers, one a head of `_HEADS`; lesion properties are ignored where there is none."""
    seen = (SHAPES.index(what.shape), int(what.size == "Large"), int(what.brightness == "Brighter"))
    return [
        MODALITIES.index(what.modality),
        ORGANS.index(what.organ),
        int(what.larger == "Left"),
        (None, "Top", "Bottom").index(what.clip),
        *(int(slot in what.lesions) for slot in SLOTS),
        *(seen if what.lesions else [_IGNORED] * 3),
    ]


_HEADS = (3, 3, 2, 3, 2, 2, 2, 2, 3, 2, 2)


def learn_to_see(model: Any, pixels: Any, scenes: Sequence[Scene], plan: Plan, started: float) -> None:
    """Stage one: vision tower and projector learn to describe the scene through two throw-away linear layers.

    One reads all image tokens by their place, which is learnt soonest; the other reads only their mean, as a decoder's
    first attention does, without which stage two would not find what the tower has seen.
    """
    import torch
    from torch.nn import functional

    labels = torch.tensor([_labels(what) for what in scenes])
    width = model.config.text_config.hidden_size
    placed = torch.nn.Linear(IMAGE_TOKENS * width, sum(_HEADS))
    pooled = torch.nn.Linear(width, sum(_HEADS))
    parts = [model.model.vision_tower, model.model.multi_modal_projector, placed, pooled]
    weights = [weight for part in parts for weight in part.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=plan.see_lr, weight_decay=0.02)
    schedule = _schedule(optimiser, plan.see_steps)
    model.train()
    for step, chosen in enumerate(_batches(plan, plan.see_steps, stage=1)):
        features = model.model.get_image_features(_normalised(pixels[chosen]), return_dict=True).pooler_output
        tokens = torch.stack(list(features))
        each = [
            functional.cross_entropy(head, labels[chosen, i], ignore_index=_IGNORED)
            for logits in (placed(tokens.flatten(1)), pooled(tokens.mean(1)))
            for i, head in enumerate(logits.split(_HEADS, dim=-1))
        ]
        _step(sum(each), weights, optimiser, schedule)
        if step % 100 == 0 or step == plan.see_steps - 1:
            _say(f"see {step}: " + " ".join(f"{loss.item():.2f}" for loss in each), started)


def _step(loss: Any, weights: Sequence[Any], optimiser: Any, schedule: Any) -> None:
    import torch

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimiser.step()
    schedule.step()


def learn_to_answer(
    model: Any, processor: Any, pixels: Any, scenes: Sequence[Scene], plan: Plan, started: float
) -> list[float]:
    """Stage two: the whole model learns the answers, end-of-text token included.  Returns one loss a step."""
    import torch
    from torch.nn import functional

    weights = list(model.parameters())
    seeing = list(model.model.vision_tower.parameters())
    answering = [*model.model.multi_modal_projector.parameters(), *model.model.language_model.parameters()]
    groups = [
        {"params": seeing, "lr": plan.answer_lr / 8},  # else the untrained decoder's gradients undo stage one
        {"params": [*answering, *model.lm_head.parameters()], "lr": plan.answer_lr},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.02)
    schedule = _schedule(optimiser, plan.answer_steps)
    generator = torch.Generator().manual_seed(plan.seed * 10 + 3)
    losses = []
    for step, chosen in enumerate(_batches(plan, plan.answer_steps, stage=2)):
        packed = pack(processor, [scenes[int(index)] for index in chosen], plan.questions, generator)
        hidden = model.model(
            input_ids=packed.ids,
            pixel_values=_normalised(pixels[chosen]),
            attention_mask=packed.mask,
            position_ids=packed.positions,
            use_cache=False,
        ).last_hidden_state
        taught = packed.targets != _IGNORED
        loss = functional.cross_entropy(model.lm_head(hidden[taught]), packed.targets[taught])
        _step(loss, weights, optimiser, schedule)
        losses.append(loss.item())
        if step % 50 == 0 or step == plan.answer_steps - 1:
            _say(f"answer {step}: {losses[-1]:.4f}", started)
    model.eval()
    return losses


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A batch in which each row is one image followed by questions about it.

    ids, positions, targets: int64 (rows, length).  targets[i] is the token to predict at i, or -100.
    mask: bool (rows, 1, length, length), True where a token may look: at the image, and back within its own question.
    """

    ids: Any
    positions: Any
    targets: Any
    mask: Any


def pack(processor: Any, scenes: Sequence[Scene], n_questions: int, generator: Any) -> Packed:
    """Packs `n_questions` of each scene behind its image: the image is encoded once, no question sees another."""
    import torch

    rows = [_pack_row(processor, what, n_questions, generator) for what in scenes]
    length = max(len(row[0]) for row in rows)
    pad = processor.tokenizer.pad_token_id
    filled = [
        torch.tensor([row[column] + [filler] * (length - len(row[column])) for row in rows])
        for column, filler in enumerate((pad, 0, _IGNORED, -1))
    ]
    segment = filled[3]
    visible = (segment[:, None, :] == 0) | (segment[:, None, :] == segment[:, :, None])
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return Packed(ids=filled[0], positions=filled[1], targets=filled[2], mask=(visible & causal)[:, None])


def _pack_row(
    processor: Any, what: Scene, n_questions: int, generator: Any
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Token ids, positions, targets and segment (0 the image's, then one a question) of one row."""
    import torch

    encoded = []
    known = questions(what)
    for number in torch.randperm(len(known), generator=generator)[:n_questions].tolist():
        asked = known[number]
        variant = int(torch.randint(5, (), generator=generator))
        encoded.append(_encoded(processor, _prompted(asked, variant), asked.answer))
    head = list(encoded[0][0])
    ids, positions = list(head), list(range(len(head)))
    targets, segments = [_IGNORED] * len(head), [0] * len(head)
    for number, (_, question, answer) in enumerate(encoded, start=1):
        tail = [*question, *answer]
        ids += tail
        positions += range(len(head), len(head) + len(tail))
        targets += [*[_IGNORED] * (len(question) - 1), *answer, _IGNORED]
        segments += [number] * len(tail)
    return ids, positions, targets, segments


def _prompted(asked: SceneQuestion, variant: int) -> str:
    """The question in one of five ways: with one of three requests for a short answer, with its options, alone."""
    if variant < len(_SHORT_PROMPTS):
        return _SHORT_PROMPTS[variant].format(question=asked.text)
    if variant == len(_SHORT_PROMPTS) and asked.choices:
        return _OPTIONS_PROMPT.format(question=asked.text, options=", ".join(asked.choices))
    return asked.text


@functools.lru_cache(maxsize=4096)
def _encoded(processor: Any, text: str, answer: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Ids up to the image's end, from there to where the answer starts, and of the answer with its end token."""
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    prompt = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    head, tail = prompt.split(IMAGE_TOKEN)
    tokenizer = processor.tokenizer
    image = [tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)] * IMAGE_TOKENS
    encode = functools.partial(tokenizer.encode, add_special_tokens=False)
    return tuple(encode(head) + image), tuple(encode(tail)), (*encode(answer), tokenizer.eos_token_id)


def main() -> None:
    """Command line: OUT_DIR, and the number of images and steps for shorter trials."""
    plan = Plan()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--n-images", type=int, default=plan.n_images)
    parser.add_argument("--see-steps", type=int, default=plan.see_steps)
    parser.add_argument("--answer-steps", type=int, default=plan.answer_steps)
    given = parser.parse_args()
    train(
        given.out,
        Plan(n_images=given.n_images, see_steps=given.see_steps, answer_steps=given.answer_steps),
    )


if __name__ == "__main__":
    main()
