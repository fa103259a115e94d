"""Checkpoints that would be evaluated under a wrong name or give noise: refused or said, by loading and by doctor."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evalkit.core.errors import ModelError
from evalkit.core.types import Generation
from evalkit.engines.loaded_model import LoadedModel
from evalkit.models import checkpoint
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.delta_lora import LoraWeights
from evalkit.models.doctor import diagnose
from evalkit.models.llava_original import load_llava
from evalkit.models.templates import read_template
from evalkit.models.tensor_files import Shards, open_folder
from tests.models.test_llava_forms_load import INST, assert_same_logits
from tests.support import tiny_checkpoints as tiny
from tests.support.model_formats import conf


@pytest.fixture
def copied(lora, tmp_path):
    """A copy of the LoRA that a test may damage."""
    folder = tmp_path / "adapter"
    shutil.copytree(lora.folder, folder)
    return SimpleNamespace(folder=folder, base=lora.base, clip=lora.clip)


def change(path: Path, edit: Any) -> None:
    tensors = torch.load(path, weights_only=True)
    edit(tensors)
    torch.save(tensors, path)


def adapter_settings(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    tiny.write_json(path, {**json.loads(path.read_text()), **settings})


def load(copied: Any, **options: Any) -> Any:
    return load_llava(copied.folder, base=copied.base, vision_tower="stored", **options)


def doctor(copied: Any, **changes: Any) -> Any:
    local = {"source": str(copied.folder), "base": str(copied.base), "vision_tower_source": str(copied.clip)}
    config = {**conf("llava-med-v1.5-coloninst-lora"), **local, "vision_tower": "stored", **changes}
    return diagnose("a-lora", config, device="cpu")


def zero(letter: str) -> Any:
    return lambda t: t.update({n: torch.zeros_like(v) for n, v in t.items() if f"lora_{letter}" in n})


def spoil(value: float) -> Any:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        next(reversed(tensors.values())).view(-1)[-1] = value

    return edit


ADAPTER, EXTRA = "adapter_model.bin", "non_lora_trainables.bin"
USELESS = {
    "all B zero": (ADAPTER, zero("B"), "have a factor of zeros"),
    "all A zero": (ADAPTER, zero("A"), "have a factor of zeros"),
    "no trained tensors": (EXTRA, lambda t: t.clear(), "contains no tensors"),
    "NaN in the adapter": (ADAPTER, spoil(float("nan")), "holds NaN"),
    "infinity in the adapter": (ADAPTER, spoil(float("-inf")), "holds infinite values"),
    "NaN in the projector": (EXTRA, spoil(float("nan")), "holds NaN"),
    "a projector of zeros": (EXTRA, lambda t: next(v for v in t.values() if v.ndim > 1).zero_(), "is all zeros"),
    "no pairs": (ADAPTER, lambda t: t.clear(), "contains no LoRA weights"),
}


@pytest.mark.parametrize("case", USELESS)
def test_an_adapter_that_changes_nothing_or_holds_no_numbers_is_refused(copied, case):
    file, edit, message = USELESS[case]
    change(copied.folder / file, edit)
    with pytest.raises(ModelError, match=message) as caught:
        load(copied)
    assert "\n" not in str(caught.value)
    assert any(message in problem for problem in doctor(copied).problems)


def test_a_file_without_bytes_and_a_scale_of_zero_are_refused(copied):
    adapter_settings(copied.folder, lora_alpha=0)
    with pytest.raises(ModelError, match="would change nothing"):
        load(copied)
    adapter_settings(copied.folder, lora_alpha=8)
    (copied.folder / EXTRA).write_bytes(b"")
    with pytest.raises(ModelError, match=r"non_lora_trainables\.bin"):
        load(copied)


def test_a_pair_of_zeros_among_others_is_an_adapter_like_any_other(copied):
    change(copied.folder / ADAPTER, lambda t: next(v for n, v in t.items() if "lora_B" in n).zero_())
    assert load(copied).form == "llava-lora"


def test_a_delta_of_zeros_is_refused(v10, tmp_path):
    folder = tmp_path / "delta"
    shutil.copytree(v10.delta, folder)
    for file in folder.glob("pytorch_model-*"):
        change(file, lambda t: [v.zero_() for n, v in t.items() if "mm_projector" not in n])
    with pytest.raises(ModelError, match="differences to the base are zero"):
        load_llava(folder, base=v10.base, vision_tower_path=v10.clip)
    local = {"source": str(folder), "base": str(v10.base), "vision_tower_source": str(v10.clip)}
    report = diagnose("llava-med-v1.0", {**conf("llava-med-v1.0"), **local}, device="cpu")
    assert any("differences to the base are zero" in problem for problem in report.problems)


@pytest.fixture
def other_base(lora, tmp_path):
    """A base of the same shapes with other weights."""
    folder = tmp_path / "other-base"
    shutil.copytree(lora.base, folder)
    for file in folder.glob("model*"):
        file.unlink()
    known = tiny.known_model(lora.vocab + 2, image_token=lora.vocab, seed=99)
    tensors = tiny.language_tensors(known, lora.vocab) | tiny.projector_tensors(known)
    tiny.write_safetensors(folder, tensors | tiny.tower_tensors(known, "model.vision_tower.vision_tower."), shards=1)
    return folder


def test_an_adapter_over_another_folder_than_its_base_is_refused_where_both_are_here(copied, other_base, tmp_path):
    adapter_settings(copied.folder, base_model_name_or_path=str(copied.base))
    assert load(copied).warnings == ()
    copied.base = other_base
    with pytest.raises(ModelError, match=r"was trained on the base .*llava-med-v1\.5, and the weights in .*other-base"):
        load(copied)
    assert any("was trained on the base" in p for p in doctor(copied).problems)
    moved = shutil.copytree(other_base, tmp_path / "moved")  # another folder with the same weights
    adapter_settings(copied.folder, base_model_name_or_path=str(moved))
    assert load(copied).warnings == ()


@pytest.mark.parametrize(
    ("stated", "owner", "outcome"),
    [
        ("microsoft/llava-med-v1.5-mistral-7b", "microsoft--llava-med-v1.5-mistral-7b", "fits"),
        ("./checkpoints/LLaVA-Med_v1.5-mistral-7b/", "microsoft--llava-med-v1.5-mistral-7b", "fits"),
        ("someone/llava-med-v1.5-mistral-7b", "microsoft--llava-med-v1.5-mistral-7b", "fits"),  # a mirror
        ("liuhaotian/llava-v1.6-mistral-7b", "microsoft--llava-med-v1.5-mistral-7b", "refused"),
        ("/mnt/run17/checkpoint-400", "microsoft--llava-med-v1.5-mistral-7b", "said"),
        (None, "microsoft--llava-med-v1.5-mistral-7b", "said"),
        ("liuhaotian/llava-v1.6-mistral-7b", "", "said"),  # a local copy under another name
    ],
)
@pytest.mark.few(3)
def test_the_base_that_an_adapter_names_is_compared_with_the_base_used(copied, tmp_path, stated, owner, outcome):
    base = tmp_path / (f"models--{owner}/snapshots/0123" if owner else "my copy")
    shutil.copytree(copied.base, base)
    copied.base = base
    adapter_settings(copied.folder, base_model_name_or_path=stated)
    if outcome == "refused":
        with pytest.raises(ModelError, match="was trained on the base liuhaotian/llava"):
            load(copied)
        return
    warnings = load(copied).warnings
    assert len(warnings) == (outcome == "said")
    assert tuple(n for n in doctor(copied).notes if "base" in n)[-1:] == warnings


def test_what_is_not_settled_is_said_when_a_run_loads_the_adapter(copied, capsys):
    adapter_settings(copied.folder, base_model_name_or_path="/mnt/run17/checkpoint-400")
    local = {"source": str(copied.folder), "base": str(copied.base), "vision_tower": "stored"}
    spec = CheckpointSpec.from_config({**conf("llava-med-v1.5-coloninst-lora"), **local, "name": "a-lora"})
    checkpoint.load(spec, checkpoint.locate(spec), device="cpu", dtype="float32")
    assert "names the base /mnt/run17/checkpoint-400" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("run", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
def test_an_adapter_is_merged_in_the_dtype_of_the_run_as_peft_does(lora, tmp_path, stored, run):
    """The authors load the base in the run's dtype and merge then; a sum rounded to bfloat16 gives other answers."""
    peft = pytest.importorskip("peft")
    from transformers import MistralConfig, MistralForCausalLM

    model = MistralForCausalLM(MistralConfig(**tiny.text_config(lora.vocab))).to(stored).eval()
    tiny.write_safetensors(tmp_path, {n: t.detach().clone() for n, t in model.state_dict().items()}, shards=1)
    config = json.loads((lora.folder / "adapter_config.json").read_text())
    files = (Shards((lora.folder / name,)) for name in (ADAPTER, EXTRA))
    source = LoraWeights(open_folder(tmp_path), *files, config, run)
    merged = peft.PeftModel.from_pretrained(model.to(run), str(lora.folder)).merge_and_unload().state_dict()
    changed = [name for name in merged if name in source.changed]
    assert len(changed) == 14
    for name in changed:
        assert source.read(name).dtype == run and torch.equal(source.read(name), merged[name]), name


