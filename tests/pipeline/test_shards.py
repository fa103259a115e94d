"""A run in parts (engine.shard=i/n) and `merge`: the parts joined are the run, byte for byte where time has no say."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import ConfigError
from evalkit.core.types import Generation, Request
from evalkit.pipeline.shards import Shard, differences
from evalkit.runs.read import manifest_at
from evalkit.runs.schema import ShardInfo
from evalkit.runs.store import manifest_record
from tests.support.command_line import SCRIPTED, environment, folder_of, lines
from tests.support.command_line import in_this_process as evalkit
from tests.support.old_runs import rewrite
from tests.support.paths import ROOT

ASKED = (*SCRIPTED, "limit=60")


def request(number: int, image: str, digest: bool = True) -> Request:
    return Request(
        sample_id=f"s{number}",
        image_id=image,
        question="?",
        answer_type=None,
        messages=(),
        images=(),
        image_digests=(f"digest of {image}",) if digest else (),
        generation=Generation(),
        checkpoint="c",
    )


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1/0", "-1/3", "1", "1/", "/3", "1.0/3", "a/b", "1/3/5"])
def test_what_names_no_part_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="i/n"):
        Shard.parse(text)


def test_a_part_is_read_from_its_two_numbers() -> None:
    assert Shard.parse(None) is None
    assert Shard.parse(" 2/8 ") == Shard(index=2, of=8)


@given(
    images=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60),
    of=st.integers(1, 9),
    digest=st.booleans(),
)
def test_every_request_is_in_one_part_and_an_image_is_never_parted(images: list[str], of: int, digest: bool) -> None:
    requests = [request(k, image, digest) for k, image in enumerate(images)]
    parts = [Shard(index=i, of=of) for i in range(1, of + 1)]
    if of > len(set(images)):
        with pytest.raises(ConfigError, match="at most"):
            parts[0].places(requests)
        return
    places = [p.places(requests) for p in parts]
    assert sorted(k for mine in places for k in mine) == list(range(len(requests)))
    assert all(mine == sorted(mine) and mine for mine in places)
    holders = [{images[k] for k in mine} for mine in places]
    assert sum(map(len, holders)) == len(set(images))
    largest = max(images.count(i) for i in images)
    assert max(map(len, places)) - min(map(len, places)) <= largest


def parts_of(cwd: Path, of: int, *more: str, asked: tuple[str, ...] = ASKED) -> list[Path]:
    folders = []
    for index in range(1, of + 1):
        result = evalkit(*asked, f"engine.shard={index}/{of}", *more, cwd=cwd)
        assert result.returncode == 0, result.stderr
        folders.append(folder_of(result, cwd))
    return folders


def without_time(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in ("seconds", "timing", "facts", "digest")}


def assert_same_run(merged: Path, whole: Path) -> None:
    assert merged.name == whole.name
    assert (merged / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()
    assert [without_time(r) for r in lines(merged / "predictions.jsonl")] == [
        without_time(r) for r in lines(whole / "predictions.jsonl")
    ]
    for name in ("summary.json", "manifest.json"):
        one, other = (json.loads((f / name).read_text(encoding="utf-8")) for f in (merged, whole))
        for settings in (one.get("config", {}), other.get("config", {})):
            settings.pop("out", None)
            settings.pop("leaderboard", None)
        assert without_time(one) == without_time(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("whole")
    result = evalkit(*ASKED, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return folder_of(result, cwd)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return parts_of(tmp_path_factory.mktemp("three"), 3)


@pytest.mark.parametrize("of", [1, 2])
def test_parts_joined_are_the_run(of: int, whole: Path, tmp_path: Path) -> None:
    parts_of(tmp_path, of)
    result = evalkit("merge", "runs=runs", "out=joined", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert_same_run(folder_of(result, tmp_path), whole)


@pytest.mark.slow
def test_parts_named_in_any_order_are_the_run_and_merging_twice_changes_nothing(
    three: list[Path], whole: Path, tmp_path: Path
) -> None:
    named = ",".join(str(three[k]) for k in (2, 0, 1))
    for _ in range(2):
        result = evalkit("merge", f"runs=[{named}]", "out=joined", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        merged = folder_of(result, tmp_path)
        assert_same_run(merged, whole)
    assert not list(merged.glob("predictions.jsonl.*"))
    facts = json.loads((merged / "manifest.json").read_text(encoding="utf-8"))["facts"]
    assert facts["parts"] == 3


def test_a_part_says_which_it_is_and_has_no_scores(three: list[Path], whole: Path) -> None:
    for index, folder in enumerate(three, start=1):
        assert folder.name == f"{whole.name}-part-{index}-of-3"
        assert {p.name for p in folder.iterdir()} == {"manifest.json", "predictions.jsonl", "prompts.json", "run.lock"}
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["run_id"] == whole.name
        assert manifest["shard"] == {"index": index, "of": 3, "n": 20}
        assert not (folder.parent / "leaderboards").exists()


def test_a_part_is_not_scored_as_if_it_were_the_task(three: list[Path]) -> None:
    result = evalkit("score", f"predictions={three[0]}", "task=phantom", "limit=60", cwd=three[0].parent)
    assert result.returncode == 2
    assert "have no answer" in result.stderr


@pytest.mark.slow
def test_a_part_killed_and_resumed_joins_to_the_run(whole: Path, tmp_path: Path) -> None:
    slow = (*ASKED, "model.batch_size=2", "model.seconds=0.05")
    command = [sys.executable, "-m", "evalkit", *slow, "engine.shard=2/2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    path = tmp_path / "runs" / f"{whole.name}-part-2-of-2" / "predictions.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not path.exists() or path.read_bytes().count(b"\n") < 6):
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 6 <= path.read_bytes().count(b"\n") < 30
    early = evalkit(*slow, "engine.shard=1/2", cwd=tmp_path)
    assert early.returncode == 0, early.stderr
    result = evalkit("merge", "runs=runs", "out=joined", cwd=tmp_path)
    assert result.returncode == 2
    assert "Part 2/2" in result.stderr and "not finished" in result.stderr
    again = evalkit(*slow, "engine.shard=2/2", cwd=tmp_path)
    assert again.returncode == 0 and "answers are already in" in again.stderr
    result = evalkit("merge", "runs=runs", "out=joined", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    merged = folder_of(result, tmp_path)
    assert (merged / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()
    manifest = json.loads((merged / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["run_id"] == whole.name and manifest["shard"] is None


def copied(three: list[Path], to: Path) -> list[Path]:
    return [Path(shutil.copytree(f, to / f.name)) for f in three]


def change(path: Path, **values: Any) -> None:
    rewrite(path, values)


def missing(parts: list[Path]) -> None:
    shutil.rmtree(parts[1])


def doubled(parts: list[Path]) -> None:
    shutil.copytree(parts[1], parts[1].with_name("again"))


def other_data(parts: list[Path]) -> None:
    change(parts[2] / "manifest.json", data_sha256="0" * 64)


def other_count(parts: list[Path]) -> None:
    change(parts[2] / "manifest.json", shard={"index": 3, "of": 4, "n": 20})


def lost_answer(parts: list[Path]) -> None:
    path = parts[0] / "predictions.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


def doubled_answer(parts: list[Path]) -> None:
    # Another part's answer in the place of an own one: the number of lines stays right.
    first, second = (p / "predictions.jsonl" for p in parts[:2])
    own = first.read_bytes().splitlines(keepends=True)[1:]
    first.write_bytes(b"".join([*own, second.read_bytes().splitlines(keepends=True)[0]]))


def no_parts(parts: list[Path]) -> None:
    for part in parts:
        shutil.rmtree(part)


def other_protocol(parts: list[Path]) -> None:
    manifest = json.loads((parts[1] / "manifest.json").read_text(encoding="utf-8"))
    change(parts[1] / "manifest.json", config=manifest["config"] | {"protocol": {"strict": {}}})


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (missing, ["1 of 3 parts are missing: 2/3", "engine.shard=i/n"]),
        (doubled, ["Part 2/3 is given twice"]),
        (other_data, ["parts of different runs", "data_sha256"]),
        (other_protocol, ["parts of different runs", "protocol"]),
        (other_count, ["in 3 and in 4 parts"]),
        (lost_answer, ["Part 1/3", "19 answers", "20"]),
        (doubled_answer, ["1 of them doubled"]),
        (no_parts, ["is not a part of a run and contains none"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_parts_that_are_not_one_run_are_refused_in_one_paragraph(
    damage: Any, said: list[str], three: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    damage(copied(three, tmp_path / "runs"))
    result = evalkit("merge", "runs=runs", "out=joined", cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for text in said:
        assert text in result.stderr
    assert not list((tmp_path / "joined").glob("*/summary.json"))


@pytest.mark.parametrize("runs", ["[]", "null"])
def test_a_merge_of_nothing_is_refused_in_one_paragraph(runs: str, tmp_path: Path) -> None:
    result = evalkit("merge", f"runs={runs}", cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1 and "No part of a run was named" in result.stderr


@pytest.mark.slow
def test_failed_samples_of_a_part_are_partial_there_and_in_the_whole(tmp_path: Path) -> None:
    failing = (*ASKED, "model.fail=[0/test/1/0,0/test/2/1]")
    codes = [evalkit(*failing, f"engine.shard={i}/2", cwd=tmp_path).returncode for i in (1, 2)]
    assert 3 in codes
    result = evalkit("merge", "runs=runs", "out=joined", cwd=tmp_path)
    assert result.returncode == 3, result.stderr
    assert "2 of 60 samples failed" in result.stderr


def test_more_parts_than_images_are_refused(tmp_path: Path) -> None:
    result = evalkit(*SCRIPTED, "limit=4", "engine.shard=1/40", cwd=tmp_path)
    assert result.returncode == 2
    assert "at most" in result.stderr


def test_a_part_of_an_earlier_version_and_one_of_today_are_of_one_run() -> None:
    """Today's manifests name protocols by version and no classes; descriptions of protocols may have been reworded."""
    folder = next((ROOT / "tests" / "saved_runs" / "parts").glob("*part-1-of-2"))
    old = manifest_at(folder / "manifest.json")
    config = manifest_record(old.config)
    config["protocol"] = {k: {**v, "about": "reworded", "card": {}} for k, v in config["protocol"].items()}
    today = replace(old, config=config, shard=ShardInfo(index=2, of=2, n=8))
    assert differences(old, today) == []
    other = {k: {**v, "unscored": "wrong"} for k, v in config["protocol"].items()}
    assert differences(old, replace(today, config={**config, "protocol": other})) == ["protocol"]
