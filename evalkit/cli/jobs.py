"""What the jobs of one command line share: the loaded checkpoint, and the finished runs of a suite.

A sweep (`-m`) is several jobs in this process, a suite several tasks in one job.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evalkit.cli.command_words import SWEEP_FLAGS

if TYPE_CHECKING:
    from evalkit.engines.base import Engine
    from evalkit.engines.hf import HfEngine
    from evalkit.engines.vllm import VllmEngine
    from evalkit.models.checkpoint import CheckpointSpec
    from evalkit.pipeline.conclude import Conclusion

# Settings of a model's YAML that decide nothing about what is loaded.
_NOT_LOADED = frozenset(
    {"name", "about", "licence", "trained_on", "generation", "presets", "fetch_words", "served_as", "max_images"}
)
_OF_THE_MODEL = re.compile(r"[+~]{0,2}(?:model|engine)[.@=]")


class SharedModel:
    """Gives an engine the model that an earlier one has loaded, where both would load the same.

    Of several checkpoints only the last is kept, so that two never fill the memory.
    """

    def __init__(self) -> None:
        self._loaded: HfEngine | VllmEngine | None = None

    def share(self, engine: Engine) -> Engine:
        """The engine itself, with the loaded model where there is one."""
        from evalkit.engines.hf import HfEngine
        from evalkit.engines.vllm import VllmEngine

        if isinstance(engine, HfEngine | VllmEngine):
            if (earlier := self._loaded) is not None and earlier.is_loaded and _load_the_same(earlier, engine):
                _use(engine, earlier)
            self._loaded = engine
        return engine


def _use(engine: Any, earlier: Any) -> None:
    engine.use_model_of(earlier)


def _load_the_same(one: Any, two: Any) -> bool:
    """Whether two engines are of one class and would load equal models and processors."""
    return (
        type(one) is type(two) and one.loading == two.loading and _what_is_loaded(one.spec) == _what_is_loaded(two.spec)
    )


def _what_is_loaded(spec: CheckpointSpec) -> tuple[str | None, dict[str, Any]]:
    return spec.chat_template, {k: v for k, v in spec.config.items() if k not in _NOT_LOADED}


@dataclass(slots=True)
class SharedByJobs:
    """words: settings of the present job, as typed.  finished: by the name of a suite, its finished runs in order."""

    words: tuple[str, ...] = ()
    model: SharedModel = field(default_factory=SharedModel)
    finished: dict[str, list[Conclusion]] = field(default_factory=dict)


_CURRENT: ContextVar[SharedByJobs | None] = ContextVar("shared_by_jobs", default=None)


@contextmanager
def jobs_of_one_command() -> Iterator[None]:
    """Let all jobs inside share what `shared_by_jobs` returns; freed at the end of the outermost one."""
    token = _CURRENT.set(_CURRENT.get() or SharedByJobs())
    try:
        yield
    finally:
        _CURRENT.reset(token)


def shared_by_jobs() -> SharedByJobs:
    """What the jobs of this command line share; outside of one, nothing."""
    return _CURRENT.get() or SharedByJobs()


def with_models_first(arguments: Sequence[str]) -> list[str]:
    """The arguments of a sweep with those about model and engine before all others, so that these vary slowest.

    Hydra varies the last setting first: with `task=a,b model=x,y` each checkpoint would be loaded twice.

    >>> with_models_first(["-m", "task=a,b", "model=x,y", "limit=3", "model.dtype=null"])
    ['-m', 'model=x,y', 'model.dtype=null', 'task=a,b', 'limit=3']
    """
    if not any(argument in SWEEP_FLAGS for argument in arguments):
        return list(arguments)
    # Flags stay where they are, since some take the next word.
    places = [k for k, argument in enumerate(arguments) if "=" in argument and not argument.startswith("-")]
    ordered = sorted(places, key=lambda k: _OF_THE_MODEL.match(arguments[k]) is None)
    found = list(arguments)
    for place, k in zip(places, ordered, strict=True):
        found[place] = arguments[k]
    return found
