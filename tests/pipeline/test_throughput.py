"""The benchmark measures what it says: same texts in every mode, counters, phases that add up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ConfigError, EngineError
from evalkit.engines import profiling
from evalkit.engines.hf import HfEngine
from evalkit.engines.scripted import ScriptedEngine
from evalkit.pipeline.throughput import bench, show
from tests.support import tiny_llava as tiny
from tests.support.server_engine import MODEL, serving


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny.spec(tiny.save(tmp_path_factory.mktemp("tiny")), max_new_tokens=6)


@pytest.fixture(autouse=True, scope="module")
def _short_measurements() -> Iterator[None]:
    """A machine's limits are measured for a second each; here for a hundredth."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiling, "_best", partial(profiling._best, seconds=0.01))
        yield


def maker(spec: Any, **fixed: Any) -> Any:
    return lambda **settings: HfEngine(**{"spec": spec, "device": "cpu", "dtype": "float32", **fixed, **settings})


@pytest.mark.slow
def test_every_mode_is_measured_on_the_same_requests(spec: Any, tmp_path: Path) -> None:
    asked = tiny.requests(tmp_path / "images", [4, 3], spec.generation)
    result = bench(maker(spec), asked, batch_sizes=(3,), repetitions=2)
    assert list(result["modes"]) == ["one", "batch 3", "shared"]
    assert result["requests"] == {"n": 7, "images": 2}
    for mode in result["modes"].values():
        assert mode["texts_unlike_one"] == 0
        assert mode["repetitions"] == 2
        low, high = mode["seconds_per_sample_range"]
        assert 0 < low <= mode["seconds_per_sample"] <= high
        seconds = mode["seconds"]
        assert all(value >= 0 for value in seconds.values())
        inside = seconds["vision"] + seconds["prefill"] + seconds["decode"] + seconds["outside_the_model"]
        assert inside == pytest.approx(seconds["all"], abs=0.01)
        assert 0 <= seconds["writing_in_a_thread"] < seconds["all"]  # 0.0 on a file system in memory
        assert 0 < mode["share_of_limit"] < 1
        assert mode["counters"]["image_decodes"] == 2
    one, shared = result["modes"]["one"]["counters"], result["modes"]["shared"]["counters"]
    assert (one["vision_encodes"], one["prefix_prefills"]) == (7, 0)
    assert (shared["vision_encodes"], shared["prefix_prefills"]) == (2, 2)
    assert one["decode_tokens"] == shared["decode_tokens"]
    batch = result["modes"]["batch 3"]["counters"]
    assert batch["decode_steps"] <= one["decode_steps"] / 1.5  # batches of three are batches of three
    assert batch["prefill_tokens"] == one["prefill_tokens"]
    assert result["engine"]["prefix_shared"] is True
    ratios = result["ratios"]
    assert ratios["fewer_prefill_tokens"] == round(one["prefill_tokens"] / shared["prefill_tokens"], 3)
    assert ratios["best_static_batch"] == "batch 3"
    assert "shared" in show(result)


def test_the_limit_is_the_work_over_the_machine_s_speed(spec: Any, tmp_path: Path) -> None:
    from evalkit.engines.loaded_model import Counters
    from evalkit.engines.profiling import estimate_work

    loaded = maker(spec)().load()
    limits = {"matmul_flops": 1e6, "bytes_per_second": 1e6}
    head = loaded.model.get_output_embeddings().weight.numel()
    tower = sum(p.numel() for p in loaded.model.model.vision_tower.parameters())
    every = sum(p.numel() for p in loaded.model.parameters())
    layers = every - tower - head - loaded.model.get_input_embeddings().weight.numel()
    prompt = estimate_work(loaded, Counters(prefill_tokens=10), limits)
    assert prompt["flops"] == 2 * layers * 10
    assert prompt["seconds_at_limit"] == pytest.approx(prompt["flops"] / 1e6, abs=1e-4)
    image = estimate_work(loaded, Counters(vision_encodes=3), limits)
    assert image["flops"] == 2 * tower * 16 * 3
    steps = estimate_work(loaded, Counters(decode_steps=7, decode_tokens=14), limits)
    assert steps["bytes_of_weights_read_to_decode"] == (layers + head) * 4 * 7
    assert steps["seconds_at_limit"] == pytest.approx(max(2 * 14, 4 * 7) * (layers + head) / 1e6, abs=1e-4)


