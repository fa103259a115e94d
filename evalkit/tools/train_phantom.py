"""Training of phantom-llava, the checkpoint that ships with evalkit: `python -m evalkit.tools.train_phantom OUT_DIR`.

Two stages, as in LLaVA: the vision tower learns to describe images (here from the scenes' attributes), then the whole
model learns to answer.  Uses images of the train split only.  Seeded, on the CPU with two threads; takes minutes.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.models.phantom_parts import IMAGE_TOKEN, IMAGE_TOKENS, make_model, make_processor
from evalkit.tasks.phantom import SceneQuestion, questions
from evalkit.tasks.phantom_draw import MODALITIES, ORGANS, SHAPES, SLOTS, Scene, draw, make_scene

TOKENIZER_IMAGES = 2000
_IGNORED = -100

# Several wordings of the request for a short answer, so that the model does not depend on any of them.
_SHORT_PROMPTS = (
    "{question}\nAnswer the question using a single word or phrase.",
    "{question}\nAnswer with a single word or a short phrase.",
    "{question}\nPlease answer the question in one word or a short phrase.",
)
_OPTIONS_PROMPT = "{question} Please choose from the following two options: [{options}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Amount of training.

    n_images: number of train images.  batch: images per step.  questions: questions per image in stage two.
    """

    n_images: int = 24_000
    batch: int = 48
    questions: int = 5
    see_steps: int = 1_000
    answer_steps: int = 500
    see_lr: float = 1.5e-3
    answer_lr: float = 2e-3
    seed: int = 0


def train(out: Path, plan: Plan) -> list[float]:
    """Train, and save model, tokenizer and processor into `out`.  Returns the losses of stage two, one per step."""
    import torch

    torch.set_num_threads(2)
    torch.manual_seed(plan.seed)
    members = [f"{plan.seed}/train/{index}" for index in range(plan.n_images)]
    scenes = [make_scene(member) for member in members]
    processor = make_processor(texts(scenes[:TOKENIZER_IMAGES]))
    model = make_model(processor.tokenizer)
    started = time.perf_counter()
    pixels = _pixels(processor, members)
    _log(f"drew {len(members)} images", started)
    learn_to_see(model, pixels, scenes, plan, started)
    losses = learn_to_answer(model, processor, pixels, scenes, plan, started)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return losses


class _RowTokens(NamedTuple):
    """One training row: token ids, positions, targets, and segments (0 for the image, then one per question)."""

    ids: list[int]
    positions: list[int]
    targets: list[int]
    segments: list[int]


class _EncodedQuestion(NamedTuple):
    """Token ids of a prompt up to the end of its image, of the rest of it, and of the answer with its end token."""

    head: tuple[int, ...]
    question: tuple[int, ...]
    answer: tuple[int, ...]


def _log(text: str, started: float) -> None:
    print(f"{time.perf_counter() - started:7.1f} s  {text}", flush=True)  # noqa: T201


def texts(scenes: Iterable[Scene]) -> Iterator[str]:
    """Yield the texts for the tokenizer's vocabulary: questions under every prompt, and answers."""
    for what in scenes:
        for item in questions(what):
            yield from (prompt.format(question=item.text) for prompt in _SHORT_PROMPTS)
            yield _OPTIONS_PROMPT.format(question=item.text, options=", ".join(item.choices))
            yield item.answer


def _pixels(processor: Any, members: Sequence[str]) -> Any:
    """Preprocess the images, before rescaling, into a uint8 tensor (images, height, width)."""
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
    """Normalise pixels as the image processor does: a float32 tensor (images, 3, height, width) in [-1, 1]."""
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
    """Yield `steps` index tensors of `plan.batch` images: epochs over all images, each in a new order."""
    import torch

    generator = torch.Generator().manual_seed(plan.seed * 10 + stage)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < plan.batch:
            order = torch.randperm(plan.n_images, generator=generator)
        yield order[: plan.batch]
        order = order[plan.batch :]


def _labels(what: Scene) -> list[int]:
    """Class numbers of a scene, one per head of `_HEADS`; lesion properties are ignored without a lesion."""
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
    """Stage one: vision tower and projector learn to describe the scene through two temporary linear layers.

    One reads all image tokens by position, which is learnt fastest; the other reads only their mean, as a decoder's
    first attention does; without it, stage two would not make use of the tower's features.
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
            _log(f"see {step}: " + " ".join(f"{loss.item():.2f}" for loss in each), started)


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
    """Stage two: the whole model learns the answers, including the end token.  Returns one loss per step."""
    import torch
    from torch.nn import functional

    weights = list(model.parameters())
    seeing = list(model.model.vision_tower.parameters())
    answering = [*model.model.multi_modal_projector.parameters(), *model.model.language_model.parameters()]
    groups = [
        {"params": seeing, "lr": plan.answer_lr / 8},  # otherwise gradients of the untrained decoder undo stage one
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
            _log(f"answer {step}: {losses[-1]:.4f}", started)
    model.eval()
    return losses


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Batch in which each row is one image followed by questions about it.

    ids, positions, targets: int64 (rows, length).  targets[i] is the token to predict at i, or -100.
    mask: bool (rows, 1, length, length), True where a token may attend: to the image, and causally within its question.
    """

    ids: Any
    positions: Any
    targets: Any
    mask: Any


def pack(processor: Any, scenes: Sequence[Scene], n_questions: int, generator: Any) -> Packed:
    """Pack `n_questions` of each scene after its image: the image is encoded once, questions are independent."""
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


def _pack_row(processor: Any, what: Scene, n_questions: int, generator: Any) -> _RowTokens:
    import torch

    encoded = []
    known = questions(what)
    for number in torch.randperm(len(known), generator=generator)[:n_questions].tolist():
        item = known[number]
        variant = int(torch.randint(5, (), generator=generator))
        encoded.append(_encoded(processor, _prompted(item, variant), item.answer))
    head = list(encoded[0].head)
    ids, positions = list(head), list(range(len(head)))
    targets, segments = [_IGNORED] * len(head), [0] * len(head)
    for number, (_, question, answer) in enumerate(encoded, start=1):
        tail = [*question, *answer]
        ids += tail
        positions += range(len(head), len(head) + len(tail))
        targets += [*[_IGNORED] * (len(question) - 1), *answer, _IGNORED]
        segments += [number] * len(tail)
    return _RowTokens(ids, positions, targets, segments)


def _prompted(item: SceneQuestion, variant: int) -> str:
    """Make one of five prompts: one of three requests for a short answer, the options, or the question alone."""
    if variant < len(_SHORT_PROMPTS):
        return _SHORT_PROMPTS[variant].format(question=item.text)
    if variant == len(_SHORT_PROMPTS) and item.choices:
        return _OPTIONS_PROMPT.format(question=item.text, options=", ".join(item.choices))
    return item.text


@functools.lru_cache(maxsize=4096)
def _encoded(processor: Any, text: str, answer: str) -> _EncodedQuestion:
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    prompt = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    head, tail = prompt.split(IMAGE_TOKEN)
    tokenizer = processor.tokenizer
    image = [tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)] * IMAGE_TOKENS
    encode = functools.partial(tokenizer.encode, add_special_tokens=False)
    return _EncodedQuestion(tuple(encode(head) + image), tuple(encode(tail)), (*encode(answer), tokenizer.eos_token_id))


def main() -> None:
    """Run the command line: OUT_DIR, and numbers of images and steps for shorter trials."""
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
