"""Parity with second implementations: SentencePiece for the tokenizer, PIL for the pixels, peft for the merge."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evalkit.core.errors import ModelError
from evalkit.models.delta_lora import LoraWeights
from evalkit.models.llava_original import load_llava
from evalkit.models.llava_processor import from_sentencepiece
from evalkit.models.tensor_files import Shards, open_folder
from tests.support import tiny_checkpoints as tiny

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def both(spm):
    import sentencepiece

    fast = from_sentencepiece(spm.folder / "tokenizer.model")
    return fast, sentencepiece.SentencePieceProcessor(model_file=str(spm.folder / "tokenizer.model"))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda t: not {"<", "\0"} & set(t)))
def test_the_fast_tokenizer_gives_sentencepieces_ids_for_any_text(both, text):
    fast, pieces = both
    assert fast(text, add_special_tokens=False)["input_ids"] == pieces.Encode(text)


@pytest.mark.parametrize(
    "setting",
    [
        {"model_type": "unigram"},
        {"normalization_rule_name": "nmt_nfkc"},
        {"add_dummy_prefix": False},
        {"remove_extra_whitespaces": True},
    ],
)
def test_a_sentencepiece_model_of_another_kind_is_refused(tmp_path, setting):
    tiny.write_sentencepiece(tmp_path, **setting)
    with pytest.raises(ModelError, match="SentencePiece model of another kind"):
        from_sentencepiece(tmp_path / "tokenizer.model")


@pytest.mark.parametrize("question", ["is the lung normal?", "  two  spaces ", "é漢\n\nx", "[INST] Human: ###"])
def test_text_around_the_image_is_tokenised_part_by_part_as_llava_does(v15, both, question):
    loaded = load_llava(v15.folder, vision_tower="stored")
    prompt = f"[INST] <image>\n{question} [/INST]"
    before, after = prompt.split("<image>")
    pieces = both[1]
    expected = [1, *pieces.Encode(before), v15.vocab, *pieces.Encode(after)]
    assert loaded.processor.tokenizer(prompt)["input_ids"] == expected


def test_white_space_around_the_start_and_end_tokens_is_dropped_as_in_v10(v10, both):
    loaded = load_llava(v10.full, vision_tower_path=v10.clip)
    start, patch, end = (v10.base_vocab + i for i in (2, 1, 3))
    ids = loaded.processor.tokenizer("is it normal?\n<im_start><im_patch><im_end>###")["input_ids"]
    pieces = both[1]
    assert ids == [1, *pieces.Encode("is it normal?"), start, patch, end, *pieces.Encode("###")]


def reference_pixels(image: Image.Image, side: int, *, pad: bool) -> np.ndarray:
    """Reference implementation of LLaVA's preprocessing: pad to a square, resize, crop, normalise."""
    image = image.convert("RGB")
    if pad:
        edge = max(image.size)
        square = Image.new("RGB", (edge, edge), (122, 116, 104))
        square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
        image = square
    short = min(image.size)
    size = tuple(side if edge == short else int(side * edge / short) for edge in image.size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    cropped = np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float64) / 255
    return ((cropped - MEAN) / STD).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def image_processors(v15, v10):
    """Loaded image processors of the aspect settings `pad` and `square`."""
    return (
        load_llava(v15.folder, vision_tower="stored").processor.image_processor,
        load_llava(v10.full, vision_tower_path=v10.clip).processor.image_processor,
    )


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1"])
@pytest.mark.parametrize("size", [(60, 40), (40, 60), (42, 42), (301, 77), (5, 9)])
def test_pixels_equal_those_of_the_published_preprocessing(image_processors, mode, size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    for processor, pad in zip(image_processors, (True, False), strict=True):
        actual = processor(images=image, return_tensors="pt")["pixel_values"][0].numpy()
        np.testing.assert_allclose(actual, reference_pixels(image, 42, pad=pad), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_identity_layer_after_a_linear_projector_changes_no_bit(dtype):
    torch.manual_seed(0)
    first, second = torch.nn.Linear(128, 64), torch.nn.Linear(64, 64)
    with torch.no_grad():
        second.weight.copy_(torch.eye(64))
        second.bias.zero_()
    features = torch.randn(3, 9, 128).to(dtype)
    alone = first.to(dtype)(features)
    assert torch.equal(second.to(dtype)(alone), alone)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_merge_equals_pefts(lora, tmp_path, rslora, dtype):
    peft = pytest.importorskip("peft")
    from transformers import MistralConfig, MistralForCausalLM

    folder = tmp_path / "adapter"
    shutil.copytree(lora.folder, folder)
    config = {**json.loads((folder / "adapter_config.json").read_text()), "use_rslora": rslora}
    tiny.write_json(folder / "adapter_config.json", config)
    model = MistralForCausalLM(MistralConfig(**tiny.text_config(lora.vocab))).to(dtype).eval()
    base = tmp_path / "base"
    base.mkdir()
    tiny.write_safetensors(base, {n: t.detach().clone() for n, t in model.state_dict().items()}, shards=1)
    source = LoraWeights(
        open_folder(base),
        Shards((folder / "adapter_model.bin",)),
        Shards((folder / "non_lora_trainables.bin",)),
        config,
    )
    merged = peft.PeftModel.from_pretrained(model, str(folder)).merge_and_unload().state_dict()
    compared = 0
    for name, tensor in merged.items():
        assert torch.equal(source.read(name), tensor), name
        compared += 1
    assert compared == len(merged) > 10
