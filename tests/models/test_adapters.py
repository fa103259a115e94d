"""PEFT adapters: alone or on a model, merged as peft merges them, refused where they do not fit, recorded, fetched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.__main__ import main
from evalkit.cli.factories import make_spec, model_name
from evalkit.cli.hydra_app import configuration
from evalkit.core.errors import ConfigError, ModelError
from evalkit.engines.held_model import HeldModel, HeldModelEngine
from evalkit.engines.hf import HfEngine
from evalkit.models import adapters, checkpoint
from evalkit.models.tensor_files import Shards
from tests.support import tiny_hf
from tests.support.hub import COMMIT, FakeHub
from tests.support.slow import mostly_slow

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_hf.save("qwen2_5_vl", tmp_path_factory.mktemp("adapters") / "qwen")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [n for n in os.environ if n.startswith(("EVALKIT_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    yield


def whole(folder: Path) -> Any:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)


def trained(base: Path, out: Path, *, by: float = 0.3, dtype: torch.dtype = torch.float32, **settings: Any) -> Path:
    """Save an adapter on `base` whose factors are random; by=0: as before training."""
    given = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], **settings}
    made = peft.get_peft_model(whole(base), peft.LoraConfig(**given))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                value.add_(by * torch.randn_like(value))
    made.to(dtype).save_pretrained(out)
    return out


def spec_of(*words: str) -> checkpoint.CheckpointSpec:
    config = configuration("run", words)
    return make_spec(config, model_name(config))


def loaded(*words: str, dtype: str = "float32") -> Any:
    spec = spec_of(*words)
    return checkpoint.load(spec, checkpoint.locate(spec), device="cpu", dtype=dtype).model


def changed_names(one: Any, other: Any) -> set[str]:
    there = dict(other.named_parameters())
    return {name for name, value in one.named_parameters() if not torch.equal(value, there[name])}


@pytest.mark.parametrize(
    "settings", mostly_slow([{}, {"use_rslora": True}, {"target_modules": ["o_proj", "down_proj"], "r": 2}], [{}])
)
@pytest.mark.parametrize("dtype", mostly_slow(["float32", "bfloat16"], ["float32"]))
def test_a_plain_lora_is_merged_as_peft_merges_it(
    settings: dict[str, Any], dtype: str, base: Path, tmp_path: Path
) -> None:
    trained(base, tmp_path / "mine", **settings)
    ours = loaded("model=./mine", dtype=dtype)
    theirs = peft.PeftModel.from_pretrained(whole(base).to(getattr(torch, dtype)), tmp_path / "mine")
    theirs = theirs.merge_and_unload()
    assert changed_names(ours, whole(base).to(getattr(torch, dtype))), "the adapter changes something"
    for (name, value), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=2**-7 if dtype == "bfloat16" else 1e-6, atol=1e-6, msg=name)


def test_an_adapter_alone_and_beside_its_base_are_one_model(base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "mine")
    specs = [spec_of("model=./mine"), spec_of(f"model={base}", "model.adapter=mine")]
    assert [s.name for s in specs] == ["mine", "mine"]
    digests = {checkpoint.digest(s, checkpoint.locate(s)) for s in specs}
    assert len(digests) == 1
    plain = spec_of(f"model={base}")
    assert checkpoint.digest(plain, checkpoint.locate(plain)) not in digests


@pytest.mark.slow
def test_the_digest_covers_the_adapter_and_its_base_and_no_leftovers_of_training(base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "mine")
    spec = spec_of("model=./mine")
    before = checkpoint.digest(spec, checkpoint.locate(spec))
    (tmp_path / "mine" / "optimizer.pt").write_bytes(b"x")
    assert checkpoint.digest(spec, checkpoint.locate(spec)) == before
    trained(base, tmp_path / "mine", by=0.2)
    after = checkpoint.digest(spec, checkpoint.locate(spec))
    other_base = shutil.copytree(base, tmp_path / "other")
    (other_base / "generation_config.json").write_text("{}", encoding="utf-8")
    other = spec_of(f"model={other_base}", "model.adapter=mine")
    assert len({before, after, checkpoint.digest(other, checkpoint.locate(other))}) == 3


@pytest.mark.parametrize(
    "settings",
    mostly_slow(
        [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"rank_pattern": {"q_proj": 2}}], [{"use_dora": True}]
    ),
)
def test_other_kinds_go_through_peft(settings: dict[str, Any], base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "mine", **settings)
    spec = spec_of("model=./mine")
    adapter = checkpoint.adapter_of(spec, checkpoint.locate(spec))
    assert adapter is not None and adapter.by.startswith("peft ") and adapter.is_merged
    ours = loaded("model=./mine")
    theirs = peft.PeftModel.from_pretrained(whole(base), tmp_path / "mine").merge_and_unload()
    for (name, value), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(value, other, msg=name)


@pytest.mark.slow
def test_without_peft_a_plain_lora_works_and_other_kinds_name_the_extra(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(base, tmp_path / "plain")
    trained(base, tmp_path / "dora", use_dora=True)
    real = adapters.importlib.util.find_spec
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda name: None if name == "peft" else real(name))
    loaded("model=./plain")
    with pytest.raises(ModelError, match=r"needs the package peft \(.*use_dora.*evalkit-medvqa\[peft\]"):
        loaded("model=./dora")


def renamed(folder: Path, change: Any) -> None:
    """Save an adapter's tensors under other names or with other values."""
    from safetensors.torch import save_file

    file = folder / "adapter_model.safetensors"
    tensors = Shards((file,))
    save_file(dict(change(name, tensors.read(name).clone()) for name in tensors.shapes), file)