def test_a_lora_over_a_bfloat16_base_gives_the_logits_of_the_exact_sum_in_float32(copied, lora, tmp_path):
    rounded = {n: t.to(torch.bfloat16) if t.is_floating_point() else t for n, t in base_tensors(copied.base).items()}
    base = tmp_path / "bf16"
    shutil.copytree(copied.base, base)
    for file in base.glob("model*"):
        file.unlink()
    tiny.write_safetensors(base, rounded, shards=1)
    copied.base = base
    model = load(copied, chat_template=INST, dtype="float32").model
    adapter = torch.load(copied.folder / ADAPTER, weights_only=True)
    name = "model.layers.0.self_attn.q_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{k}.weight"] for k in "AB")
    merged = model.state_dict()["model.language_model.layers.0.self_attn.q_proj.weight"]
    assert torch.equal(merged, rounded[f"{name}.weight"].float() + 2 * (b @ a))


def base_tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {n: t for file in folder.glob("*.safetensors") for n, t in load_file(file).items()}


@pytest.mark.parametrize(("value", "dtype"), [(float("nan"), "float32"), (float("inf"), "bfloat16"), (1e5, "float16")])
def test_weights_that_are_no_numbers_in_the_runs_dtype_are_named(v15, tmp_path, value, dtype):
    folder = tmp_path / "copy"
    shutil.copytree(v15.folder, folder)
    for file in folder.glob("model*"):
        file.unlink()
    tensors = {name: tensor.clone() for name, tensor in v15.tensors.items()}
    tensors["model.mm_projector.0.bias"][3] = value
    tiny.write_safetensors(folder, tensors, shards=1)
    with pytest.raises(ModelError, match=r"model\.mm_projector\.0\.bias .* holds numbers up to"):
        load_llava(folder, vision_tower="stored", dtype=dtype)
    if value == 1e5:
        assert load_llava(folder, vision_tower="stored", dtype="float32")


