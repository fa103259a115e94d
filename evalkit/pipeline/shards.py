"""Sharded runs: splitting a run into parts for an array of jobs, and merging the finished parts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit.core import console
from evalkit.core.errors import ConfigError, DataError, StoreError
from evalkit.core.files import write_whole
from evalkit.core.packed_predictions import PackedPredictions
from evalkit.core.reasoning import cut_unmarked, separate
from evalkit.core.types import Prediction, Request, Sample, digest_json
from evalkit.engines.metadata import merge_metadata
from evalkit.runs.legacy import current_target
from evalkit.runs.read import manifest_at
from evalkit.runs.schema import IDENTITY, Manifest, ShardInfo, Timing
from evalkit.runs.store import RunFolder, answered, set_aside, write_predictions
from evalkit.runs.verify import digest_of
from evalkit.tasks.base import LoadedTask

# Missing parts named in a message.
SHOWN_PARTS = 20


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
        """The shard in `i/n`; None for None.

        Raises:
            ConfigError: the text is not a valid part.
        """
        if text is None:
            return None
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", str(text).strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(f"engine.shard={text} is not a part of a run: give i/n with i from 1 to n, such as 2/8.")
        return cls(index=int(match[1]), of=int(match[2]))

    @property
    def name(self) -> str:
        """Suffix of the part's folder, after the run's id."""
        return f"part-{self.index}-of-{self.of}"

    def places(self, requests: Sequence[Request]) -> list[int]:
        """Positions of this part's requests.  All questions about an image are in one part.

        Images are assigned, those with the most questions first, to the part with the fewest questions so far: parts
        have similar sizes, and the assignment depends on the requests alone.

        Raises:
            ConfigError: more parts than images.
        """
        groups: dict[tuple[str, ...], list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(request.image_digests or (request.image_id,), []).append(place)
        if len(groups) < self.of:
            raise ConfigError(
                f"engine.shard={self.index}/{self.of}: these questions are about {len(groups)} images, and the "
                f"questions about one image stay together; give at most {len(groups)} parts."
            )
        sizes = [0] * self.of
        own: list[int] = []
        for places in sorted(groups.values(), key=len, reverse=True):
            lightest = sizes.index(min(sizes))
            sizes[lightest] += len(places)
            if lightest == self.index - 1:
                own += places
        return sorted(own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A finished part: its folder, its manifest and its answers."""

    folder: RunFolder
    manifest: Manifest
    predictions: tuple[Prediction, ...]


def find_parts(paths: Sequence[Path]) -> list[RunFolder]:
    """The folders of parts among these paths, or directly inside of them.

    Raises:
        StoreError: a path has none.
    """
    if not paths:
        raise StoreError(
            "No part of a run was named; give the folders of the parts, or the folder that holds them: runs=DIR."
        )
    found: list[RunFolder] = []
    for path in paths:
        inside = (
            [path] if (path / "manifest.json").is_file() else sorted(m.parent for m in path.glob("*/manifest.json"))
        )
        parts = [p for p in inside if _is_part(p, named=p == path)]
        if not parts:
            raise StoreError(
                f"{path} is not a part of a run and contains none: parts are made with engine.shard=i/n and have "
                "folders that end in part-i-of-n."
            )
        found += [RunFolder(p) for p in parts]
    return found


def _is_part(folder: Path, named: bool) -> bool:
    """Whether a folder is a part of a run; one whose manifest cannot be read is none, unless the user named it."""
    try:
        return manifest_at(folder / "manifest.json").shard is not None
    except StoreError as problem:
        if named:
            raise
        console.note(f"note: {folder} is left out: {problem}")
        return False


