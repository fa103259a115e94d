"""The viewer: what is at its addresses, what it reads and answers, and the static files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from evalkit.core.errors import ConfigError, DataError, Partial, StoreError
from evalkit.core.types import ImageRef, Sample
from evalkit.reports.leaderboard import TrainingExposure, add
from evalkit.reports.run_page import page_data, paired_differences
from evalkit.reports.run_page.data import difference_record
from evalkit.reports.viewer import RunList, Site, Source, write_site
from evalkit.reports.viewer import server as server_module
from evalkit.reports.viewer.server import application, is_own_host, listening
from evalkit.reports.viewer.site import in_order
from evalkit.runs.read import manifest_at, summary_at
from evalkit.runs.store import RunFolder, write_record
from tests.support.made_runs import answered, made_run, made_samples, mixed
from tests.support.viewer import picture_file, running_run, source_of

SAMPLES = made_samples(12)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two finished runs over the same samples, a running one, and what is no run."""
    runs = tmp_path_factory.mktemp("viewer") / "runs"
    for k, name in enumerate(("one", "two")):
        made_run(runs / f"{name}-toy", SAMPLES, mixed(SAMPLES, k + 1), model=name, protocols=("strict",))
    running_run(runs / "one-toy", runs / "going", n_answered=5)
    (runs / "broken").mkdir()
    (runs / "broken" / "summary.json").write_text("{", encoding="utf-8")
    (runs / "notes").mkdir()
    (runs / "notes" / "secret.txt").write_text("not a run", encoding="utf-8")
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of the folder that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "runs", symlinks=True))


def site_of(runs: Path, samples: list[Sample] = SAMPLES, **more: Any) -> Site:
    return Site(RunList(runs), source_of(samples, **more), is_live=True)


def client(site: Site, host: str = "127.0.0.1", name: str = "127.0.0.1:8765") -> TestClient:
    return TestClient(application(site, host), base_url=f"http://{name}", raise_server_exceptions=True)


def listed(runs: Path) -> dict[str, dict[str, Any]]:
    return {r["name"]: r for r in client(site_of(runs)).get("/runs.json").json()["runs"]}


# The list.


def test_the_list_has_every_run_with_its_state_progress_and_numbers(made: Path) -> None:
    found = listed(made)
    states = {name: r["state"] for name, r in found.items()}
    assert states == {"one-toy": "done", "two-toy": "done", "going": "running", "broken": "unusable"}
    assert (found["going"]["n_answered"], found["going"]["n"]) == (5, 12)
    assert "not valid JSON" in found["broken"]["problem"] and str(made) not in json.dumps(found)
    content = client(site_of(made)).get("/runs.json").json()
    place = str(next(k for k, key in enumerate(content["keys"]) if key[:2] == ["strict", "closed_accuracy"]))
    summary = json.loads((made / "one-toy" / "summary.json").read_text())
    wanted = next(m for m in summary["metrics"] if m["metric"] == "closed_accuracy" and m["slice"] == "all")
    assert found["one-toy"]["values"][place] == [wanted[k] for k in ("value", "low", "high", "n", "n_unscored")]


def test_progress_follows_the_answers_and_a_run_that_ends_or_goes_is_seen(runs: Path) -> None:
    asked = client(site_of(runs))

    def line() -> dict[str, Any]:
        return {r["name"]: r for r in asked.get("/runs.json").json()["runs"]}.get("going", {})

    assert line()["n_answered"] == 5
    whole = (runs / "one-toy" / "predictions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    with (runs / "going" / "predictions.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(whole[5:9]) + whole[9][:20])
    assert line()["n_answered"] == 9, "a line that is being written is no answer"
    (runs / "going" / "predictions.jsonl").write_text("".join(whole[:2]), encoding="utf-8")
    assert line()["n_answered"] == 2, "started over"
    for name in ("predictions.jsonl", "scores.jsonl", "summary.json", "manifest.json"):
        shutil.copy(runs / "one-toy" / name, runs / "going" / name)
    assert line()["state"] == "done"
    shutil.rmtree(runs / "going")
    assert line() == {}


