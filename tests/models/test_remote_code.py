"""Code in a checkpoint's folder is never run, even if the user confirms the question of transformers."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from evalkit.core.errors import ModelError
from evalkit.models import checkpoint
from evalkit.models.checkpoint import CheckpointSpec
from tests.support.paths import ROOT

CODE = "import pathlib\npathlib.Path({ran!r}).write_text('ran')\nfrom transformers import {name} as Own\n"


@pytest.mark.parametrize(
    ("file", "key", "automatic", "named", "base"),
    [
        ("tokenizer_config.json", "tokenizer_class", "AutoTokenizer", "Own", "PreTrainedTokenizerFast"),
        ("processor_config.json", "processor_class", "AutoProcessor", "Own", "LlavaProcessor"),
        ("config.json", "model_type", "AutoConfig", "own", "LlavaConfig"),
        ("config.json", "architectures", "AutoModelForImageTextToText", ["Own"], "LlavaForConditionalGeneration"),
    ],
)
def test_code_in_the_folder_is_not_run_even_if_the_prompt_is_answered_yes(
    tmp_path, monkeypatch, file, key, automatic, named, base
):
    folder, ran = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(ROOT / "evalkit" / "models" / "phantom-llava", folder)
    content = json.loads((folder / file).read_text(encoding="utf-8"))
    content |= {key: named, "auto_map": {automatic: ["code.Own", None] if "Tokenizer" in automatic else "code.Own"}}
    (folder / file).write_text(json.dumps(content), encoding="utf-8")
    (folder / "code.py").write_text(CODE.format(ran=str(ran), name=base), encoding="utf-8")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    config = yaml.safe_load((ROOT / "conf" / "model" / "phantom-llava.yaml").read_text(encoding="utf-8"))
    spec = CheckpointSpec.from_config({**config, "name": "phantom-llava", "source": str(folder)})
    try:
        checkpoint.load(spec, checkpoint.locate(spec), device="cpu", dtype="float32")
    except ModelError as refusal:
        assert str(folder) in str(refusal)
    assert not ran.exists()