def read_parts(folders: Sequence[RunFolder]) -> list[Part]:
    """The parts in order, checked: all of one run, each present once and finished, together complete.

    Raises:
        StoreError: names the part that is missing, doubled, unfinished, damaged or of another run.
    """
    manifests = [(f, manifest_at(f.manifest)) for f in folders]
    first, reference = manifests[0]
    for folder, manifest in manifests[1:]:
        if differing := differences(reference, manifest):
            raise StoreError(
                f"{folder.path} and {first.path} are parts of different runs: they differ in {', '.join(differing)}. "
                "Give the parts of one run."
            )
    _check_numbers(manifests)
    parts = [
        Part(folder=f, manifest=m, predictions=_answers(f, m))
        for f, m in sorted(manifests, key=lambda fm: shard_of(fm[1]).index)
    ]
    prints = sorted(p.fingerprint for part in parts for p in part.predictions)
    if digest_json(prints) != reference.prompts_sha256:
        twice = sum(n > 1 for n in Counter(prints).values())
        raise StoreError(
            f"The {len(parts)} parts hold {len(prints)} answers, {twice} of them doubled, which are not the "
            f"{reference.n} answers of the run {reference.run_id}: one of the files was changed since. Run the part "
            "whose predictions.jsonl was changed again."
        )
    for part in parts:
        if part.manifest.answers is not None and digest_of(part.folder.predictions) != part.manifest.answers:
            raise StoreError(
                f"{part.folder.predictions} was changed after the part ended (its sha256 is another one). Restore it, "
                "or run that part again with resume=false."
            )
    return parts


def shard_of(manifest: Manifest) -> ShardInfo:
    """The shard of a part's manifest."""
    assert manifest.shard is not None, "find_parts selects manifests with a shard"
    return manifest.shard


def differences(one: Manifest, other: Manifest) -> list[str]:
    """The fields in which the runs of two parts differ: the run's identity, its protocols, its engine."""
    found = [key for key in IDENTITY if getattr(one, key) != getattr(other, key)]
    found += [key for key in ("evalkit", "reasoning") if getattr(one, key) != getattr(other, key)]
    if _protocols(one) != _protocols(other):
        found.append("protocol")
    return found + (["engine"] if _engine(one) != _engine(other) else [])


# Keys of a protocol's configuration that describe it and do not change a score.
_DESCRIPTIVE = frozenset({"about", "card", "source", "target"})


def _protocols(manifest: Manifest) -> object:
    """The chosen protocols with the settings that determine scores; None for the task's own, which follow its name."""
    chosen = manifest.section("protocol")
    if not chosen:
        return None
    return {name: {k: v for k, v in (c or {}).items() if k not in _DESCRIPTIVE} for name, c in chosen.items()}


def _engine(manifest: Manifest) -> str:
    """The engine by its registry name; by its class in manifests that record no name."""
    target = str(manifest.section("engine").get("target"))
    return str(manifest.section("choices").get("engine") or current_target(target))


def _check_numbers(manifests: Sequence[tuple[RunFolder, Manifest]]) -> None:
    sizes = sorted({shard_of(m).of for _, m in manifests})
    if len(sizes) > 1:
        raise StoreError(
            f"These parts belong to runs in {' and in '.join(map(str, sizes))} parts: merge the parts of one run."
        )
    where: dict[int, RunFolder] = {}
    for folder, manifest in manifests:
        index = shard_of(manifest).index
        if index in where:
            raise StoreError(
                f"Part {index}/{sizes[0]} is given twice: {where[index].path} and {folder.path}. Name it once."
            )
        where[index] = folder
    if missing := [f"{i}/{sizes[0]}" for i in range(1, sizes[0] + 1) if i not in where]:
        raise StoreError(
            f"{len(missing)} of {sizes[0]} parts are missing: {', '.join(missing[:SHOWN_PARTS])}. Run each with the "
            "same command and engine.shard=i/n, then merge again."
        )


