"""All runs in a folder in a browser: view [runs], as static files: to=DIR.

The list has search, filters, tags and the progress of running runs; a run's page has every sample; two to six runs are
shown side by side with their differences; the board ranks what is there.  The server is on this machine only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.commands.report import samples_as_seen
from evalkit.cli.config import Config
from evalkit.cli.factories import make_task, selects_rows
from evalkit.cli.saved_config import saved_task
from evalkit.core import console
from evalkit.core.errors import ConfigError, EvalkitError
from evalkit.core.files import expand_home

if TYPE_CHECKING:
    from evalkit.core.types import Sample
    from evalkit.reports.leaderboard import TrainingExposure
    from evalkit.reports.viewer import Site
    from evalkit.runs.verify import StoredRun
    from evalkit.tasks.base import LoadedTask

HELP_ORDER = 101
# The setting that a first word without "=" is.
FIRST_WORD = "runs"
EXAMPLES = (
    "evalkit view",
    "evalkit view runs to=site",
)


def main(config: Config) -> int:
    """Serve the pages of a folder of runs, or write them."""
    if config["to"]:
        from evalkit.reports.viewer import write_site

        folder = expand_home(config["to"])
        write_site(_site(config, is_live=False), folder)
        console.out(str(folder))
        return 0
    from evalkit.reports.viewer import server

    server.require()
    host, port = str(config["host"]), config["port"]
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise ConfigError(f"port={port!r} is no port; expected a whole number from 0 to 65535.")
    site = _site(config, is_live=True)
    at = server.listening(host, port)
    if host not in server.LOOPBACK:
        console.warn(f"host={host}: whoever reaches this address sees the questions, answers and pictures of the runs")
    with suppress(EvalkitError):  # which the list's own address says too
        site.find("index.html")  # the first request would wait while runs are read and libraries imported
    console.out(server.address_of(at, host))
    console.note("Ctrl-C ends the viewer")
    server.serve(site, host, at)
    return 0


def _site(config: Config, *, is_live: bool) -> Site:
    from evalkit.pipeline.rescore import run_manifest
    from evalkit.reports.viewer import RunList, Site, Source

    @lru_cache(maxsize=2)
    def loaded(task: str) -> LoadedTask:
        return make_task({"task": json.loads(task)}).load(images=True)

    def samples(run: Path) -> Sequence[Sample]:
        """The samples as the model saw them; none for answers that were scored without a manifest."""
        manifest = run_manifest(run) if config["images"] else None
        if manifest is None:
            return ()
        return samples_as_seen(run, loaded(json.dumps(saved_task(manifest, {}), default=str)).samples)

    source = Source(samples=samples, exposure=board_exposure, has_pictures=bool(config["images"]))
    return Site(RunList(expand_home(config["runs"])), source, is_live=is_live)


def board_exposure(run: StoredRun) -> TrainingExposure | None:
    """The training exposure of a run's model; None for a run over a part of its task, which no board has."""
    from evalkit.published.table import REGIMES
    from evalkit.reports.leaderboard import TrainingExposure, training_exposure

    s, manifest = run.summary, run.manifest
    if s.limit is not None or s.task.endswith("]"):
        return None
    if manifest is None:
        return TrainingExposure()
    if selects_rows({**manifest.config, "task": manifest.section("task")}):
        return None
    regime = manifest.config.get("regime")
    found = training_exposure(manifest.section("model"), s.task, s.split)
    return TrainingExposure(role=found.role, regime=regime) if regime in REGIMES else found
