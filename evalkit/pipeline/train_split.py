"""The train split that image-blind baselines learn from, read once for the engine and the sanity checks of a run."""

from __future__ import annotations

from functools import cached_property

from evalkit.tasks.base import NO_SPLIT, LoadedTask, Task, load_train, why_no_split


class TrainSplit:
    """The train split of a task, loaded when it is first used."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @cached_property
    def loaded(self) -> LoadedTask:
        """The split.

        Raises:
            EvalkitError: it cannot be read.
        """
        return load_train(self.task)

    def load_or_reason(self) -> LoadedTask | str:
        """The split, or the reason why there is none: that must not stop a run, and nothing is downloaded for it."""
        if "loaded" not in self.__dict__ and getattr(self.task, "path", self.task) is None:
            return "the train split would have to be downloaded; give a local copy with task.path=DIR"
        try:
            return self.loaded
        except NO_SPLIT as problem:
            return why_no_split(problem)
