"""Limits of defaults lists: a file that names itself, or files that name each other without end, are refused.

Hydra follows `defaults:` by recursion and without a limit.
"""

from __future__ import annotations

import posixpath
from contextvars import ContextVar
from functools import cache
from typing import Any

from evalkit.cli import expansion
from evalkit.core.errors import ConfigError

# Files that the defaults lists of one configuration name, each as often as it is named; the built-in ones name 15.
MAX_FILES = 1_000
MAX_LEVELS = 50
# Files of the present composition of this thread so far.
_n_files: ContextVar[int] = ContextVar("n_files", default=0)


@cache
def limit_defaults() -> None:
    """Make Hydra refuse a defaults list that leads back to its own file, and one that unfolds to too many files.

    In evalkit's configurations alone: an application with a Hydra of its own has no such limits.
    """
    from hydra._internal import defaults_list

    unfold = defaults_list._create_defaults_tree_impl

    def limited(repo: Any, root: Any, is_root_config: bool, *args: Any, **named: Any) -> Any:
        if expansion.active.get() is None:
            return unfold(repo, root, is_root_config, *args, **named)
        _n_files.set(n_files := 1 if is_root_config else _n_files.get() + 1)
        if n_files > MAX_FILES:
            raise ConfigError(
                f"The `defaults` of {_path_of(root.parent)} and the files that lead to it name more than {MAX_FILES} "
                "files in all, each counted as often as it is named. Name each file once."
            )
        _check_cycle(root)
        return unfold(repo, root, is_root_config, *args, **named)

    defaults_list._create_defaults_tree_impl = limited


def _check_cycle(node: Any) -> None:
    """Refuse a file that is named by its own defaults list, or by that of a file below it, and a list too deep."""
    path = _path_of(node)
    between: list[str] = []
    above = node.parent
    while path and above is not None:
        between.append(_path_of(above))
        if between[-1] == path:
            chain = " -> ".join([*reversed(between), path])
            raise ConfigError(
                f"The `defaults` of {path}.yaml lead back to that file: {chain}. Remove one of these items. (An option "
                "that is chosen on the command line replaces every item of its group.)"
            )
        if len(between) > MAX_LEVELS:
            raise ConfigError(f"The `defaults` that lead to {path}.yaml are more than {MAX_LEVELS} levels deep.")
        above = above.parent


def _path_of(node: Any) -> str:
    """The file of a node of Hydra's tree, such as "local/default"; empty for one without a file."""
    default = node.node
    if default.is_virtual() or default.is_interpolation() or not isinstance(default.get_name(), str):
        return ""
    return posixpath.normpath(str(default.get_config_path())).removesuffix(".yaml")
