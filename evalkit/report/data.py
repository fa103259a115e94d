"""What the page shows, as columns: 45,000 samples must stay small enough to parse at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import ConfigError
from evalkit.scoring import slice_tags
from evalkit.store import RunFolder, read_json, read_lines
from evalkit.types import Sample

MOST_RUNS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a sample shows: addresses (data: or relative) of its pictures, and the first one's size before it was
    made small, in pixels (width, height), which is what boxes are in."""

    addresses: tuple[str, ...]
    size: tuple[int, int]


def picture_key(sample: Sample) -> str:
    """What tells a sample's pictures from others'.  Not its image id: that is the cluster, and may be a video."""
    return " ".join(map(str, sample.images))


def page_data(runs: Sequence[Path], samples: Mapping[str, Sample], images: Mapping[str, Picture]) -> dict[str, Any]:
    """Everything that the page needs, JSON-ready.

    Args:
        runs: one run's folder, or two over the same samples to be shown side by side.
        samples: id -> sample, for the tags; may be empty.
        images: `picture_key` of a sample -> its pictures; may be empty.

    Raises:
        ConfigError: more than two runs, or two that share no samples.
    """
    if not 1 <= len(runs) <= MOST_RUNS:
        raise ConfigError(f"A page shows one run or two side by side, not {len(runs)}.")
    summaries = [read_json(RunFolder(r).summary, "summary") for r in runs]
    answers = [{a["sample_id"]: a for a in read_lines(RunFolder(r).predictions)} for r in runs]
    ids = [i for i in answers[0] if all(i in other for other in answers[1:])]
    if not ids:
        raise ConfigError(
            f"{runs[0]} and {runs[-1]} have no sample in common, so there is nothing to show side by side."
        )
    first = answers[0]
    tags = sorted(slice_tags([samples[i] for i in ids if i in samples]))
    return {
        "runs": [_run(s) for s in summaries],
        "ids": ids,
        "image_ids": [first[i]["image_id"] for i in ids],
        "questions": [first[i]["question"] for i in ids],
        "references": [first[i]["references"] for i in ids],
        "types": [first[i]["answer_type"] or "" for i in ids],
        "tags": {t: [samples[i].tags.get(t, "") if i in samples else "" for i in ids] for t in tags},
        "pictures": [picture_key(samples[i]) if i in samples else "" for i in ids],
        "images": {k: list(v.addresses) for k, v in images.items()},
        "sizes": {k: list(v.size) for k, v in images.items()},
        "answers": [[_answer(a[i]) for i in ids] for a in answers],
        "scores": [_scores(read_lines(RunFolder(r).scores), ids) for r in runs],
        "lens": _lens(runs[0]),
    }


def _lens(run: Path) -> Any:
    """The run's protocol lens, when it was scored under enough protocols to have one."""
    path = run / "lens.json"
    return read_json(path, "lens") if path.is_file() else None


def _run(summary: Mapping[str, Any]) -> dict[str, Any]:
    shown = (
        "run_id", "model", "task", "split", "n", "n_images", "prompt", "image", "generation", "closed_rule", "n_failed",
        "n_empty", "n_truncated", "notes", "metrics", "data_sha256", "evalkit", "unscored", "timing",
    )  # fmt: skip
    return {k: summary.get(k) for k in shown}


def _answer(record: Mapping[str, Any]) -> list[Any]:
    """[text, error, finish reason, seconds]."""
    return [record["text"], record["error"], record["finish_reason"], record["seconds"]]


def _scores(records: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> dict[str, list[Any]]:
    """`protocol metric` -> a column: a number, [reason] where it is unscored, null where the metric has no such row.

    A score with something read out of the answer or a note is [value, extracted, note].
    """
    place = {sample_id: k for k, sample_id in enumerate(ids)}
    columns: dict[str, list[Any]] = {}
    for record in records:
        k = place.get(record["sample_id"])
        if k is None:
            continue
        column = columns.setdefault(f"{record['protocol']} {record['metric']}", [None] * len(ids))
        extracted, note = record.get("extracted", ""), record.get("note", "")
        if record["value"] is None:
            column[k] = [record["reason"]]
        elif extracted or note:
            column[k] = [record["value"], extracted, note]
        else:
            column[k] = record["value"]
    return columns
