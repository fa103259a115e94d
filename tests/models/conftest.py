from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.support import tiny_checkpoints as tiny
from tests.support import tiny_colongpt


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Run torch on one thread: more threads slow such small models down, above all on shared processors."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def spm(tmp_path_factory):
    """A folder with only a tokenizer.model, and the size of its vocabulary."""
    folder = tmp_path_factory.mktemp("spm")
    return SimpleNamespace(folder=folder, vocab=tiny.write_sentencepiece(folder))


@pytest.fixture(scope="session")
def v15(tmp_path_factory, spm):
    """A v1.5-style checkpoint with a stored tower, and a different stock tower."""
    root = tmp_path_factory.mktemp("v15")
    folder, clip = root / "llava-med-v1.5", root / "clip"
    folder.mkdir()
    known = tiny.known_model(spm.vocab + 2, image_token=spm.vocab)
    tensors = tiny.language_tensors(known, spm.vocab) | tiny.projector_tensors(known)
    tensors |= tiny.tower_tensors(known, "model.vision_tower.vision_tower.")
    tiny.write_safetensors(folder, tensors, shards=3)
    tiny.write_json(folder / "config.json", tiny.v15_config(spm.vocab))
    (folder / "tokenizer.model").write_bytes((spm.folder / "tokenizer.model").read_bytes())
    tiny.write_clip(clip, tiny.known_model(spm.vocab + 2, image_token=spm.vocab, seed=7))
    return SimpleNamespace(folder=folder, clip=clip, known=known, vocab=spm.vocab, tensors=tensors)


@pytest.fixture(scope="session")
def v10(tmp_path_factory, spm):
    """A v1.0-style model (LLaMA, one linear projector, four added tokens, separate tower), full and as delta."""
    root = tmp_path_factory.mktemp("v10")
    vocab = spm.vocab + 4
    known = tiny.known_model(vocab, "llama", linear=True, image_token=spm.vocab + 1)
    whole = tiny.language_tensors(known, vocab) | tiny.projector_tensors(known)
    folders = SimpleNamespace(full=root / "full", delta=root / "delta", base=root / "llama", clip=root / "clip")
    for folder in vars(folders).values():
        folder.mkdir()
    tiny.write_bin(folders.full, whole, shards=2)
    base, delta = _split(whole, spm.vocab)
    tiny.write_bin(folders.base, base, shards=3)
    tiny.write_bin(folders.delta, delta, shards=2)
    for folder in (folders.full, folders.delta):
        tiny.write_json(folder / "config.json", tiny.v10_config(vocab))
        extra = {
            "[PAD]": spm.vocab,
            "<im_patch>": spm.vocab + 1,
            "<im_start>": spm.vocab + 2,
            "<im_end>": spm.vocab + 3,
        }
        tiny.write_json(folder / "added_tokens.json", extra)
    for folder in (folders.full, folders.delta, folders.base):
        (folder / "tokenizer.model").write_bytes((spm.folder / "tokenizer.model").read_bytes())
    tiny.write_json(folders.base / "config.json", {"model_type": "llama", **tiny.text_config(spm.vocab, "llama")})
    tiny.write_clip(folders.clip, known)
    return SimpleNamespace(**vars(folders), known=known, vocab=vocab, base_vocab=spm.vocab)


def _split(whole, base_vocab):
    """Split weights into a base (the weights with noise) and a delta, whose sum is the weights."""
    torch.manual_seed(3)
    base, delta = {}, {}
    for name, value in whole.items():
        delta[name] = value
        if not name.startswith("model.mm_projector."):
            start = value[:base_vocab] if name in ("model.embed_tokens.weight", "lm_head.weight") else value
            base[name] = start + 2.0**-10 * torch.randn_like(start)
            delta[name] = value.clone()
            delta[name][: len(start)] -= base[name]
    return base, delta


@pytest.fixture(scope="session")
def lora(tmp_path_factory, spm, v15):
    """A LoRA over the v1.5 checkpoint: adapters on all linear layers of the language model, fully trained projector."""
    folder = tmp_path_factory.mktemp("lora")
    known = tiny.known_model(spm.vocab + 2, image_token=spm.vocab)
    torch.manual_seed(11)
    rank, alpha = 4, 8
    adapter, extra = {}, {}
    for name, value in known.state_dict().items():
        if "language_model.layers" in name and "proj.weight" in name:
            inner = name.removeprefix("model.language_model.").removesuffix(".weight")
            a, b = 0.1 * torch.randn(rank, value.shape[1]), 0.1 * torch.randn(value.shape[0], rank)
            adapter[f"base_model.model.model.{inner}.lora_A.weight"] = a
            adapter[f"base_model.model.model.{inner}.lora_B.weight"] = b
            with torch.no_grad():
                value += alpha / rank * (b @ a)
    for name, value in tiny.projector_tensors(known).items():
        extra[f"base_model.model.{name}"] = value + 0.05 * torch.randn_like(value)
    with torch.no_grad():
        for i in (0, 2):
            layer = getattr(known.model.multi_modal_projector, f"linear_{1 + i // 2}")
            for part in ("weight", "bias"):
                getattr(layer, part).copy_(extra[f"base_model.model.model.mm_projector.{i}.{part}"])
    torch.save(adapter, folder / "adapter_model.bin")
    torch.save(extra, folder / "non_lora_trainables.bin")
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none", "target_modules": targets,
              "fan_in_fan_out": False, "init_lora_weights": True, "lora_dropout": 0.05, "modules_to_save": None,
              "task_type": "CAUSAL_LM"}  # fmt: skip
    tiny.write_json(folder / "adapter_config.json", config)
    tiny.write_json(folder / "config.json", tiny.v15_config(spm.vocab))
    return SimpleNamespace(folder=folder, base=v15.folder, clip=v15.clip, known=known, vocab=spm.vocab)


@pytest.fixture(scope="session")
def colongpt(tmp_path_factory) -> SimpleNamespace:
    """ColonGPT merged and as a LoRA over a Phi-1.5, and the stock SigLIP of both."""
    root = tmp_path_factory.mktemp("colongpt")
    phi = tiny_colongpt.write_phi(root / "phi-1_5")
    return SimpleNamespace(
        siglip=tiny_colongpt.write_siglip(root / "siglip"),
        merged=tiny_colongpt.write_merged(root / "ColonGPT"),
        lora=tiny_colongpt.write_lora(root / "ColonGPT-lora", phi),
        phi=phi,
    )
