"""`fetch` with a fake of the hub's server, including its failures."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys

import pytest

from evalkit.core.errors import ConfigError, DataError, ModelError
from evalkit.models.fetch import fetch, list_files, select_files
from evalkit.models.hub import Repo, cached, model_repos
from tests.support.hostile_server import HEAD, HostileServer, reply
from tests.support.hub import COMMIT, NEWER, FakeHub
from tests.support.paths import ROOT

WEIGHTS = random.Random(0).randbytes(200_000)
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, "README.md": b"# card", "vit/config.json": b"{}"}
MODEL = "models/org/model"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with FakeHub({MODEL: {COMMIT: dict(FILES)}}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "fetch.lock.json"


REPO = Repo(id="org/model", revision=COMMIT)


def quiet(*_):
    pass


def test_files_are_in_the_hubs_cache_and_the_lock_file_has_their_digests(hub, lock, tmp_path):
    messages = []
    folders = fetch([REPO], lock=lock, report=messages.append)
    folder = folders["org/model"]
    assert folder == tmp_path / "home/hub/models--org--model/snapshots" / COMMIT
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not (folder / "README.md").exists()
    locked = json.loads(lock.read_text())["repos"]["model:org/model"]
    assert locked["commit"] == COMMIT
    assert locked["files"]["model.safetensors"] == {
        "size": 200_000,
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
    }
    assert set(locked["files"]) == {"config.json", "model.safetensors", "vit/config.json"}
    assert "3 files, 200.0 kB, 200.0 kB to fetch" in messages[0]


def test_large_files_are_downloaded_through_the_redirect(hub, lock):
    fetch([REPO], lock=lock, report=quiet)
    assert [p for p, _ in hub.downloads() if p.startswith("/cdn/")] == [f"/cdn/{MODEL}/{COMMIT}/model.safetensors"]


def test_a_second_fetch_downloads_nothing_and_reports_it(hub, lock):
    fetch([REPO], lock=lock, report=quiet)
    hub.requests.clear()
    messages = []
    fetch([REPO], lock=lock, report=messages.append)
    assert hub.downloads() == []
    assert "0 B to fetch" in messages[0]


@pytest.mark.slow
def test_a_broken_download_resumes_where_it_stopped(hub, lock, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)  # 10 MB otherwise
    hub.cut["model.safetensors"] = 90_000
    folder = fetch([REPO], lock=lock, report=quiet)["org/model"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [r for p, r in hub.downloads() if p.endswith("model.safetensors")]
    assert ranges[0] is None
    assert ranges[-1] == "bytes=90000-"


def test_an_interrupted_fetch_keeps_whole_files_for_the_next_call(hub, lock, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    hub.dead_after["model.safetensors"] = 90_000
    with pytest.raises(ModelError, match=r"fetch again to continue"):
        fetch([REPO], lock=lock, report=quiet)
    assert not lock.exists()
    hub.dead_after.clear()
    hub.requests.clear()
    folder = fetch([REPO], lock=lock, report=quiet)["org/model"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [p.rsplit("/", 1)[1] for p, _ in hub.downloads()] == ["model.safetensors"]


def test_a_wrong_digest_is_refused_and_the_file_is_fetched_again(hub, lock):
    hub.lie.add("model.safetensors")
    with pytest.raises(ModelError, match=r"model.safetensors of org/model .* the hub says"):
        fetch([REPO], lock=lock, report=quiet)
    assert not lock.exists()
    hub.lie.clear()
    folder = fetch([REPO], lock=lock, report=quiet)["org/model"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_small_file_is_checked_by_gits_own_digest(hub, lock):
    hub.lie.add("config.json")
    with pytest.raises(ModelError, match=r"config.json of org/model .* the hub says git"):
        fetch([REPO], lock=lock, report=quiet)


def test_a_file_that_changed_since_the_lock_was_written_is_refused(hub, lock):
    fetch([REPO], lock=lock, report=quiet)
    content = json.loads(lock.read_text())
    content["repos"]["model:org/model"]["files"]["config.json"]["sha256"] = "0" * 64
    lock.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="the lock file says 0000"):
        fetch([REPO], lock=lock, report=quiet)


def test_a_digest_in_the_models_yaml_is_enforced(hub, lock):
    repo = Repo(id="org/model", revision=COMMIT, digests={"model.safetensors": "1" * 64})
    with pytest.raises(ModelError, match="the model's YAML says 1111"):
        fetch([repo], lock=lock, report=quiet)


def test_without_a_revision_the_lock_file_pins_the_first_commit(hub, lock):
    loose = Repo(id="org/model")
    fetch([loose], lock=lock, report=quiet)
    hub.repos[MODEL][NEWER] = {**FILES, "config.json": b'{"a": 2}'}
    folder = fetch([loose], lock=lock, report=quiet)["org/model"]
    assert folder.name == COMMIT
    lock.unlink()
    assert fetch([loose], lock=lock, report=quiet)["org/model"].name == NEWER


def test_a_dataset_is_fetched_by_its_patterns(hub, lock):
    hub.repos["datasets/org/data"] = {COMMIT: {"test.json": b"[]", "imgs.zip": WEIGHTS, "train/a.json": b"[1]"}}
    repo = Repo(id="org/data", kind="dataset", revision=COMMIT, files=("test.json", "imgs.zip"))
    folder = fetch([repo], lock=lock, report=quiet)["org/data"]
    assert sorted(p.name for p in folder.iterdir()) == ["imgs.zip", "test.json"]
    assert "dataset:org/data" in json.loads(lock.read_text())["repos"]


def test_a_gated_repository_says_how_to_get_access_and_a_token_gives_it(hub, lock, monkeypatch):
    hub.gated[MODEL] = "secret"
    with pytest.raises(ModelError, match=r"org/model is gated: .*/org/model, accept its terms.* HF_TOKEN"):
        fetch([REPO], lock=lock, report=quiet)
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert fetch([REPO], lock=lock, report=quiet)


def test_the_token_is_not_sent_to_another_host_nor_written_to_the_lock(hub, lock, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    fetch([REPO], lock=lock, report=quiet)
    assert hub.tokens
    assert not [path for path, _ in hub.tokens if path.startswith("/cdn/")]
    assert "secret" not in lock.read_text()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ((401, "RepoNotFound"), "was not found at .*: the name is wrong, or the repository is private"),
        ((404, "RepoNotFound"), "was not found at .*: the name is wrong, or the repository is private"),
        ((403, ""), "answered 403 .*the token was refused"),
        ((503, ""), "answered 503 .*fetch again to continue"),
    ],
)
@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_each_failure_of_the_server_is_one_paragraph_of_its_own(hub, lock, status, message, kind):
    hub.status[f"{kind}s/org/model"] = status
    error = ModelError if kind == "model" else DataError
    with pytest.raises(error, match=message) as caught:
        fetch([Repo(id="org/model", kind=kind, revision=COMMIT)], lock=lock, report=quiet)
    assert "\n" not in str(caught.value)


def test_a_revision_that_does_not_exist_is_named(hub, lock):
    with pytest.raises(ModelError, match=f"org/model has no revision {NEWER}"):
        fetch([Repo(id="org/model", revision=NEWER)], lock=lock, report=quiet)


def test_no_server_at_all_is_one_paragraph(lock, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"could not be fetched from http://127.0.0.1:9/org/model"):
        fetch([REPO], lock=lock, report=quiet)


def test_a_full_disk_is_reported_before_the_download(hub, lock, monkeypatch):
    monkeypatch.setattr("evalkit.models.fetch.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(ModelError, match=r"200.0 kB must be fetched into .* only 10 B are free"):
        fetch([REPO], lock=lock, report=quiet)
    assert hub.downloads() == []


def test_after_a_fetch_the_cache_answers_without_any_request(hub, lock):
    assert cached(REPO) is None
    folder = fetch([REPO], lock=lock, report=quiet)["org/model"]
    hub.requests.clear()
    assert cached(REPO) == cached(REPO, lock) == cached(Repo(id="org/model"), lock) == folder
    assert hub.requests == []
    (folder / "vit/config.json").unlink()
    assert cached(REPO, lock) is None


@pytest.mark.parametrize("revision", [None, "main"])
def test_an_unpinned_repository_is_found_without_the_lock_file(hub, lock, revision):
    repo = Repo(id="org/model", revision=revision)
    folder = fetch([repo], lock=lock, report=quiet)["org/model"]
    assert cached(repo) == folder
    hub.repos[MODEL][NEWER] = {**FILES, "config.json": b"{}"}
    assert fetch([Repo(id="org/model")], lock=lock, report=quiet)["org/model"] == folder, "the lock pins it"
    assert cached(Repo(id="org/model")) == folder


def test_offline_no_process_makes_a_network_call(hub, lock, tmp_path):
    fetch([REPO], lock=lock, report=quiet)
    hub.requests.clear()
    code = (
        "from pathlib import Path\nfrom evalkit.core.errors import ModelError\n"
        "from evalkit.models.fetch import fetch\nfrom evalkit.models.hub import Repo, cached\n"
        f"repo = Repo(id='org/model', revision={COMMIT!r})\n"
        f"print(cached(repo, Path({str(lock)!r})))\n"
        "try:\n    fetch([repo], lock=Path('x.lock'))\n"
        "except ModelError as error:\n    print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert COMMIT in run.stdout
    assert "HF_HUB_OFFLINE is set" in run.stdout
    assert hub.requests == []


def test_a_listing_names_the_bytes_and_fetches_nothing(hub):
    found = list_files(REPO)
    assert (found.commit, found.size, found.missing) == (COMMIT, 200_010, 200_010)
    assert hub.downloads() == []


def test_weights_in_two_forms_are_fetched_once_and_side_weights_always():
    names = [
        "config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json",
        "model-00001-of-00002.safetensors", "model.safetensors.index.json", "non_lora_trainables.bin",
        "tokenizer.model", "vit/pytorch_model.bin", "vit/config.json", "onnx/model.safetensors",
        "training_args.bin", "assets/a.png", "merges.txt", "adapter_model.bin", ".gitattributes",
    ]  # fmt: skip
    assert select_files(names, Repo(id="x/y")) == (
        "adapter_model.bin", "config.json", "merges.txt", "model-00001-of-00002.safetensors",
        "model.safetensors.index.json", "non_lora_trainables.bin", "tokenizer.model", "vit/config.json",
        "vit/pytorch_model.bin",
    )  # fmt: skip
    assert "pytorch_model.bin" in select_files(["pytorch_model.bin", "adapter_model.safetensors"], Repo(id="x/y"))


def test_a_model_without_public_weights_says_which_setting_to_use():
    with pytest.raises(ConfigError, match=r"no public weights exist.*model.source=DIR"):
        model_repos({"about": "X", "source": None})


def test_a_model_names_its_base_and_its_stock_tower():
    config = {"source": "a/b", "base": "c/d", "vision_tower": "stock", "vision_tower_source": "e/f"}
    assert [repo.id for repo in model_repos(config)] == ["a/b", "c/d", "e/f"]
    assert [repo.id for repo in model_repos({**config, "vision_tower": "stored"})] == ["a/b", "c/d"]


def test_a_broken_lock_file_is_named(hub, lock):
    for content in ("{", "[]", '{"repos": 3}', "{}"):
        lock.write_text(content)
        with pytest.raises(ConfigError, match=r"fetch.lock.json is not a lock file"):
            fetch([REPO], lock=lock, report=quiet)


def listing(**fields):
    """The answer of a hub about a repository with one file, with fields replaced."""
    file = {"rfilename": "config.json", "size": 2, "blobId": "0" * 40}
    whole = {"id": "org/model", "sha": COMMIT, "siblings": [file]}
    whole |= {k: v for k, v in fields.items() if k in whole}
    file |= {k: v for k, v in fields.items() if k not in whole}
    return reply(json.dumps(whole).encode())


BROKEN = {
    "HTML": reply(b"<html>"),
    "204": b"HTTP/1.1 204 No\r\n\r\n",
    "deep": reply(b"[" * 100_000),
    "a list": reply(b"[]"),
    "null": reply(b"null"),
    "nothing": reply(b"{}"),
    "files of another type": listing(siblings=3),
    "a file of another type": listing(siblings=[1]),
    "half a pair as a name": listing(rfilename="\ud800.json"),
    "a name above the folder": listing(rfilename="../../config.json"),
    "a name from the root": listing(rfilename="/tmp/config.json"),
    "a commit above the folder": listing(sha="../../x"),
    "a size in words": listing(size="x"),
    "an infinite size": listing(size=float("inf")),
    "a size below zero": listing(size=-1),
    "a broken status line": b"HTTP/1.1 fine\r\n\r\n",
    "a cut body": reply(b"{}" * 30)[:-5],
    "no gzip": reply(b"zzz", HEAD + b"Content-Encoding: gzip\r\n"),
    "a header of 10 MB": HEAD + b"X: " + b"a" * 10_000_000 + b"\r\n\r\n",
    "another protocol": b"220 mail.example ESMTP\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_hub_that_answers_otherwise_is_one_paragraph(tmp_path, monkeypatch, lock, name):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with HostileServer(lambda text: "") as server:
        server.page = BROKEN[name]
        monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/v1"))
        with pytest.raises(ModelError, match="org/model") as caught:
            fetch([REPO], lock=lock, report=quiet)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600 and not lock.exists()
    assert not list(tmp_path.rglob("config.json"))
