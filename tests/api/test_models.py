"""What `evaluate` takes as a model: functions of every form, a model in memory, clients; and what it refuses."""

from __future__ import annotations

import asyncio
import copy
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

import evalkit
from evalkit.errors import ConfigError, DataError, EngineError, EvalkitError
from tests.support.paths import PACKAGE
from tests.support.server_engine import MODEL, serving

CHECKPOINT = PACKAGE / "models" / "phantom-llava"
N = 12


def by_length(image: Image.Image, question: str) -> str:
    return f"{image.size} {len(question)}"


async def by_length_later(image: Image.Image, question: str) -> str:
    await asyncio.sleep(0.001 * (len(question) % 3))
    return by_length(image, question)


def by_length_at_once(images: list[Image.Image], questions: list[str]) -> list[str]:
    return [by_length(i, q) for i, q in zip(images, questions, strict=True)]


async def by_length_at_once_later(images: list[Image.Image], questions: list[str]) -> list[str]:
    await asyncio.sleep(0.001 * (len(images) % 3))
    return by_length_at_once(images, questions)


class Asked:
    """An object that is called, in batches, and returns a generator."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, images: list[Image.Image], questions: list[str]) -> Iterator[str]:
        self.sizes.append(len(images))
        return (by_length(i, q) for i, q in zip(images, questions, strict=True))


def answers(model: Any, **settings: Any) -> list[str]:
    frame = evalkit.evaluate(model, limit=N, protocols="exact-match", **settings).samples
    assert frame.error.isna().all(), frame.error.tolist()
    return list(frame.answer)


FORMS: list[tuple[Any, dict[str, Any]]] = [
    (by_length_later, {}),
    (functools.partial(by_length_later), {}),
    (lambda image, question: by_length_later(image, question), {}),
    (by_length_at_once, {"batch_size": 5}),
    (by_length_at_once, {"batch_size": 1}),
    (by_length_at_once_later, {"batch_size": 5}),
    (Asked(), {"batch_size": 5}),
]


@pytest.mark.parametrize("form", FORMS, ids=range(len(FORMS)))
@pytest.mark.few(1)
def test_every_form_of_a_function_gives_the_same_answers(form: tuple[Any, dict[str, Any]]) -> None:
    assert answers(form[0], **form[1]) == answers(by_length)


@pytest.mark.slow
def test_a_function_sees_the_prompt_and_the_image_that_engines_see() -> None:
    seen: list[tuple[Image.Image, str]] = []

    def look(image: Image.Image, question: str) -> str:
        seen.append((image, question))
        return "yes"

    evalkit.evaluate(look, limit=N)
    data = evalkit.load_task(limit=N)
    expected = {(e["image"].tobytes(), e["prompt"]) for e in data if e["image"] is not None}
    assert {(image.tobytes(), question) for image, question in seen} == expected
    assert all(image.mode == "RGB" and question.endswith("phrase.") for image, question in seen)


@pytest.mark.slow
def test_what_a_function_draws_on_its_image_is_not_seen_by_the_next_question() -> None:
    seen: list[bytes] = []

    def blacken(image: Image.Image, question: str) -> str:
        seen.append(image.tobytes())
        image.paste((0, 0, 0), (0, 0, *image.size))
        return "yes"

    evalkit.evaluate(blacken, limit=N)
    assert len(set(seen)) == len({e["image_id"] for e in evalkit.load_task(limit=N)})


def test_what_a_function_raises_or_returns_besides_texts_is_a_failed_sample() -> None:
    outcomes: list[Any] = [
        "a",
        ValueError("boom"),
        None,
        3,
        b"x",
        ["y"],
        "",
        float("nan"),
        StopIteration(),
        "\ud83d",
        " b\n",
    ]
    waiting = iter([*outcomes, "last"])

    def answer(image: Any, question: str) -> Any:
        outcome = next(waiting)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    result = evalkit.evaluate(answer, limit=N, protocols="exact-match")
    frame = result.samples
    assert frame.answer.dropna().tolist() == ["a", "", "\ufffd", "b", "last"]
    assert frame.error.dropna().tolist() == [
        "ValueError: boom",
        "the function returned None; expected a text",
        "the function returned int ('3'); expected a text",
        "the function returned bytes (\"b'x'\"); expected a text",
        "the function returned list (\"['y']\"); expected a text",
        "the function returned float ('nan'); expected a text",
        "StopIteration: StopIteration",
    ]
    assert result.summary.n_failed == 7 and result.summary.n_empty == 1
    assert "7 of 12 samples failed and are not in the values" in result.warnings
    assert "7 of 12 samples failed" in repr(result) and "7 of 12 samples failed" in result._repr_html_()
    assert result["exact-match", "exact_match"].n_unscored == 7


@pytest.mark.parametrize(
    "returned",
    [["a"], [], ["a"] * 4, "abc", b"abc", None, {"a": 1, "b": 2, "c": 3}, {"a", "b", "c"}, 3],
    ids=["short", "empty", "long", "text", "bytes", "none", "dict", "set", "number"],
)
@pytest.mark.parametrize("later", [False, True], ids=["sync", "async"])
@pytest.mark.few(3)
def test_a_batch_of_another_length_or_kind_fails_whole(returned: Any, later: bool) -> None:
    def at_once(images: list[Any], questions: list[str]) -> Any:
        return ["fine"] * 3 if "modality" in questions[0].lower() else returned

    async def at_once_later(images: list[Any], questions: list[str]) -> Any:
        return at_once(images, questions)

    result = evalkit.evaluate(at_once_later if later else at_once, limit=N, batch_size=3, protocols="exact-match")
    frame = result.samples
    assert set(frame.answer.dropna()) == {"fine"} and 0 < result.summary.n_failed < N
    assert result.summary.n_failed % 3 == 0
    assert frame.error.dropna().str.contains("answers to a batch of 3 questions|expected a list of 3 texts").all()


def test_a_function_that_never_answers_stops_the_run() -> None:
    with pytest.raises(EngineError, match=r"the first 8 samples all failed, the last with: ZeroDivisionError"):
        evalkit.evaluate(lambda image, question: str(1 / 0), limit=N)


def test_an_interrupt_of_a_function_ends_the_run_and_keeps_its_answers(tmp_path: Path) -> None:
    asked: list[str] = []

    def interrupted(image: Any, question: str) -> str:
        asked.append(question)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return "yes"

    with pytest.raises(KeyboardInterrupt):
        evalkit.evaluate(interrupted, limit=N, out=tmp_path, digest="v1")
    result = evalkit.evaluate(interrupted, limit=N, out=tmp_path, digest="v1")
    assert len(asked) == 5 + N - 4 and result.summary.n_failed == 0


@pytest.mark.slow
def test_answers_of_a_function_are_continued_only_under_its_digest(tmp_path: Path) -> None:
    def runs(digest: str | None) -> str:
        return evalkit.evaluate(by_length, limit=N, out=tmp_path, digest=digest).run_id

    assert runs("v1") == runs("v1") != runs("v2")
    assert runs(None) != runs(None)


def test_the_signature_of_a_function_claims_no_decoding() -> None:
    value = evalkit.evaluate(by_length, limit=N, name="mine")["exact-match", "exact_match"]
    assert value.signature is not None and "|gen:function|" in value.signature


@pytest.fixture(scope="module")
def held() -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(CHECKPOINT, dtype=torch.float32)
    return model, AutoProcessor.from_pretrained(CHECKPOINT, backend="pil")


SHORT = {"generation": {"max_new_tokens": 16}}


def test_a_model_in_memory_answers_as_its_checkpoint_with_shared_prefixes(held: tuple[Any, Any]) -> None:
    ours = evalkit.evaluate(held, limit=40, **SHORT)
    theirs = evalkit.evaluate("phantom-llava", limit=40)
    assert ours.samples.answer.tolist() == theirs.samples.answer.tolist()
    assert ours.metrics.drop(columns=["run_id", "model"]).equals(theirs.metrics.drop(columns=["run_id", "model"]))
    assert ours.manifest is not None and ours.manifest.facts["prefix_shared"]
    assert ours.manifest.facts["counters"]["prefix_prefills"] == 4  # one an image
    assert ours.summary.model == "memory/phantom-llava"  # whatever the weights are now, not the registered model


@pytest.mark.slow
def test_a_model_in_memory_is_left_as_it_was(held: tuple[Any, Any]) -> None:
    import torch

    model, processor = held
    model.train()
    model.get_output_embeddings().eval()
    before = [(module.training, id(module)) for module in model.modules()]
    weights = {name: t.data_ptr() for name, t in model.state_dict().items()}
    side, template, threads = processor.tokenizer.padding_side, processor.chat_template, torch.get_num_threads()
    precision, numbers = torch.backends.cuda.matmul.fp32_precision, torch.get_rng_state()
    generation = copy.deepcopy(model.generation_config.to_dict())
    torch.set_num_threads(2)
    sampled = {"generation": {"max_new_tokens": 4, "temperature": 1.0}}
    for settings in (SHORT, sampled):
        evalkit.evaluate(model, processor=processor, limit=N, **settings)
    with pytest.raises(EvalkitError):
        evalkit.evaluate(model, "phantom", processor=processor, limit=N, settings={"engine.share_prefix": "no"})
    assert before == [(module.training, id(module)) for module in model.modules()]
    assert weights == {name: t.data_ptr() for name, t in model.state_dict().items()}
    assert (side, template) == (processor.tokenizer.padding_side, processor.chat_template)
    assert torch.get_num_threads() == 2 and torch.backends.cuda.matmul.fp32_precision == precision
    assert torch.equal(numbers, torch.get_rng_state()) and generation == model.generation_config.to_dict()
    assert all(p.requires_grad and not p.is_inference() for p in model.parameters())
    torch.set_num_threads(threads)
    model.eval()


@pytest.mark.slow
def test_the_digest_of_a_model_in_memory_is_that_of_its_weights(held: tuple[Any, Any], tmp_path: Path) -> None:
    import torch

    model, processor = copy.deepcopy(held[0]), held[1]

    def name(**settings: Any) -> str:
        return evalkit.evaluate((model, processor), limit=3, out=tmp_path, **SHORT, **settings).run_id

    first = name()
    assert name() == first
    with torch.no_grad():
        next(iter(model.parameters())).view(-1)[0] += 1
    changed = name()
    assert changed != first
    model.config.text_config.rope_parameters = {**model.config.text_config.rope_parameters, "rope_theta": 5.0}
    assert name() not in (first, changed)
    assert name(digest="step 1") != name(digest="step 2") != name()
    other = copy.deepcopy(processor)
    other.tokenizer.padding_side = "left"
    kept = evalkit.evaluate((model, other), limit=3, out=tmp_path, **SHORT).run_id
    assert kept == name()  # the side of padding is set for generation in any case


def test_a_step_of_training_is_possible_after_an_evaluation(held: tuple[Any, Any]) -> None:
    import torch

    model = copy.deepcopy(held[0]).train()
    evalkit.evaluate((model, held[1]), limit=N, **SHORT)
    ids = torch.tensor([[1, 5, 6, 7]])
    model(input_ids=ids, labels=ids).loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.slow
def test_two_threads_with_one_model_answer_as_one_does(held: tuple[Any, Any]) -> None:
    model, processor = held
    model.train()
    alone = evalkit.evaluate((model, processor), limit=20, **SHORT).samples.answer.tolist()
    found: list[list[str]] = []

    def once() -> None:
        found.append(evalkit.evaluate((model, processor), limit=20, **SHORT).samples.answer.tolist())

    threads = [threading.Thread(target=once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 3
    assert model.training
    model.eval()


def test_a_client_without_a_model_or_with_settings_of_its_own_is_refused() -> None:
    with serving() as server:
        client = openai.OpenAI(base_url=server.url, api_key="k")
        with pytest.raises(ConfigError, match="Which model of the server"):
            evalkit.evaluate(client, limit=2)
        with pytest.raises(ConfigError, match="default_headers"):
            evalkit.evaluate((openai.OpenAI(base_url=server.url, api_key="k", default_headers={"a": "b"}), MODEL))
        azure = openai.AzureOpenAI(azure_endpoint="http://127.0.0.1:1", api_key="k", api_version="1")
        with pytest.raises(ConfigError, match="AzureOpenAI"):
            evalkit.evaluate((azure, MODEL))
        with pytest.raises(ConfigError, match="engine=hf is not possible with a client"):
            evalkit.evaluate((client, MODEL), engine="hf", limit=2)
        by_setting = evalkit.evaluate(client, limit=2, engine={"served_model": MODEL, "concurrency": 1})
        assert by_setting.summary.model == MODEL


REFUSED: list[tuple[Callable[[Any], dict[str, Any]], str]] = [
    (lambda held: {"model": 3}, "expected the name of a registered model"),
    (lambda held: {"model": None}, "expected the name of a registered model"),
    (lambda held: {"model": "nope"}, "There is no model named 'nope'"),
    (lambda held: {"model": "./nope"}, "there is no such folder"),
    (lambda held: {"model": held[0]}, "needs its processor"),
    (lambda held: {"model": held, "processor": held[1]}, "given twice"),
    (lambda held: {"model": (held[0], held[1].tokenizer)}, "has no tokenizer"),
    (lambda held: {"model": held, "engine": "vllm"}, "engine=vllm is not possible with a model in memory"),
    (lambda held: {"model": held, "engine": {"dtype": "bfloat16"}}, "the model in memory is float32"),
    (lambda held: {"model": held, "engine": {"device": "cuda:1"}}, "the model in memory is on cpu"),
    (lambda held: {"model": lambda question, image: "yes"}, r"takes \(question, image\)"),
    (lambda held: {"model": lambda prompts, images: ["yes"], "batch_size": 2}, r"takes \(prompt, image\)"),
    (lambda held: {"model": str(CHECKPOINT), "engine": {"device": "cuda:99"}}, "CUDA devices on this machine"),
    (lambda held: {"model": str(CHECKPOINT), "engine": {"device": "gpu"}}, "torch has no device of that name"),
    (
        lambda held: {"model": "a/b", "engine": "server", "settings": {"engine.url": "http://h:99999/v1"}},
        "is no address",
    ),
    (lambda held: {"model": "a/b", "engine": "server", "settings": {"engine.url": "http://[::1"}}, "is no address"),
    (lambda held: {"model": by_length, "processor": held[1]}, "processor= is not possible"),
    (lambda held: {"model": by_length, "batch_size": 0}, "batch_size=0"),
    (lambda held: {"model": by_length, "batch_size": True}, "batch_size=True"),
    (lambda held: {"model": by_length, "generation": "greedy"}, "generation= is not possible with a function"),
    (lambda held: {"model": "scripted", "digest": "a"}, "digest= is not possible"),
    (lambda held: {"model": "scripted", "suite": "medvqa"}, "call evaluate once a task"),
    (lambda held: {"model": "scripted", "dry_run": True}, "load_task shows"),
    (lambda held: {"model": "scripted", "engine": {"shard": "1/2"}}, "engine.shard= is not possible"),
    (lambda held: {"model": "scripted", "settings": {"limit": 3}}, "the argument limit="),
    (lambda held: {"model": "scripted", "image": "blank", "settings": {"image": "blank"}}, "given twice"),
    (lambda held: {"model": "scripted", "limitt": 3}, "'limitt' is not a setting of `run`"),
    (lambda held: {"model": "scripted", "limit": "3x"}, "limit=3x is not possible"),
    (lambda held: {"model": "scripted", "image": object()}, "of type object, which no setting has"),
    (lambda held: {"model": "scripted", "settings": {"a b": 1}}, "is not the name of a setting"),
    (lambda held: {"model": "scripted", "settings": {"hydra.run.dir": "x"}}, "Hydra's own settings"),
    (lambda held: {"model": "scripted", "protocols": ["nope"]}, "There is no protocol named 'nope'"),
]


@pytest.mark.few(6)
@pytest.mark.parametrize("case", REFUSED, ids=[text[:40] for _, text in REFUSED])
def test_a_model_or_setting_that_is_none_is_refused_in_one_paragraph(
    case: tuple[Callable[[Any], dict[str, Any]], str], held: tuple[Any, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((ConfigError, EvalkitError), match=case[1]) as caught:
        evalkit.evaluate(**case[0](held))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_folder_is_a_model(tmp_path: Path) -> None:
    link = tmp_path / "my model=1"
    link.symlink_to(CHECKPOINT)
    result = evalkit.evaluate(link, limit=3)
    assert result.summary.model == "my model=1" and result.summary.n_failed == 0


def test_a_broken_image_is_an_error_before_the_function_is_asked(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "t.csv").write_text("image,question,answer\na.png,what?,x\n")
    with pytest.raises(DataError, match=r"a\.png"):
        evalkit.evaluate(by_length, tmp_path / "t.csv")
