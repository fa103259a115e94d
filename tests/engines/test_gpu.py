"""engine=hf on a GPU: answers of the CPU, invariance, bit-equal `exact`, memory that runs out, resumed runs.

Run with `pytest -m gpu`.  Only a CUDA device shows what these tests ask: its kernels change with the shape of a batch,
convolutions use TF32 unless told otherwise, and memory runs out with an error that can be survived.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import load_option
from evalkit.core.types import Request
from evalkit.engines.hf import HfEngine
from evalkit.engines.packing import tokens_that_fit
from evalkit.engines.plain_decode import answer_with_logits
from evalkit.engines.preprocess import Preprocessor
from evalkit.models.checkpoint import CheckpointSpec
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import Answer, answers
from tests.support.paths import PACKAGE, ROOT

pytestmark = pytest.mark.gpu

QUESTIONS = [6, 1, 4, 2, 1, 1, 11, 8, 3]


@pytest.fixture(scope="module", autouse=True)
def cuda() -> Any:
    """The torch module, or a visible skip on a machine without a CUDA device."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch


@pytest.fixture(scope="module")
def spec(folder: Path) -> CheckpointSpec:
    return tiny.spec(folder)


@pytest.fixture(scope="module")
def requests(spec: CheckpointSpec, tmp_path_factory: pytest.TempPathFactory) -> list[Request]:
    return tiny.requests(tmp_path_factory.mktemp("images"), QUESTIONS, spec.generation)


@pytest.fixture(scope="module")
def on_cpu(spec: CheckpointSpec, requests: list[Request]) -> dict[str, Answer]:
    """Reference answers: one request at a time on the CPU, in float32."""
    plain = HfEngine(spec=spec, device="cpu", dtype="float32", share_prefix="off", batch_size=1)
    return answers(plain, requests)


def engine(spec: CheckpointSpec, **settings: Any) -> HfEngine:
    return HfEngine(**{"spec": spec, "device": "cuda", "dtype": "float32", **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1, "share_prefix": "off"},
        {"batch_size": 8, "share_prefix": "off"},
        {"batch_size": 16, "share_prefix": "off"},
        {"share_prefix": "require"},
        {"share_prefix": "require", "batch_size": 3},
        {"share_prefix": "require", "max_batch_tokens": 200},
        {"exact": True},
    ],
    ids=str,
)
def test_float32_texts_are_those_of_the_cpu_at_any_batch_size(
    spec: CheckpointSpec, requests: list[Request], on_cpu: dict[str, Answer], settings: dict[str, Any]
) -> None:
    run = engine(spec, **settings)
    assert answers(run, random.Random(1).sample(requests, len(requests))) == on_cpu
    assert run.metadata()["device"] == "cuda"
    assert run.metadata()["device_name"]


def test_float32_logits_have_all_their_bits(spec: CheckpointSpec, requests: list[Request]) -> None:
    """TF32, with its 10 bits, has errors of about 1e-3; float32 on a GPU and on a CPU agree to about 1e-6."""
    logits = []
    for device in ("cpu", "cuda"):
        loaded = engine(spec, device=device).load()
        rows = Preprocessor(loaded, workers=0).process(requests[:1]).rows
        logits.append(answer_with_logits(loaded, rows)[0].logits[0].double().cpu())
    assert float((logits[0] - logits[1]).norm() / logits[0].norm()) < 2e-5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("settings", [{}, {"batch_size": 2}, {"share_prefix": "off"}], ids=str)
def test_exact_answers_in_half_precision_do_not_depend_on_batch_order_and_sharing(
    spec: CheckpointSpec, requests: list[Request], dtype: str, settings: dict[str, Any]
) -> None:
    alone = engine(spec, exact=True, dtype=dtype)
    expected = {k: v for r in reversed(requests) for k, v in answers(alone, [r]).items()}
    mixed = random.Random(5).sample(requests, len(requests))
    assert answers(engine(spec, exact=True, dtype=dtype, **settings), mixed) == expected


def test_half_precision_on_a_gpu_measures_its_flips(spec: CheckpointSpec, requests: list[Request]) -> None:
    run = engine(spec, dtype="bfloat16", measure_flips=len(requests))
    batched = answers(run, requests)
    alone = answers(engine(spec, dtype="bfloat16", share_prefix="off", batch_size=1), requests)
    flips = run.metadata()["flips"]
    assert flips["n"] == len(requests)
    assert flips["differ"] == sum(batched[i][0] != alone[i][0] for i in alone)


def test_the_defaults_use_the_gpu_in_bfloat16(spec: CheckpointSpec) -> None:
    chosen = HfEngine(spec=spec)
    assert (chosen.device, chosen.dtype) == ("cuda", "bfloat16")


@pytest.fixture
def little_memory(cuda: Any) -> Iterator[Any]:
    """A function that leaves this process so many bytes of the GPU."""
    device_bytes = cuda.cuda.get_device_properties(0).total_memory

    def leave(n: int) -> None:
        cuda.cuda.empty_cache()
        cuda.cuda.set_per_process_memory_fraction((cuda.cuda.memory_reserved() + n) / device_bytes)

    yield leave
    cuda.cuda.set_per_process_memory_fraction(1.0)
    cuda.cuda.empty_cache()


