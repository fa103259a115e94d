"""tracker=tensorboard: event files of TensorBoard."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from evalkit.integrations.trackers.base import TrackerSettings, picture
from evalkit.reports.markdown import escape
from evalkit.reports.tracking import TrackedRun, safe_key


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorboardTracker(TrackerSettings):
    """Writes event files: numbers as scalars, settings and tables as text, samples as pictures, the page beside them.

    dir: the folder with a folder for each run.
    """

    library: ClassVar[str] = "tensorboard"
    extra: ClassVar[str] = "tracking-tensorboard"

    dir: str = "tensorboard"

    def log(self, run: TrackedRun) -> str:
        """See `Tracker.log`."""
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(self.dir).expanduser() / safe_key(self.name or run.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        with SummaryWriter(str(folder)) as writer:
            for name, value in run.entries.items():
                writer.add_scalar(name, value, 0)
            for title, content in (("config", run.config), ("signatures", run.signatures)):
                writer.add_text(title, _table(["name", "value"], [[k, v] for k, v in content.items()]), 0)
            writer.add_text("warnings", "\n\n".join(escape(text) for text in run.notes), 0)
            writer.add_text("metrics", _table(*run.metric_rows()), 0)
            self._add_samples(writer, run)
            for path in run.files:
                if path.is_dir():
                    shutil.copytree(path, folder / path.name, dirs_exist_ok=True)
                else:
                    shutil.copyfile(path, folder / path.name)
            if run.files:
                writer.add_text("page", ", ".join(escape(path.name) for path in run.files), 0)
        return str(folder)

    def _add_samples(self, writer: Any, run: TrackedRun) -> None:
        import numpy as np

        if not run.samples:
            return
        header, rows = run.sample_rows()
        writer.add_text("samples", _table(header[:-1], [row[:-1] for row in rows]), 0)
        for sample in run.samples:
            if sample.picture is not None:
                pixels = np.asarray(picture(sample.picture))
                writer.add_image(f"samples/{sample.sample_id}", pixels, 0, dataformats="HWC")


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown, which TensorBoard shows."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(escape('' if c is None else str(c)) for c in line)} |" for line in lines)