ENDS = [
    ({"eos_token_id": [2, 30, 31]}, {2, 30, 31}),
    ({"eos_token_id": 31}, {2, 31}),
    ({"eos_token_id": 1, "pad_token_id": -1}, {1, 2}),  # as in v1.0's own, whose authors stop at it
    ({"eos_token_id": [2, -1, 100_000]}, {2}),
    ({"eos_token_id": None}, {2}),
    ({"temperature": 0.7, "do_sample": True}, {2}),
    (None, {2}),
]


@pytest.mark.parametrize(("stated", "ends"), ENDS)
@pytest.mark.parametrize("form", ["full", "lora", "lora's base"])
@pytest.mark.few(7)
def test_the_end_tokens_of_generation_config_hold_for_llavas_own_forms(lora, tmp_path, form, stated, ends):
    folders = {"base": tmp_path / "base", "lora": tmp_path / "lora"}
    shutil.copytree(lora.base, folders["base"])
    shutil.copytree(lora.folder, folders["lora"])
    place = folders["lora" if form == "lora" else "base"]
    if stated is not None:
        tiny.write_json(place / "generation_config.json", {**stated, "suppress_tokens": [7]})
    options = {} if form == "full" else {"base": folders["base"]}
    loaded = load_llava(folders["base" if form == "full" else "lora"], vision_tower="stored", **options)
    model = LoadedModel(
        model=loaded.model, processor=loaded.processor, device="cpu", dtype="float32", generation=Generation()
    )
    assert model.ends == ends
    assert set(model.suppressed()) == {lora.vocab, lora.vocab + 1} | ({7} if stated else set())
    assert loaded.model.generation_config.temperature in (None, 1.0)  # decoding is the preset's


