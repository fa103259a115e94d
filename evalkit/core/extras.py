"""Packages of the extra `hf`, which runs checkpoints in this process; scoring and servers need none."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from evalkit.core.errors import ConfigError

HF = ("accelerate", "safetensors", "sentencepiece", "tokenizers", "torch", "transformers")


# Extras that include `hf`: those of the engines of the same name.
_WITH_HF = ("vllm", "ray")


def require_hf(what: str, *, engine: str = "hf") -> None:
    """Raise ConfigError, before anything is read, if a package of the extra is not installed.

    what: what needs them, the subject of the message.  engine: the engine whose extra the message names.
    """
    if missing := [name for name in HF if find_spec(name) is None]:
        raise ConfigError(_message(what, missing, engine if engine in _WITH_HF else "hf"))


def without_hf(problem: BaseException) -> ConfigError | None:
    """The error to show for an import that failed because the extra is not installed; None for any other exception.

    >>> without_hf(ModuleNotFoundError("No module named 'torch'", name="torch")) is None
    False
    >>> without_hf(ModuleNotFoundError("No module named 'torch._C'", name="torch._C")) is None  # torch is damaged
    True
    """
    if isinstance(problem, ModuleNotFoundError) and problem.name in HF:
        return ConfigError(_message("What was asked for", [problem.name]))
    return None


def _message(what: str, missing: Sequence[str], extra: str = "hf") -> str:
    packages = f"package{'s' * (len(missing) > 1)} {', '.join(missing)}"
    return (
        f"{what} needs the {packages}, which a light install leaves out: install the extra, with "
        f"`pip install 'evalkit-medvqa[{extra}]'` or, from a clone, `pip install -c constraints.txt '.[{extra}]'` (on "
        "a GPU machine your CUDA build of torch first). Without it: the verb `score`, the baselines, and engine=server "
        "with a model server that runs elsewhere."
    )
