"""`EvalCallback` in a real Trainer: what is logged, kept, saved and stopped, in one process and in two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import evalkit
from evalkit.errors import ConfigError, EvalkitError, ModelError
from evalkit.integrations.transformers import EvalCallback
from tests.support.paths import PACKAGE, ROOT

CHECKPOINT = PACKAGE / "models" / "phantom-llava"
KEY = "phantom/strict/exact_match"
SMALL = {"limit": 20, "protocols": ["strict"]}


class Rows:
    """Four rows of a text without an image; what is learned does not matter here."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, place: int) -> dict[str, Any]:
        import torch

        ids = torch.arange(7, 12)
        return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}


def trained(
    out: Path, *callbacks: Any, processing: str = "processor", resume: str | None = None, **settings: Any
) -> Any:
    from transformers import AutoProcessor, LlavaForConditionalGeneration, Trainer, TrainingArguments

    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    arguments = TrainingArguments(
        output_dir=str(out), report_to=[], disable_tqdm=True, use_cpu=True, per_device_train_batch_size=2,
        **{"logging_steps": 1, "save_strategy": "no", "save_only_model": True, **settings},
    )  # fmt: skip
    trainer = Trainer(
        model=LlavaForConditionalGeneration.from_pretrained(CHECKPOINT),
        args=arguments,
        train_dataset=Rows(),  # type: ignore[arg-type]
        processing_class=processor if processing == "processor" else processor.tokenizer,
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def at(trainer: Any, key: str) -> list[int]:
    return [entry["step"] for entry in trainer.state.log_history if key in entry]


def test_numbers_are_logged_beside_the_loss_and_runs_are_kept_by_step(tmp_path: Path) -> None:
    callback = EvalCallback("phantom", every=2, at_start=True, best=KEY, **SMALL)
    trainer = trained(tmp_path, callback, max_steps=3, learning_rate=1e-6, save_total_limit=1)
    for end in ("", "_low", "_high", "_n_unscored"):
        assert at(trainer, f"eval/{KEY}{end}") == [0, 2, 3]
    assert at(trainer, "loss") == [1, 2, 3]  # that of a step with an evaluation too
    steps = sorted(path.name for path in (tmp_path / "evalkit").iterdir())
    assert steps == ["step-000000", "step-000002", "step-000003"]
    assert all(evalkit.read_run(e.folders["phantom"]).summary.n == 20 for e in callback.evaluations)
    json.dumps(trainer.state.log_history)


@pytest.mark.slow
def test_a_training_that_does_not_become_better_ends_and_its_best_checkpoint_is_kept(tmp_path: Path) -> None:
    callback = EvalCallback(every="steps", best=KEY, patience=2, **SMALL)
    trainer = trained(
        tmp_path, callback, max_steps=9, learning_rate=0.0, save_strategy="steps", save_steps=1, save_total_limit=1
    )
    assert at(trainer, f"eval/{KEY}") == [1, 2, 3]
    assert trainer.state.global_step == 3 and callback.standing is not None and callback.standing.best_step == 1
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-1")
    assert (tmp_path / "checkpoint-1" / "model.safetensors").is_file()  # save_total_limit=1 keeps it
    assert trainer.state.best_metric == callback.evaluations[0].values[KEY].low


@pytest.mark.slow
def test_a_training_that_is_resumed_goes_on_with_the_best_of_its_log(tmp_path: Path) -> None:
    settings = {"learning_rate": 0.0, "num_train_epochs": 3}
    first = trained(tmp_path, EvalCallback(best=KEY, **SMALL), **{**settings, "max_steps": 2}, save_only_model=False)
    assert (tmp_path / "checkpoint-2").is_dir()  # saved as the best, with save_strategy="no"
    assert at(first, f"eval/{KEY}") == [2]
    callback = EvalCallback(best=KEY, patience=1, **SMALL)
    second = trained(tmp_path, callback, **settings, resume=str(tmp_path / "checkpoint-2"))
    assert second.state.global_step == 4 and callback.standing is not None
    assert callback.standing.best_step == 2 and callback.standing.n_since == 1


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("settings", "processing", "said"),
    [
        ({"best": "phantom/strict/exact_mach"}, "processor", "exact_match"),
        ({"best": "slake/strict/exact_match"}, "processor", "is not measured"),
        ({"tasks": {"slake": {"path": "nowhere"}}}, "processor", "nowhere"),
        ({"protocols": "no-such"}, "processor", "no-such"),
        ({"best": KEY, "limit": 8}, "processor", "8 samples are about 1 image"),
        ({}, "tokenizer", "needs the processor"),
    ],
)
def test_what_would_stop_the_first_evaluation_stops_the_training_before_its_first_step(
    settings: dict[str, Any], processing: str, said: str
) -> None:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    given = processor if processing == "processor" else processor.tokenizer
    arguments, state = SimpleNamespace(metric_for_best_model=None), SimpleNamespace(global_step=0)
    with pytest.raises(EvalkitError, match=said):
        EvalCallback(**{**SMALL, **settings}).on_train_begin(arguments, state, None, processing_class=given)