def test_a_generation_config_that_adds_end_tokens_changes_the_identity_and_a_usual_one_does_not(v15, tmp_path):
    def identity(content: dict[str, Any] | None, version: bool = True) -> str:
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(v15.folder, folder)
        if content:
            tiny.write_json(folder / "generation_config.json", content)
        spec = CheckpointSpec.from_config({"name": "x", "source": str(folder), "vision_tower": "stored"})
        found = checkpoint.locate(spec)
        assert (checkpoint.components.loading_version(found) == "2") == version
        return checkpoint.digest(spec, found)

    digests = {
        identity(None, False),
        identity({"bos_token_id": 1, "eos_token_id": 2}, False),
        identity({"eos_token_id": [2, 5]}),
        identity({"eos_token_id": 2, "suppress_tokens": [5]}),
    }
    assert len(digests) == 4


@pytest.mark.parametrize("pad", [True, False])
def test_a_v10_checkpoint_without_start_and_end_tokens_loads_and_gives_the_known_logits(spm, v10, tmp_path, pad):
    """v1.0's code adds <im_patch> to every vocabulary, and puts images between two more tokens if configured so."""
    vocab, patch = spm.vocab + 1 + pad, spm.vocab + pad
    known = tiny.known_model(vocab, "llama", linear=True, image_token=patch)
    tiny.write_bin(tmp_path, tiny.language_tensors(known, vocab) | tiny.projector_tensors(known))
    tiny.write_json(tmp_path / "config.json", tiny.v10_config(vocab, mm_use_im_start_end=False))
    (tmp_path / "tokenizer.model").write_bytes((spm.folder / "tokenizer.model").read_bytes())
    tiny.write_clip(tmp_path / "clip", known)
    local = {"source": str(tmp_path), "vision_tower_source": str(tmp_path / "clip"), "dtype": "float32"}
    config = {**conf("llava-med-v1.0-coloninst"), **local, "name": "v1.0"}
    spec = CheckpointSpec.from_config(config)
    model, processor = checkpoint.load(spec, checkpoint.locate(spec), device="cpu", dtype="float32")
    assert_same_logits(SimpleNamespace(model=model, processor=processor), known, vocab)
    alone = read_template("file:simple-no-start-end")
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "is it normal?"}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    assert prompt == processor.apply_chat_template(chat, add_generation_prompt=True, chat_template=alone)
    report = diagnose("v1.0", config, device="cpu")
    assert report.ready and "<im_patch>" in str(report.prompt) and "<im_start>" not in str(report.prompt)
    with pytest.raises(ModelError, match="trained without <im_start> and <im_end>"):
        load_llava(tmp_path, vision_tower_path=tmp_path / "clip", chat_template=read_template("file:simple"))


def test_with_start_and_end_tokens_the_template_keeps_them(v10):
    config = {**conf("llava-med-v1.0-coloninst"), "name": "v1.0", "source": str(v10.full)}
    assert CheckpointSpec.from_config(config).chat_template == read_template("file:simple")


