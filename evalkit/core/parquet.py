"""Parquet files, read within limits: a small file can repeat one value more often than fits into the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.core.archives import MAX_ARCHIVE, MAX_RATIO, UNCHECKED

# Rows that are read at a time, and bytes that a step of their conversion may need at most.
_ROWS, _STEP = 1 << 12, 1 << 26
# Size of a value in Python besides its text.
_VALUE = 64


def open_parquet(path: str | Path) -> Any:
    """A parquet file (`pyarrow.parquet.ParquetFile`) whose repeated texts and bytes stay one value when they are read.

    Raises:
        ValueError: a part of it unpacks to more than MAX_RATIO times its size.
        OSError, pyarrow.ArrowException: it is no parquet file, or damaged.
    """
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        meta = file.metadata
        names = [meta.schema.column(c) for c in range(meta.num_columns)]
        repeated = [column.path for column in names if column.physical_type == "BYTE_ARRAY"]
        for group in range(meta.num_row_groups):
            for c in range(meta.num_columns):
                part = meta.row_group(group).column(c)
                packed, unpacked = part.total_compressed_size, part.total_uncompressed_size
                if unpacked > UNCHECKED and unpacked > MAX_RATIO * packed:
                    raise ValueError(
                        f"its column {part.path_in_schema} unpacks {packed} bytes to {unpacked}, the limit is "
                        f"{MAX_RATIO} times as many"
                    )
    return pyarrow.parquet.ParquetFile(path, read_dictionary=repeated)


def parquet_records(file: Any, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a file from `open_parquet`, a few at a time; numbers of 32 bits as they are written (2.4, no
    2.4000000953674316).

    Raises:
        ValueError: their texts and numbers need more than MAX_ARCHIVE bytes.
    """
    kept, narrow = 0, _narrow_columns(file)
    groups = range(file.metadata.num_row_groups)  # one by one: pyarrow cannot join nested values of two groups
    for batch in (b for g in groups for b in file.iter_batches(batch_size=_ROWS, row_groups=[g], columns=columns)):
        step = max(1, min(len(batch), _STEP // max(1, batch.nbytes)))
        for start in range(0, len(batch), step):
            for record in batch.slice(start, step).to_pylist():
                for name in narrow & record.keys():
                    record[name] = _as_written(record[name])
                kept += sum(map(_size, record.values()))
                if kept > MAX_ARCHIVE:
                    raise ValueError(f"its rows have more than {MAX_ARCHIVE} bytes, the limit")
                yield record


def _narrow_columns(file: Any) -> frozenset[str]:
    """The columns of numbers with a fraction in 32 bits."""
    import pyarrow

    return frozenset(field.name for field in file.schema_arrow if pyarrow.types.is_float32(field.type))


def _as_written(value: float | None) -> float | None:
    """The shortest number that is stored in 32 bits as this one."""
    import numpy as np

    return None if value is None else float(str(np.float32(value)))


def _size(value: Any) -> int:
    """About the bytes of a value in memory; those of an image are not counted, because no reader keeps them."""
    if isinstance(value, str):
        return _VALUE + len(value)
    if isinstance(value, list | tuple):
        return _VALUE + sum(map(_size, value))
    return _VALUE + sum(map(_size, value.values())) if isinstance(value, dict) else _VALUE
