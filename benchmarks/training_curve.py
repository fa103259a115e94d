"""A training that is evaluated while it runs: `python -m torch.distributed.run --nproc-per-node 2 THIS_FILE OUT`.

phantom-llava with the weights of its language model disturbed is fine-tuned on the train split of phantom by the
Trainer of transformers, with `EvalCallback` on the test split.  Writes OUT/curve.json.  In four minutes on two CPU
cores; also in one process, with `python THIS_FILE OUT`.  `python THIS_FILE . --plot` draws docs/training-curve.svg from
benchmarks/results/training_curve.json, a copy of such a file (matplotlib).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import evalkit
from evalkit.integrations.transformers import EvalCallback

METRICS = ("phantom/strict/exact_match", "phantom/strict/open_recall")
CHECKPOINT = Path(evalkit.__file__).parent / "models" / "phantom-llava"
ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "training_curve.json"
PLOT = ROOT / "docs" / "training-curve.svg"
IGNORED = -100


class Collator:
    """Examples of `load_task` as a batch: prompt and answer, with the loss on the answer alone."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, examples: list[Any]) -> Any:
        import torch

        tokenizer = self.processor.tokenizer
        texts, lengths = [], []
        for example in examples:
            turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": example["prompt"]}]}]
            prompt = self.processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            answer = example["references"][0] + tokenizer.eos_token
            texts.append(prompt + answer)
            lengths.append(len(tokenizer.encode(answer, add_special_tokens=False)))
        images = [example["image"] for example in examples]
        batch = self.processor(images=images, text=texts, padding=True, return_tensors="pt", add_special_tokens=False)
        labels = torch.full_like(batch["input_ids"], IGNORED)
        for row, n in enumerate(lengths):  # padding is on the left
            labels[row, -n:] = batch["input_ids"][row, -n:]
        batch["labels"] = labels
        return batch


def disturbed(seed: int = 0, strength: float = 1.0) -> Any:
    """phantom-llava with noise on the weights of its language model, as large as they are."""
    import torch
    from transformers import LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(CHECKPOINT)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.model.language_model.parameters():
            if weight.ndim == 2:
                weight += strength * weight.std() * torch.randn(weight.shape, generator=generator)
    return model


def train(out: Path, steps: int, every: int, limit: int, **settings: Any) -> EvalCallback:
    """Fine-tune for some steps; returns the callback with its evaluations."""
    import torch
    from transformers import AutoProcessor, Trainer, TrainingArguments

    torch.set_num_threads(1)  # of so small a model; more are slower
    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    callback = EvalCallback(
        {"phantom": {"protocols": ["strict"], "limit": limit}}, every=every, at_start=True, best=METRICS[0]
    )
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        logging_steps=every,
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
        **settings,
    )
    trainer = Trainer(
        model=disturbed(),
        args=arguments,
        train_dataset=evalkit.load_task("phantom", **{"task.split": "train", "task.n_train": 2000}),
        data_collator=Collator(processor),
        processing_class=processor,
        callbacks=[callback],
    )
    trainer.train()
    if trainer.is_world_process_zero():
        curve = [{"step": e.step, **e.logs} for e in callback.evaluations]
        (out / "curve.json").write_text(json.dumps(curve, indent=1) + "\n")
        (out / "log.json").write_text(json.dumps(trainer.state.log_history, indent=1) + "\n")
    return callback


def plot(curve: list[dict[str, float]], file: Path) -> None:
    """The metrics over the steps with their intervals, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "evalkit"
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    steps = [point["step"] for point in curve]
    for metric in METRICS:
        value, low, high = ([100 * p[f"eval/{metric}{end}"] for p in curve] for end in ("", "_low", "_high"))
        axes.plot(steps, value, marker="o", markersize=3, label=f"eval/{metric}")
        axes.fill_between(steps, low, high, alpha=0.2, linewidth=0)
    axes.set(xlabel="step", ylabel="%", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=25)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--plot", action="store_true")
    given = parser.parse_args()
    if given.plot:
        plot(json.loads(RESULT.read_text()), PLOT)
    else:
        train(given.out, given.steps, given.every, given.limit)


if __name__ == "__main__":
    main()
