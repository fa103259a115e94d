"""engine=vllm with a fake of vLLM's interface: content and order of the prompts, and predictions made from outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evalkit.cli.jobs import SharedModel
from evalkit.core.errors import ConfigError, EngineError, ModelError, Partial
from evalkit.core.images import open_image
from evalkit.core.types import Generation, Request
from evalkit.engines.hf import HfEngine
from evalkit.engines.vllm import VllmEngine
from evalkit.models.processors import pil_arguments
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import answers, ask_all, blind
from tests.support.option_requests import scores, with_options

QUESTIONS = [4, 1, 3, 2, 3]


@pytest.fixture
def make(folder: Path, vllm: Any) -> Callable[..., VllmEngine]:
    def made(**settings: Any) -> VllmEngine:
        generation = settings.pop("generation", {})
        return VllmEngine(**{"spec": tiny.spec(folder, **generation), "dtype": "float32", **settings})

    return made


def make_requests(tmp_path: Path, questions: list[int] = QUESTIONS, **generation: Any) -> list[Request]:
    return tiny.requests(tmp_path / "images", questions, Generation(**{"max_new_tokens": 12, **generation}))


def passed(vllm: Any) -> list[dict[str, Any]]:
    return [prompt for call in vllm.MADE[-1].calls for prompt in call]


@pytest.mark.few(2)
@pytest.mark.parametrize("stop", [(), (" w1",), ("w1", "w2")], ids=["greedy", "space", "two"])
def test_answers_equal_those_of_engine_hf(
    make: Callable[..., VllmEngine], engine: Callable[..., HfEngine], folder: Path, tmp_path: Path, stop: Any
) -> None:
    requests = make_requests(tmp_path, stop=stop)
    requests += [blind(r) for r in requests[:4]]
    want = answers(engine(tiny.spec(folder, stop=stop)), requests)
    assert answers(make(generation={"stop": stop}), requests) == want
    assert len({text for text, _, _ in want.values()}) > 4
    if not stop:
        assert {finish for _, finish, _ in want.values()} == {"stop", "length"}


def test_the_probability_of_an_answer_is_asked_for_and_stored_only_then(
    make: Callable[..., VllmEngine], engine: Callable[..., HfEngine], vllm: Any, tmp_path: Path
) -> None:
    plain = make_requests(tmp_path, [3])
    requests = [replace(r, with_probability=True) for r in plain]
    assert {p.logprob for batch in make().generate(plain) for p in batch} == {None}
    found = {p.sample_id: p for batch in make().generate(requests) for p in batch}
    hf = {p.sample_id: p for batch in engine().generate(requests) for p in batch}
    assert [params.given["logprobs"] for params in vllm.MADE[-1].params] == [0, 0, 0]
    assert {i: p.text for i, p in found.items()} == {i: p.text for i, p in hf.items()}
    assert all(abs(hf[i].logprob - p.logprob) < 1e-4 for i, p in found.items())


def test_no_requests_do_not_start_vllm(make: Callable[..., VllmEngine], vllm: Any) -> None:
    assert list(make().generate([])) == [] and vllm.MADE == []


def test_a_prompt_contains_unexpanded_tokens_the_image_and_its_digest(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path
) -> None:
    request = make_requests(tmp_path, [1])[0]
    engine = make()
    answers(engine, [request])
    (prompt,) = passed(vllm)
    words = tiny.tokenizer()(request.question, add_special_tokens=False)["input_ids"]
    assert prompt["prompt_token_ids"] == [1, 4, 5, *words, 6]
    (image,) = prompt["multi_modal_data"]["image"]
    assert isinstance(image, Image.Image) and image.tobytes() == open_image(request.images[0]).tobytes()
    assert prompt["multi_modal_uuids"] == {"image": list(request.image_digests)}


def test_requests_are_ordered_by_image_and_use_the_prefix_cache(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path
) -> None:
    requests = make_requests(tmp_path, [6] * 8, max_new_tokens=1)
    made = make(window=10)
    answers(made, requests)
    order = [p["multi_modal_uuids"]["image"][0] for p in passed(vllm)]
    assert sum(a != b for a, b in pairwise(order)) == 7, "each image's questions are adjacent"
    counters = made.metadata()["counters"]
    assert counters["image_decodes"] == 8
    # 16 of 17 tokens up to the end of the image are in whole blocks; each image's first question fills them.
    assert counters["cached_tokens"] >= 40 * 16
    assert counters["cached_tokens"] < counters["prompt_tokens"]
    scattered = make(window=1)
    scattered._llm = vllm.LLM(model=str(made.folder), limit_mm_per_prompt={"image": 1})
    scattered._max_images = 1
    for one in requests:  # in random order: the cache is small enough for order to matter
        answers(scattered, [one])
    assert scattered.metadata()["counters"]["cached_tokens"] < counters["cached_tokens"] / 2


@pytest.mark.few(2)
@pytest.mark.parametrize(("window", "sizes"), [(512, [13]), (5, [4, 3, 5, 1]), (4, [4, 3, 3, 3]), (1, [1] * 13)])
def test_windows_contain_whole_images_if_these_fit(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path, window: int, sizes: list[int]
) -> None:
    requests = make_requests(tmp_path, max_new_tokens=1)
    got = [len(batch) for batch in make(window=window).generate(requests)]
    assert got == [len(call) for call in vllm.MADE[-1].calls]
    assert sum(got) == 13 and max(got) <= window
    assert got == sizes


def test_greedy_settings_are_passed_in_full(make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path) -> None:
    answers(make(), make_requests(tmp_path, [1]))
    (params,) = vllm.MADE[-1].params
    assert params.given == {
        "max_tokens": 12,
        "temperature": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": [2, *range(7, 157, 6)],
        "detokenize": False,
        "logit_bias": {4: -100.0},
    }


def test_sampling_is_seeded_by_the_request(make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path) -> None:
    given = {"temperature": 0.7, "top_p": 0.9, "stop": ("w4",), "repetition_penalty": 1.1}
    requests = make_requests(tmp_path, [2, 1], **given)
    seeds = []
    for order in (requests, requests[::-1]):
        answers(make(generation=given), order)
        params = {tuple(p["prompt_token_ids"]): s for p, s in zip(passed(vllm), vllm.MADE[-1].params, strict=True)}
        assert all((s.temperature, s.top_p, s.top_k, s.stop) == (0.7, 0.9, -1, ["w4"]) for s in params.values())
        assert all(s.repetition_penalty == 1.1 and s.detokenize for s in params.values())
        seeds.append({prompt: s.seed for prompt, s in params.items()})
    assert seeds[0] == seeds[1] and len(set(seeds[0].values())) == 3


def test_vllm_is_started_with_the_settings_and_without_the_checkpoints_defaults(
    make: Callable[..., VllmEngine], vllm: Any, folder: Path, tmp_path: Path
) -> None:
    more = {"enforce_eager": True, "quantization": "fp8"}
    settings = {"tensor_parallel_size": 2, "pipeline_parallel_size": 3, "max_model_len": 300}
    answers(make(**settings, gpu_memory_utilization=0.5, engine_args=more), make_requests(tmp_path, [1]))
    assert vllm.MADE[-1].arguments == {
        "model": str(folder),
        "dtype": "float32",
        **settings,
        **more,
        "gpu_memory_utilization": 0.5,
        "enable_prefix_caching": True,
        "limit_mm_per_prompt": {"image": 1},
        "generation_config": "vllm",
        "mm_processor_kwargs": {"backend": "pil"},
        "mm_device_do_normalize": False,
        "logprobs_mode": "processed_logprobs",
        "seed": 0,
    }
    answers(make(engine_args={"mm_processor_kwargs": {"num_crops": 4}}), make_requests(tmp_path, [1]))
    assert vllm.MADE[-1].arguments["mm_processor_kwargs"] == {"backend": "pil", "num_crops": 4}
    answers(make(image_processor="auto"), make_requests(tmp_path, [1]))
    assert "mm_processor_kwargs" not in vllm.MADE[-1].arguments


def test_vllm_is_restarted_only_for_more_images_per_prompt(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path
) -> None:
    requests = make_requests(tmp_path, [2])
    made = make()
    answers(made, [blind(requests[0])])
    answers(made, requests[:1])
    answers(made, [requests[1], blind(requests[0])])
    assert [llm.arguments["limit_mm_per_prompt"]["image"] for llm in vllm.MADE] == [0, 1]


@pytest.mark.slow
def test_the_jobs_of_a_command_share_one_start(make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path) -> None:
    requests, shared, found = make_requests(tmp_path), SharedModel(), []
    for settings in ({}, {"window": 3}, {"generation": {"max_new_tokens": 2}}, {"max_model_len": 64}):
        engine = make(**settings)
        assert shared.share(engine) is engine
        found.append(answers(engine, requests))
    assert len(vllm.MADE) == 2, "another limit of tokens is another start"
    assert found[0] == found[1] == answers(make(), requests)


@pytest.mark.slow
def test_a_prompt_that_differs_from_transformers_stops_before_any_answer(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path
) -> None:
    vllm.SCRIPT.extra = [1]  # a second beginning-of-sequence token: the most common of these mistakes
    requests = make_requests(tmp_path)
    given, problem = ask_all(make(), requests)
    assert given == [] and isinstance(problem, EngineError)
    assert "makes a different prompt for sample" in str(problem)
    assert "token 1 ([1, 4, 4] instead of [4, 4, 4])" in str(problem)
    made = make(check_prompts=False)
    given, problem = ask_all(made, requests)
    assert len(given) == len(requests) and problem is None and made.metadata()["prompts_checked"] == 0


def test_the_first_images_prompts_are_checked_even_after_questions_without_an_image(
    make: Callable[..., VllmEngine], tmp_path: Path
) -> None:
    requests = make_requests(tmp_path, [3, 2])
    made = make(window=6)
    answers(made, [blind(r) for r in requests] + requests)
    assert made.metadata()["prompts_checked"] == 3


def test_a_prompt_that_vllm_refuses_fails_alone(make: Callable[..., VllmEngine], tmp_path: Path) -> None:
    requests = make_requests(tmp_path)
    longest = max(requests, key=lambda r: len(r.question.split()))
    long = replace(
        longest, messages=(replace(longest.messages[0], content=(longest.messages[0].content[0], "w1 " * 99)),)
    )
    requests = [long if r is longest else r for r in requests]
    given, problem = ask_all(make(max_model_len=90), requests)
    assert problem is None and len(given) == len(requests)
    (failure,) = [p for p in given if p.error is not None]
    assert failure.fingerprint == long.fingerprint and failure.finish_reason == "error"
    assert str(failure.error).startswith("VLLMValidationError: The decoder prompt (length 118) is longer than 90")


def test_an_image_that_cannot_be_opened_fails_only_its_own_questions(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path
) -> None:
    requests = make_requests(tmp_path, [3, 2])
    lost = [r for r in requests if r.image_id == "0"]
    Path(lost[0].images[0].path).write_bytes(b"not an image")
    given, problem = ask_all(make(), requests)
    assert problem is None and len(passed(vllm)) == 2
    assert {p.sample_id for p in given if p.error} == {r.sample_id for r in lost}


def test_an_answer_that_did_not_end_properly_is_a_failure_with_a_reason(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path
) -> None:
    requests = make_requests(tmp_path, [12])
    by_length = {len(r.question.split()): r for r in requests}
    assert len(by_length) >= 4
    (aborted, suppressed, cut, alone), *_ = [sorted(by_length)[:4]]
    prompt = 1 + 16 + 1 + 1  # begin, image, "look", "answer"
    vllm.SCRIPT.finish = {prompt + aborted: "abort"}
    vllm.SCRIPT.says = {prompt + suppressed: [8, 4, 2], prompt + cut: [8, 9], prompt + alone: [8] * 12}
    given, problem = ask_all(make(), requests)
    assert problem is None
    of = {p.sample_id: p for p in given}
    errors = [str(of[by_length[n].sample_id].error) for n in (aborted, suppressed, cut)]
    assert "finish_reason abort" in errors[0] and "token 4, which the checkpoint's settings suppress" in errors[1]
    assert "cut after 2 of 12 tokens" in errors[2] and "engine.max_model_len" in errors[2]
    whole = of[by_length[alone].sample_id]
    assert whole.error is None and whole.finish_reason == "length" and whole.n_tokens == 12


def test_an_engine_that_dies_during_a_run_ends_it_and_keeps_the_answers(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path
) -> None:
    vllm.SCRIPT.dies_at = 9
    given, problem = ask_all(make(window=4), make_requests(tmp_path))
    assert isinstance(problem, Partial) and "same command again to continue" in str(problem)
    assert [p.error for p in given] == [None] * 7
    vllm.SCRIPT.dies_at = 0
    given, problem = ask_all(make(window=4), make_requests(tmp_path))
    assert type(problem) is EngineError and "nothing was answered" in str(problem) and given == []


def test_an_engine_that_does_not_start_is_one_paragraph(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path
) -> None:
    vllm.SCRIPT.start = RuntimeError("Engine core initialization failed.\nSee root cause above.")
    given, problem = ask_all(make(), make_requests(tmp_path))
    assert type(problem) is EngineError and given == []
    assert "Engine core initialization failed" in str(problem) and "\n" not in str(problem)
    assert "engine.max_model_len" in str(problem)


def test_a_run_whose_first_samples_all_fail_ends(make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path) -> None:
    given, problem = ask_all(make(max_model_len=3), make_requests(tmp_path))
    assert type(problem) is EngineError and "the first 13 samples all failed" in str(problem) and given == []


def test_a_missing_package_is_one_paragraph(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.engines.vllm_package.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"evalkit-medvqa\[vllm\].*engine=hf.*engine=server") as caught:
        VllmEngine(spec=tiny.spec(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tensor_parallel_size": 0}, "engine.tensor_parallel_size=0"),
        ({"pipeline_parallel_size": -1}, "engine.pipeline_parallel_size=-1"),
        ({"window": 0}, "engine.window=0"),
        ({"max_model_len": 0}, "engine.max_model_len=0"),
        ({"gpu_memory_utilization": 1.5}, "engine.gpu_memory_utilization=1.5"),
        ({"engine_args": {"enable_prefix_caching": False}}, "may not contain enable_prefix_caching"),
        ({"engine_args": {"generation_config": "auto", "model": "x"}}, "may not contain generation_config, model"),
        ({"dtype": "int4"}, "engine.dtype=int4"),
        ({"image_processor": "slow"}, "engine.image_processor=slow"),
        ({"generation": {"num_beams": 4}}, "no beam search"),
    ],
)
def test_invalid_settings_are_refused_before_anything_is_loaded(
    make: Callable[..., VllmEngine], vllm: Any, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**settings)
    assert words in str(caught.value) and vllm.MADE == []


def rewritten(folder: Path, to: Path, **content: Any) -> Path:
    """Copy a checkpoint with changed entries in its config.json."""
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    config = json.loads((to / "config.json").read_text()) | content
    (to / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return to


def test_a_model_with_a_linear_projector_is_refused_with_an_alternative(
    make: Callable[..., VllmEngine], folder: Path, tmp_path: Path
) -> None:
    for content in (
        {"projector_hidden_act": "linear"},
        {"model_type": "llava", "mm_projector_type": "linear", "mm_hidden_size": 32, "text_config": None},
    ):
        there = rewritten(folder, tmp_path / f"copy{len(content)}", **content)
        if "mm_projector_type" in content:
            import torch
            from safetensors.torch import save_file

            save_file({"model.norm.weight": torch.ones(8)}, there / "model.safetensors")
        with pytest.raises(ModelError, match=r"single linear layer.*LLaVA-Med v1\.0.*Use engine=hf"):
            make(spec=tiny.spec(there))


def test_models_with_bidirectional_image_attention_are_refused_without_vllm_support(
    make: Callable[..., VllmEngine], vllm: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemma = tiny.spec(rewritten(folder, tmp_path / "gemma", model_type="gemma3"))
    with pytest.raises(ModelError, match=r"attention is causal.*Use engine=hf, or a recent vLLM on a GPU"):
        make(spec=gemma)
    with pytest.raises(ModelError, match=r"PaliGemma, image and question.*Use engine=hf"):
        make(spec=tiny.spec(rewritten(folder, tmp_path / "pali", model_type="paligemma")))
    monkeypatch.setattr("vllm.platforms.CpuPlatform.is_cpu", lambda self: False)
    make(spec=gemma)
    monkeypatch.delattr("vllm.config.ModelConfig.is_mm_prefix_lm")
    with pytest.raises(ModelError, match="attention is causal"):
        make(spec=gemma)
    assert vllm.MADE == []


def test_a_checkpoint_in_llavas_layout_is_refused_with_the_convert_command(
    make: Callable[..., VllmEngine], folder: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import save_file

    mlp = {"model_type": "llava_mistral", "mm_projector_type": "mlp2x_gelu", "text_config": None}
    there = rewritten(folder, tmp_path / "own", **mlp)
    save_file({"model.norm.weight": torch.ones(8)}, there / "model.safetensors")
    with pytest.raises(ModelError, match=r"llava-full.*evalkit convert model=tiny to=DIR.*model\.source=DIR"):
        make(spec=tiny.spec(there))


def test_a_checkpoint_with_settings_that_vllm_does_not_apply_is_refused(
    make: Callable[..., VllmEngine], folder: Path, tmp_path: Path
) -> None:
    there = rewritten(folder, tmp_path / "copy")
    own = json.loads((there / "generation_config.json").read_text()) | {"no_repeat_ngram_size": 3}
    (there / "generation_config.json").write_text(json.dumps(own))
    _, problem = ask_all(make(spec=tiny.spec(there)), make_requests(tmp_path, [1]))
    assert isinstance(problem, ModelError) and "sets no_repeat_ngram_size" in str(problem)


def test_an_end_token_outside_the_vocabulary_is_not_passed_on(
    make: Callable[..., VllmEngine], vllm: Any, folder: Path, tmp_path: Path
) -> None:
    there = rewritten(folder, tmp_path / "copy")
    own = json.loads((there / "generation_config.json").read_text()) | {"eos_token_id": [2, 151645]}
    (there / "generation_config.json").write_text(json.dumps(own))
    answers(make(spec=tiny.spec(there)), make_requests(tmp_path, [1]))
    assert vllm.MADE[-1].params[0].stop_token_ids == [2]


def test_a_processor_with_videos_gets_use_fast_instead_of_backend(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalkit.models.processors.has_video_processor", lambda folder: True)
    made = make()
    answers(made, make_requests(tmp_path, [1]))
    assert vllm.MADE[-1].arguments["mm_processor_kwargs"] == {"use_fast": False}
    assert made.metadata()["image_processor"] == "pil"


def test_without_a_pil_image_processor_vllm_chooses_and_the_user_is_told(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    class Other:
        @staticmethod
        def from_pretrained(*given: Any, **keywords: Any) -> Any:
            raise ImportError("a video processor wants torchvision")

    monkeypatch.setattr("evalkit.models.processors.has_video_processor", lambda folder: True)
    made = make()
    before = made.identity
    with monkeypatch.context() as patch:
        patch.setattr("transformers.AutoProcessor", Other)
        assert pil_arguments(made.folder) is None
        monkeypatch.setattr("evalkit.engines.vllm.pil_arguments", lambda folder: None)
    answers(made, make_requests(tmp_path, [1]))
    assert "mm_processor_kwargs" not in vllm.MADE[-1].arguments
    assert made.metadata()["image_processor"] == "vLLM's choice" and made.identity == before
    assert "vLLM chooses" in capsys.readouterr().err


@pytest.mark.slow
def test_pixels_are_normalised_if_mean_and_deviation_come_from_the_processor_class(
    make: Callable[..., VllmEngine], engine: Callable[..., HfEngine], vllm: Any, folder: Path, tmp_path: Path
) -> None:
    there = rewritten(folder, tmp_path / "copy")
    own = json.loads((there / "processor_config.json").read_text())
    removed = ("do_normalize", "do_rescale", "image_mean", "image_std", "rescale_factor")
    own["image_processor"] = {k: v for k, v in own["image_processor"].items() if k not in removed}
    (there / "processor_config.json").write_text(json.dumps(own))
    spec, requests = tiny.spec(there), make_requests(tmp_path)
    want = answers(engine(spec), requests)
    assert answers(make(spec=spec), requests) == want
    raw = answers(make(spec=spec, engine_args={"mm_device_do_normalize": True}), requests)
    assert raw != want, "the user's setting has precedence, and the pixels matter"


def test_a_vllm_without_the_normalisation_argument_does_not_get_it(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm.engine.arg_utils.EngineArgs", Generation)
    answers(make(), make_requests(tmp_path, [1]))
    assert "mm_device_do_normalize" not in vllm.MADE[-1].arguments


def test_the_identity_depends_on_what_determines_answers(make: Callable[..., VllmEngine], folder: Path) -> None:
    plain = make().identity
    assert make(window=3, tensor_parallel_size=2, gpu_memory_utilization=0.3, check_prompts=False).identity == plain
    others = [
        make(dtype="bfloat16"),
        make(image_processor="auto"),
        make(engine_args={"quantization": "fp8"}),
        make(spec=tiny.spec(folder, chat_template=tiny.IMAGE_LAST)),
    ]
    hf = HfEngine(spec=tiny.spec(folder), device="cpu", dtype="float32")
    assert len({plain, hf.identity, *(e.identity for e in others)}) == 6
    assert make().weights_digest == hf.weights_digest


def test_the_metadata_contains_versions_settings_and_counters(make: Callable[..., VllmEngine], tmp_path: Path) -> None:
    made = make(engine_args={"enforce_eager": True})
    answers(made, make_requests(tmp_path))
    record = json.loads(json.dumps(made.metadata()))
    assert {"vllm", "torch", "transformers", "weights_sha256", "device", "batch_invariant"} <= set(record)
    assert (record["engine"], record["dtype"], record["prefix_caching"]) == ("vllm", "float32", True)
    assert record["engine_args"] == {"enforce_eager": True} and record["prompts_checked"] == 4
    assert record["counters"]["image_decodes"] == len(QUESTIONS)
    assert record["counters"]["prompt_tokens"] > 13 * 19 and record["counters"]["answer_tokens"] > 13


def test_log_probabilities_of_options_equal_those_of_engine_hf(
    make: Callable[..., VllmEngine], engine: Callable[..., HfEngine], vllm: Any, tmp_path: Path
) -> None:
    options = [("w1", "w2 w3", "w2"), ("w4 w5 w6", "w4"), ("w7",)]
    requests = [with_options(r, options[k % 3]) for k, r in enumerate(make_requests(tmp_path))]
    made = make(window=5)  # the options of a request are in one call or in two
    found, expected = scores(made, requests), scores(engine(), requests)
    for sample, values in expected.items():
        assert [n for _, n in found[sample]] == [n for _, n in values]
        assert all(abs(a - b) < 1e-4 for (a, _), (b, _) in zip(found[sample], values, strict=True))
    assert made.metadata()["prompts_checked"] > 0
    assert {p.given["max_tokens"] for p in vllm.MADE[-1].params} == {1}


def test_a_version_of_vllm_without_log_probabilities_of_prompts_fails_by_name(
    make: Callable[..., VllmEngine], vllm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm.LLM, "_prompt_logprobs", lambda *_: None)
    requests = [with_options(r, ("w1", "w2")) for r in make_requests(tmp_path, [2])]
    given = [p for batch in make().generate(requests) for p in batch]
    assert len(given) == 2 and all("no log-probabilities" in str(p.error) for p in given)
