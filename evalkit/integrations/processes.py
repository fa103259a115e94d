"""The processes of a distributed training: a value or an error that all of them get."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from evalkit.core.errors import EngineError, EvalkitError, first_line

T = TypeVar("T")
# The limit for a process that waits for the others; those of torch's groups are minutes, an evaluation may take hours.
LONGEST_WAIT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes that train one model.  rank: of this one, from 0.  group: of torch.distributed; None for one."""

    rank: int = 0
    size: int = 1
    group: Any = None

    def each(self, work: Callable[[], T], doing: str) -> list[T]:
        """The values of all processes, by rank, in every process; each waits for all.

        Raises:
            EngineError: another process failed; the text has its rank and its paragraph.
            Exception: that of this process.
        """
        if self.group is None:
            return [work()]
        value, problem = None, None
        try:
            value = work()
        except Exception as raised:  # noqa: BLE001 - raised again, once the others know
            problem = raised
        from torch import distributed

        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, (value, None if problem is None else paragraph(problem)), self.group)
        if problem is not None:
            raise problem
        for rank, (_, text) in enumerate(found):
            if text is not None:
                raise EngineError(f"Process {rank} of {self.size} failed while {doing}, and ended all of them: {text}")
        return [value for value, _ in found]

    def main(self, work: Callable[[], T], doing: str) -> T:
        """The value of `work` in process 0, in every process.  Raises as `each`."""
        found = self.each(lambda: work() if self.rank == 0 else None, doing)[0]
        return found  # type: ignore[return-value]


def paragraph(problem: Exception) -> str:
    """The text of an error: its own paragraph, or for another library's its class and first line."""
    return str(problem) if isinstance(problem, EvalkitError) else f"{type(problem).__name__}: {first_line(problem)}"


@contextmanager
def training_processes() -> Iterator[Processes]:
    """The processes of torch.distributed, with a group on the CPU of their own; one process where it is not in use."""
    if "torch.distributed" not in sys.modules:
        yield Processes()
        return
    from torch import distributed

    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        yield Processes()
        return
    group = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), group)
    finally:
        distributed.destroy_process_group(group)
