"""The environment of this process: versions, machine, packages; for bug reports and for the evidence about a run.

Nothing in it is secret or names a person: no host name, no path, and of environment variables the values of switches.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

DISTRIBUTION = "evalkit-medvqa"
# Beginnings of the variables that evalkit and its libraries read; each is named, its value is not.
PREFIXES = ("EVALKIT_", "HF_", "TRANSFORMERS_", "CUDA_", "CUBLAS_", "NVIDIA_", "OMP_", "MKL_", "TORCH", "VLLM_", "RAY_")
# Switches that change what happens and hold no secret.
SHOWN = frozenset({
    "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE", "MKL_NUM_THREADS",
    "OMP_NUM_THREADS", "TRANSFORMERS_OFFLINE",
})  # fmt: skip
_SWITCH = re.compile(r"[0-9:,.-]{0,32}|true|false|yes|no|on|off", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An installed distribution; licence: as its metadata state it, empty where they do not."""

    name: str
    version: str
    licence: str = ""


def installed_packages() -> list[Package]:
    """Every installed distribution once, sorted by name: the first on the path, which Python imports."""
    found: dict[str, Package] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            licence = _licence(distribution.metadata)
            package = Package(name=name, version=distribution.version, licence=licence)
            found.setdefault(normalised(name), package)
    return [found[name] for name in sorted(found)]


def normalised(name: str) -> str:
    """The name of a distribution as indexes compare it.

    >>> normalised("Hydra_core.X")
    'hydra-core-x'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _licence(fields: Any) -> str:
    """The SPDX expression, else the short name of the licence, else the first classifier about it."""
    if expression := fields.get("License-Expression"):
        return str(expression)
    text = str(fields.get("License") or "").strip()
    if text and "\n" not in text and len(text) <= 80:
        return text
    stated = (c.rpartition("::")[2].strip() for c in fields.get_all("Classifier") or () if c.startswith("License ::"))
    return next(stated, "")


def requirements() -> list[str]:
    """The names of the distributions that evalkit declares, its extras' too; empty where it is not installed."""
    try:
        declared = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # a checkout on PYTHONPATH
        return []
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in declared)
    return list(dict.fromkeys(normalised(match[0]) for match in names if match))


def environment(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The environment, JSON-ready.

    Args:
        variables: environment variables; those of the process by default.
    """
    from evalkit import __version__

    installed = {normalised(p.name): p.version for p in installed_packages()}
    declared = requirements() or sorted(installed)
    return {
        "evalkit": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "encoding": sys.getfilesystemencoding(),
        "accelerator": _accelerator(),
        "packages": {name: installed.get(name) for name in declared},
        "variables": _variables(os.environ if variables is None else variables),
    }


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (ValueError, OSError, AttributeError):  # not a POSIX system
        return None


def _accelerator() -> str:
    """The device that torch would use, or why it cannot be asked; a broken torch is what many reports are about."""
    try:
        import torch

        if torch.cuda.is_available():
            names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
            return f"CUDA {torch.version.cuda}: {', '.join(names)}"
        return "MPS" if torch.backends.mps.is_available() else "none (CPU)"
    except (ImportError, OSError, RuntimeError, AttributeError) as problem:
        return f"unknown: torch cannot be used ({type(problem).__name__})"


def _variables(given: Mapping[str, str]) -> dict[str, str]:
    """The variables that matter here: the values of switches, of all others only that they are set."""
    named = sorted(name for name in given if name.startswith(PREFIXES))
    return {n: given[n] if n in SHOWN and _SWITCH.fullmatch(given[n]) else "set (value not shown)" for n in named}


def environment_text(found: Mapping[str, Any]) -> str:
    """The environment as lines, to paste into a report."""
    single = [f"{key:<13}{value}" for key, value in found.items() if not isinstance(value, Mapping)]
    packages = [f"  {name:<24}{version or 'not installed'}" for name, version in found["packages"].items()]
    variables = [f"  {name:<24}{value}" for name, value in found["variables"].items()]
    return "\n".join([*single, "packages", *packages, *(["variables", *variables] if variables else [])])
