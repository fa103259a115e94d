"""The runs in a folder, finished and running, as the viewer lists them.  Links out of the folder are not followed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evalkit.analysis.run_folders import is_started
from evalkit.core.errors import StoreError
from evalkit.core.types import MetricValue
from evalkit.judge.results import judged_numbers
from evalkit.runs.read import manifest_at
from evalkit.runs.schema import Manifest
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import StoredRun, open_run

State = Literal["done", "running", "part", "unusable"]
# The last change of each file that a line is made from: its name, time in nanoseconds and size in bytes.
Stamp = tuple[tuple[str, int, int], ...]
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun:
    """A line of the list.

    name: of its folder.  state: "unusable" where the folder holds no run that can be shown, for the reason `problem`.
    n, n_answered: samples, and how many of them have an answer.  changed: time of the last change, seconds since the
    epoch.  tags: settings by which runs are told apart, `name=value`.  metrics: over all samples, judged ones too.
    """

    name: str
    state: State
    changed: float
    problem: str = ""
    model: str = ""
    task: str = ""
    split: str = ""
    data: str = ""
    n: int = 0
    n_answered: int = 0
    n_failed: int = 0
    tags: tuple[str, ...] = ()
    metrics: tuple[MetricValue, ...] = ()


@dataclass(slots=True)
class RunList:
    """The runs in a folder of runs, or the one run whose folder is given.

    Lines are kept until a file of their run changes.  Raises StoreError where the folder does not exist.
    """

    given: Path
    _known: dict[str, tuple[Stamp, ListedRun]] = field(default_factory=dict)
    _counted: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.given.is_dir():
            raise StoreError(f"{self.given} is not a folder; expected a folder of runs, or the folder of a run.")

    @property
    def root(self) -> Path:
        """The folder that the viewer reads in, without links."""
        given = self.given.resolve()
        return given.parent if is_started(given) else given

    def folders(self) -> dict[str, Path]:
        """The folders of runs by name; no other path is ever read."""
        given, root = self.given.resolve(), self.root
        found = [given] if given != root else sorted(p for p in root.iterdir() if not p.name.startswith("."))
        return {p.name: p for p in found if p.is_dir() and is_started(p)}

    def lines(self) -> list[ListedRun]:
        """Every run, the last changed first."""
        found = [self._line(name, path) for name, path in self.folders().items()]
        return sorted(found, key=lambda run: (-run.changed, run.name))

    def finished(self, name: str) -> Path | None:
        """The folder of a run that can be shown; None for every other name."""
        path = self.folders().get(name)
        return path if path is not None and self._line(name, path).state == "done" else None

    def stamp(self, name: str) -> Stamp:
        """Changes when a file of a run does."""
        path = self.folders().get(name)
        return _stamp(path) if path is not None else ()

    def _line(self, name: str, path: Path) -> ListedRun:
        try:
            stamp = _stamp(path)
        except OSError as problem:
            return ListedRun(name=name, state="unusable", changed=0, problem=str(problem))
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            changed = max((time for _, time, _ in stamp), default=0) / 1e9
            known = self._known[name] = (stamp, self._read(name, path, changed))
        return known[1]

    def _read(self, name: str, path: Path, changed: float) -> ListedRun:
        if strange := next((p.name for p in path.iterdir() if not (p.is_file() or p.is_dir() or p.is_symlink())), ""):
            problem = f"{strange} is no plain file but a pipe or a device, which reading could wait for"
            return ListedRun(name=name, state="unusable", changed=changed, problem=problem)
        if link := _leads_out(path, self.root):
            problem = f"{link} is a link to a place outside of {self.root.name}, which is not read: give its own folder"
            return ListedRun(name=name, state="unusable", changed=changed, problem=problem)
        try:
            manifest = manifest_at(RunFolder(path).manifest) if RunFolder(path).manifest.is_file() else None
            if manifest is not None and (manifest.shard is not None or not manifest.is_finished):
                return self._unfinished(name, path, manifest, changed)
            return _finished(name, open_run(path), changed)
        except (StoreError, OSError) as problem:
            said = str(problem).replace(str(path), name)
            return ListedRun(name=name, state="unusable", changed=changed, problem=said)

    def _unfinished(self, name: str, path: Path, manifest: Manifest, changed: float) -> ListedRun:
        shard = manifest.shard
        n = manifest.n if shard is None else shard.n
        return ListedRun(
            name=name, state="running" if not manifest.is_finished else "part", changed=changed, model=manifest.model,
            task=manifest.task, split=manifest.split, data=manifest.data_sha256, n=n,
            n_answered=min(n, self._count(name, RunFolder(path).predictions)),
            tags=(*_tags(manifest, image=manifest.image, limit=manifest.limit, prompt=manifest.prompt),
                  *((f"part={shard.index}/{shard.of}",) if shard else ())),
        )  # fmt: skip

    def _count(self, name: str, path: Path) -> int:
        """The complete lines of a file that is appended to; only what was added since the last call is read."""
        if not path.is_file():
            return 0
        place, lines = self._counted.get(name, (0, 0))
        with path.open("rb") as file:
            if path.stat().st_size < place:
                place, lines = 0, 0
            file.seek(place)
            while block := file.read(_BLOCK):
                lines += block.count(b"\n")
                place += len(block)
        self._counted[name] = (place, lines)
        return lines


def _finished(name: str, run: StoredRun, changed: float) -> ListedRun:
    s = run.summary
    judges = judged_numbers(run.folder.path, s)
    tags = _tags(run.manifest, image=s.image, limit=s.limit, prompt=s.prompt)
    return ListedRun(
        name=name, state="done", changed=changed, model=s.model, task=s.task, split=s.split, data=s.data_sha256, n=s.n,
        n_answered=s.n - s.n_failed, n_failed=s.n_failed, tags=(*tags, *(f"judge={j.judge}" for j in judges)),
        metrics=tuple(m for m in (*s.metrics, *(m for j in judges for m in j.metrics)) if m.slice == "all"),
    )  # fmt: skip


def _tags(manifest: Manifest | None, *, image: str, limit: int | None, prompt: str) -> Iterator[str]:
    yield f"prompt={prompt}"
    if image != "original":
        yield f"image={image}"
    if limit is not None:
        yield f"limit={limit}"
    if manifest is None:
        return
    chosen: Mapping[str, Any] = manifest.section("choices")
    if engine := chosen.get("engine"):
        yield f"engine={engine}"
    if manifest.predictions is not None:
        yield f"answers={manifest.predictions.format}"
    if manifest.scoring != "generation":
        yield f"scoring={manifest.scoring}"
    if manifest.reasoning != "auto":
        yield f"reasoning={manifest.reasoning}"


def _stamp(path: Path) -> Stamp:
    files = [p for p in path.iterdir() if p.suffix in (".json", ".jsonl")]
    return tuple(sorted((p.name, s.st_mtime_ns, s.st_size) for p in files for s in [p.stat()]))


def _leads_out(path: Path, root: Path) -> str:
    """The name of a run's folder or of a file in it that is a link out of the root; empty where there is none."""
    if not path.resolve().is_relative_to(root):
        return path.name
    links = [p for p in path.iterdir() if p.is_symlink() and not p.resolve().is_relative_to(root)]
    return f"{path.name}/{links[0].name}" if links else ""