def test_a_part_of_a_run_is_listed_as_one(runs: Path) -> None:
    from evalkit.runs.schema import ShardInfo

    manifest = manifest_at(RunFolder(runs / "one-toy").manifest)
    running_run(runs / "one-toy", runs / "part", n_answered=6)
    shard = ShardInfo(index=1, of=2, n=6)
    write_record(RunFolder(runs / "part").manifest, replace(manifest, shard=shard, status="done"))
    found = listed(runs)["part"]
    assert (found["state"], found["n_answered"], found["n"]) == ("part", 6, 6) and "part=1/2" in found["tags"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["predictions.jsonl", "scores.jsonl", "summary.json", "more.json", "notes.txt"])
def test_a_named_pipe_in_a_run_is_not_waited_for(runs: Path, name: str) -> None:
    (runs / "one-toy" / name).unlink(missing_ok=True)
    os.mkfifo(runs / "one-toy" / name)
    line = listed(runs)["one-toy"]
    assert line["state"] == "unusable" and (name in line["problem"] or name == "summary.json")
    assert client(site_of(runs)).get("/data/one-toy.json").status_code == 404


def test_the_folder_of_one_run_is_a_list_of_it(made: Path) -> None:
    assert set(listed(made / "one-toy")) == {"one-toy"}
    assert client(site_of(made / "one-toy")).get("/data/two-toy.json").status_code == 404


@pytest.mark.parametrize("name", ["none", "notes/secret.txt"])
def test_what_is_no_folder_is_refused(made: Path, name: str) -> None:
    with pytest.raises(StoreError, match="is not a folder; expected a folder of runs"):
        RunList(made / name)


def test_an_empty_folder_has_an_empty_list_and_board(tmp_path: Path) -> None:
    asked = client(site_of(tmp_path))
    assert asked.get("/runs.json").json()["runs"] == []
    assert "no results" in asked.get("/board.html").text


# Pages and their data.


def test_the_data_of_a_run_are_those_of_its_page(made: Path) -> None:
    wanted = page_data([made / "one-toy"], {s.id: s for s in SAMPLES}, {})
    assert client(site_of(made)).get("/data/one-toy.json").json() == json.loads(json.dumps(wanted))


def test_the_head_of_a_run_is_the_part_of_its_data_that_needs_no_answers(made: Path) -> None:
    asked = client(site_of(made))
    head, data = (asked.get(f"/{kind}/one-toy.json").json() for kind in ("heads", "data"))
    assert head == {"runs": data["runs"], "lens": data["lens"]} and head["runs"][0]["metrics"]


def test_differences_are_those_of_compare_and_turn_their_signs_with_the_order(made: Path) -> None:
    found = client(site_of(made)).get("/pairs/one-toy/two-toy.json").json()
    one, two = made / "one-toy", made / "two-toy"
    assert found == json.loads(json.dumps(difference_record(paired_differences([one, two]))))
    turned = [
        [k, b, a, -d, -high, -low, n, better, worse, up, tb, ta]
        for k, a, b, d, low, high, n, worse, better, up, ta, tb in found["pairs"]
    ]
    other = json.loads(json.dumps(difference_record(paired_differences([two, one]))))["pairs"]
    assert [row[0] for row in turned] == [row[0] for row in other] and other
    for row, expected in zip(turned, other, strict=True):
        assert row[1:] == pytest.approx(expected[1:], abs=1e-12)
    assert client(site_of(made)).get("/pairs/two-toy/one-toy.json").status_code == 404, "stored once"


def test_names_are_in_the_order_of_a_browser() -> None:
    assert sorted(["\U0001f600", "\uff21", "b", "B"], key=in_order) == ["B", "b", "\U0001f600", "\uff21"]


def test_a_run_whose_data_cannot_be_read_is_shown_with_the_reason(made: Path) -> None:
    def unreadable(run: Path) -> list[Sample]:
        raise DataError("no data here.")

    site = Site(RunList(made), Source(samples=unreadable, exposure=lambda run: None), is_live=True)
    data = client(site).get("/data/one-toy.json").json()
    assert "no data here." in data["remarks"][-1] and len(data["ids"]) == 12


