"""`new model`: the YAML of a checkpoint, from the command line and read back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from evalkit.__main__ import main
from evalkit.cli.factories import make_spec, model_name
from evalkit.cli.hydra_app import configuration
from evalkit.models.checkpoint import CheckpointSpec, digest, locate
from tests.support.paths import PACKAGE


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's with a copy of a checkpoint."""
    for name in [n for n in os.environ if n.startswith(("EVALKIT_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PACKAGE / "models" / "phantom-llava", tmp_path / "my-ckpt")
    return tmp_path


def spec_of(*words: str) -> CheckpointSpec:
    config = configuration("run", words)
    return make_spec(config, model_name(config))


def test_the_yaml_is_the_checkpoint_wherever_it_is_used_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "model", "./my-ckpt", "generation.max_new_tokens=9"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("my-ckpt: ") and out.splitlines()[-1] == "conf/model/my-ckpt.yaml"
    assert "--config-dir conf model=my-ckpt" in err
    path = folder / "conf" / "model" / "my-ckpt.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["source"] == "../../my-ckpt" and content["presets"] == {"greedy": {"max_new_tokens": 9}}
    direct = spec_of("model=./my-ckpt")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    monkeypatch.setenv("EVALKIT_CONF", str(folder / "conf"))
    spec = spec_of("model=my-ckpt")
    assert (spec.name, spec.generation.max_new_tokens) == ("my-ckpt", 9)
    assert digest(spec, locate(spec)) == digest(direct, locate(spec))
    assert main(["doctor", "model=my-ckpt"]) == 0


def test_what_is_given_is_written(folder: Path) -> None:
    (folder / "t.jinja").write_text("{{ messages }}", encoding="utf-8")
    words = ["new", "model", "my-ckpt", "name=mine", "chat_template=t.jinja", "model.dtype=float32"]
    assert main([*words, "model.trained_on={slake: [train]}", "save=own/model/other.yaml"]) == 0
    content = yaml.safe_load((folder / "own" / "model" / "other.yaml").read_text(encoding="utf-8"))
    assert content["chat_template"] == "{{ messages }}" and content["dtype"] == "float32"
    assert content["trained_on"] == {"slake": ["train"]} and content["kind"] == "checkpoint"


def test_an_adapter_keeps_its_base(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine").mkdir()
    config = {"base_model_name_or_path": str(folder / "my-ckpt"), "peft_type": "LORA"}
    (folder / "mine" / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["new", "model", "./mine"]) == 0  # its tensors are missing, which is said
    assert "cannot run here as it is" in capsys.readouterr().err
    content = yaml.safe_load((folder / "conf" / "model" / "mine.yaml").read_text(encoding="utf-8"))
    assert (content["source"], content["adapter"]) == ("../../my-ckpt", "../../mine")


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "needs a checkpoint"),
        (("phantom-llava",), "a registered model already"),
        (("majority",), "is for a checkpoint"),
        (("./nothing",), "no such folder"),
        (("./empty",), "no checkpoint that evalkit can load"),
        (("./my-ckpt", "name=llava-med"), "Choose another name: name=NAME"),
        (("./my-ckpt", "save=x.yaml"), "expected FOLDER/model/NAME.yaml"),
    ],
)
def test_what_is_no_new_model_is_refused_and_nothing_is_written(
    words: tuple[str, ...], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty").mkdir()
    assert main(["new", "model", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(folder.rglob("*.yaml"))


@pytest.mark.slow
def test_a_yaml_that_is_there_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["new", "model", "./my-ckpt"]
    assert main(words) == 0
    assert main(words) == 2 and "force=true" in capsys.readouterr().err
    assert main([*words, "force=true"]) == 0
    assert [p.name for p in folder.rglob("*.yaml")] == ["my-ckpt.yaml"]
