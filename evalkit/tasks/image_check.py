"""Check of all images of a split, run before any weights are loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.images import Broken, probe
from evalkit.core.types import ImageRef
from evalkit.tasks.base import LoadedTask

ON_MISSING = ("error", "skip")


class CheckedImages(NamedTuple):
    """The split restricted to rows with usable images, and the sha256 of each image."""

    task: LoadedTask
    digests: dict[ImageRef, str]


def check_images(task: LoadedTask, *, on_missing: str = "error") -> CheckedImages:
    """Open every image of a split.

    on_missing: "error" raises for a missing or broken image; "skip" leaves its rows out and lists them in `skipped`.

    Raises:
        DataError: an image is missing or broken, naming row and file; or no row is left.
    """
    if on_missing not in ON_MISSING:
        raise ConfigError(f"Invalid setting task.on_missing_image={on_missing}. {did_you_mean(on_missing, ON_MISSING)}")
    found = probe(ref for sample in task.samples for ref in sample.images)
    broken = {ref: outcome.reason for ref, outcome in found.items() if isinstance(outcome, Broken)}
    without = [s for s in task.samples if not s.images or any(ref in broken for ref in s.images)]
    if not without:
        return CheckedImages(task, {ref: d for ref, d in found.items() if isinstance(d, str)})
    reasons = {s.id: next((broken[r] for r in s.images if r in broken), "The row names no image.") for s in without}
    first = without[0]
    if on_missing == "error":
        raise DataError(
            f"{task.name} ({task.split}): {len(without)} of {len(task.samples)} rows have no usable image "
            f"({len(broken)} images), first row {first.id}: {reasons[first.id]} Complete the copy at task.path, "
            "or leave those rows out with task.on_missing_image=skip; their number is then reported with the score."
        )
    left_out = {s.id for s in without}
    kept = tuple(s for s in task.samples if s.id not in left_out)
    if not kept:
        raise DataError(
            f"{task.name} ({task.split}): no row has a usable image; first row {first.id}: {reasons[first.id]}"
        )
    skipped = (*task.skipped, *(f"row {s.id}: {reasons[s.id]}" for s in without))
    digests = {ref: d for ref, d in found.items() if isinstance(d, str)}
    return CheckedImages(replace(task, samples=kept, skipped=skipped), digests)