def test_static_files_name_no_folder_of_the_machine_where_data_cannot_be_read(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreadable(run: Path) -> list[Sample]:
        raise DataError("/secret/place does not exist.")

    site = Site(RunList(made), Source(samples=unreadable, exposure=lambda run: None), is_live=False)
    written = write_site(site, tmp_path / "site")
    assert not any("/secret/place" in p.read_text(encoding="utf-8") for p in written)
    assert "because the data cannot be read" in (tmp_path / "site" / "data" / "one-toy.json").read_text()
    assert "/secret/place" in capsys.readouterr().err


def test_a_run_that_was_changed_after_it_ended_is_refused_in_one_paragraph(runs: Path) -> None:
    scores = runs / "one-toy" / "scores.jsonl"
    scores.write_text(scores.read_text().replace("1.0", "0.0", 1))
    found = client(site_of(runs)).get("/data/one-toy.json")
    assert found.status_code == 500 and "is not the file that the numbers" in found.text
    assert str(runs) not in found.text and "Traceback" not in found.text


def test_the_data_are_made_anew_when_a_file_of_the_run_changes(runs: Path) -> None:
    asked = client(site_of(runs))
    before = asked.get("/data/one-toy.json").json()
    shutil.rmtree(runs / "one-toy")
    made_run(runs / "one-toy", SAMPLES, [answered(s, "no") for s in SAMPLES], model="one", protocols=("strict",))
    after = asked.get("/data/one-toy.json").json()
    assert before["answers"] != after["answers"] and after["answers"][0]["text"]["of"] == ["no"]


def test_pictures_are_shown_by_number_and_nothing_else_is(made: Path, tmp_path: Path) -> None:
    refs = [ImageRef(kind="file", path=str(picture_file(tmp_path / f"{k}.png", 40 + k))) for k in range(3)]
    samples = [replace(s, images=(refs[k % 3],)) for k, s in enumerate(SAMPLES)]
    asked = client(site_of(made, samples))
    data = asked.get("/data/one-toy.json").json()
    assert len(data["pictures"]) == 3 and str(tmp_path) not in json.dumps(data)
    place = data["pictures"][0]["addresses"][0]
    found = asked.get(f"/{place}")
    assert found.headers["content-type"] == "image/jpeg" and found.content[:2] == b"\xff\xd8"
    for wrong in ("1.jpg", "-1.jpg", "²-0.jpg", "0.png", "x-0.jpg"):
        assert asked.get(f"/{place.removesuffix('0.jpg')}{wrong}").status_code == 404
    Path(refs[1].path).write_bytes(b"not a picture")
    assert asked.get(f"/{data['pictures'][1]['addresses'][0]}").status_code == 500
    assert client(site_of(made, samples, has_pictures=False)).get("/data/one-toy.json").json()["pictures"] == []


def test_boxes_come_with_the_size_of_their_picture(tmp_path: Path) -> None:
    ref = ImageRef(kind="file", path=str(picture_file(tmp_path / "a.png", 400)))
    one = Sample(id="a", image_id="i", question="Where?", references=("{<100><50><299><149>}",), images=(ref,))
    made_run(tmp_path / "runs" / "r", [one], [answered(one, "none")], protocols=("exact-match",))
    data = client(site_of(tmp_path / "runs", [one])).get("/data/r.json").json()
    assert data["pictures"][0]["size"] == [400, 30] and data["boxes"]


def test_the_board_ranks_the_runs_and_leads_to_their_pages(made: Path) -> None:
    site = Site(
        RunList(made),
        Source(samples=lambda run: SAMPLES, exposure=lambda run: TrainingExposure(regime="zero-shot")),
        is_live=True,
    )
    text = client(site).get("/board.html").text
    assert 'href="board-toy.html"' in text and 'href="index.html"' in text
    text = client(site).get("/board-toy.html").text
    assert 'href="run.html?run=one-toy"' in text and 'href="results/' not in text
    assert "zero-shot" in text and 'href="board.html"' in text
    assert client(site).get("/board-other.html").status_code == 404
    none = Site(RunList(made), Source(samples=lambda run: SAMPLES, exposure=lambda run: None), is_live=True)
    assert "run.html" not in client(none).get("/board.html").text
    assert client(none).get("/board-toy.html").status_code == 404


def test_the_board_has_the_history_that_the_leaderboard_beside_the_runs_has(runs: Path) -> None:
    summary = summary_at(runs / "one-toy" / "summary.json")
    first = replace(summary, evalkit="0.0.9")  # the same run, scored by an earlier version
    for each in (first, summary):
        add(runs / "leaderboards", each, runs / "one-toy", TrainingExposure())
    site = site_of(runs)
    assert "evalkit 0.0.9" in client(site).get("/board-toy.html").text
    assert client(site).get("/board-toy.html").text.count("evalkit 0.0.9") == 1  # of one of the two runs
    stored = runs / "leaderboards" / "results" / f"{summary.run_id}.json"
    stored.write_text("{", encoding="utf-8")
    text = client(site).get("/board-toy.html").text
    assert "evalkit 0.0.9" not in text and "is shown without its history" in text and str(runs) not in text
    outside = shutil.move(runs / "leaderboards", runs.parent / "elsewhere")
    (runs / "leaderboards").symlink_to(outside)
    assert "without its history" not in client(site).get("/board-toy.html").text  # a link out is not read


def test_the_board_leaves_out_a_baseline_whose_answers_were_changed(runs: Path) -> None:
    (runs / "one-toy" / "scores.jsonl").write_text("", encoding="utf-8")
    baseline = TrainingExposure(role="baseline")
    site = Site(RunList(runs), Source(samples=lambda run: SAMPLES, exposure=lambda run: baseline), is_live=True)
    text = client(site).get("/board.html").text
    assert "one-toy is left out" in text and "two-toy is left out" not in text


@pytest.mark.slow
def test_tasks_of_any_name_have_pages_of_their_own(tmp_path: Path) -> None:
    """Names that differ only in what a file name cannot have, that leave the folder, or that are a page's name."""
    tasks = ["a/b", "a-b", "a b", "../up", "index", "board", "é" * 80, "<b>", "x" * 300, "a/b~1", "VQA", "vqa"]
    runs = tmp_path / "runs"
    for k, task in enumerate(tasks):
        made_run(runs / f"r{k}", SAMPLES, mixed(SAMPLES, 1), model=f"m{k}", protocols=("strict",), task=task)
    folder = tmp_path / "deep" / "site"
    written = write_site(site_of(runs), folder)
    pages = {p for p in written if p.name.startswith("board-")}
    assert len({p.name.lower() for p in pages}) == len(pages) == len(tasks) and {p.parent for p in pages} == {folder}
    asked = client(site_of(runs))
    for page in pages:
        assert asked.get(f"/{page.name}").content == page.read_bytes()
        assert len(re.findall('<tr class="run"', page.read_text("utf-8"))) >= 1
    listed = set(re.findall('<a href="(board-[^"]*)"', (folder / "board.html").read_text("utf-8")))
    assert listed == {p.name for p in pages}
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["site"]


# What is read and answered.


@pytest.mark.parametrize(
    "address",
    [
        "/notes/secret.txt", "/data/notes.json", "/data/..%2fone-toy.json", "/data/../one-toy/summary.json",
        "/data/%2e%2e/one-toy/summary.json", "/one-toy/summary.json", "/data/..%5c..%5cetc.json", "//etc/passwd",
        "/data//etc/passwd.json", "/data/.json", "/data/%00.json", "/data/going.json", "/data/broken.json",
        "/pairs/one-toy/going.json", "/pairs/one-toy/one-toy.json", "/pairs/../one-toy.json", "/pictures/../x-0.jpg",
        f"/pictures/x-{'1' * 5000}.jpg", "/pictures/x-²-1.jpg",
        "/data/one-toy.json/", "/data/one-toy", "/list.js", "/index.html/",
    ],
)  # fmt: skip
def test_an_address_names_a_finished_run_of_the_list_or_nothing(made: Path, address: str) -> None:
    asked = client(site_of(made))
    assert asked.get("/data/one-toy.json").status_code == 200
    assert asked.get(address).status_code == 404


def test_links_out_of_the_folder_are_not_read(runs: Path, tmp_path: Path) -> None:
    outside = made_run(tmp_path / "outside", SAMPLES, mixed(SAMPLES, 3), model="outside", protocols=("strict",))
    (runs / "linked").symlink_to(outside, target_is_directory=True)
    (tmp_path / "secret.jsonl").write_text("secret\n", encoding="utf-8")
    (runs / "two-toy" / "predictions.jsonl").unlink()
    (runs / "two-toy" / "predictions.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (runs / "inside").symlink_to(runs / "one-toy", target_is_directory=True)
    found = listed(runs)
    for name in ("linked", "two-toy"):
        assert found[name]["state"] == "unusable" and "link to a place outside" in found[name]["problem"]
        assert client(site_of(runs)).get(f"/data/{name}.json").status_code == 404
    assert found["inside"]["state"] == "done"


@pytest.mark.parametrize(
    ("header", "host", "is_own"),
    [
        ("127.0.0.1:8765", "127.0.0.1", True), ("localhost:9", "127.0.0.1", True), ("LOCALHOST", "127.0.0.1", True),
        ("[::1]:8765", "::1", True), ("[::1]", "127.0.0.1", True), ("", "127.0.0.1", False),
        ("evil.example", "127.0.0.1", False), ("evil.example:8765", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False), ("localhost.evil.example:80", "127.0.0.1", False),
        ("evil.example:127.0.0.1", "127.0.0.1", False), ("10.0.0.5:80", "127.0.0.1", False),
        ("10.0.0.5:80", "0.0.0.0", True), ("evil.example", "0.0.0.0", False), ("lab.example:80", "lab.example", True),
        ("0.0.0.0:80", "127.0.0.1", False), ("localhost:80@evil.example", "127.0.0.1", False),
    ],
)  # fmt: skip
def test_only_the_servers_own_names_are_hosts(header: str, host: str, is_own: bool) -> None:
    assert is_own_host(header, host) is is_own


@pytest.mark.parametrize("address", ["/", "/runs.json", "/data/one-toy.json", "/board.html", "/nothing"])
def test_another_host_gets_nothing(made: Path, address: str) -> None:
    found = client(site_of(made), name="evil.example:8765").get(address)
    assert found.status_code == 421 and "one-toy" not in found.text


@pytest.mark.parametrize("address", ["/", "/run.html", "/runs.json", "/data/one-toy.json", "/nothing"])
def test_other_sites_can_neither_frame_nor_use_what_is_answered(made: Path, address: str) -> None:
    headers = client(site_of(made)).get(address).headers
    assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("address", ["/", "/run.html"])
def test_a_page_runs_its_own_script_and_no_other(made: Path, address: str) -> None:
    text = client(site_of(made)).get(address).text
    policy = text.split('Content-Security-Policy" content="')[1].split('"')[0]
    assert "script-src &#39;sha256-" in policy and "unsafe-inline&#39;; script" not in policy.split("script-src")[1]
    assert "default-src &#39;none&#39;" in policy


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_reading_is_answered(made: Path, method: str) -> None:
    assert client(site_of(made)).request(method, "/").status_code == 405


def test_nothing_is_written(runs: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(runs.rglob("*"))}

    before = state()
    asked = client(site_of(runs))
    for address in ("/", "/run.html", "/runs.json", "/board.html", "/data/one-toy.json", "/pairs/one-toy/two-toy.json"):
        assert asked.get(address).status_code == 200
        assert asked.head(address).status_code == 200
    assert state() == before


def test_a_name_that_is_a_script_is_data(tmp_path: Path) -> None:
    name = "</script><script>hacked=1<" + "img>"
    made_run(tmp_path / "r", SAMPLES, mixed(SAMPLES, 1), model=name, protocols=("strict",))
    asked = client(site_of(tmp_path))
    for address in ("/", "/board.html", "/board-toy.html"):
        text = asked.get(address).text
        assert "<script>hacked" not in text and "<img>" not in text


def test_a_taken_port_and_an_address_of_another_machine_are_refused() -> None:
    taken = listening("127.0.0.1", 0)
    with pytest.raises(ConfigError, match="choose one with port=NUMBER"):
        listening("127.0.0.1", taken.getsockname()[1])
    taken.close()
    with pytest.raises(ConfigError, match="cannot be listened on"):
        listening("192.0.2.1", 0)


# Static files.


def test_static_files_are_what_the_server_answers(made: Path, tmp_path: Path) -> None:
    ref = ImageRef(kind="file", path=str(picture_file(tmp_path / "a.png", 40)))
    samples = [replace(s, images=(ref,)) for s in SAMPLES]
    folder = tmp_path / "site"
    written = write_site(Site(RunList(made), source_of(samples), is_live=False), folder)
    names = {p.relative_to(folder).as_posix() for p in written}
    wanted = {"index.html", "runs.json", "run.html", "board.html", "board-toy.html"}
    wanted |= {"data/one-toy.json", "data/two-toy.json"}
    assert wanted | {"pairs/one-toy/two-toy.json"} < names and sum(n.startswith("pictures/") for n in names) == 1
    assert names == {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    asked = client(site_of(made, samples))
    for name in sorted(names - {"index.html", "runs.json"}):
        assert asked.get(f"/{name}").content == (folder / name).read_bytes(), name
    assert json.loads((folder / "runs.json").read_text())["live"] is False
    assert str(tmp_path) not in "".join(p.read_text() for p in written if p.suffix != ".jpg")


def test_static_files_of_a_run_that_is_gone_are_removed(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write_site(site_of(runs), folder)
    (folder / "CNAME").write_text("ours", encoding="utf-8")
    (folder / "board-ours.html").write_text("<title>ours</title>", encoding="utf-8")
    (folder / "board-toy.html").rename(folder / "board-gone.html")
    shutil.rmtree(runs / "two-toy")
    write_site(site_of(runs), folder)
    assert not (folder / "board-gone.html").exists() and (folder / "board-ours.html").exists()
    assert not (folder / "data" / "two-toy.json").exists() and not list((folder / "pairs").rglob("*.json"))
    assert (folder / "CNAME").exists() and (folder / "data" / "one-toy.json").exists()


def test_a_damaged_run_is_left_out_of_static_files_and_the_rest_is_written(runs: Path, tmp_path: Path) -> None:
    (runs / "one-toy" / "scores.jsonl").write_text("{}\n", encoding="utf-8")
    folder = tmp_path / "site"
    with pytest.raises(Partial, match=r"is written without 1 file, first data/one-toy\.json"):
        write_site(site_of(runs), folder)
    assert [p.name for p in (folder / "data").iterdir()] == ["two-toy.json"]
    overview, board = ((folder / name).read_text() for name in ("board.html", "board-toy.html"))
    for text in (overview, board):
        assert "one-toy is left out: one-toy/scores.jsonl" in text and str(tmp_path) not in text
    assert "run.html?run=two-toy" in board


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("scores.jsonl", "gone"), ("predictions.jsonl", "gone"), ("predictions.jsonl", "folder"),
        ("predictions.jsonl", "cut"), ("lens.json", "{"), ("judgments.jsonl", "{\n{"), ("summary.json", "{"),
        ("manifest.json", "null"),
    ],
)  # fmt: skip
def test_whatever_is_damaged_the_rest_is_written_and_no_folder_of_the_machine_is_named(
    runs: Path, tmp_path: Path, name: str, damage: str
) -> None:
    path = runs / "one-toy" / name
    before = path.read_bytes() if path.is_file() else b""
    path.unlink(missing_ok=True)
    if damage == "folder":
        path.mkdir()
    elif damage == "cut":
        path.write_bytes(before[:-40])
    elif damage != "gone":
        path.write_text(damage, encoding="utf-8")
    folder = tmp_path / "site"
    with contextlib.suppress(Partial):
        write_site(Site(RunList(runs), source_of(SAMPLES), is_live=False), folder)
    written = [p for p in folder.rglob("*") if p.is_file()]
    assert {"index.html", "board.html", "runs.json", "two-toy.json"} <= {p.name for p in written}
    for file in written:
        assert str(tmp_path) not in file.read_text(encoding="utf-8"), file
    answer = client(site_of(runs)).get("/data/one-toy.json")
    assert answer.status_code in (200, 404, 500) and str(tmp_path) not in answer.text


@pytest.mark.parametrize("kind", ["runs", "file", "foreign"])
def test_pages_are_not_written_over_other_files(runs: Path, tmp_path: Path, kind: str) -> None:
    folder = {"runs": runs, "file": tmp_path / "file", "foreign": tmp_path / "foreign"}[kind]
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "index.html").write_text("<p>mine</p>", encoding="utf-8")
    before = sorted(runs.iterdir())
    with pytest.raises(ConfigError, match=r"expected a new folder|new or empty folder"):
        write_site(site_of(runs), folder)
    assert sorted(runs.iterdir()) == before
    assert (tmp_path / "foreign" / "index.html").read_text() == "<p>mine</p>"


# The verb.


def test_the_verb_reports_a_missing_extra(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalkit.cli.commands import view
    from evalkit.reports.viewer import server

    monkeypatch.setattr(server, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'evalkit-medvqa\[view\]'.*to=FOLDER"):
        view.main(settings(runs=made))


def test_static_files_need_no_extra(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from evalkit.cli.commands import view
    from evalkit.reports.viewer import server

    monkeypatch.setattr(server, "find_spec", lambda name: None)
    assert view.main(settings(runs=made, to=tmp_path / "site", images=False)) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'site'}\n" and (tmp_path / "site" / "run.html").is_file()


@pytest.mark.parametrize("port", [-1, 65536, "8000x", True, 1.5])
def test_the_verb_refuses_what_is_no_port(made: Path, port: object) -> None:
    from evalkit.cli.commands import view

    with pytest.raises(ConfigError, match="is no port"):
        view.main(settings(runs=made, port=port))


def settings(**given: Any) -> dict[str, Any]:
    return {"to": None, "images": True, "host": "127.0.0.1", "port": 0, "debug": False, **given}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, "zero-shot"), ({"limit": 5}, None), ({"task": "toy[sample=3]"}, None),
    ],
)  # fmt: skip
def test_a_run_over_a_part_of_its_task_is_on_no_board(made: Path, change: dict[str, Any], wanted: str | None) -> None:
    from evalkit.cli.commands.view import board_exposure
    from evalkit.runs.verify import open_run

    run = open_run(made / "one-toy")
    assert run.manifest is not None
    manifest = replace(run.manifest, config={"model": {"trained_on": {"*": []}}, "task": {}})
    found = board_exposure(replace(run, manifest=manifest, summary=replace(run.summary, **change)))
    assert (found.regime if found else None) == wanted


def test_the_list_is_read_before_the_address_is_printed(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from evalkit.__main__ import main

    read: list[str] = []
    monkeypatch.setattr(RunList, "lines", lambda self: read.append(capsys.readouterr().out) or [])
    monkeypatch.setattr(server_module, "serve", lambda site, host, at: at.close())
    assert main(["view", str(made), "port=0"]) == 0
    assert read == [""] and "http://127.0.0.1:" in capsys.readouterr().out


def test_the_command_line_takes_the_folder_as_its_first_word(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from evalkit.__main__ import main

    assert main(["view", str(made / "one-toy"), f"to={tmp_path / 'site'}", "images=false"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "site")]
    assert [p.name for p in (tmp_path / "site" / "data").iterdir()] == ["one-toy.json"]
    for words, said in ((str(tmp_path / "nothing"), "is not a folder"), ("port=many", "port=many")):
        assert main(["view", words]) == 2
        assert said in capsys.readouterr().err
