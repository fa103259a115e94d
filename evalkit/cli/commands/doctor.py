"""Description, needs and prompt of a model before anything is loaded: model=NAME."""

from __future__ import annotations

from evalkit.cli.config import Config
from evalkit.cli.factories import make_spec, model_name
from evalkit.core import console
from evalkit.core.errors import ConfigError, ModelError
from evalkit.core.extras import require_hf

HELP_ORDER = 80
EXAMPLES = (
    "evalkit doctor model=llava-med task=slake",
    "evalkit doctor model=./my-checkpoint",
)


def main(config: Config) -> int:
    """Describe a model and its problems on this machine; downloads and loads nothing."""
    from evalkit.models.doctor import describe, diagnose

    name = model_name(config)
    if config["model"].get("kind") != "checkpoint":
        raise ConfigError(
            f"{name} is not a checkpoint, so there is nothing to examine: {config['model'].get('about')}."
        )
    require_hf(f"doctor model={name}")
    spec = make_spec(config, name)
    diagnosis = diagnose(name, spec.config, device=config["device"], task=config["choices"].get("task"))
    console.out(describe(diagnosis))
    if diagnosis.problems:
        raise ModelError(f"{name} cannot run here as it is: {'; '.join(diagnosis.problems)}")
    return 0
