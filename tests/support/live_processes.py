"""Two processes that evaluate one model: the program of a test, started by torch.distributed.run with a folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from transformers import AutoProcessor, LlavaForConditionalGeneration

import evalkit
from evalkit.errors import EvalkitError
from evalkit.integrations import evaluate_live
from tests.support.paths import PACKAGE

CHECKPOINT = PACKAGE / "models" / "phantom-llava"
TASKS: dict[str, dict[str, Any]] = {
    "phantom": {"limit": 30, "protocols": ["strict"]},
    "one": {"task": evalkit.load_task("phantom", limit=30), "limit": 1, "protocols": ["strict"]},
}


def error_of(model: Any, processor: Any, out: Path) -> str:
    try:
        evaluate_live(model, processor, {"phantom": TASKS["phantom"]}, step=2, out=out)
    except (EvalkitError, RuntimeError) as problem:
        return f"{type(problem).__name__}: {problem}"
    return "no error"


def main() -> None:
    out = Path(sys.argv[1])
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    torch.set_num_threads(1)
    model = LlavaForConditionalGeneration.from_pretrained(CHECKPOINT)
    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    found = evaluate_live(wrapped, processor, TASKS, step=1, out=out)
    parts = out / "step-000001" / "parts"
    left = len(list(parts.glob("*part-*"))) if parts.is_dir() else 0
    if rank == 1:  # replicas that are not equal are not one model
        with torch.no_grad():
            model.lm_head.weight[0] += 1.0
    spread = error_of(wrapped, processor, out)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the second device is out of order")

    if rank == 1:
        model.state_dict = fail
    error = error_of(wrapped, processor, out)
    content = {"logs": found.logs, "parts_left": left, "spread": spread, "error": error}
    (out / f"rank-{rank}.json").write_text(json.dumps(content))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
