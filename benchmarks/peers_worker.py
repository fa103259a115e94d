"""One engine of benchmarks/peers.py in a process of its own: python benchmarks/peers_worker.py ENGINE FOLDER [THREADS]

FOLDER has the checkpoint in `model`.  Each line on standard input names a JSON file of questions
({id, question, prompt, image} each); each line of the reply is JSON with the seconds, the processor seconds of this
process and the texts by id.  Only the module of the engine is imported, so that a peer's environment needs no evalkit.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

NEW_TOKENS = 12
STATIC_BATCH = 8
FIRST_WORD = 5  # ids before it are special tokens, which no engine may generate here
VOCABULARY = 5000

Rows = Sequence[dict[str, Any]]
Answerer = Callable[[Rows], dict[str, str]]


def hf(folder: Path) -> Answerer:
    """engine=hf of evalkit as a user runs it; the check of sharing is made in the warm-up."""
    import hashlib

    from evalkit.core.types import Generation, ImagePlace, ImageRef, Message, Request
    from evalkit.engines.hf import HfEngine
    from evalkit.models.checkpoint import CheckpointSpec

    generation = Generation(max_new_tokens=NEW_TOKENS)
    spec = CheckpointSpec(name="benchmark", config={"source": str(folder / "model")}, generation=generation)
    engine = HfEngine(spec=spec, dtype="float32", device="cpu")

    def answer(rows: Rows) -> dict[str, str]:
        requests = [
            Request(
                sample_id=row["id"],
                image_id=row["image"],
                question=row["question"],
                answer_type=None,
                messages=(Message(role="user", content=(ImagePlace(), row["question"])),),
                images=(ImageRef(kind="file", path=row["image"]),),
                image_digests=(hashlib.sha256(Path(row["image"]).read_bytes()).hexdigest(),),
                generation=generation,
                checkpoint="benchmark",
            )
            for row in rows
        ]
        return {p.sample_id: p.text or f"ERROR {p.error}" for batch in engine.generate(requests) for p in batch}

    return answer


def static(folder: Path) -> Answerer:
    """transformers' `generate` in batches of 8, padded on the left."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder / "model", dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder / "model")
    processor.tokenizer.padding_side = "left"

    def answer(rows: Rows) -> dict[str, str]:
        texts = {}
        for start in range(0, len(rows), STATIC_BATCH):
            part = rows[start : start + STATIC_BATCH]
            images = [[Image.open(row["image"]).convert("RGB")] for row in part]
            inputs = processor(
                text=[row["prompt"] for row in part],
                images=images,
                padding=True,
                add_special_tokens=False,
                return_tensors="pt",
            )
            inputs.pop("token_type_ids", None)
            with torch.inference_mode():
                output = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
            for row, ids in zip(part, output[:, inputs["input_ids"].shape[1] :], strict=True):
                texts[row["id"]] = processor.tokenizer.decode(ids, skip_special_tokens=True)
        return texts

    return answer


def vllm(folder: Path) -> Answerer:
    """vLLM with its prefix cache, the questions of an image one after another."""
    import os

    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # its time is then this process's
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from PIL import Image
    from vllm import LLM, SamplingParams

    engine = LLM(
        str(folder / "model"),
        dtype="float32",
        max_model_len=1024,
        max_num_seqs=32,
        enable_prefix_caching=True,
        limit_mm_per_prompt={"image": 1},
        seed=0,
    )
    words = list(range(FIRST_WORD, VOCABULARY))
    settings = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, allowed_token_ids=words)

    def answer(rows: Rows) -> dict[str, str]:
        # A run starts with an empty cache: each repetition would otherwise find the images of the one before.
        engine.reset_prefix_cache()
        with contextlib.suppress(AttributeError):
            engine.reset_mm_cache()
        # Outputs of the vision tower are kept by the hash of the image, apart from the other two caches.
        engine.llm_engine.reset_encoder_cache()
        ordered = sorted(rows, key=lambda row: str(row["image"]))
        opened = {path: Image.open(path).convert("RGB") for path in {row["image"] for row in ordered}}
        prompts: list[Any] = [
            {"prompt": row["prompt"], "multi_modal_data": {"image": opened[row["image"]]}} for row in ordered
        ]
        found = engine.generate(prompts, settings, use_tqdm=False)
        return {row["id"]: output.outputs[0].text.strip() for row, output in zip(ordered, found, strict=True)}

    return answer


def lmms(folder: Path) -> Answerer:
    """lmms-eval's LLaVA class (`llava_hf`), which answers one question at a time."""
    from lmms_eval.api.instance import Instance
    from lmms_eval.models.simple.llava_hf import LlavaHf
    from PIL import Image

    model = LlavaHf(pretrained=str(folder / "model"), device="cpu", device_map="cpu", dtype="float32", batch_size=1)

    def answer(rows: Rows) -> dict[str, str]:
        # It passes a turn as text with the image's mark in it; the checkpoint's template takes a list of parts.
        beginning = rows[0]["prompt"].partition("<image>")[0]
        model.chat_template = beginning + "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        model.task_dict = {"peers": {"test": {i: row for i, row in enumerate(rows)}}}

        def visual(row: dict[str, Any]) -> list[Any]:
            return [Image.open(row["image"]).convert("RGB")]

        asked = [
            Instance(
                request_type="generate_until",
                arguments=(row["question"], {"max_new_tokens": NEW_TOKENS}, visual, i, "peers", "test"),
                idx=0,
                metadata={"task": "peers", "doc_id": i, "repeats": 1},
            )
            for i, row in enumerate(rows)
        ]
        found = model.generate_until(asked)
        return {row["id"]: str(text).strip() for row, text in zip(rows, found, strict=True)}

    return answer


ENGINES: dict[str, Callable[[Path], Answerer]] = {"hf": hf, "static": static, "vllm": vllm, "lmms": lmms}


def main() -> None:
    """Load the engine, say so with an empty line of JSON, and answer each file of questions."""
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    reply = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # what libraries print must not be taken for a reply
        import torch

        torch.set_num_threads(threads)
        answer = ENGINES[name](folder)
        torch.set_num_threads(threads)
        print(json.dumps({"torch": torch.__version__}), file=reply, flush=True)
        for line in sys.stdin:
            rows = json.loads(Path(line.strip()).read_text(encoding="utf-8"))
            started, started_cpu = time.perf_counter(), time.process_time()
            texts = answer(rows)
            seconds = {"seconds": time.perf_counter() - started, "processor": time.process_time() - started_cpu}
            print(json.dumps(seconds | {"texts": texts}), file=reply, flush=True)


if __name__ == "__main__":
    main()
