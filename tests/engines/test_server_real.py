"""engine=server with a real OpenAI-compatible server: `transformers serve` with the package's checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evalkit.cli.config import build, load_option
from evalkit.engines.hf import HfEngine
from evalkit.engines.server import ServerEngine
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.pipeline.inputs import request
from evalkit.tasks.image_check import check_images
from tests.support.engine_answers import answers
from tests.support.paths import PACKAGE
from tests.support.real_server import serve

FOLDER = PACKAGE / "models" / "phantom-llava"
QUESTIONS = 80


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(FOLDER, tmp_path_factory.mktemp("served")) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_real_server_gives_the_answers_of_the_model_in_this_process(url: str, concurrency: int) -> None:
    spec = CheckpointSpec.from_config(load_option("model", "phantom-llava") | {"name": "phantom-llava"})
    task = build(load_option("task", "phantom"), "task")
    loaded, digests = check_images(task.load(), on_missing="error")
    here = HfEngine(spec=spec, device="cpu", dtype="float32", share_prefix="off")
    there = ServerEngine(spec=spec, url=url, concurrency=concurrency, timeout=120)
    samples = loaded.samples[:QUESTIONS]
    want = answers(here, [request(s, task.messages(s), here, digests) for s in samples])
    got = answers(there, [request(s, task.messages(s), there, digests) for s in samples])
    assert len({text for text, _, _ in want.values()}) > 5, "answers must vary for equality to be meaningful"
    assert {i: text for i, (text, _, _) in got.items()} == {i: text for i, (text, _, _) in want.items()}
    assert {i: finish for i, (_, finish, _) in got.items()} == {i: finish for i, (_, finish, _) in want.items()}
    record = there.metadata()
    assert record["counters"]["replies"] == QUESTIONS
    assert record["counters"]["image_encodes"] == len({s.image_id for s in samples})
    assert record["refused_by_server"] == ["repetition_penalty"]
    # The same number of prompt tokens as in this process, image placeholders expanded: same template, one BOS token.
    assert record["counters"]["prompt_tokens"] == here.load().counters.prefill_tokens