@pytest.mark.parametrize("share", ["require", "off"])
def test_when_memory_runs_out_batches_are_halved_and_no_answer_is_lost(
    little_memory: Any, folder: Path, tmp_path: Path, share: str
) -> None:
    spec = tiny.spec(folder)
    many = tiny.requests(tmp_path / "images", [40] * 12, spec.generation)
    expected = answers(engine(spec, share_prefix=share), many)
    run = engine(spec, share_prefix=share, max_batch_tokens=200_000)
    run.load()
    little_memory(24 * 2**20)
    assert answers(run, many) == expected
    assert run.metadata()["out_of_memory"] > 0, "memory sufficed, so that nothing was tested"
    assert run.limits.tokens < 200_000 if share == "require" else (run.limits.rows or len(many)) < len(many)


def test_the_limit_of_a_batch_follows_from_the_gpu_s_free_memory(cuda: Any, spec: CheckpointSpec) -> None:
    loaded = engine(spec).load()
    before = tokens_that_fit(loaded)
    half = cuda.empty(cuda.cuda.mem_get_info()[0] // 2, dtype=cuda.uint8, device="cuda")
    assert 0.4 < tokens_that_fit(loaded) / before < 0.6
    del half
    cuda.cuda.empty_cache()


# --- the built-in model through the command line


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "evalkit", "model=phantom-llava", "task=phantom", f"out={folder}", *words]


FEW = ("engine.device=cuda", "engine.dtype=float32", "limit=200")


def texts(folder: Path) -> dict[str, str]:
    found = list(folder.glob("*/predictions.jsonl"))
    assert len(found) == 1
    lines = [json.loads(line) for line in found[0].read_text(encoding="utf-8").splitlines()]
    return {line["sample_id"]: line["text"] for line in lines}


def test_the_built_in_model_gives_the_stored_answers(tmp_path: Path) -> None:
    """The answers in float32 on a GPU are the answers that were computed on a CPU and stored with the package."""
    outs = {}
    for device in ("cpu", "cuda"):
        words = command(tmp_path / device, f"engine.device={device}", "engine.dtype=float32", "limit=120")
        subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
        outs[device] = texts(tmp_path / device)
    assert outs["cuda"] == outs["cpu"]
    assert len(outs["cuda"]) == 120
    assert any((PACKAGE / "models" / "phantom-llava").glob("*.safetensors"))


def test_a_killed_run_resumes_on_the_gpu_to_the_same_answers(tmp_path: Path) -> None:
    words = command(tmp_path / "killed", *FEW, "engine.batch_size=2")
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until, written = time.monotonic() + 120, 0
    while time.monotonic() < until and written < 8:
        written = sum(p.read_bytes().count(b"\n") for p in (tmp_path / "killed").glob("*/predictions.jsonl"))
        time.sleep(0.02)
    child.kill()
    child.wait()
    before = texts(tmp_path / "killed")
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=300)
    after = texts(tmp_path / "killed")
    assert 8 <= len(before) < len(after), "it was killed after it had ended"
    whole = command(tmp_path / "whole", *FEW)
    subprocess.run(whole, cwd=ROOT, check=True, capture_output=True, timeout=300)
    assert after == texts(tmp_path / "whole")


@pytest.mark.parametrize("name", ["phantom-llava"])
def test_doctor_states_the_gpu_s_memory(name: str) -> None:
    from evalkit.models.doctor import free_memory

    assert free_memory("cuda") > 2**30
    assert load_option("model", name)


# --- a model of the size that papers evaluate


@pytest.fixture(scope="module")
def seven_billion(cuda: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random LLaVA of seven billion parameters in bfloat16, as benchmarks/prefix.py builds it."""
    from benchmarks import prefix

    if cuda.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs 24 GiB of free GPU memory")
    folder = tmp_path_factory.mktemp("7b")
    prefix.build(folder / "model", prefix.SIZES["7b"], device="cuda", dtype="bfloat16")
    generation = prefix.Generation(max_new_tokens=12)
    spec = CheckpointSpec(name="7b", config={"source": str(folder / "model")}, generation=generation)
    first = engine(spec, dtype="bfloat16", share_prefix="off", batch_size=1, measure_flips=0)
    return first, spec, prefix.requests(folder, 6, 8, generation)


def test_seven_billion_parameters_share_prefixes_in_bfloat16(cuda: Any, seven_billion: Any) -> None:
    """Sharing passes its own check on the first image, computes each image once and answers as plain batches do."""
    first, spec, requests = seven_billion
    one = answers(first, requests)
    shared = engine(spec, dtype="bfloat16", share_prefix="require", measure_flips=len(requests))
    shared.use_model_of(first)
    found = answers(shared, requests)
    record = shared.metadata()
    assert record["counters"]["vision_encodes"] == record["counters"]["prefix_prefills"] == 6
    assert record["flips"]["n"] == len(requests)
    assert record["flips"]["differ"] == sum(found[i][0] != one[i][0] for i in one)
    assert len({text for text, _, _ in one.values()}) > len(one) / 2, "equal answers would hide a mistake"
    assert record["flips"]["differ"] < len(one) / 2


def test_seven_billion_parameters_are_exact_in_bfloat16(seven_billion: Any) -> None:
    first, spec, requests = seven_billion
    some = [r for r in requests if int(r.image_id) < 2]
    runs = []
    for part, settings in ((some, {}), (some[::-1], {"share_prefix": "off"})):
        run = engine(spec, dtype="bfloat16", exact=True, **settings)
        run.use_model_of(first)
        runs.append(answers(run, part))
    assert runs[0] == runs[1]