def test_two_ways_to_choose_the_best_checkpoint_are_refused() -> None:
    arguments = SimpleNamespace(metric_for_best_model="accuracy")
    with pytest.raises(ConfigError, match="together"):
        EvalCallback(best=KEY, **SMALL).on_train_begin(arguments, None, None)


@pytest.mark.parametrize("every", [0, -1, True, 1.5, "week", None])
def test_an_interval_that_is_none_is_refused(every: Any) -> None:
    with pytest.raises(ConfigError, match="every="):
        EvalCallback(every=every)


@pytest.mark.parametrize("settings", [{"patience": 2}, {"patience": 0, "best": KEY}, {"patience": True, "best": KEY}])
def test_a_patience_without_a_metric_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="patience="):
        EvalCallback(**settings)


def test_a_loop_without_a_trainer_is_told_what_to_call() -> None:
    from evalkit.integrations.transformers import _calling_trainer

    with pytest.raises(ConfigError, match="evaluate_live"):
        _calling_trainer()


def test_a_processor_without_images_is_no_processor() -> None:
    from evalkit.integrations.plan import check_plan

    with pytest.raises(ModelError, match="NoneType has no tokenizer"):
        check_plan([], None, None)


def in_two_processes(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(launcher, capture_output=True, text=True, cwd=cwd, env=environment, timeout=280)


@pytest.mark.slow
def test_a_tiny_llava_learns_phantom_in_two_processes_and_the_curve_rises(tmp_path: Path) -> None:
    script = ROOT / "benchmarks" / "training_curve.py"
    result = in_two_processes(str(script), "out", "--steps", "60", "--every", "30", "--limit", "60", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    curve = json.loads((tmp_path / "out" / "curve.json").read_text())
    values = [point[f"eval/{KEY}"] for point in curve]
    assert [point["step"] for point in curve] == [0, 30, 60]
    assert values[0] + 0.2 < values[1] <= values[2] + 0.1
    for step in ("000000", "000030", "000060"):  # merged on the main process
        (run,) = [p for p in (tmp_path / "out" / "evalkit" / f"step-{step}").iterdir() if p.name != "parts"]
        found = evalkit.read_run(run)
        assert found.summary.n == 60 and found.manifest is not None and found.manifest.facts["parts"] == 2
    best = max(curve, key=lambda point: point[f"eval/{KEY}_low"])
    again = evalkit.evaluate(str(tmp_path / "out" / f"checkpoint-{best['step']}"), limit=60, protocols=["strict"])[
        "strict", "exact_match"
    ]
    assert (again.value, again.low) == (best[f"eval/{KEY}"], best[f"eval/{KEY}_low"])


@pytest.mark.slow
def test_two_processes_agree_and_an_error_in_one_ends_both_with_its_paragraph(tmp_path: Path) -> None:
    script = ROOT / "tests" / "support" / "live_processes.py"
    result = in_two_processes(str(script), str(tmp_path), cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    alone = evalkit.evaluate("phantom-llava", limit=30, protocols=["strict"])["strict", "exact_match"]
    assert one["logs"] == two["logs"]
    assert one["logs"]["eval/phantom/strict/exact_match"] == alone.value
    assert one["logs"]["eval/one/strict/exact_match_n_unscored"] == 0  # one image: one process answers
    assert one["parts_left"] == 0 and not (tmp_path / "step-000001" / "parts").exists()
    assert "Process 1 of 2 failed while evaluating phantom" in one["error"] and "out of order" in one["error"]
    assert two["error"].startswith("RuntimeError") and "out of order" in two["error"]
    assert "Process 0 of 2 failed while merging phantom" in two["spread"]
    for spread in (one["spread"], two["spread"]):  # replicas with other weights are not one model
        assert "parts of different runs: they differ in checkpoint" in spread
