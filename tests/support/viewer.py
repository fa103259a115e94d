"""The viewer over made runs: samples, pictures, and a run that goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

from evalkit.core.types import Sample
from evalkit.reports.leaderboard import TrainingExposure
from evalkit.reports.viewer import Site, Source
from evalkit.runs.read import manifest_at
from evalkit.runs.store import RunFolder, write_record


def source_of(samples: Sequence[Sample], **more: Any) -> Source:
    """What the viewer gets for runs over these samples."""
    return Source(samples=lambda run: samples, exposure=lambda run: TrainingExposure(), **more)


def running_run(finished: Path, folder: Path, *, n_answered: int) -> Path:
    """A run that goes on: a finished one's first answers."""
    folder.mkdir()
    manifest = manifest_at(RunFolder(finished).manifest)
    write_record(RunFolder(folder).manifest, replace(manifest, status="running"))
    answers = RunFolder(finished).predictions.read_text(encoding="utf-8").splitlines(keepends=True)
    RunFolder(folder).predictions.write_text("".join(answers[:n_answered]), encoding="utf-8")
    return folder


def picture_file(path: Path, width: int) -> Path:
    """A PNG of that width, 30 pixels high."""
    from PIL import Image

    Image.new("RGB", (width, 30), (width % 256, 120, 160)).save(path)
    return path


@contextmanager
def served(site: Site) -> Iterator[str]:
    """The address of a server of a site, on a free port of this machine."""
    import uvicorn

    from evalkit.reports.viewer import server

    at = server.listening("127.0.0.1", 0)
    config = uvicorn.Config(server.application(site, "127.0.0.1"), log_level="error", lifespan="off")
    running = uvicorn.Server(config)
    thread = Thread(target=running.run, kwargs={"sockets": [at]}, daemon=True)
    thread.start()
    try:
        yield server.address_of(at, "127.0.0.1")
    finally:
        running.should_exit = True
        thread.join(timeout=20)
        at.close()