def _answers(folder: RunFolder, manifest: Manifest) -> tuple[Prediction, ...]:
    shard = shard_of(manifest)
    if manifest.status != "done":
        raise StoreError(
            f"Part {shard.index}/{shard.of} ({folder.path}) is not finished: the same command with "
            f"engine.shard={shard.index}/{shard.of} resumes it."
        )
    answers = tuple(answered(folder.predictions).values())
    if len(answers) != shard.n:
        raise StoreError(
            f"Part {shard.index}/{shard.of} ({folder.path}) has {len(answers)} answers and had {shard.n} when it "
            "ended: predictions.jsonl was changed. Run that part again."
        )
    return answers


def merged_predictions(parts: Sequence[Part], loaded: LoadedTask) -> PackedPredictions:
    """The answers in the order of the data's samples, their reasoning apart.

    Raises:
        DataError: the data is not the data that the parts answered.
    """
    manifest = parts[0].manifest
    of = {p.sample_id: p for part in parts for p in part.predictions}
    if loaded.data_sha256 != manifest.data_sha256 or {s.id for s in loaded.samples} != set(of):
        raise DataError(
            f"The data of {manifest.task} is not what the parts of {manifest.run_id} answered (sha256 "
            f"{loaded.data_sha256[:8]} now, {manifest.data_sha256[:8]} then): it was changed since. Give the data of "
            "the run with data.path=DIR."
        )
    found = PackedPredictions.of([separate(of[s.id], manifest.reasoning) for s in loaded.samples])
    cut_unmarked(found, manifest.reasoning)
    return found


def merged_manifest(parts: Sequence[Part]) -> Manifest:
    """The manifest of the whole run, as the run without parts has it, with the time of the slowest part."""
    first = parts[0].manifest
    facts = [{k: v for k, v in part.manifest.facts.items() if k != "hosts"} for part in parts]
    hosts = merged_hosts([part.manifest.facts.get("hosts") for part in parts])
    return replace(
        first,
        shard=None,
        answers=None,
        config={**first.config, "engine": {**first.section("engine"), "shard": None}},
        facts={**merge_metadata(facts, "differs_between_parts"), "parts": len(parts), **hosts},
        timing=_merged_timing([part.manifest.timing or Timing() for part in parts]),
    )


def merged_hosts(of_parts: Sequence[Sequence[str] | None]) -> dict[str, list[str]]:
    """The servers that any part spoke to, as facts; none where a part did not record them: the list would be too short.

    >>> merged_hosts([["a:1"], ["b:2", "a:1"]]), merged_hosts([[], []]), merged_hosts([["a:1"], None])
    ({'hosts': ['a:1', 'b:2']}, {'hosts': []}, {})
    """
    known = [hosts for hosts in of_parts if hosts is not None]
    return {"hosts": sorted({h for hosts in known for h in hosts})} if len(known) == len(of_parts) else {}


def _merged_timing(timings: Sequence[Timing]) -> Timing:
    seconds = max(t.seconds or 0.0 for t in timings)
    n_asked = sum(t.n_asked or 0 for t in timings)
    prefills = [t.image_prefills for t in timings]
    return Timing(
        seconds=seconds,
        n_asked=n_asked,
        samples_per_second=round(n_asked / seconds, 3) if n_asked and seconds else None,
        image_prefills=None if None in prefills else sum(p or 0 for p in prefills),
    )


def replace_predictions(path: Path, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> None:
    """Write predictions.jsonl whole; an existing file with other content is kept under another name."""
    before = path.read_bytes() if path.exists() else None
    aside = set_aside(path)
    write_predictions(path, samples, predictions)
    if aside is not None and path.read_bytes() == before:
        aside.unlink()


def copy_where_equal(files: Sequence[Path], to: Path) -> None:
    """Copy a file that is equal in all parts; without effect where it differs or is missing (parts of old versions)."""
    contents = {file.read_bytes() if file.is_file() else None for file in files}
    if len(contents) == 1 and (content := contents.pop()) is not None:
        write_whole(to, content.decode("utf-8"))
