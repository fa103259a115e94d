"""Loading of each published form, written from a known model: the logits equal that model's."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from evalkit.models.formats import recognise
from evalkit.models.llava_original import load_llava
from tests.support import tiny_checkpoints as tiny

CLOSE = {"atol": 1e-5, "rtol": 0}
SIMPLE = (
    "{% for m in messages %}Human: {{ m.content | selectattr('type', 'equalto', 'text') | map(attribute='text')"
    " | join }}\n<im_start><im_patch><im_end>###{% endfor %}"
)
INST = (
    "{% for m in messages %}[INST] <image>\n{{ m.content | selectattr('type', 'equalto', 'text') |"
    " map(attribute='text') | join }} [/INST]{% endfor %}"
)


def picture(seed: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    noise = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(noise.to(torch.uint8).numpy())


def chats(*questions: str):
    return [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": q}]}] for q in questions]


@torch.no_grad()
def assert_same_logits(loaded, known, vocab: int) -> None:
    """Compare logits on text, text with an image, and a padded batch of two; a changed image must change the logits."""
    processor, model = loaded.processor, loaded.model
    text = processor.tokenizer(["what is the left lung"], return_tensors="pt")
    batch = {"text": dict(text)}
    rows = [
        processor.apply_chat_template(c, add_generation_prompt=True)
        for c in chats("is the heart normal?", "where is the abnormal part of the left lung in the image?")
    ]
    one = processor(images=[picture(1)], text=rows[:1], return_tensors="pt")
    two = processor(images=[picture(1), picture(2)], text=rows, padding=True, return_tensors="pt")
    assert (two["attention_mask"] == 0).any() and int(two["attention_mask"][1].min()) == 1
    assert int((one["input_ids"] == model.config.image_token_id).sum()) == tiny.PATCHES
    batch |= {"image": dict(one), "padded": dict(two)}
    for name, inputs in batch.items():
        actual, expected = model(**inputs).logits[..., :vocab], known(**inputs).logits[..., :vocab]
        real = inputs["attention_mask"].bool()
        torch.testing.assert_close(actual[real], expected[real], **CLOSE, msg=lambda m, name=name: f"{name}: {m}")
    other = model(**{**batch["image"], "pixel_values": batch["image"]["pixel_values"].flip(-1)}).logits
    assert (other[..., :vocab] - known(**batch["image"]).logits[..., :vocab]).abs().max() > 1e-2


def test_full_v15_weights_with_the_stored_tower_give_the_known_logits(v15):
    loaded = load_llava(v15.folder, vision_tower="stored", vision_tower_path=v15.clip, chat_template=INST)
    assert (loaded.form, loaded.vision_tower) == ("llava-full", "stored")
    assert_same_logits(loaded, v15.known, v15.vocab)


def test_the_stored_tower_needs_no_folder_if_it_is_one_of_openais(v15):
    loaded = load_llava(v15.folder, vision_tower="stored", chat_template=INST)
    assert_same_logits(loaded, v15.known, v15.vocab)


def test_the_stock_tower_replaces_the_stored_one_if_configured(v15):
    loaded = load_llava(v15.folder, vision_tower="stock", vision_tower_path=v15.clip, chat_template=INST)
    other = tiny.known_model(v15.vocab + 2, image_token=v15.vocab, seed=7)
    v15.known.model.vision_tower, kept = other.model.vision_tower, v15.known.model.vision_tower
    try:
        assert_same_logits(loaded, v15.known, v15.vocab)
    finally:
        v15.known.model.vision_tower = kept
    assert any("is not used" in note for note in loaded.notes)


def test_full_v10_weights_with_a_single_linear_projector_give_the_known_logits(v10):
    loaded = load_llava(v10.full, vision_tower_path=v10.clip, chat_template=SIMPLE)
    assert loaded.form == "llava-full"
    assert_same_logits(loaded, v10.known, v10.vocab)


def test_delta_weights_over_their_base_give_the_known_logits(v10):
    loaded = load_llava(v10.delta, base=v10.base, vision_tower_path=v10.clip, chat_template=SIMPLE)
    assert loaded.form == "llava-delta"
    assert loaded.model.get_input_embeddings().weight.shape[0] == v10.base_vocab + 4
    assert_same_logits(loaded, v10.known, v10.vocab)


def test_a_lora_over_its_base_gives_the_known_logits(lora):
    loaded = load_llava(
        lora.folder, base=lora.base, vision_tower="stored", vision_tower_path=lora.clip, chat_template=INST
    )
    assert loaded.form == "llava-lora"
    assert_same_logits(loaded, lora.known, lora.vocab)


def test_start_and_end_tokens_surround_the_image_tokens(v10):
    loaded = load_llava(v10.full, vision_tower_path=v10.clip, chat_template=SIMPLE)
    prompt = loaded.processor.apply_chat_template(chats("is it normal?")[0])
    ids = loaded.processor(images=[picture()], text=[prompt], return_tensors="pt")["input_ids"][0].tolist()
    patch, start, end = (v10.base_vocab + i for i in (1, 2, 3))
    first = ids.index(patch)
    assert ids[first - 1] == start
    assert ids[first : first + tiny.PATCHES] == [patch] * tiny.PATCHES
    assert ids[first + tiny.PATCHES] == end
    assert loaded.processor.tokenizer.pad_token_id == v10.base_vocab


def test_a_delta_without_added_tokens_gets_them_after_the_bases(v10, tmp_path):
    for file in v10.delta.iterdir():
        if file.name not in ("added_tokens.json", "tokenizer.model"):
            (tmp_path / file.name).symlink_to(file)
    loaded = load_llava(tmp_path, base=v10.base, vision_tower_path=v10.clip, chat_template=SIMPLE)
    vocab = loaded.processor.tokenizer.get_vocab()
    assert [vocab[t] for t in ("[PAD]", "<im_patch>", "<im_start>", "<im_end>")] == [
        v10.base_vocab + i for i in range(4)
    ]
    assert_same_logits(loaded, v10.known, v10.vocab)


def test_added_tokens_are_never_generated(v15):
    loaded = load_llava(v15.folder, vision_tower="stored", chat_template=INST)
    with torch.no_grad():
        loaded.model.lm_head.weight[v15.vocab :] *= -100
        loaded.model.lm_head.weight[v15.vocab] = loaded.model.lm_head.weight[v15.vocab + 1] * -1
    inputs = loaded.processor.tokenizer(["what is the left lung"], return_tensors="pt")
    ids = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert ids[0, inputs["input_ids"].shape[1] :].max() < v15.vocab


def test_forms_are_recognised_from_the_files(v15, v10, lora):
    assert [recognise(f) for f in (v15.folder, v10.full, v10.delta, lora.folder)] == [
        "llava-full",
        "llava-full",
        "llava-delta",
        "llava-lora",
    ]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_parameter_has_the_requested_dtype(v15, dtype):
    loaded = load_llava(v15.folder, vision_tower="stored", dtype=dtype)
    assert {p.dtype for p in loaded.model.parameters()} == {getattr(torch, dtype)}
    assert loaded.model.dtype == getattr(torch, dtype)


def test_no_parameter_is_left_on_the_meta_device(v15):
    loaded = load_llava(v15.folder, vision_tower="stored")
    assert not [n for n, t in [*loaded.model.named_parameters(), *loaded.model.named_buffers()] if t.is_meta]


@pytest.mark.few(1)
@pytest.mark.parametrize("block", [1, 100, 5000])
def test_merging_a_few_rows_at_a_time_gives_the_same_weights(v10, lora, monkeypatch, block):
    cases = (
        (v10.delta, {"base": v10.base, "vision_tower_path": v10.clip}),
        (lora.folder, {"base": lora.base, "vision_tower": "stored"}),
    )
    for folder, options in cases:
        at_once = load_llava(folder, **options).model.state_dict()
        monkeypatch.setattr("evalkit.models.llava_tensors._BLOCK", block)
        for name, tensor in load_llava(folder, **options).model.state_dict().items():
            torch.testing.assert_close(tensor, at_once[name], **CLOSE)
        monkeypatch.undo()
