"""`evaluate_live`: the numbers of the checkpoint, and a training that goes on as if nothing had been."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

import evalkit
from evalkit.errors import ConfigError, EvalkitError, ModelError
from evalkit.integrations import evaluate_live
from evalkit.integrations.best import standing
from evalkit.integrations.live import live_tasks
from evalkit.integrations.live_model import whole_model
from tests.support.paths import PACKAGE

CHECKPOINT = PACKAGE / "models" / "phantom-llava"
TASKS = {"phantom": {"limit": 30, "protocols": ["strict"]}}


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    return LlavaForConditionalGeneration.from_pretrained(CHECKPOINT), AutoProcessor.from_pretrained(CHECKPOINT)


@pytest.fixture
def model(parts: tuple[Any, Any]) -> Iterator[Any]:
    """A model in the middle of a training: as far from `from_pretrained` as loops make it."""
    found = parts[0]
    found.train()
    found.model.vision_tower.eval()
    found.gradient_checkpointing_enable()
    found.enable_input_require_grads()
    found.config.use_cache = found.config.text_config.use_cache = False
    yield found
    found.gradient_checkpointing_disable()
    found.disable_input_require_grads()
    found.config.use_cache = found.config.text_config.use_cache = True
    found.zero_grad()


def loss_of(model: Any, processor: Any) -> Any:
    example = evalkit.load_task("phantom", limit=1)[0]
    batch = processor(images=example["image"], text="<s><|user|><image>x<|assistant|>yes", return_tensors="pt")
    return model(**batch, labels=batch["input_ids"]).loss


def state_of(model: Any) -> tuple[Any, ...]:
    numbers: Any = numpy.random.get_state()
    return (
        [m.training for m in model.modules()],
        [getattr(m, "gradient_checkpointing", None) for m in model.modules()],
        [(p.dtype, p.device, p.requires_grad) for p in model.parameters()],
        (model.config.use_cache, model.config.text_config.use_cache),
        model.forward,
        (random.getstate(), numbers[1].tolist(), numbers[2], torch.get_rng_state().tolist()),
        (torch.get_num_threads(), torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()),
    )


@pytest.fixture(scope="module")
def expected() -> evalkit.Result:
    return evalkit.evaluate("phantom-llava", **TASKS["phantom"])


@pytest.mark.slow
def test_a_model_in_training_has_the_numbers_of_its_checkpoint_and_is_left_as_found(
    model: Any, parts: tuple[Any, Any], expected: evalkit.Result, tmp_path: Path
) -> None:
    loss_of(model, parts[1]).backward()
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    before = state_of(model)
    found = evaluate_live(model, parts[1], TASKS, step=7, out=tmp_path)
    assert state_of(model) == before
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        assert (p.grad is None and gradient is None) or torch.equal(p.grad, gradient)
    loss_of(model, parts[1]).backward()  # tensors of inference_mode that stay in a model would make this fail
    value, logs = expected["strict", "exact_match"], found.logs
    key = "eval/phantom/strict/exact_match"
    assert (logs[key], logs[f"{key}_low"], logs[f"{key}_high"]) == (value.value, value.low, value.high)
    assert logs[f"{key}_n_unscored"] == value.n_unscored
    assert list(found.result("phantom").samples.answer) == list(expected.samples.answer)
    assert found.folders["phantom"].parent == tmp_path / "step-000007"


@pytest.mark.slow
def test_autocast_of_the_loop_does_not_change_the_numbers(
    model: Any, parts: tuple[Any, Any], expected: evalkit.Result, tmp_path: Path
) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    wrapped = accelerator.prepare_model(model)
    try:
        forward = model.forward
        assert "_original_forward" in vars(model)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = evaluate_live(wrapped, parts[1], TASKS, step=1, out=tmp_path)
        assert model.forward is forward
    finally:
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        vars(model).pop("forward", None)
    assert found.result("phantom").manifest is not None
    digest = [(r.manifest.facts or {})["prefix_check"] for r in (found.result("phantom"), expected) if r.manifest]
    assert digest[0] == digest[1]  # its logits are compared in it
    assert list(found.result("phantom").samples.answer) == list(expected.samples.answer)


@pytest.mark.slow
def test_the_model_is_left_as_found_where_the_evaluation_fails(
    model: Any, parts: tuple[Any, Any], tmp_path: Path
) -> None:
    before = state_of(model)
    for tasks in ({"phantom": {"protocols": ["no-such"]}}, {"slake": {"path": tmp_path / "nowhere"}}):
        with pytest.raises(EvalkitError):
            evaluate_live(model, parts[1], tasks, step=1, out=tmp_path)
        assert state_of(model) == before
    with pytest.raises(ModelError, match="processor"):
        evaluate_live(model, parts[1].tokenizer, TASKS, step=1, out=tmp_path)
    assert state_of(model) == before


@pytest.mark.slow
def test_other_weights_of_a_step_are_another_run(parts: tuple[Any, Any], tmp_path: Path) -> None:
    first = evaluate_live(*parts, TASKS, step=1, out=tmp_path)
    with torch.no_grad():
        parts[0].lm_head.weight[0] += 1.0
    try:
        second = evaluate_live(*parts, TASKS, step=1, out=tmp_path)
    finally:
        with torch.no_grad():
            parts[0].lm_head.weight[0] -= 1.0
    assert first.folders != second.folders and all(f.is_dir() for f in first.folders.values())


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([], "expected the name"),
        ({}, "expected the name"),
        (3, "expected the name"),
        ([""], "expected the name"),
        (["phantom", "phantom"], "twice"),
        ({"slake": "data/slake"}, "expected a dict"),
        ({"slake": 3}, "expected a dict"),
        ({"a": {"tasks": 1}}, "'tasks' is not possible"),
        ({"a": {"settings": {"engine.shard": "1/2"}}}, "engine.shard"),
        ({"a": {"settings": {"tracker": "wandb"}}}, "tracker"),
    ],
)
def test_tasks_that_are_none_are_refused(tasks: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        live_tasks(tasks)


def test_a_task_may_have_another_name_in_logs_and_arguments_of_its_own() -> None:
    common = {"limit": 5, "settings": {"image": "blank"}}
    first, second = live_tasks({"a": {"task": "phantom", "limit": 3}, "phantom": None}, **common)
    assert (first.label, first.task, first.arguments["limit"]) == ("a", "phantom", 3)
    assert (second.task, second.arguments["limit"]) == ("phantom", 5)
    assert first.arguments["settings"] == second.arguments["settings"] == {"image": "blank"}
    assert len(first.load()) == 3


def test_weights_that_are_spread_are_refused() -> None:
    FullyShardedDataParallel = type("FullyShardedDataParallel", (torch.nn.Linear,), {})
    inner = torch.nn.Sequential(FullyShardedDataParallel(2, 2))
    zero = torch.nn.Linear(2, 2)
    zero.weight.ds_id = 3  # type: ignore[assignment]
    for spread, how in ((FullyShardedDataParallel(2, 2), "FSDP"), (inner, "FSDP"), (zero, "ZeRO-3")):
        with pytest.raises(ConfigError, match=how):
            whole_model(spread)


def test_a_wrapper_with_whole_weights_is_taken_off() -> None:
    inner = torch.nn.Linear(2, 2)
    assert whole_model(torch.nn.DataParallel(inner)) is inner
    assert whole_model(inner) is inner


@pytest.mark.slow  # torch.compile takes seconds to import
def test_a_compiled_model_is_evaluated_as_it_was_before() -> None:
    inner = torch.nn.Linear(2, 2)
    assert whole_model(torch.compile(inner)) is inner


def test_the_bound_that_counts_is_the_worse_one() -> None:
    log = [
        {"step": step, "m_n_unscored": 0, "m_low": low, "m_high": high}
        for step, low, high in ((1, 0.2, 0.3), (2, 0.1, 0.9), (3, 0.2, 0.25))
    ]
    assert standing(log, "m", higher_is_better=True) == (1, 0.2, 2)
    assert standing(log, "m", higher_is_better=False) == (3, 0.25, 0)
    assert standing([], "m", higher_is_better=True) == (None, None, 0)
