"""The built-in checkpoint: loads offline, uses the image, ends its answers, and answers the same in any batch."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import evalkit
from evalkit.tasks.phantom import Phantom, draw
from tests.support.paths import CONF

FOLDER = Path(evalkit.__file__).parent / "models" / "phantom-llava"
N_IMAGES = 8


@pytest.fixture(scope="module")
def checkpoint():
    from transformers import AutoModelForImageTextToText, AutoProcessor

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        processor = AutoProcessor.from_pretrained(FOLDER, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(FOLDER, dtype="float32", local_files_only=True)
    return processor, model.eval()


def prompts(processor, task, samples):
    turns = []
    for sample in samples:
        (message,) = task.messages(sample)
        content = [{"type": "text", "text": c} if isinstance(c, str) else {"type": "image"} for c in message.content]
        turns.append([{"role": message.role, "content": content}])
    return [processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) for turn in turns]


def generate(checkpoint, texts, images, batch_size=16):
    """Generate answers; return texts and token ids, including padding after the end token."""
    import torch

    processor, model = checkpoint
    answers, ids = [], []
    for start in range(0, len(texts), batch_size):
        batch = slice(start, start + batch_size)
        inputs = processor(images=images[batch], text=texts[batch], padding=True, return_tensors="pt")
        with torch.inference_mode():
            made = model.generate(**inputs, max_new_tokens=16)[:, inputs["input_ids"].shape[1] :]
        answers += processor.batch_decode(made, skip_special_tokens=True)
        ids += made.tolist()
    return answers, ids


def accuracy(samples, answers):
    return sum(answer == sample.references[0] for sample, answer in zip(samples, answers, strict=True)) / len(samples)


def grey(image):
    from PIL import Image

    return Image.new("RGB", image.size, (128, 128, 128))


@pytest.fixture(scope="module")
def subset():
    task = Phantom(n_test=N_IMAGES)
    samples = task.load().samples
    return task, samples, [draw(sample.image_id).convert("RGB") for sample in samples]


def test_the_folder_is_at_most_8_mb_and_contains_no_code():
    files = [path for path in FOLDER.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {path.suffix for path in files} == {".json", ".safetensors", ".jinja"}


def test_it_is_a_llava_of_clip_and_llama_and_its_processor_pads_left(checkpoint):
    processor, model = checkpoint
    config = model.config
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    assert (config.vision_config.model_type, config.text_config.model_type) == ("clip_vision_model", "llama")
    assert type(processor).__name__ == "LlavaProcessor"
    assert processor.tokenizer.padding_side == "left"
    assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id
    assert config.image_token_id == processor.tokenizer.convert_tokens_to_ids("<image>")


@pytest.fixture(scope="module")
def answered(checkpoint, subset):
    task, samples, images = subset
    return generate(checkpoint, prompts(checkpoint[0], task, samples), images)


def test_it_answers_the_test_split_far_above_majority_and_blank(checkpoint, subset, answered):
    task, samples, images = subset
    blanks = [grey(image) for image in images]
    blind = accuracy(samples, generate(checkpoint, prompts(checkpoint[0], task, samples), blanks)[0])
    train = task.load_train().samples
    most_frequent = {
        kind: Counter(s.references[0] for s in train if s.answer_type == kind).most_common(1)[0][0]
        for kind in ("OPEN", "CLOSED")
    }
    majority = accuracy(samples, [most_frequent[sample.answer_type] for sample in samples])
    assert accuracy(samples, answered[0]) > 0.9
    assert blind < 0.6
    assert majority < 0.4


@pytest.mark.parametrize("prompt", ["plain", "options"])
def test_it_answers_under_the_other_prompts_too(checkpoint, prompt):
    task = Phantom(n_test=4, prompt=prompt)
    samples = task.load().samples
    images = [draw(sample.image_id).convert("RGB") for sample in samples]
    assert accuracy(samples, generate(checkpoint, prompts(checkpoint[0], task, samples), images)[0]) > 0.85


def test_shuffled_images_lower_the_score(checkpoint, subset):
    task, samples, images = subset
    moved = images[10:] + images[:10]
    assert accuracy(samples, generate(checkpoint, prompts(checkpoint[0], task, samples), moved)[0]) < 0.65


def test_left_padded_batches_give_the_answers_of_one_at_a_time(checkpoint, subset):
    task, samples, images = subset
    texts = prompts(checkpoint[0], task, samples)
    assert len({len(text) for text in texts[:24]}) > 5
    assert generate(checkpoint, texts[:24], images[:24])[0] == generate(checkpoint, texts[:24], images[:24], 1)[0]


def test_the_logits_of_a_padded_batch_equal_those_of_single_prompts(checkpoint, subset):
    import torch

    processor, model = checkpoint
    task, samples, images = subset
    texts = prompts(processor, task, samples)[:6]
    inputs = processor(images=images[:6], text=texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        together = model(**inputs, position_ids=positions).logits[:, -1]
        alone = [
            model(**processor(images=[image], text=[text], return_tensors="pt")).logits[0, -1]
            for image, text in zip(images, texts, strict=False)
        ]
    torch.testing.assert_close(together, torch.stack(alone), atol=2e-4, rtol=1e-4)


def test_every_answer_ends_by_itself(checkpoint, answered):
    end = checkpoint[0].tokenizer.eos_token_id
    assert all(end in row for row in answered[1])


@pytest.mark.slow
def test_the_shipped_tokenizer_equals_that_of_the_training_script(tmp_path):
    from evalkit.models.phantom_parts import make_tokenizer
    from evalkit.tasks.phantom_draw import make_scene
    from evalkit.tools.train_phantom import TOKENIZER_IMAGES, texts

    made = make_tokenizer(texts(make_scene(f"0/train/{index}") for index in range(TOKENIZER_IMAGES)))
    made.save_pretrained(tmp_path)
    shipped = json.loads((FOLDER / "tokenizer.json").read_text("utf-8"))
    assert json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))["model"] == shipped["model"]


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\t", "Ödem? 左肺有病变吗？ ✓ 🫁", "µm ± 5 % — “naïve”", "\x00\x7f", "pneumothorax " * 80, "e\u0301"],
)
def test_any_text_is_encoded_reversibly(checkpoint, text):
    tokenizer = checkpoint[0].tokenizer
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert None not in ids


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2000, 7), (512, 512), (1024, 768)])
def test_images_of_any_size_and_long_foreign_questions_are_answered(checkpoint, size):
    from PIL import Image

    processor, model = checkpoint
    question = "Is there evidence of a left apical pneumothorax (侧位) on the current 16.5cm study? " * 12
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    text = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    _, ids = generate(checkpoint, [text], [Image.new("RGB", size, (90, 90, 90))])
    assert len(processor.tokenizer.encode(text)) + 64 + 16 < model.config.text_config.max_position_embeddings
    assert 1 <= len(ids[0]) <= 16


def test_the_template_takes_a_system_turn_an_earlier_answer_and_plain_strings(checkpoint):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is this CT?"}]},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "Where?"},
    ]
    text = checkpoint[0].apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "<s><|system|>Be brief.<|user|><image>Is this CT?<|assistant|>Yes</s><|user|>Where?<|assistant|>"


def test_the_processor_pads_to_a_square_before_it_resizes(checkpoint):
    from PIL import Image

    pixels = checkpoint[0].image_processor(Image.new("L", (80, 40), 255), return_tensors="pt")["pixel_values"][0]
    assert pixels.shape == (3, 64, 64)
    assert pixels[0, 32, 32] == pytest.approx(1, abs=0.01)
    assert pixels[0, 2, 32] == pytest.approx(0, abs=0.02)  # the pad: mid-grey


def test_packed_questions_have_the_logits_of_single_questions(checkpoint, subset):
    """Training packs ten questions after one image; each must have the logits that it has alone."""
    import torch

    from evalkit.tasks.phantom_draw import make_scene
    from evalkit.tools.train_phantom import pack

    processor, model = checkpoint
    member = "0/test/3"
    image = draw(member).convert("RGB")
    packed = pack(processor, [make_scene(member)], 10, torch.Generator().manual_seed(0))
    pixels = processor.image_processor(image, return_tensors="pt")["pixel_values"]
    ends = [i for i in range(packed.ids.shape[1]) if packed.ids[0, i] == processor.tokenizer.eos_token_id]
    starts = [next(i for i in range(packed.ids.shape[1]) if packed.positions[0, i] == 66), *[e + 1 for e in ends[:-1]]]
    head = packed.ids[:, : starts[0]]
    with torch.inference_mode():
        hidden = model(
            input_ids=packed.ids, pixel_values=pixels, attention_mask=packed.mask, position_ids=packed.positions
        ).logits[0]
        for start, end in zip(starts, ends, strict=True):
            alone = model(input_ids=torch.cat([head, packed.ids[:, start:end]], dim=1), pixel_values=pixels).logits[0]
            torch.testing.assert_close(hidden[start:end], alone[starts[0] :], atol=2e-4, rtol=1e-4)
    assert len(ends) == 10


def test_the_model_yaml_names_the_shipped_folder():
    import yaml

    settings = yaml.safe_load((CONF / "model" / "phantom-llava.yaml").read_text("utf-8"))
    assert next(iter(settings)) == "about"
    assert Path(evalkit.__file__).parent / settings["source"].removeprefix("package:") == FOLDER
    config = json.loads((FOLDER / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["LlavaForConditionalGeneration"]


@pytest.mark.slow
def test_training_lowers_the_loss_and_is_reproducible(tmp_path):
    from evalkit.tools.train_phantom import Plan, train

    plan = Plan(n_images=400, batch=16, see_steps=40, answer_steps=40)
    losses = train(tmp_path / "a", plan)
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]
    assert train(tmp_path / "b", plan) == losses
