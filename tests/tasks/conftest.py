"""Released forms written from made-up rows, as small as they can be."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


def png_bytes(seed: int, size: tuple[int, int] = (6, 5)) -> bytes:
    """A small PNG of one colour that depends on the seed."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", size, (seed % 256, seed // 256 % 256, 77)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def put() -> Callable[..., Path]:
    """put(path, content): JSON, or raw text or bytes, with the folders that it needs."""

    def write(path: Path, content: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def put_image() -> Callable[..., Path]:
    """put_image(path, seed): a small PNG, whatever the ending says."""

    def write(path: Path, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_bytes(seed))
        return path

    return write


@pytest.fixture
def put_parquet() -> Callable[..., Path]:
    """put_parquet(path, rows, row_group_size): as the hub has them, the column image a struct of bytes and path.

    A row is (image seed or None, question, answer) and, where given, a dict of further columns.
    """

    def write(path: Path, rows: Sequence[tuple[Any, ...]], row_group_size: int = 2) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        images = [{"bytes": None if r[0] is None else png_bytes(r[0]), "path": None} for r in rows]
        columns = {
            "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "question": [r[1] for r in rows],
            "answer": [r[2] for r in rows],
        }
        for key in rows[0][3] if len(rows[0]) > 3 else ():
            columns[key] = [r[3][key] for r in rows]
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
        return path

    return write


@pytest.fixture
def conversation() -> Callable[..., dict[str, Any]]:
    """conversation(id, image, question, answer, ...): a record of LLaVA-Med's converted JSON."""

    def make(
        row_id: Any, image: str, question: str, answer: Any, label: str | None = None, key: str = "conversations"
    ) -> dict[str, Any]:
        turns = [{"from": "human", "value": f"{question}\n<image>"}, {"from": "gpt", "value": answer}]
        return {"id": row_id, "image": image, **({"answer_type": label} if label else {}), key: turns}

    return make