FAULTS: dict[str, tuple[Any, str]] = {
    "names of an older transformers": (
        lambda n, t: (n.replace("model.language_model.", "model."), t), "which the model does not have"),
    "NaN": (lambda n, t: (n, t * float("nan")), "holds NaN"),
    "zeros": (lambda n, t: (n, t * ("lora_A" in n)), "have a factor of zeros"),
    "another rank": (lambda n, t: (n, t[:2] if "lora_A" in n else t[:, :2].contiguous()), "do not fit"),
}  # fmt: skip


@pytest.mark.parametrize("fault", mostly_slow(FAULTS, ["names of an older transformers"]))
def test_an_adapter_that_would_be_noise_or_nothing_is_refused_by_doctor_and_run(
    fault: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, said = FAULTS[fault]
    renamed(trained(base, tmp_path / "mine"), change)
    with pytest.raises(ModelError, match=said):
        loaded("model=./mine")
    assert main(["doctor", "model=./mine"]) == 2
    assert said in capsys.readouterr().err


def test_peft_tensors_that_do_not_correspond_are_an_error_and_not_a_warning(base: Path, tmp_path: Path) -> None:
    folder = trained(base, tmp_path / "mine", use_dora=True)
    renamed(folder, lambda n, t: (n.replace("model.language_model.", "model."), t))
    with pytest.raises(ModelError, match="do not correspond"):
        loaded("model=./mine")


@pytest.mark.slow
def test_an_adapter_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "mine")
    other = tiny_hf.save("qwen2_5_vl", tmp_path / "other", intermediate_size=64)
    with pytest.raises(ModelError, match=r"trained on the base .* set model.source="):
        spec = spec_of(f"model={other}", "model.adapter=mine")
        HfEngine(spec=spec, device="cpu")


@pytest.mark.parametrize(
    "words",
    [
        ("engine=vllm", "limit=1"),
        ("engine=server", "engine.url=http://127.0.0.1:9/v1", "engine.served_model=m", "limit=1"),
        ("convert", "to=converted"),
    ],
)
def test_what_would_answer_with_the_base_refuses_an_adapter(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in (
        ("mine/adapter_config.json", '{"base_model_name_or_path": "base"}'),
        ("base/config.json", "{}"),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "base" / "config.json").write_text('{"text_config": {}}', encoding="utf-8")
    assert main([*words, "model=./mine"]) == 2
    assert "model.adapter=./mine is not possible with" in capsys.readouterr().err


def test_a_model_in_memory_has_its_adapter_already(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.adapter=lab/x is not possible with a model in memory"):
        HeldModelEngine(held=HeldModel(whole(base), None), spec=spec_of("model=lab/m", "model.adapter=lab/x"))


def test_what_is_no_adapter_is_said(base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "mine")
    for words, said in (
        ((f"model={base}", "model.adapter=./none"), "there is no folder ./none"),
        ((f"model={base}", f"model.adapter={base}"), "has no adapter_config.json"),
    ):
        with pytest.raises(ModelError, match=said):
            HfEngine(spec=spec_of(*words), device="cpu")
    (tmp_path / "mine" / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"none of adapter_model\.safetensors"):
        HfEngine(spec=spec_of("model=./mine"), device="cpu")
    (tmp_path / "mine" / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    with pytest.raises(ConfigError, match="names no base"):
        spec_of("model=./mine")


def test_a_run_says_and_records_the_adapter(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(base, tmp_path / "mine")
    words = ["model=./mine", "task=phantom", "limit=2", "generation.max_new_tokens=2", "leaderboard=null"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "note: the adapter ./mine (LORA) is merged into" in err
    manifest = json.loads((Path(out.strip().splitlines()[-1]) / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["model"] == "mine"
    assert '"merged": true' in json.dumps(manifest) and '"by": "evalkit"' in json.dumps(manifest)


def test_a_registered_model_with_an_adapter_is_a_row_of_its_own() -> None:
    registered = configuration("run", ["model=llava-med"])["model"]
    model = configuration("run", ["model=llava-med", "model.adapter=lab/my-adapter"])["model"]
    assert model["name"] == "lab/my-adapter"
    assert not {"trained_on", "licence", "notes", "about"} & model.keys()
    assert (model["source"], model["revision"]) == (registered["source"], registered["revision"])


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.mark.slow
def test_an_adapter_of_the_hub_is_fetched_with_its_base(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = trained(base, tmp_path / "mine")
    config = json.loads((mine / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "lab/base"
    (mine / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["model=lab/adapter", "limit=1"]) == 2
    assert "evalkit fetch model=lab/adapter`" in capsys.readouterr().err
    repos = {"models/lab/adapter": {COMMIT: files_of(mine)}, "models/lab/base": {COMMIT: files_of(base)}}
    with FakeHub(repos) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert main(["fetch", "model=lab/adapter"]) == 0, capsys.readouterr().err
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        hub.requests.clear()
        spec = spec_of("model=lab/adapter")
        assert (spec.name, spec.config["source"]) == ("lab/adapter", "lab/base")
        assert changed_names(loaded("model=lab/adapter"), loaded("model=lab/base"))
        assert hub.requests == []
