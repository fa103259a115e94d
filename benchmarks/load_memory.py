"""Memory needed for loading a checkpoint in LLaVA's layout, relative to the size of its weights.

    python benchmarks/load_memory.py [--sizes 0.3 1] [--forms safetensors bin delta lora] [--keep DIR]

Writes checkpoints of noise (bfloat16, the layout of LLaVA-Med v1.5 with a stored tower, eight shards), loads each in a
separate process on the CPU and prints the peak: `anon` is the process's private memory (RssAnon, sampled every 5 ms),
`resident` also counts the mapped pages of files that are read (VmHWM), which the system can reclaim.  The memory in use
after importing torch and transformers is subtracted from both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# Billions of parameters -> hidden size, layers, inner size, heads.
SIZES = {0.1: (768, 8, 2048, 12), 0.3: (1024, 16, 2816, 16), 1.0: (2048, 20, 5632, 16), 7.0: (4096, 32, 14336, 32)}
SHARDS = 8


def status(key: str) -> int:
    """Read a line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def write(folder: Path, size: float, form: str) -> None:
    """Write the checkpoint(s) of one case under `folder`: `main`, and `base` if the form needs one."""
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.models import test_llava_real_layouts as layouts
    from tests.support import tiny_checkpoints as tiny

    hidden, layers, inner, heads = SIZES[size]
    text = {**layouts.MISTRAL, "hidden_size": hidden, "num_hidden_layers": layers, "intermediate_size": inner}
    text |= {"num_attention_heads": heads, "num_key_value_heads": heads // 2, "vocab_size": 32000}
    whole = layouts.language(text) | layouts.two_layers(hidden) | layouts.tower(576, layouts.STORED)
    names = ("main", "base") if form in ("delta", "lora") else ("main",)
    for name in names:
        (folder / name).mkdir(parents=True)
        tiny.write_json(folder / name / "config.json", tiny.v15_config(0, **text, torch_dtype="bfloat16"))
    tiny.write_sentencepiece(folder / "main")

    def noise(shape: tuple[int, ...], around: float = 0.0) -> torch.Tensor:
        return around + torch.randn(shape, dtype=torch.bfloat16) * 0.02

    def shards(where: Path, shapes: dict[str, tuple[int, ...]], ending: str, norm: float = 1.0) -> None:
        from safetensors.torch import save_file

        items, index = list(shapes.items()), {}
        for i in range(SHARDS):
            part = items[i * len(items) // SHARDS : (i + 1) * len(items) // SHARDS]
            stem = "model" if ending == "safetensors" else "pytorch_model"
            file = f"{stem}-{i + 1:05}-of-{SHARDS:05}.{ending}"
            table = {n: noise(s, norm if n == "model.norm.weight" else 0.0) for n, s in part}
            save_file(table, where / file) if ending == "safetensors" else torch.save(table, where / file)
            index.update(dict.fromkeys(table, file))
        tiny.write_json(where / f"{stem}.{ending}.index.json", {"weight_map": index})

    if form == "lora":
        pairs = {}
        for name, shape in layouts.language(text).items():
            if "_proj.weight" in name:
                inner_name = f"base_model.model.{name.removesuffix('.weight')}"
                pairs[f"{inner_name}.lora_A.weight"] = noise((64, shape[1]))
                pairs[f"{inner_name}.lora_B.weight"] = noise((shape[0], 64))
        torch.save(pairs, folder / "main" / "adapter_model.bin")
        extra = {f"base_model.model.{n}": noise(s) for n, s in layouts.two_layers(hidden).items()}
        torch.save(extra, folder / "main" / "non_lora_trainables.bin")
        adapter = {"peft_type": "LORA", "r": 64, "lora_alpha": 128, "bias": "none"}
        tiny.write_json(folder / "main" / "adapter_config.json", adapter)
        shards(folder / "base", whole, "safetensors")
    elif form == "delta":
        shards(folder / "main", whole, "bin", norm=0.0)
        shards(folder / "base", {n: s for n, s in whole.items() if "mm_projector" not in n}, "bin")
    else:
        shards(folder / "main", whole, form)


def load(folder: Path) -> dict[str, float]:
    """Load the case and return its memory in bytes and its seconds; runs in a separate process."""
    import accelerate  # noqa: F401
    import torch
    import transformers  # noqa: F401
    from transformers import GenerationConfig, LlavaForConditionalGeneration  # noqa: F401

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from evalkit.models.llava_original import load_llava

    before, peak, done = status("RssAnon"), [0], threading.Event()
    resident = status("VmRSS")

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], status("RssAnon"))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    base = folder / "base"
    model = load_llava(folder / "main", base=base if base.exists() else None, vision_tower="stored").model
    seconds = time.monotonic() - start
    done.set()
    watcher.join()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    largest = max(p.numel() * p.element_size() for p in model.parameters())
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())
    return {
        "weights": weights,
        "largest": largest,
        "anon": peak[0] - before,
        "resident": status("VmHWM") - resident,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=float, default=[0.3, 1.0], choices=sorted(SIZES))
    parser.add_argument("--forms", nargs="+", default=["safetensors", "bin", "delta", "lora"])
    parser.add_argument("--keep", type=Path, help="a folder for the checkpoints; a temporary one otherwise")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(json.dumps(load(options.load)))
        return
    print(
        "| form | parameters, 1e9 | weights, GB | largest tensor, GB | anon, GB | anon / weights | resident, GB | s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for size in options.sizes:
            for form in options.forms:
                folder = (options.keep or Path(temporary)) / f"{form}-{size}"
                write(folder, size, form)
                command = [sys.executable, __file__, "--load", str(folder)]
                run = subprocess.run(command, capture_output=True, text=True, check=True)
                r = json.loads(run.stdout.splitlines()[-1])
                print(
                    f"| {form} | {r['weights'] / 2e9:.2f} | {r['weights'] / 1e9:.2f} | {r['largest'] / 1e9:.2f} | "
                    f"{r['anon'] / 1e9:.2f} | {r['anon'] / r['weights']:.3f} | {r['resident'] / 1e9:.2f} | "
                    f"{r['seconds']:.1f} |",
                    flush=True,
                )
                if not options.keep:
                    subprocess.run(["rm", "-r", str(folder)], check=True)


if __name__ == "__main__":
    main()