@pytest.mark.slow
def test_another_engine_is_measured_on_the_same_requests(spec: Any, tmp_path: Path) -> None:
    asked = tiny.requests(tmp_path / "images", [4, 3], spec.generation)
    other = ScriptedEngine(rule="yes", seconds=0.01, batch_size=2)
    result = bench(maker(spec), asked, batch_sizes=(), others={"another": other})
    mode = result["modes"]["another"]
    assert other.metadata()["asked"] == 7 + 2, "all requests once, and the warm-up"
    assert mode["seconds"]["all"] >= 4 * 0.01
    assert mode["texts_unlike_one"] == 7
    assert mode["share_of_limit"] == pytest.approx(
        result["modes"]["shared"]["seconds_at_limit"] / mode["seconds"]["all"], rel=0.05
    )
    assert result["other_engines"]["another"]["engine"] == "scripted"
    assert "another" in show(result)


def test_an_engine_that_cannot_answer_is_left_out_and_says_why(
    spec: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tiny.requests(tmp_path / "images", [2], spec.generation)
    broken = ScriptedEngine(fail=[r.sample_id for r in asked])
    result = bench(maker(spec), asked, batch_sizes=(), others={"broken": broken})
    assert "broken" not in result["modes"]
    assert "scripted failure" in result["left_out"]["broken"]
    assert "broken is left out" in capsys.readouterr().err


@pytest.mark.slow
def test_the_verb_measures_a_server_beside_the_ways_of_this_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from evalkit.__main__ import main

    with serving() as server:
        url = f"engines={{server: {{url: '{server.url}', served_model: {MODEL}, concurrency: 2}}}}"
        code = main(["bench", "limit=12", "repetitions=1", "batch_sizes=[4]", url, f"out={tmp_path}"])
        shown = capsys.readouterr()
        assert code == 0, shown.err
        assert len(server.calls) == 12 + 2, "all samples once, and the warm-up"
    path = Path(shown.out.strip().splitlines()[-1])
    result = json.loads(path.read_text(encoding="utf-8"))
    assert list(result["modes"]) == ["one", "batch 4", "shared", "server"]
    assert result["modes"]["server"]["samples_per_second"] > 0
    assert result["settings"]["limit"] == 12
    assert result["machine"]["matmul_flops"] > 0


@pytest.mark.slow
def test_half_precision_is_measured_exactly_too(spec: Any, tmp_path: Path) -> None:
    asked = tiny.requests(tmp_path / "images", [4, 3], spec.generation)
    result = bench(maker(spec, dtype="bfloat16"), asked, batch_sizes=())
    assert list(result["modes"]) == ["one", "shared", "exact"]
    counters = {name: mode["counters"] for name, mode in result["modes"].items()}
    assert counters["exact"]["prefix_prefills"] == 2
    assert counters["exact"]["decode_steps"] == counters["one"]["decode_steps"], "one question at a time"


def test_requests_that_fail_are_not_timed(spec: Any, tmp_path: Path) -> None:
    asked = tiny.requests(tmp_path / "images", [2], spec.generation)
    Path(asked[0].images[0].path).write_bytes(b"")
    with pytest.raises(EngineError, match="requests fail"):
        bench(maker(spec), asked)


def test_a_model_is_not_handed_to_an_engine_of_another_dtype(spec: Any) -> None:
    with pytest.raises(ConfigError, match="same checkpoint"):
        maker(spec)(dtype="bfloat16").use_model_of(maker(spec)())


def test_memory_is_what_was_taken_and_given_back(spec: Any) -> None:
    from evalkit.engines.profiling import track_peak_memory

    loaded = maker(spec)().load()
    with track_peak_memory(loaded) as peak:
        content = bytearray(64 * 2**20)
        del content
    if peak[0] is None:
        pytest.skip("this system does not let a process reset its high-water mark")
    assert 60 <= peak[0] <= 80
