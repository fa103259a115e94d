"""Whether a command is one job or a sweep, without composing its configuration once only to read `hydra.mode`.

`hydra.main` composes every configuration twice, the first time for that setting alone.  Only a word about Hydra and a
file of a user's folder can set it (`evalkit.cli.shared_yaml`); where a command has neither, it has Hydra's default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from evalkit.cli.config import config_dirs

_ABOUT_HYDRA = re.compile(r"[+~]{0,2}\s*hydra(?:$|[./@:=])")
# Whether the command of this thread leaves the mode to Hydra's default.
_is_default: ContextVar[bool] = ContextVar("is_default", default=False)


@contextmanager
def known_mode(words: Sequence[str]) -> Iterator[None]:
    """Spare `hydra.main` the composition that finds the mode, where these words, the user's own, cannot change it."""
    _read_only_where_set()
    token = _is_default.set(not config_dirs()[1:] and not any(map(_ABOUT_HYDRA.match, words)))
    try:
        yield
    finally:
        _is_default.reset(token)


@cache
def _read_only_where_set() -> None:
    """Make Hydra compose for the mode only where something may set it; other applications are as before."""
    from hydra._internal.hydra import Hydra

    compose_for_mode = Hydra.get_mode

    def get_mode(hydra: Any, *args: Any, **named: Any) -> Any:
        return None if _is_default.get() else compose_for_mode(hydra, *args, **named)

    Hydra.get_mode = get_mode
