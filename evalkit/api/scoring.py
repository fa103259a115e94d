"""`score`: score answers that exist."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.api.answers import ORIGIN, as_file
from evalkit.api.arguments import as_flag, as_path, as_text
from evalkit.api.evaluation import merged_settings
from evalkit.api.home import Home
from evalkit.api.result import Result
from evalkit.api.task import TaskData, task_settings
from evalkit.api.words import as_words
from evalkit.core import console

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.cli.config import Config
    from evalkit.core.types import Sample

# The name of answers that have no file to be named after.
NAME = "answers"


def score(
    answers: Any,
    task: str | os.PathLike[str] | pd.DataFrame | TaskData = "phantom",
    *,
    path: str | os.PathLike[str] | None = None,
    protocols: str | Sequence[str] | None = None,
    limit: int | None = None,
    name: str | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = False,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Result:
    """Score answers, as `python -m evalkit score` does; needs no images.

    >>> result = score(["yes"] * 20, task="phantom", limit=20, protocols="strict")
    >>> print(result["strict", "closed_accuracy"].n)
    14

    Args:
        answers: a list in the task's order (or any other iterable), a dict or Series of id to answer, a DataFrame with
            the columns of an answer file, a result, or the path of a file or run.  None, NaN and NA are failed
            samples.
        task, path, protocols, limit, out, progress: as for `evaluate`.  With `limit`, answers to those samples alone
            are enough.
        name: of the model in results.
        settings, more: other settings of `evalkit score`, such as prediction="reply", the column with the answers.

    Raises:
        EvalkitError: answers without a sample, samples without an answer, two answers to one; see `evalkit.errors`.
    """
    from evalkit.cli.commands.score import score_answers
    from evalkit.cli.hydra_app import configuration, refused

    given = merged_settings(settings, more)
    name, progress = as_text("name", name), as_flag("progress", progress)
    home = Home(out)
    common = {
        **task_settings(task, path, home, given, limit),
        **({} if protocols is None else {"protocol": protocols}),
        "out": home.path,
        **({"leaderboard": None} if home.is_temporary else {}),
    }
    if isinstance(answers, Result):
        answers = answers.folder
    is_file = isinstance(answers, str | os.PathLike)
    own_name = {"name": name if name is not None or is_file else NAME}
    with console.captured(is_shown=progress) as said:
        answers = list(answers) if hasattr(answers, "__next__") else answers  # a generator is read once
        every: Sequence[Sample] = ()
        part: Sequence[Sample] = ()
        where, n = "", _size(answers, is_file)
        if not is_file or n is not None:  # a file's questions may be in the file alone
            config = configuration("score", as_words({**common, "predictions": ORIGIN, **given}))
            every, part, where = _samples(config)
        is_part = n == len(part) < len(every)
        file = as_file(answers, part if is_part else every, home, where)
        words = as_words({**common, "predictions": file.path, **own_name, **file.settings, **given})
        try:
            config = configuration("score", words)
            scored = score_answers(config, covers="part" if is_part else "task", origin=None if is_file else ORIGIN)
        except OSError as problem:
            raise refused(problem) from problem
    return Result(scored.conclusion.folder, home, said.notes, said.warnings)


def _samples(config: Config) -> tuple[Sequence[Sample], Sequence[Sample], str]:
    """All samples of a task, those that its selection and `limit` leave, and its name for messages."""
    from evalkit.cli.factories import make_selection, make_whole_task, with_sample
    from evalkit.pipeline.inputs import limited

    config = with_sample(config)
    loaded, selection = make_whole_task(config).load(images=False), make_selection(config)
    part = limited(loaded if selection is None else selection.apply(loaded), config["limit"])
    return loaded.samples, part.samples, f"{loaded.name} ({loaded.split})"


def _size(answers: Any, is_file: bool) -> int | None:
    """The number of answers; None where it is not known before they are read."""
    from evalkit.pipeline.rescore import run_manifest

    if not is_file:
        return len(answers) if hasattr(answers, "__len__") else None
    manifest = run_manifest(as_path("answers", answers, "the path of a file or run"))
    return None if manifest is None else manifest.n
