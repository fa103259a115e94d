"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from _pytest.doctest import DoctestModule
from hypothesis import settings

from tests.support.paths import ROOT

# Two processes of tests and the commands they start share the cores: more threads than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Hundreds of tests start a process; each would compile the whole package again if none may keep what it compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell without job control has background processes, and with them the commands that they start, ignore interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# jsonschema imports this, where it is installed, to check the forms of addresses: that takes seconds, and no test does.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

# --doctest-modules imports every file of the folders that it visits: these include programs and a stand-in for vLLM.
collect_ignore = ["support"]

# How long an example takes says what else the machine does, not whether the code is right.  With many examples:
# `pytest --hypothesis-profile=thorough`.
settings.register_profile("evalkit", deadline=None, max_examples=30)
settings.register_profile("thorough", deadline=None, max_examples=100)
settings.load_profile("evalkit")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for examples in docstrings in the package alone: the tests have none."""
    found = yield
    return [collector for collector in found if not isinstance(collector, DoctestModule)]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases of a test `few(n)` slow, but for n that lie evenly among them, the first among these."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("few") is not None and item.get_closest_marker("slow") is None:
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for found in cases.values():
        marker = found[0].get_closest_marker("few")
        n = marker.args[0] if marker is not None else 0
        kept = {k * len(found) // n for k in range(n)}
        for k, item in enumerate(found):
            if k not in kept:
                item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Keep thousands of collected tests and all imported modules out of every later garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real datasets, or a visible skip."""
    folder = Path(os.environ.get("EVALKIT_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no real datasets at {folder}; set EVALKIT_SHARED")
    return folder
