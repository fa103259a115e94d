"""A registered task from a table of questions, without code: new task FILE.

Shows how the columns and the first rows are read, and writes the settings as a YAML.  Give settings as for task=table:
task.columns.question=NAME task.cluster=patient_id task.tags=[modality].
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, load_option
from evalkit.cli.factories import make_task
from evalkit.cli.new_yaml import place_of
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.core.files import write_whole

if TYPE_CHECKING:
    from evalkit.tasks.table.task import TableTask

HELP_ORDER = 145
EXAMPLES = (
    "evalkit new task questions.csv",
    "evalkit new task questions.csv task.name=mine task.columns.question=q",
)
# The setting that a first word without "=" is.
FIRST_WORD = "task.path"


def main(config: Config) -> int:
    """Read the table once, show how, and write the YAML."""
    from evalkit.core.sample_text import described
    from evalkit.tasks.base import check_ids
    from evalkit.tasks.table.task import TableTask

    task = make_task(config)
    if not isinstance(task, TableTask):
        raise ConfigError("`new task` writes tasks of tables; task.target cannot be another class.")
    loaded = task.load(images=False)
    check_ids(loaded)
    for text in loaded.notes:
        console.note(f"note: {text}")
    for sample in loaded.samples[:5]:
        console.out(f"row {described(sample)}")
    if loaded.skipped:
        console.warn(f"{len(loaded.skipped)} rows were left out, first: {loaded.skipped[0]}")
    path = place_of(config, "task", task.name, "task.name")
    write_whole(path, yaml_text(task, config["task"], len(loaded.samples)))
    words = shlex.join(["--config-dir", str(path.parent.parent), f"task={path.stem}", "model=NAME"])
    console.note(f"run it with: python -m evalkit {words}")
    console.out(str(path))
    return 0


def yaml_text(task: TableTask, settings: Mapping[str, Any], n: int) -> str:
    """The YAML of a task: the columns as they were read, and every setting that is not the default of task=table."""
    import yaml

    default = load_option("task", "table")
    local = Path(task.path).expanduser()
    content: dict[str, Any] = {
        "about": f"{n} rows of {local.name if local.exists() else task.path}",
        "target": default["target"],
        "name": task.name,
        "path": str(local.resolve()) if local.exists() else task.path,
        "columns": task.chosen_columns(),
    }
    shown = {k: v for k, v in settings.items() if k in default and k not in content and v != default[k]}
    if task.found_first_option is not None:
        shown["first_option"] = task.found_first_option
    kept = {k: default[k] for k in ("protocols", "baseline_protocols", "reference_protocol")}
    text: str = yaml.safe_dump({**content, **shown, **kept}, sort_keys=False, allow_unicode=True, width=120)
    return text
