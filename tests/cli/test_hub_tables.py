"""A dataset of the hub as a table, from a fake of its server: splits, revision, images, failures, `fetch`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import environment, folder_of, in_new_process
from tests.support.hub import COMMIT, NEWER, FakeHub

NAME = "org/hospital"
REPO = f"datasets/{NAME}"


def png(level: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (level, 90, 10)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(n: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "id": f"q{k}", "question": f"Is it large, number {k}?", "answer": "yes" if k % 2 else "no",
            "modality": "CT" if k % 3 else "MRI", "image": {"bytes": png(k), "path": None},
        }
        for k in range(first, first + n)
    ]  # fmt: skip


def parquet(some: list[dict[str, Any]]) -> bytes:
    from datasets import Dataset, Features, Image, Value

    columns = {name: Value("string") for name in ("id", "question", "answer", "modality")}
    data = Dataset.from_list(some, features=Features({**columns, "image": Image()}))
    buffer = io.BytesIO()
    data.to_parquet(buffer)
    return buffer.getvalue()


def csv_text(some: list[dict[str, Any]]) -> bytes:
    names = ("id", "question", "answer", "modality")
    return "\n".join([",".join(names), *(",".join(f'"{r[n]}"' for n in names) for r in some), ""]).encode()


@cache
def files() -> dict[str, bytes]:
    return {
        "data/test-00000-of-00001.parquet": parquet(rows(6)),
        "data/train-00000-of-00001.parquet": parquet(rows(4, 100)),
    }


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    newer = {"data/test-00000-of-00001.parquet": parquet(rows(8))}
    with FakeHub({REPO: {COMMIT: files(), NEWER: {**files(), **newer}}}) as running:
        yield running


def run(hub: FakeHub, place: Path, *words: str) -> Any:
    kept = {k: v for k, v in environment().items() if k not in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE")}
    online = {"HF_ENDPOINT": hub.url, "HF_HOME": str(place / "home"), "XDG_CACHE_HOME": str(place / "cache")}
    return in_new_process(*words, cwd=place, env=kept | online | {"NO_PROXY": "localhost,127.0.0.1"})


def summary(result: Any, place: Path) -> dict[str, Any]:
    return json.loads((folder_of(result, place) / "summary.json").read_text(encoding="utf-8"))


SCRIPTED = ("model=scripted", "model.rule=yes", "leaderboard=null", "protocol=strict")


@pytest.mark.slow
def test_the_newest_commit_is_read_and_recorded_and_a_revision_pins_it(hub: FakeHub, tmp_path: Path) -> None:
    newest = run(hub, tmp_path, "task=table", f"task.path={NAME}", *SCRIPTED)
    assert newest.returncode == 0, newest.stderr
    found = summary(newest, tmp_path)
    assert (found["task"], found["n"], found["n_images"]) == ("hospital", 8, 8)
    assert any(f"{NAME} (test) at commit {NEWER}; task.revision={NEWER} pins it" in note for note in found["notes"])
    pinned = run(hub, tmp_path, "task=table", f"task.path={NAME}", f"task.revision={COMMIT}", *SCRIPTED)
    assert pinned.returncode == 0, pinned.stderr
    found = summary(pinned, tmp_path)
    assert found["n"] == 6
    assert any(note == f"{NAME} (test) at commit {COMMIT}" for note in found["notes"])


@pytest.mark.slow
def test_the_same_rows_from_the_hub_and_from_its_files_have_the_same_numbers(hub: FakeHub, tmp_path: Path) -> None:
    place = tmp_path / "copy" / "data"
    place.mkdir(parents=True)
    for name, content in files().items():
        (tmp_path / "copy" / name).write_bytes(content)
    pinned = (f"task.revision={COMMIT}", "task.name=hospital", "task.tags=[modality]")
    one = run(hub, tmp_path, "task=table", f"task.path={NAME}", *pinned, *SCRIPTED)
    two = run(hub, tmp_path, "task=table", "task.path=copy", *pinned[1:], *SCRIPTED)
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    first, second = summary(one, tmp_path), summary(two, tmp_path)
    assert first["data_sha256"] == second["data_sha256"]
    assert first["metrics"] == second["metrics"]


@pytest.mark.slow
def test_a_part_of_the_rows_and_another_split(hub: FakeHub, tmp_path: Path) -> None:
    part = ("task.tags=[modality]", "task.where.modality=MRI", "task.split=train")
    result = run(hub, tmp_path, "task=table", f"task.path={NAME}", *part, *SCRIPTED)
    assert result.returncode == 0, result.stderr
    found = summary(result, tmp_path)
    assert (found["task"], found["split"], found["n"]) == ("hospital[modality=MRI]", "train", 1)


@pytest.mark.slow
def test_images_of_the_hub_reach_the_model(hub: FakeHub, tmp_path: Path) -> None:
    words = ("task=table", f"task.path={NAME}", "model=phantom-llava", "limit=3", "leaderboard=null")
    result = run(hub, tmp_path, *words)
    assert result.returncode == 0, result.stderr
    assert summary(result, tmp_path)["n_failed"] == 0


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("task.path=org/none",), None, "could not be read from the hub"),
        ((f"task.path={NAME}", "task.split=validation"), None, "no split validation; it has"),
        ((f"task.path={NAME}", f"task.revision={'9' * 40}"), None, "could not be read from the hub"),
        ((f"task.path={NAME}",), (500, ""), "could not be read from the hub"),
        ((f"task.path={NAME}",), (403, "GatedRepo"), "could not be read from the hub"),
    ],
)
@pytest.mark.slow
def test_what_the_hub_does_not_give_is_one_paragraph(
    hub: FakeHub, tmp_path: Path, words: tuple[str, ...], status: tuple[int, str] | None, message: str
) -> None:
    if status:
        hub.status[REPO] = status
    result = run(hub, tmp_path, "task=table", *words, *SCRIPTED)
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr


@pytest.mark.slow
def test_fetch_brings_a_tables_files_also_for_a_part_of_its_rows(hub: FakeHub, tmp_path: Path) -> None:
    settings = (
        f"task.repo={NAME}",
        f"task.revision={COMMIT}",
        "task.files=[data/test-*.parquet]",
        "task.name=hospital",
    )
    part = ("task.tags=[modality]", "task.where.modality=CT")
    fetched = run(hub, tmp_path, "fetch", "task=table", *settings, *part, "lock=lock.json")
    assert fetched.returncode == 0, fetched.stderr
    locked = json.loads((tmp_path / "lock.json").read_text(encoding="utf-8"))["repos"]
    (repo,) = locked.values()
    assert set(repo["files"]) == {"data/test-00000-of-00001.parquet"}
    hub.status[REPO] = (500, "")  # no network any more
    result = run(hub, tmp_path, "task=table", *settings, *part, *SCRIPTED)
    assert result.returncode == 0, result.stderr
    found = summary(result, tmp_path)
    assert (found["task"], found["n"]) == ("hospital[modality=CT]", 4)
    assert any(COMMIT in note for note in found["notes"])


def test_fetch_says_how_a_dataset_that_is_named_by_its_id_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    result = run(hub, tmp_path, "fetch", "task=table", f"task.path={NAME}")
    assert result.returncode == 2
    assert f"task.repo={NAME} task.files=[PATTERN]" in result.stderr
