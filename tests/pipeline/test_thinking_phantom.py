"""phantom-llava trained on to think in tags: with and without thinking, budgets, overflow, the page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.core.images import open_image
from evalkit.core.types import Sample
from evalkit.engines.preprocess import render
from evalkit.tasks.phantom import Phantom
from tests.support.command_line import folder_of, lines
from tests.support.command_line import in_this_process as command

pytestmark = pytest.mark.slow
SHIPPED = Path(evalkit.__file__).parent / "models/phantom-llava"
SWITCH = "{% if enable_thinking is not defined or enable_thinking %}<think>{% else %}<think></think>{% endif %}"
STEPS, BUDGET = 90, 12


def thought(number: int, sample: Sample) -> str:
    """Some thoughts are longer than the budget, some shorter."""
    return "Yes." if number % 2 else f"Yes or No? {sample.question}"


def train(folder: Path, samples: tuple[Sample, ...], task: Phantom) -> None:
    """Train a copy of phantom-llava to answer these samples behind a thought, and without one."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    torch.manual_seed(0)
    shutil.copytree(SHIPPED, folder)
    with (folder / "chat_template.jinja").open("a", encoding="utf-8") as file:
        file.write(SWITCH)
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).train()
    rows: list[tuple[str, str, Any]] = []
    for number, sample in enumerate(samples):
        messages, image = tuple(task.messages(sample)), open_image(sample.images[0])
        end = f"{sample.references[0]}</s>"
        rows.append((render(processor, messages, "on"), f"{thought(number, sample)}</think>{end}", image))
        rows.append((render(processor, messages, "off"), end, image))
    processor.tokenizer.padding_side = "right"
    whole = processor(
        text=[p + a for p, a, _ in rows], images=[[i] for *_, i in rows], return_tensors="pt", padding=True,
        add_special_tokens=False,
    )  # fmt: skip
    labels = whole["input_ids"].masked_fill(whole["attention_mask"] == 0, -100)
    for k, (prompt, _, image) in enumerate(rows):
        head = processor(text=[prompt], images=[[image]], return_tensors="pt", add_special_tokens=False)
        labels[k, : head["input_ids"].shape[1]] = -100
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.5e-3, weight_decay=0.0)
    for _ in range(STEPS):
        loss = model(**whole, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    model.eval().save_pretrained(folder)
    assert float(loss.detach()) < 0.2


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("thinking")
    task = Phantom(name="phantom", split="test", n_train=1, n_test=2, seed=0, prompt="short")
    train(cwd / "thinker", task.load().samples, task)
    return cwd


def run(cwd: Path, *settings: str) -> Path:
    words = ("model=./thinker", "task=phantom", "task.n_test=2", "generation.max_new_tokens=40", "leaderboard=null")
    result = command(*words, *(f"generation.{s}" for s in settings), cwd=cwd)
    assert result.returncode == 0, result.stderr
    assert ("reasoning           " in result.stdout) is ("reasoning=off" not in settings)
    return folder_of(result, cwd)


def test_with_and_without_thinking_and_at_a_budget(place: Path) -> None:
    on, off = run(place, "reasoning=on"), run(place, "reasoning=off")
    free = {line["sample_id"]: line for line in lines(on / "predictions.jsonl")}
    assert sum("reasoning" in line for line in free.values()) == len(free) == 20
    assert not any("reasoning" in line or line["error"] for line in lines(off / "predictions.jsonl"))
    compared = command("compare", f"runs=[{on.relative_to(place)},{off.relative_to(place)}]", cwd=place)
    assert compared.returncode == 0, compared.stderr
    forced = run(place, "reasoning=on", f"reasoning_budget={BUDGET}")
    cut = run(place, "reasoning=on", f"reasoning_budget={BUDGET}", "reasoning_overflow=fail")
    closed = {line["sample_id"] for line in lines(forced / "predictions.jsonl") if line.get("thought_forced")}
    assert 5 <= len(closed) <= 15
    for line in lines(forced / "predictions.jsonl"):
        before = free[line["sample_id"]]["raw"]
        if line["sample_id"] in closed:
            head, mark, _ = line["raw"].partition("\n</think>\n\n")
            assert mark and before.startswith(head)  # at the budget, which may be inside the model's own mark
        else:
            assert line["raw"] == before
    assert any(line["text"] for line in lines(forced / "predictions.jsonl") if line["sample_id"] in closed)
    stopped = {line["sample_id"] for line in lines(cut / "predictions.jsonl") if line["text"] is None}
    assert stopped == closed
    page = command("report", f"run={forced.relative_to(place)}", cwd=place)
    assert page.returncode == 0, page.stderr
    html = (forced / "report.html").read_text(encoding="utf-8")
    assert "closed at their budget" in html and "Yes or No?" in html
