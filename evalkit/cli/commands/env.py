"""The environment for bug reports: versions, machine, packages; no secrets, no paths, no host name."""

from __future__ import annotations

from evalkit.cli.config import Config
from evalkit.core import console

HELP_ORDER = 170
EXAMPLES = (
    "evalkit env",
    "evalkit env json=true",
)


def main(config: Config) -> int:
    """Print the environment."""
    from evalkit.core.environment import environment, environment_text
    from evalkit.core.files import indented

    found = environment()
    console.out("".join(indented(found)).rstrip("\n") if config["json"] else environment_text(found))
    return 0
