"""Speed of a model on a task: one at a time, in batches, with shared image prefixes.

Other engines that are installed, or that engines= names with their settings, are measured on the same samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, load_option, options
from evalkit.cli.factories import make_engine, make_task, model_name
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.pipeline.train_split import TrainSplit

if TYPE_CHECKING:
    from evalkit.engines.base import Engine
    from evalkit.engines.hf import HfEngine
    from evalkit.tasks.base import Task

HELP_ORDER = 140
EXAMPLES = (
    "evalkit bench model=phantom-llava task=phantom limit=64",
    "evalkit bench model=DIR task=slake engine.dtype=bfloat16 batch_sizes=[8,32]",
)
# Engines that are measured by default where the module that they need is installed.
MODULE_OF_ENGINE = {"vllm": "vllm", "ray": "ray"}
# Settings that bench writes into its JSON file.
RECORDED = ("engine", "engines", "limit", "batch_sizes", "repetitions")


def main(config: Config) -> int:
    """Measure one at a time, static batches, shared prefixes and other engines on the same samples; write a JSON."""
    from evalkit.core.files import safe_name, write_json
    from evalkit.engines.hf import HfEngine
    from evalkit.pipeline.inputs import limited, request
    from evalkit.pipeline.throughput import bench, show
    from evalkit.tasks.image_check import check_images

    name = model_name(config)
    task = make_task(config)
    loaded, digests = check_images(limited(task.load(), config["limit"]), on_missing="error")

    def make(**settings: Any) -> HfEngine:
        engine = make_engine({**config, "engine": {**config["engine"], **settings}}, name, TrainSplit(task))
        if not isinstance(engine, HfEngine):
            raise ConfigError(
                f"bench compares the modes of engine=hf, which model={name} with engine={config['choices']['engine']} "
                "does not have. Give engine=hf and a checkpoint; name other engines with engines='{NAME: {}}'."
            )
        return engine

    engine = make()
    requests = [request(s, task.messages(s), engine, digests) for s in loaded.samples]
    result = bench(
        make,
        requests,
        batch_sizes=config["batch_sizes"],
        repetitions=config["repetitions"],
        others=other_engines(config, name, task),
    )
    path = Path(config["out"]) / f"bench-{safe_name(name)}-{safe_name(loaded.name)}.json"
    write_json(path, {"model": name, "task": loaded.name, "settings": {k: config[k] for k in RECORDED}} | result)
    console.out(show(result))
    console.out(str(path))
    return 0


def other_engines(config: Config, name: str, task: Task) -> dict[str, Engine]:
    """The engines that engines= names with their settings, else those that are installed."""
    from importlib.util import find_spec

    wanted: Mapping[str, Any] | None = config["engines"]
    if wanted is None:
        registered = options("engine")
        wanted = {k: {} for k, module in MODULE_OF_ENGINE.items() if k in registered and find_spec(module) is not None}
    return {
        k: make_engine({**config, "engine": {**load_option("engine", k), **(settings or {})}}, name, TrainSplit(task))
        for k, settings in wanted.items()
    }
