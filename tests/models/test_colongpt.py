"""ColonGPT in its published layouts: prompts, pixels, logits and answers of its authors' own code, and refusals.

`tests/support/colongpt_logits.json` has what that code computes on the tiny checkpoints; `colongpt_oracle.py` wrote it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evalkit.core.errors import ModelError
from evalkit.engines.hf import HfEngine
from evalkit.engines.vllm_prompts import refuse_unsupported
from evalkit.models import quantization
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.convert import convert
from evalkit.models.delta_lora import LoraWeights
from evalkit.models.doctor import diagnose
from evalkit.models.formats import recognise
from evalkit.models.llava_config import image_places, llava_config, read_original
from evalkit.models.llava_original import load_llava
from evalkit.models.llava_tensors import check, empty_model, plan
from evalkit.models.llava_tower import ChosenTower, tower_config
from evalkit.models.templates import read_template
from tests.models.test_checkpoint_wiring import answers
from tests.models.test_llava_real_layouts import Names
from tests.support import published_sizes
from tests.support import tiny_colongpt as tiny
from tests.support.model_formats import conf
from tests.support.paths import ROOT

EXPECTED = json.loads((ROOT / "tests" / "support" / "colongpt_logits.json").read_text(encoding="utf-8"))
# The stored logits have five digits after the point; the largest difference measured was 9e-6.
CLOSE = 3e-5


def load(of: SimpleNamespace, release: str, folder: Path | None = None, **options: Any) -> Any:
    settings = {"vision_tower_path": of.siglip, "chat_template": read_template("file:colongpt"), "dtype": "float32"}
    base = of.phi if release == "lora" else None
    return load_llava(folder or getattr(of, release), base=base, **{**settings, **options})


def copied(folder: Path, to: Path, **changes: Any) -> Path:
    shutil.copytree(folder, to)
    content = json.loads((to / "config.json").read_text(encoding="utf-8"))
    tiny.write_json(to / "config.json", content | changes)
    return to


def prepared(loaded: Any, number: int) -> Any:
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": tiny.QUESTIONS[number]}]}
    prompt = loaded.processor.apply_chat_template([turn], add_generation_prompt=True)
    return loaded.processor(images=[tiny.picture(number)], text=[prompt], return_tensors="pt")


def logits(loaded: Any, number: int = 0) -> torch.Tensor:
    with torch.inference_mode():
        return loaded.model(**prepared(loaded, number)).logits[0, :, : tiny.tokens()]


@pytest.mark.parametrize("release", ["merged", "lora"])
def test_prompt_pixels_logits_and_answer_are_those_of_the_authors_code(release, colongpt):
    loaded = load(colongpt, release)
    assert loaded.form == recognise(getattr(colongpt, release))
    assert loaded.form == {"merged": "llava-full", "lora": "llava-lora"}[release]
    place = loaded.model.config.image_token_id
    for number, expected in enumerate(EXPECTED[release]):
        inputs = prepared(loaded, number)
        ids = inputs["input_ids"][0].tolist()
        first = ids.index(place)
        assert ids[first : first + tiny.PLACES] == [place] * tiny.PLACES
        assert [*ids[:first], -200, *ids[first + tiny.PLACES :]] == expected["ids"]
        pixels = torch.tensor(expected["pixels"])
        torch.testing.assert_close(inputs["pixel_values"].flatten()[::211], pixels, atol=2e-6, rtol=0)
        found = logits(loaded, number)
        for at, values in expected["logits"].items():
            assert len(values) == tiny.tokens()
            torch.testing.assert_close(found[int(at)], torch.tensor(values), atol=CLOSE, rtol=0)
        new = loaded.model.generate(**inputs, max_new_tokens=len(expected["answer"]), do_sample=False)
        assert new[0, len(ids) :].tolist() == expected["answer"]


def test_the_expected_values_depend_on_every_part(colongpt, tmp_path):
    """Each change keeps all shapes, so that nothing but the logits shows it."""
    expected = torch.tensor(EXPECTED["merged"][0]["logits"]["-1"])
    changes: list[dict[str, Any]] = [
        {"mm_projector_type": "ppc_2_3_1"},
        {"mm_projector_type": "ppc_3_1_2"},
        {"partial_rotary_factor": 1.0},
        {"image_aspect_ratio": None},
        {"hidden_act": "relu"},
    ]
    for i, change in enumerate(changes):
        other = load(colongpt, "merged", copied(colongpt.merged, tmp_path / str(i), **change))
        assert (logits(other)[-1] - expected).abs().max() > 100 * CLOSE, change
    stored = load(colongpt, "merged", vision_tower="stored")
    assert (logits(stored)[-1] - expected).abs().max() > 100 * CLOSE
    assert not [note for note in stored.notes if "not used" in note]


def test_without_padding_pixels_are_those_of_siglips_own_processor(colongpt, tmp_path):
    from transformers import SiglipImageProcessorPil

    side = tiny.VISION["image_size"]
    own = SiglipImageProcessorPil(size={"height": side, "width": side})
    made = load(colongpt, "merged", copied(colongpt.merged, tmp_path / "c", image_aspect_ratio=None)).processor
    for number in range(3):
        expected = own(images=[tiny.picture(number)], return_tensors="pt")["pixel_values"]
        found = made.image_processor(images=[tiny.picture(number)], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_the_code_of_the_model_fixes_layer_and_features_whatever_its_config_says(colongpt, tmp_path):
    stated = {"mm_vision_select_layer": -1, "mm_vision_select_feature": "patch"}
    other = load(colongpt, "merged", copied(colongpt.merged, tmp_path / "c", **stated))
    torch.testing.assert_close(logits(other), logits(load(colongpt, "merged")), atol=0, rtol=0)


def test_no_row_without_a_token_is_generated(colongpt):
    for release in ("merged", "lora"):
        loaded = load(colongpt, release)
        rows = loaded.model.get_input_embeddings().weight.shape[0]
        assert rows == tiny.tokens() + {"merged": 2, "lora": tiny.UNUSED_ROWS}[release]
        assert loaded.model.generation_config.suppress_tokens == list(range(tiny.tokens(), rows))
        assert loaded.model.generation_config.eos_token_id == loaded.processor.tokenizer.eos_token_id


@pytest.mark.parametrize("release", ["merged", "lora"])
@pytest.mark.slow
def test_answers_share_the_image_and_depend_on_it_alone_or_in_batches(release, colongpt):
    def engine(**settings: Any) -> HfEngine:
        name = {"merged": "colongpt", "lora": "colongpt-lora"}[release]
        local = {"source": str(getattr(colongpt, release)), "vision_tower_source": str(colongpt.siglip)}
        local |= {"base": str(colongpt.phi)} if release == "lora" else {}
        config = {**conf(name), **local, "name": name, "dtype": "float32"}
        spec = CheckpointSpec.from_config(config | {"presets": {"greedy": {"max_new_tokens": 6}}})
        return HfEngine(spec=spec, device="cpu", workers=0, **settings)

    shared, alone = engine(share_prefix="require"), engine(share_prefix="off", batch_size=1)
    found = answers(shared)
    assert found == answers(alone) == answers(engine(share_prefix="off", batch_size=5))
    assert found != answers(alone, image="blank")
    assert shared.metadata()["counters"]["vision_encodes"] == 2


# What the released config.json has beside the sizes.
REAL = published_sizes.PHI_15 | {
    "mm_hidden_size": 1152, "mm_projector_type": "ppc_14_7_1", "torch_dtype": "bfloat16",
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
}  # fmt: skip


def phi_shapes(rows: int) -> dict[str, tuple[int, ...]]:
    h, inner = REAL["hidden_size"], REAL["intermediate_size"]
    shapes = {"model.embed_tokens.weight": (rows, h), "lm_head.weight": (rows, h)}
    linear = {f"self_attn.{p}": (h, h) for p in ("q_proj", "k_proj", "v_proj", "dense")}
    linear |= {"mlp.fc1": (inner, h), "mlp.fc2": (h, inner)}
    for i in range(REAL["num_hidden_layers"]):
        for part, shape in linear.items():
            shapes |= {f"model.layers.{i}.{part}.weight": shape, f"model.layers.{i}.{part}.bias": shape[:1]}
        shapes |= {f"model.layers.{i}.input_layernorm.{leaf}": (h,) for leaf in ("weight", "bias")}
    return shapes | {f"model.final_layernorm.{leaf}": (h,) for leaf in ("weight", "bias")}


def adapter_shapes() -> dict[str, tuple[int, ...]]:
    part, h = "model.mm_projector.model", REAL["hidden_size"]
    return {
        f"{part}.token_trans_layer.0.weight": (h, 1152), f"{part}.token_trans_layer.0.bias": (h,),
        f"{part}.conv.weight": (h, h, 3, 3), f"{part}.conv.bias": (h,),
        f"{part}.linear_layer.weight": (h, h), f"{part}.linear_layer.bias": (h,),
    }  # fmt: skip


def so400m_shapes() -> dict[str, tuple[int, ...]]:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    with torch.device("meta"):
        whole = SiglipVisionModel(SiglipVisionConfig(**published_sizes.SO400M)).state_dict()
    bare = {name.removeprefix("vision_model."): tuple(value.shape) for name, value in whole.items()}
    assert any(name.startswith("head.") for name in bare)
    return {name: shape for name, shape in bare.items() if not name.startswith("head.")}


@pytest.mark.parametrize("release", ["merged", "lora"])
def test_all_tensors_of_the_real_model_have_a_place(release, tmp_path):
    rows = {"merged": 50295, "lora": 51200}[release]
    tiny.write_json(tmp_path / "config.json", tiny.config(rows) | REAL | {"vocab_size": rows})
    (tmp_path / "tower").mkdir()
    stock = {"model_type": "siglip", "vision_config": published_sizes.SO400M}
    tiny.write_json(tmp_path / "tower" / "config.json", stock)
    source: Any = Names(phi_shapes(rows) | adapter_shapes())
    if release == "lora":
        pairs = {}
        for name, shape in phi_shapes(rows).items():
            if name.startswith("model.layers.") and len(shape) == 2:
                inner = f"base_model.model.{name.removesuffix('.weight')}"
                pairs |= {f"{inner}.lora_A.weight": (128, shape[1]), f"{inner}.lora_B.weight": (shape[0], 128)}
        extra = {f"base_model.model.{name}": shape for name, shape in adapter_shapes().items()}
        base = Names(phi_shapes(rows) | {"lm_head.bias": (rows,)})
        config = {"peft_type": "LORA", "r": 128, "lora_alpha": 256, "bias": "none"}
        source = LoraWeights(base, Names(pairs), Names(extra), config)
    original, shapes = read_original(tmp_path), so400m_shapes()
    chosen = ChosenTower(Names(shapes), {name: name for name in shapes}, ())
    vision = tower_config(shapes, original, tmp_path / "tower")
    assert image_places(original, vision) == 246 == conf("colongpt")["image"]["tokens"]
    grown = rows + (2 if release == "merged" else 0)
    model = empty_model(llava_config(original, vision, vocab_size=grown, image_token=50295), original.pools)
    tensors = plan(model, original, source, chosen)
    check(model, tensors)
    assert set(tensors) == set(model.state_dict())


def test_what_transformers_has_no_class_for_is_refused_with_what_to_do(colongpt, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=r"no Hugging Face form; use it as it is with model\.source="):
        convert(colongpt.merged, tmp_path / "hf", vision_tower_path=colongpt.siglip)
    assert not (tmp_path / "hf").exists()
    spec = CheckpointSpec.from_config({**conf("colongpt"), "name": "colongpt", "source": str(colongpt.merged)})
    with pytest.raises(ModelError, match=r"vLLM has no class for\. Use engine=hf"):
        refuse_unsupported(spec, colongpt.merged)
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(ModelError, match=r"ColonGPT's projector has none\. Leave it out"):
        quantization.check_quantizable("colongpt", "4bit", colongpt.lora, "llava-lora")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_s2": True}, r"sets use_s2 to True"),
        ({"mm_projector_type": "ppc_"}, r"sets mm_projector_type to 'ppc_'"),
        ({"mm_projector_type": "ppc_3_0"}, r"sets mm_projector_type to 'ppc_3_0'"),
        ({"mm_projector_type": "mlp2x_gelu"}, r"mm_projector\.model\..*has no place in the model"),
        ({"mm_vision_tower": "google/siglip-tiny-patch14-84"}, r"patches of 14 pixels and images of 70"),
        ({"mm_vision_tower": "openai/clip-vit-tiny-patch14-70"}, r"ColonGPT is loaded with a SigLIP only"),
        ({"mm_vision_tower": None}, r"names the vision tower ''"),
        ({"num_hidden_layers": 3}, r"no tensor for .*layers\.2"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(changes, said, colongpt, tmp_path):
    with pytest.raises(ModelError, match=said):
        load(colongpt, "merged", copied(colongpt.merged, tmp_path / "changed", **changes))


def test_the_first_stage_of_training_is_refused_as_a_projector_alone(colongpt, tmp_path):
    shutil.copy(colongpt.merged / "config.json", tmp_path / "config.json")
    torch.save(tiny.tensors(tiny.adapter(2)), tmp_path / "mm_projector.bin")
    with pytest.raises(
        ModelError, match=r"a projector alone \(mm_projector\.bin\).*use the checkpoint of the last stage"
    ):
        load(colongpt, "merged", tmp_path)


def test_a_clip_is_not_taken_for_the_siglip(colongpt, v15):
    with pytest.raises(ModelError, match="model_type 'clip': expected a SigLIP vision tower"):
        load(colongpt, "merged", vision_tower_path=v15.clip)
    with pytest.raises(ModelError, match="model_type 'siglip': expected a CLIP vision tower"):
        load_llava(v15.folder, vision_tower="stock", vision_tower_path=colongpt.siglip)


def test_the_tower_is_a_siglip_and_complete(colongpt, tmp_path):
    with pytest.raises(ModelError, match="not one of OpenAI's CLIP models: give the folder of that tower"):
        load(colongpt, "merged", vision_tower="stored", vision_tower_path=None)
    from safetensors.torch import load_file, save_file

    short = copied(colongpt.merged, tmp_path / "short")
    whole = load_file(short / "model.safetensors")
    kept = {name: tensor for name, tensor in whole.items() if "vision_model.encoder.layers.2." not in name}
    save_file(kept, short / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"no tensor for model\.vision_tower\..*layers\.2"):
        load(colongpt, "merged", short, vision_tower="stored")
    assert load(colongpt, "merged", short).model.config.vision_config.num_hidden_layers == 3


def test_doctor_finds_both_towers_and_no_problem(colongpt):
    local = {"source": str(colongpt.merged), "vision_tower_source": str(colongpt.siglip)}
    report = diagnose("colongpt", {**conf("colongpt"), **local}, device="cpu")
    assert report.problems == ()
    assert report.towers is not None and report.towers.different == report.towers.tensors
