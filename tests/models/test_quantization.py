"""Weights in 4 and 8 bits: what is refused, what is recorded; the library itself where it is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from evalkit.__main__ import main
from evalkit.cli.factories import make_spec, model_name
from evalkit.cli.hydra_app import configuration
from evalkit.core.errors import ConfigError, ModelError
from evalkit.engines.hf import HfEngine
from evalkit.models import quantization
from tests.support.paths import PACKAGE

PHANTOM = PACKAGE / "models" / "phantom-llava"
HAS_LIBRARY = importlib.util.find_spec("bitsandbytes") is not None


def engine(*words: str) -> HfEngine:
    config = configuration("run", words)
    return HfEngine(spec=make_spec(config, model_name(config)), device="cpu")


@pytest.fixture
def as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library be found; nothing is loaded in these tests."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        quantization.importlib.util, "find_spec", lambda name: real("json" if name == "bitsandbytes" else name)
    )


@pytest.mark.parametrize("value", ["4", "3bit", "true", "int8"])
def test_only_4_and_8_bits_are_possible(value: str) -> None:
    with pytest.raises(ConfigError, match="expected 4bit or 8bit"):
        engine(f"model.quantization={value}")


@pytest.mark.skipif(HAS_LIBRARY, reason="bitsandbytes is installed")
def test_without_the_library_the_extra_is_named_by_run_and_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["limit=1"], ["doctor", "model=phantom-llava"]):
        assert main([*words, "model.quantization=4bit"]) == 2
        said = capsys.readouterr().err
        assert "needs the package bitsandbytes" in said and "evalkit-medvqa[quantization]" in said
        assert said.count("\n") == 1


@pytest.mark.usefixtures("as_installed")
def test_the_bits_are_in_the_signature_the_record_and_the_identity_of_a_run() -> None:
    plain, four, eight = engine(), engine("model.quantization=4bit"), engine("model.quantization=8bit")
    assert [e.generation_suffix for e in (plain, four, eight)] == ["", ".4bit", ".8bit"]
    assert len({e.identity for e in (plain, four, eight)}) == 3
    assert len({e.weights_digest for e in (plain, four, eight)}) == 1
    assert four.metadata()["quantization"] == "4bit" and "quantization" not in plain.metadata()


@pytest.mark.usefixtures("as_installed")
def test_a_checkpoint_that_is_quantised_already_is_refused(tmp_path: Path) -> None:
    for file in PHANTOM.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "awq"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="quantised already"):
        engine(f"model={tmp_path}", "model.quantization=4bit")


def test_the_settings_of_the_library() -> None:
    pytest.importorskip("transformers")
    four, eight = (quantization.quantization_config(kind, "float32") for kind in quantization.KINDS)
    assert (four.load_in_4bit, four.bnb_4bit_quant_type, str(four.bnb_4bit_compute_dtype)) == (
        True, "nf4", "torch.float32",
    )  # fmt: skip
    assert eight.load_in_8bit and not eight.load_in_4bit


@pytest.mark.slow
@pytest.mark.skipif(not HAS_LIBRARY, reason="bitsandbytes is not installed")
def test_phantom_answers_in_8_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["model.quantization=8bit", "limit=4", "leaderboard=null", "engine.device=cpu"]) == 0
