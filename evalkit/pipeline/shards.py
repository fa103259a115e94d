"""A run in parts, one to a job of an array, and the parts joined again into the run that they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, DataError, StoreError
from evalkit.core.files import read_json, write_whole
from evalkit.core.types import Prediction, Request, Sample, digest_json
from evalkit.engines.metadata import merge_metadata
from evalkit.runs.store import RunFolder, read_answered, set_aside, write_predictions
from evalkit.tasks.base import LoadedTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Part `index` (from 1) of `of` parts.

    >>> Shard.parse("2/3").name
    'part-2-of-3'
    """

    index: int
    of: int

    @classmethod
    def parse(cls, text: str | None) -> Shard | None:
        """From `i/n`; None for None.  ConfigError for anything that is no part."""
        if text is None:
            return None
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", str(text).strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(f"engine.shard={text} is no part of a run: give i/n with i from 1 to n, such as 2/8.")
        return cls(index=int(match[1]), of=int(match[2]))

    @property
    def name(self) -> str:
        """How the part's folder ends, behind the run's id."""
        return f"part-{self.index}-of-{self.of}"

    def places(self, requests: Sequence[Request]) -> list[int]:
        """Where in `requests` this part's own are.  An image's questions stay together; every request has one part.

        Images go, those with most questions first, to the part that has fewest questions so far: parts are of about
        one size, and which they are follows from the requests alone.  ConfigError for more parts than images.
        """
        groups: dict[tuple[str, ...], list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(request.image_digests or (request.image_id,), []).append(place)
        if len(groups) < self.of:
            raise ConfigError(
                f"engine.shard={self.index}/{self.of}: these questions are about {len(groups)} images, and an image's "
                f"questions are never parted; give at most {len(groups)} parts."
            )
        sizes = [0] * self.of
        mine: list[int] = []
        for places in sorted(groups.values(), key=len, reverse=True):
            lightest = sizes.index(min(sizes))
            sizes[lightest] += len(places)
            if lightest == self.index - 1:
                mine += places
        return sorted(mine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A finished part: its folder, its manifest and its answers."""

    folder: RunFolder
    manifest: Mapping[str, Any]
    predictions: tuple[Prediction, ...]


def find_parts(paths: Sequence[Path]) -> list[RunFolder]:
    """The folders of parts that are named, or lie in the folders that are named.  StoreError where there is none."""
    if not paths:
        raise StoreError("No part of a run was named; give their folders, or the folder that they lie in: runs=DIR.")
    found: list[RunFolder] = []
    for path in paths:
        inside = (
            [path] if (path / "manifest.json").is_file() else sorted(m.parent for m in path.glob("*/manifest.json"))
        )
        parts = [p for p in inside if read_json(p / "manifest.json", "manifest").get("shard")]
        if not parts:
            raise StoreError(
                f"{path} is no part of a run and holds none: parts are made with engine.shard=i/n and have folders "
                "that end in part-i-of-n."
            )
        found += [RunFolder(p) for p in parts]
    return found


def read_parts(folders: Sequence[RunFolder]) -> list[Part]:
    """The parts in their order, checked: one run's, each there once and finished, together all that the run asks.

    Raises:
        StoreError: names the part that is missing, doubled, unfinished, damaged or another run's.
    """
    manifests = [(f, read_json(f.manifest, "manifest")) for f in folders]
    first, reference = manifests[0]
    for folder, manifest in manifests[1:]:
        if differing := differences(reference, manifest):
            raise StoreError(
                f"{folder.path} and {first.path} are parts of two runs: they differ in {', '.join(differing)}. Name "
                "the parts of one run."
            )
    _check_numbers(manifests)
    parts = [
        Part(folder=f, manifest=m, predictions=_answers(f, m))
        for f, m in sorted(manifests, key=lambda fm: int(fm[1]["shard"]["index"]))
    ]
    prints = sorted(p.fingerprint for part in parts for p in part.predictions)
    if digest_json(prints) != reference["prompts_sha256"]:
        twice = sum(n > 1 for n in Counter(prints).values())
        raise StoreError(
            f"The {len(parts)} parts hold {len(prints)} answers, {twice} of them doubled, and these are not the "
            f"{reference['n']} that the run {reference['run_id']} asks for: one of the files was changed since. Run "
            "the part whose predictions.jsonl is not as it was written once more."
        )
    return parts


# What a manifest holds beside the run's identity; `run_id` is its digest and names nothing by itself.
_OWN = ("config", "status", "facts", "shard", "timing", "run_id")


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In what two parts' runs differ: what names the run, and which engine and protocols were chosen."""
    found = [key for key in one if key not in _OWN and other.get(key) != one[key]]
    configs = (one["config"], other["config"])
    found += [key for key in ("protocol",) if configs[0].get(key) != configs[1].get(key)]
    targets = [(c.get("engine") or {}).get("target") for c in configs]
    return found + (["engine"] if targets[0] != targets[1] else [])


def _check_numbers(manifests: Sequence[tuple[RunFolder, Mapping[str, Any]]]) -> None:
    sizes = sorted({int(m["shard"]["of"]) for _, m in manifests})
    if len(sizes) > 1:
        raise StoreError(f"These parts are of runs in {' and in '.join(map(str, sizes))} parts: join those of one.")
    where: dict[int, RunFolder] = {}
    for folder, manifest in manifests:
        index = int(manifest["shard"]["index"])
        if index in where:
            raise StoreError(
                f"Part {index}/{sizes[0]} is given twice: {where[index].path} and {folder.path}. Name it once."
            )
        where[index] = folder
    if missing := [f"{i}/{sizes[0]}" for i in range(1, sizes[0] + 1) if i not in where]:
        raise StoreError(
            f"{len(missing)} of {sizes[0]} parts are missing: {', '.join(missing[:20])}. Run each with "
            "engine.shard=i/n and otherwise the same command, then merge again."
        )


def _answers(folder: RunFolder, manifest: Mapping[str, Any]) -> tuple[Prediction, ...]:
    index, of = (manifest["shard"][k] for k in ("index", "of"))
    if manifest.get("status") != "done":
        raise StoreError(
            f"Part {index}/{of} ({folder.path}) is not finished: the same command with engine.shard={index}/{of} "
            "goes on."
        )
    answers = tuple(read_answered(folder.predictions).values())
    if len(answers) != manifest["shard"]["n"]:
        raise StoreError(
            f"Part {index}/{of} ({folder.path}) has {len(answers)} answers and had {manifest['shard']['n']} when it "
            "ended: predictions.jsonl was changed. Run that part again."
        )
    return answers


def joined_facts(parts: Sequence[Part]) -> dict[str, Any]:
    """The manifest's facts of the whole, and which of them are not all parts'."""
    facts = [part.manifest.get("facts") or {} for part in parts]
    return {**merge_metadata(facts, "differs_between_parts"), "parts": len(parts)}


def joined(parts: Sequence[Part], loaded: LoadedTask) -> list[Prediction]:
    """The answers in the order of the data's samples.  DataError when the data is not what the parts answered."""
    manifest = parts[0].manifest
    of = {p.sample_id: p for part in parts for p in part.predictions}
    if loaded.data_sha256 != manifest["data_sha256"] or {s.id for s in loaded.samples} != set(of):
        raise DataError(
            f"The data of {manifest['task']} is not what the parts of {manifest['run_id']} answered (sha256 "
            f"{loaded.data_sha256[:8]} now, {str(manifest['data_sha256'])[:8]} then): it was changed since. Give the "
            "data of the run with data.path=DIR."
        )
    return [of[s.id] for s in loaded.samples]


def joined_manifest(parts: Sequence[Part]) -> dict[str, Any]:
    """The manifest of the whole, as the run without parts has it, and the time of the slowest part."""
    first = parts[0].manifest
    timings = [part.manifest["timing"] for part in parts]
    seconds = max(t["seconds"] for t in timings)
    asked = sum(t["n_asked"] for t in timings)
    prefills = [t["image_prefills"] for t in timings]
    return {
        **{k: v for k, v in first.items() if k not in ("shard", "config", "facts", "timing")},
        "config": {**first["config"], "engine": {**first["config"]["engine"], "shard": None}},
        "facts": joined_facts(parts),
        "timing": {
            "seconds": seconds,
            "n_asked": asked,
            "samples_per_second": round(asked / seconds, 3) if asked else None,
            "image_prefills": None if None in prefills else sum(prefills),
        },
    }


def replace_predictions(path: Path, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> None:
    """Write predictions.jsonl whole; what lies there with another content is kept beside it."""
    before = path.read_bytes() if path.exists() else None
    aside = set_aside(path)
    write_predictions(path, samples, predictions)
    if aside is not None and path.read_bytes() == before:
        aside.unlink()


def copy_where_equal(files: Sequence[Path], to: Path) -> None:
    """Copy a file that each part has, where all have the same; otherwise (an older part) there is none of the whole."""
    contents = {file.read_bytes() if file.is_file() else None for file in files}
    if len(contents) == 1 and (content := contents.pop()) is not None:
        write_whole(to, content.decode("utf-8"))
