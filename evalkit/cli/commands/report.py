"""A run's page: run=DIR, or two runs side by side: run=DIR against=DIR."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.config import Config
from evalkit.cli.factories import make_task
from evalkit.cli.saved_config import saved_task
from evalkit.core import console
from evalkit.core.errors import EvalkitError

if TYPE_CHECKING:
    from evalkit.core.types import ImageRef, Sample
    from evalkit.reports.run_page.data import Picture

HELP_ORDER = 100
EXAMPLES = (
    "evalkit report run=RUN",
    "evalkit report run=RUN against=RUN file=page.html",
)


def main(config: Config) -> int:
    """Write a run's page, or the page of two runs side by side."""
    console.out(str(write_report(config)))
    return 0


def write_report(config: Config) -> Path:
    """Write the page of a run, or of two runs side by side; returns the file."""
    from evalkit.pipeline.rescore import run_manifest
    from evalkit.reports.run_page import page_data, paired_differences, write_page
    from evalkit.reports.run_page.page import pictures

    run = Path(config["run"])
    runs = [run, Path(config["against"])] if config["against"] else [run]
    target = Path(config["file"]) if config["file"] else run / "report.html"
    manifest = run_manifest(run)
    samples: dict[str, Sample] = {}
    images: dict[str, Picture] = {}
    if manifest is not None:
        try:
            loaded = make_task({"task": saved_task(manifest, config["data"])}).load(images=bool(config["images"]))
            shown = samples_as_seen(run, loaded.samples)
            samples = {s.id: s for s in shown}
            if config["images"]:
                images = pictures(shown, target.with_name(f"{target.stem}-images"))
        except EvalkitError as problem:
            console.warn(f"the page has no images and no slices, because its data cannot be read: {problem}")
    differences = paired_differences(runs)
    if differences.incomparable:
        console.warn(f"the page has no differences: {differences.incomparable}")
    write_page(target, page_data(runs, samples, images, differences=differences))
    return target


def samples_as_seen(run: Path, samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples of a run with the images that its model saw: blank or shuffled ones where the run used those."""
    from evalkit.pipeline.image_modes import SIMILAR, with_images
    from evalkit.pipeline.inputs import select
    from evalkit.runs.verify import open_run

    stored = open_run(run)
    answered = select(samples, stored.answers().ids, str(run))
    digests = readable_digests(answered) if stored.summary.image == SIMILAR else None
    return with_images(answered, stored.summary.image, digests)


def readable_digests(samples: Sequence[Sample]) -> dict[ImageRef, str]:
    """The sha256 of every image of the samples that can be read here."""
    from evalkit.core.images import digest

    found: dict[ImageRef, str] = {}
    for ref in dict.fromkeys(ref for s in samples for ref in s.images):
        with suppress(EvalkitError, OSError, ValueError):
            found[ref] = digest(ref)
    return found