REFUSED: dict[str, Any] = {
    "a tensor is missing": lambda folder, tensors: tensors.pop("model.layers.1.mlp.down_proj.weight"),
    "a tensor too many": lambda folder, tensors: tensors.update({"model.extra": torch.zeros(3)}),
    "a tensor of another shape": lambda folder, tensors: tensors.update({"lm_head.weight": torch.zeros(3, 64)}),
    "no tokenizer": lambda folder, tensors: (folder / "tokenizer.model").unlink(),
    "a damaged tokenizer": lambda folder, tensors: (folder / "tokenizer.model").write_bytes(b"x" * 100),
    "another projector": lambda folder, tensors: tiny.write_json(
        folder / "config.json", tiny.v15_config(420, mm_projector_type="resampler")
    ),
    "no layer": lambda folder, tensors: tiny.write_json(
        folder / "config.json", tiny.v15_config(420, mm_vision_select_layer=None)
    ),
    "no stored tower": lambda folder, tensors: [tensors.pop(n) for n in list(tensors) if "vision_tower" in n],
    "another vocabulary": lambda folder, tensors: tiny.write_json(folder / "config.json", tiny.v15_config(300)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_doctor_refuses_what_a_run_refuses_in_the_same_words(v15, tmp_path, case):
    folder = tmp_path / "copy"
    shutil.copytree(v15.folder, folder)
    for file in folder.glob("model*"):
        file.unlink()
    tensors = dict(v15.tensors)
    REFUSED[case](folder, tensors)
    tiny.write_safetensors(folder, tensors, shards=1)
    config = {**conf("llava-med"), "source": str(folder), "vision_tower": "stored", "name": "llava-med"}
    spec = CheckpointSpec.from_config(config)
    with pytest.raises(ModelError) as caught:
        checkpoint.load(spec, checkpoint.locate(spec), device="cpu", dtype="float32")
    assert str(caught.value) in diagnose("llava-med", config, device="cpu").problems


def hf_copy(tmp_path: Path) -> Path:
    folder = tmp_path / "hf"
    shutil.copytree(Path(checkpoint.__file__).parent / "phantom-llava", folder)
    return folder


@pytest.mark.parametrize("case", ["missing", "unexpected", "mismatched", "no processor", "bad tokenizer"])
def test_doctor_refuses_what_a_run_refuses_in_hugging_face_form(tmp_path, case):
    from safetensors.torch import load_file, save_file

    folder = hf_copy(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if "layers.0" in n and tensors[n].ndim == 2)
    if case == "missing":
        tensors.pop(name)
    elif case == "unexpected":
        tensors["extra.weight"] = torch.zeros(2)
    elif case == "mismatched":
        tensors[name] = tensors[name][:1].contiguous()
    elif case == "no processor":
        (folder / "processor_config.json").unlink()
    else:
        (folder / "tokenizer.json").write_text("{}")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {**conf("phantom-llava"), "source": str(folder), "name": "x"}
    spec = CheckpointSpec.from_config(config)
    with pytest.raises(ModelError) as caught:
        checkpoint.load(spec, checkpoint.locate(spec), device="cpu", dtype="float32")
    assert str(caught.value) in diagnose("x", config, device="cpu").problems


@pytest.fixture
def large_files(monkeypatch, tmp_path):
    """Treat every file as large enough for the cache of digests, and count the files that are hashed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoint, "LARGE", 0)
    hashed: list[Path] = []
    whole = checkpoint._sha256
    monkeypatch.setattr(checkpoint, "_sha256", lambda path: (hashed.append(path), whole(path))[1])
    return hashed


def test_the_digest_cache_sees_a_file_that_changed_under_the_same_size_and_time(large_files, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    path = folder / "model.safetensors"
    content = bytearray(os.urandom(3_000_000))
    path.write_bytes(content)
    first, stat = checkpoint.folder_digest(folder), path.stat()
    assert checkpoint.folder_digest(folder) == first and len(large_files) == 1
    content[1_234_567] ^= 1  # in place, between two sampled places
    with path.open("r+b") as file:
        file.seek(1_234_567)
        file.write(content[1_234_567:1_234_568])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    second = checkpoint.folder_digest(folder)
    assert second != first
    replacement = tmp_path / "replacement"
    replacement.write_bytes(os.urandom(3_000_000))
    os.utime(replacement, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    replacement.replace(path)
    assert checkpoint.folder_digest(folder) not in (first, second)


def test_without_change_times_a_sample_of_the_content_is_compared(large_files, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_state", lambda stat: (stat.st_size, stat.st_mtime_ns))
    folder = tmp_path / "weights"
    folder.mkdir()
    path = folder / "model.safetensors"
    path.write_bytes(bytes(5_000_000))
    first, stat = checkpoint.folder_digest(folder), path.stat()
    path.write_bytes(b"\1" * 5_000_000)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert checkpoint.folder_digest(folder) != first


def test_a_damaged_entry_of_the_digest_cache_is_not_used(large_files, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(5000))
    first = checkpoint.folder_digest(folder)
    for entry in (tmp_path / "cache" / "evalkit" / "digests").iterdir():
        entry.write_text("")
    assert checkpoint.folder_digest(folder) == first and len(large_files) == 2
