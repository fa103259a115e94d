"""Files of a checkpoint, damaged or made up: a checkpoint that loads, or one paragraph; nothing is run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.cli.config import load_option
from evalkit.core.errors import EvalkitError
from evalkit.core.types import ImagePlace, Message
from evalkit.models.checkpoint import CheckpointSpec, check, locate
from evalkit.models.delta_lora import check_adapter
from evalkit.models.templates import render
from evalkit.models.tensor_files import open_folder
from tests.support.fuzzing import EDITS, GRAFTS, LONGEST_ERROR, edited, examples, grafted, grafted_file, value_or_error
from tests.support.paths import PACKAGE

PHANTOM = PACKAGE / "models" / "phantom-llava"
SMALL = sorted(p.name for p in PHANTOM.iterdir() if p.suffix in (".json", ".jinja"))
MESSAGES = [Message(role="user", content=(ImagePlace(), "Is it?"))]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("checkpoint") / "copy"
    shutil.copytree(PHANTOM, folder)
    yield folder


def load(folder: Path) -> tuple[str, ...]:
    """Everything that `doctor` and a run refuse before they read weights."""
    config = {**load_option("model", "phantom-llava"), "source": str(folder), "name": "copy"}
    spec = CheckpointSpec.from_config(config)
    return check(spec, locate(spec), dtype="float32")


def outcome(copy: Path, name: str, content: bytes) -> None:
    """The checkpoint with one file of another content loads, or is refused in one paragraph that names its folder."""
    path = copy / name
    original = path.read_bytes()
    path.write_bytes(content)
    try:
        value_or_error(lambda: load(copy), str(copy), "copy")
    finally:
        path.write_bytes(original)


def test_the_copy_loads(copy: Path) -> None:
    assert load(copy) == ()
    assert {"config.json", "tokenizer_config.json"} <= {*SMALL}


FUZZED = settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
THOROUGH = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", SMALL)
@FUZZED
@given(edits=EDITS, grafts=st.none() | GRAFTS)
@pytest.mark.few(3)
def test_a_small_file(name: str, copy: Path, edits: Any, grafts: Any) -> None:
    fuzz(copy, name, edits, grafts)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@THOROUGH
@given(edits=EDITS, grafts=st.none() | GRAFTS)
def test_a_small_file_thoroughly(name: str, copy: Path, edits: Any, grafts: Any) -> None:
    fuzz(copy, name, edits, grafts)


def fuzz(copy: Path, name: str, edits: Any, grafts: Any) -> None:
    content = (PHANTOM / name).read_bytes()
    is_json = name.endswith(".json") and grafts is not None
    outcome(copy, name, grafted_file(content, grafts, lines=False) if is_json else edited(content, edits))


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_headers_of_weights(copy: Path, edits: Any) -> None:
    (path,) = copy.glob("*.safetensors")
    original = path.read_bytes()
    path.write_bytes(edited(original[:4096], edits) + original[4096:])
    try:
        value_or_error(lambda: open_folder(copy), str(copy))
    finally:
        path.write_bytes(original)


TEMPLATES = [p.read_text(encoding="utf-8") for p in sorted((PACKAGE / "models" / "templates").glob("*.jinja"))]


@settings(max_examples=examples(150))
@given(template=st.sampled_from(TEMPLATES), edits=EDITS)
def test_chat_templates(template: str, edits: Any) -> None:
    changed = edited(template.encode(), edits).decode("utf-8", "replace")
    try:
        assert isinstance(render(changed, MESSAGES), str)
    except EvalkitError as problem:
        assert "\n" not in str(problem) and len(str(problem)) < LONGEST_ERROR


ADAPTER = {"r": 8, "lora_alpha": 16, "use_rslora": False, "target_modules": ["q_proj"], "peft_type": "LORA"}


@settings(max_examples=examples(200))
@given(grafts=GRAFTS)
def test_adapter_configs(grafts: Any) -> None:
    value_or_error(lambda: check_adapter(grafted(ADAPTER, grafts)), "adapter_config.json")
