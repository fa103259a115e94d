"""The result of an evaluation, a scoring, or a run that was read from its folder."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.api.arguments import WrongType, as_path, shown
from evalkit.api.comparison import Comparison, Verdict, compare_runs, gate_runs
from evalkit.api.home import Home
from evalkit.api.tables import list_html, metric_frame, metrics_html, sample_frame, values_of
from evalkit.api.value import Value
from evalkit.cli.factories import table_title
from evalkit.cli.saved_config import saved_protocols, saved_task
from evalkit.core import console
from evalkit.core.errors import ConfigError, EvalkitError, StoreError, did_you_mean
from evalkit.core.metric_table import metric_table
from evalkit.core.plain_text import visible
from evalkit.core.types import MetricKey, MetricValue
from evalkit.pipeline.conclude import caption_of, remarks
from evalkit.pipeline.headline import secondary_metrics
from evalkit.runs.schema import Manifest, Summary
from evalkit.runs.store import RunFolder, write_record
from evalkit.runs.verify import StoredRun, open_run

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType


@contextmanager
def _writing() -> Iterator[None]:
    """Turn errors of the operating system into those of evalkit.

    Raises:
        EvalkitError: a file cannot be written.
    """
    from evalkit.cli.hydra_app import refused

    try:
        yield
    except OSError as problem:
        raise refused(problem) from problem


class UnknownMetric(ConfigError, KeyError):
    """A result has no such metric."""

    __str__ = ConfigError.__str__


class Result:
    """Numbers, samples and files of a finished run.

    folder: the run's folder, with the files that the command line writes.  Where the run was made without `out=`, it is
    a temporary one that is removed with the last result that refers to it; `save` copies it.
    notes, warnings: what the command line would have printed, besides the table.
    """

    def __init__(
        self, folder: Path, home: Home | None = None, notes: Sequence[str] = (), warnings: Sequence[str] = ()
    ) -> None:
        self.folder = as_path("folder", folder, "the folder of a run").absolute()
        self._home = home
        self._run: StoredRun = open_run(self.folder)
        summary = self._run.summary
        self.notes = tuple(dict.fromkeys((*notes, *summary.notes)))
        self.warnings = tuple(dict.fromkeys((*warnings, *self._failures(), *remarks(summary))))

    def _failures(self) -> list[str]:
        n = self.summary.n_failed
        return [f"{n} of {self.summary.n} samples failed and are not in the values"] if n else []

    @property
    def summary(self) -> Summary:
        """Every number of the run, and the counts of everything that went wrong."""
        return self._run.summary

    @property
    def manifest(self) -> Manifest | None:
        """Everything that determines the numbers; None for runs without one."""
        return self._run.manifest

    @property
    def run_id(self) -> str:
        """The name of the run's folder, which has a digest of its content."""
        return self.summary.run_id

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row a metric and slice; values are fractions, with their interval, n, unscored count and signature."""
        return metric_frame([self._run])

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row a sample and protocol; see `sample_frame`."""
        return sample_frame(self._run)

    @cached_property
    def _values(self) -> dict[tuple[str, str, str], Value]:
        return {(v.protocol, v.metric, v.slice): Value.of(v) for v in values_of(self._run)}

    def __getitem__(self, key: tuple[str, str] | tuple[str, str, str]) -> Value:
        """The value of a metric: `result["llava-med", "closed_accuracy"]`, of a slice with a third text.

        Raises:
            UnknownMetric: a ConfigError and KeyError; the run has no such metric or slice.
        """
        if not isinstance(key, tuple) or len(key) not in (2, 3) or not all(isinstance(part, str) for part in key):
            raise UnknownMetric(
                f"{key!r} names no metric; expected result[PROTOCOL, METRIC] or [PROTOCOL, METRIC, SLICE]."
            )
        protocol, metric, name = (*key, "all")[:3]
        found = self._values.get((protocol, metric, name))
        if found is None:
            slices = [s for p, m, s in self._values if (p, m) == (protocol, metric)]
            known = slices or [f"{p} {m}" for p, m, s in self._values if s == "all"]
            word, what = (name, "slice") if slices else (f"{protocol} {metric}", "metric")
            raise UnknownMetric(f"{self.run_id} has no {what} {word!r}. {did_you_mean(word, known)}")
        return found

    def compare(self, other: Result | str | os.PathLike[str], metrics: Sequence[str] | None = None) -> Comparison:
        """The paired differences of another run over the same samples from this one: other minus this.

        Args:
            other: a result, or the folder of a run.
            metrics: `PROTOCOL METRIC` each; None for all that both have.

        Raises:
            DataError: the runs are not over the same samples under the same protocols.
        """
        return compare_runs(self.folder, _place(other), metrics)

    def gate(self, baseline: Result | str | os.PathLike[str], margin: float = 0.02, **settings: Any) -> Verdict:
        """Whether this run is not worse than a baseline by more than a margin; see docs/gate.md.  Never exits.

        Args:
            baseline: a result, the folder of a run, or a file that `evalkit gate save=FILE` wrote.
            margin: accepted loss, as a fraction.
            settings: others of `evalkit gate`, such as metrics=, exact= or force=.

        Raises:
            EvalkitError: the gate cannot be asked: runs over other samples, incomplete ones, too wide a margin.
        """
        return gate_runs(_place(baseline), self.folder, {"margin": margin, **settings})

    def report(
        self,
        file: str | os.PathLike[str] | None = None,
        *,
        against: Result | str | os.PathLike[str] | None = None,
        images: bool = True,
    ) -> Path:
        """Write the run's page, one HTML file; returns its path.

        Args:
            file: None: report.html in the run's folder.
            against: a second run over the same samples, shown beside this one.
            images: with the pictures, in a folder beside the file.
        """
        from evalkit.cli.commands.report import write_report
        from evalkit.cli.hydra_app import configuration

        words = {
            "run": self.folder,
            "images": images,
            "file": None if file is None else as_path("file", file, "the path of an HTML file, or None"),
            "against": None if against is None else _place(against),
        }
        from evalkit.api.words import as_words

        with console.captured(is_shown=False) as said, _writing():
            page = write_report(configuration("report", as_words(words)))
        for text in said.warnings:
            warnings.warn(text, stacklevel=2)
        return page

    def save(self, folder: str | os.PathLike[str] = "runs") -> Path:
        """Copy the run into a folder of runs, with what it was given in Python; returns the run's new folder.

        Raises:
            StoreError: another run of this name is there.
        """
        target = as_path("folder", folder, "the path of a folder of runs").absolute() / self.folder.name
        if target == self.folder:
            return target
        if target.exists():
            if open_run(target).summary.files != self.summary.files:
                raise StoreError(f"{target} is another run, or was changed: choose another folder, or remove it.")
            return target
        self._run.check()
        draft = target.with_name(f".{target.name}-{os.getpid()}")
        with _writing():
            try:
                shutil.copytree(self.folder, draft, ignore=shutil.ignore_patterns("run.lock"))
                self._keep_table(draft, target.parent)
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)  # of a copy that failed
        return target

    def _keep_table(self, copy: Path, runs: Path) -> None:
        """Copy a table of questions that was given in Python beside the copied run, whose manifest then names it."""
        manifest = self.manifest
        path = manifest.section("task").get("path") if manifest is not None else None
        if manifest is None or self._home is None or path is None or not Path(path).is_relative_to(self._home.path):
            return
        kept = Home(runs).file("tables", Path(path).name, Path(path).read_bytes())
        config = {**manifest.config, "task": {**manifest.section("task"), "path": str(kept)}}
        write_record(RunFolder(copy).manifest, replace(manifest, config=config))

    @property
    def _overall(self) -> list[MetricValue]:
        """The values that the command line's table shows: over all rows, of the main metrics."""
        secondary = self._secondary()
        return [m for m in values_of(self._run) if m.slice == "all" and m.key not in secondary]

    def _secondary(self) -> frozenset[MetricKey]:
        """The metrics that tables leave out; none where the run's protocols are not known here."""
        if (manifest := self.manifest) is None:
            return frozenset()
        try:
            with console.captured(is_shown=False):
                return secondary_metrics(saved_protocols(manifest, saved_task(manifest, {})))
        except EvalkitError:
            return frozenset()

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        lines = [Text(visible(f"{console.WARNING}{text}")) for text in self.warnings]
        return Group(metric_table(self._overall, self._title, caption_of(self.summary)), *lines)

    @property
    def _title(self) -> str:
        return table_title(self.summary)

    def __repr__(self) -> str:
        table = console.metrics_text(self._overall, self._title, caption_of(self.summary), console.WIDTH)
        rows = [line.rstrip() for line in table.rstrip().splitlines()]
        return "\n".join([*rows, *(visible(f"{console.WARNING}{text}") for text in self.warnings)])

    def _repr_html_(self) -> str:
        texts = list_html({"warning": self.warnings, "note": self.notes})
        return metrics_html(self._overall, self._title, caption_of(self.summary)) + texts


def _place(run: Result | str | os.PathLike[str]) -> Path:
    """The folder (or baseline file) of a run that a caller names."""
    if isinstance(run, Result):
        return run.folder
    if isinstance(run, str | os.PathLike):
        return as_path("run", run, "a Result, or the folder of a run")
    raise WrongType(f"{shown(run)} is no run; expected a Result or a folder.")
