"""Save a checkpoint once in Hugging Face form: model=NAME to=DIR."""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config
from evalkit.cli.factories import make_spec, model_name
from evalkit.core import console

HELP_ORDER = 90
EXAMPLES = (
    "evalkit convert model=llava-med to=DIR",
    "evalkit convert model=llava-med model.source=DIR to=DIR",
)


def main(config: Config) -> int:
    """Save a checkpoint of any form once in Hugging Face form."""
    from evalkit.models.checkpoint import locate, refuse_changes
    from evalkit.models.convert import convert
    from evalkit.models.llava_original import load_arguments

    name = model_name(config)
    spec = make_spec(config, name)
    refuse_changes(spec, "convert")
    folder, given = load_arguments({**spec.config, "name": name}, locate(spec))
    convert(folder, Path(config["to"]), **given, dtype=spec.dtype or "float32")
    console.out(str(config["to"]))
    return 0
