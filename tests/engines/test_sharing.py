"""Prefix sharing: when it applies, what it saves, and that mistakes in it are detected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ConfigError, EngineError
from evalkit.core.types import Request
from evalkit.engines import plain_decode, prefix_decode
from evalkit.engines.hf import HfEngine
from evalkit.engines.loaded_model import Counters
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import answers

Make = Callable[..., HfEngine]


@pytest.fixture
def requests(folder: Path, tmp_path: Path) -> list[Request]:
    return tiny.requests(tmp_path / "images", [5, 3, 1], tiny.spec(folder).generation)


def plain_answers(engine: Make, requests: list[Request], **settings: Any) -> Any:
    return answers(engine(share_prefix="off", batch_size=1, **settings), requests)


# --- savings


def test_eleven_questions_per_image_take_a_seventh_of_the_prefill(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalkit.core import images

    # As SLAKE with LLaVA-1.5: 576 image tokens, 18 to 31 tokens after them, 11 questions per image.
    spec = tiny.spec(tiny.save(tmp_path / "model", tiny.model(336), tiny.processor(336)), max_new_tokens=4)
    requests = tiny.requests(tmp_path / "images", [11, 11, 11], spec.generation, words=(17, 30))
    opened: list[str] = []
    open_image = images.open_image
    monkeypatch.setattr(images, "open_image", lambda ref: opened.append(ref.path) or open_image(ref))

    one = engine(spec, share_prefix="off", batch_size=1)
    one_texts = answers(one, requests)
    one_counters = one.metadata()["counters"]
    shared = engine(spec, share_prefix="require")
    answers(shared, requests[:2])  # the check, which runs once per run and has its own counters
    model = shared.load()
    model.counters = Counters()
    opened.clear()
    encoded: list[int] = []
    prefilled: list[int] = []
    tower = model.model.model.vision_tower
    tower.register_forward_pre_hook(lambda _, args: encoded.append(len(args[0])))
    model.model.model.language_model.register_forward_hook(
        lambda _, args, kwargs, out: prefilled.append(kwargs["inputs_embeds"][:, :, 0].numel()), with_kwargs=True
    )
    assert answers(shared, requests) == one_texts

    counters = shared.metadata()["counters"]
    assert counters["image_decodes"] == counters["vision_encodes"] == counters["prefix_prefills"] == 3
    assert len(opened) == len(set(opened)) == 3  # the counters are correct
    assert sum(encoded) == 3
    assert counters["prefill_tokens"] == one_counters["prefill_tokens"] - 10 * 3 * (1 + 576 + 1)
    assert one_counters["prefill_tokens"] >= 7 * counters["prefill_tokens"]
    assert sum(prefilled) <= counters["prefill_tokens"] + counters["padding_tokens"] + 33 * 3
    assert counters["decode_steps"] <= 3
    assert counters["decode_tokens"] == one_counters["decode_tokens"]


def test_identical_bytes_under_two_names_are_one_image(engine: Make, requests: list[Request], tmp_path: Path) -> None:
    import shutil

    target = tmp_path / "copy.png"
    shutil.copy(requests[0].images[0].path, target)
    same = [r for r in requests if r.image_digests == requests[0].image_digests]
    copies = [
        replace(r, sample_id=f"copy of {r.sample_id}", images=(replace(r.images[0], path=str(target)),)) for r in same
    ]
    run = engine(share_prefix="require")
    answers(run, [*same, *copies])
    assert run.metadata()["counters"]["prefix_prefills"] == run.metadata()["counters"]["image_decodes"] == 1


def test_images_are_preprocessed_a_bounded_number_ahead(engine: Make, folder: Path, tmp_path: Path) -> None:
    requests = tiny.requests(tmp_path / "many", [1] * 20, tiny.spec(folder).generation)
    run = engine(share_prefix="require", batch_size=1, workers=2)
    batches_seen = 0
    for _ in run.generate(requests):
        batches_seen += 1
        if batches_seen == 2:
            assert run.metadata()["counters"]["image_decodes"] <= 12
    assert batches_seen == 20


# --- detection of mistakes


def see_everything(self: Any, visible: Any) -> Any:
    return (visible | True)[:, None]


def one_place_off(original: Any) -> Any:
    def init(self: Any, *args: Any) -> None:
        original(self, *args)
        self.starts = self.starts + 1

    return init


def rows_swapped(original: Any) -> Any:
    def prefill(*args: Any) -> Any:
        cache, first = original(*args)
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys.roll(1, 0), layer.values.roll(1, 0)
        return cache, first

    return prefill


MISTAKES = {
    "questions see each other": lambda patch: patch.setattr(prefix_decode._PackDecoder, "_mask", see_everything),
    "positions are one off": lambda patch: patch.setattr(
        prefix_decode._PackDecoder, "__init__", one_place_off(prefix_decode._PackDecoder.__init__)
    ),
    "the cache is another image's": lambda patch: patch.setattr(
        prefix_decode, "prefill", rows_swapped(prefix_decode.prefill)
    ),
}


@pytest.mark.few(1)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_cache_is_detected_and_the_answers_stay_correct(
    engine: Make,
    requests: list[Request],
    mistake: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    right = plain_answers(engine, requests)
    MISTAKES[mistake](monkeypatch)
    run = engine()
    assert answers(run, requests) == right
    record = run.metadata()
    assert record["prefix_shared"] is False
    assert "logits differ" in next(iter(record["prefix_not_shared"]))
    assert capsys.readouterr().err.count("logits differ") == 1
    with pytest.raises(EngineError, match="share_prefix=require"):
        list(engine(share_prefix="require").generate(requests))


@pytest.mark.parametrize("share", ["auto", "off"])
def test_with_exact_a_failed_check_stops_the_run(
    engine: Make, requests: list[Request], monkeypatch: pytest.MonkeyPatch, share: str
) -> None:
    """Plain batches after a failed check would make answers depend on which images come first."""
    MISTAKES["positions are one off"](monkeypatch)
    with pytest.raises(EngineError, match=r"promises answers .* logits differ .* Leave out engine") as caught:
        list(engine(exact=True, share_prefix=share).generate(requests))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("mistake", [None, "positions are one off"])
@pytest.mark.few(1)
def test_in_half_precision_a_first_image_with_few_questions_is_checked_as_well(
    engine: Make, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, mistake: str | None
) -> None:
    """The tolerance comes from a padded batch; a batch of one prompt would be computed as the prompt alone."""
    spec = tiny.spec(folder)
    if mistake:
        MISTAKES[mistake](monkeypatch)
    tolerances = []
    for number in range(4):
        some = tiny.requests(tmp_path / str(number), [count], spec.generation)
        run = engine(spec, dtype="bfloat16", exact=mistake is None, measure_flips=0)
        answers(run, some)
        record = run.metadata()["prefix_check"]
        tolerances.append(record["tolerance"])
        assert (record["logit_difference"] <= record["tolerance"]) is (mistake is None)
    assert max(tolerances) > 0.1


def test_float32_on_a_gpu_is_kept_from_tf32(engine: Make) -> None:
    import torch

    torch.backends.cudnn.conv.fp32_precision = "tf32"
    engine(dtype="bfloat16").load()
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    engine().load()
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


def test_a_check_that_could_not_fail_counts_as_failed(engine: Make, requests: list[Request], tmp_path: Path) -> None:
    made = tiny.model()
    made.model.multi_modal_projector.linear_2.weight.data.zero_()
    spec = tiny.spec(tiny.save(tmp_path / "blind", made))
    run = engine(spec)
    answers(run, requests)
    assert "could not fail" in next(iter(run.metadata()["prefix_not_shared"]))


def test_the_check_is_in_the_metadata_and_not_in_the_counters(engine: Make, requests: list[Request]) -> None:
    run = engine()
    answers(run, requests)
    record = run.metadata()
    assert record["prefix_shared"] is True
    assert record["prefix_not_shared"] == {}
    assert record["prefix_check"]["logit_difference"] < 1e-4
    assert record["prefix_check"]["changed_image_difference"] > 0.1
    assert record["prefix_check"]["vision_encodes"] == 3  # two questions alone, one changed image
    assert record["counters"]["prefix_prefills"] == record["counters"]["vision_encodes"] == 3


# --- fallbacks


def test_an_image_after_the_question_is_answered_in_plain_batches(
    engine: Make, folder: Path, requests: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tiny.spec(folder, chat_template=tiny.IMAGE_LAST)
    right = answers(engine(spec, share_prefix="off", batch_size=1), requests)
    run = engine(spec)
    assert answers(run, requests) == right
    reasons = run.metadata()["prefix_not_shared"]
    assert reasons == {"an image comes after the question": 3} or reasons == {"an image comes after the question": 2}
    assert capsys.readouterr().err.count("comes after the question") == 1
    with pytest.raises(EngineError, match="comes after the question"):
        list(engine(spec, share_prefix="require").generate(requests))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"temperature": 0.9}, "sampling"), ({"num_beams": 2}, "beam"), ({"repetition_penalty": 1.3}, "penalty")],
)
def test_decoding_that_sharing_does_not_support_is_done_by_transformers(
    engine: Make, folder: Path, tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    spec = tiny.spec(folder, **settings)
    requests = tiny.requests(tmp_path / "images", [3, 2], spec.generation)
    right = answers(engine(spec, share_prefix="off", batch_size=1), requests)
    run = engine(spec)
    assert answers(run, list(reversed(requests))) == right
    assert reason in next(iter(run.metadata()["prefix_not_shared"]))


def test_sampling_differs_from_greedy_and_from_another_seed(engine: Make, folder: Path, tmp_path: Path) -> None:
    texts = []
    for settings in ({}, {"temperature": 5.0}, {"temperature": 5.0, "seed": 1}):
        spec = tiny.spec(folder, **settings)
        texts.append(answers(engine(spec), tiny.requests(tmp_path / "images", [3, 2], spec.generation)))
    assert texts[0] != texts[1] != texts[2]


@pytest.mark.parametrize(
    "own",
    [
        {"top_k": 1},
        {"top_k": 3, "top_p": 0.5, "temperature": 0.1, "repetition_penalty": 5.0},
        {"min_p": 0.9},
        {"typical_p": 0.01},
    ],
)
@pytest.mark.slow
def test_the_checkpoints_own_decoding_settings_do_not_apply(
    engine: Make, folder: Path, tmp_path: Path, own: dict[str, Any]
) -> None:
    made = tiny.model()
    made.generation_config.update(do_sample=True, **own)
    for settings in ({"temperature": 5.0}, {"temperature": 0.0}):
        spec = tiny.spec(folder, **settings)
        requests = tiny.requests(tmp_path / "images", [3, 2], spec.generation)
        other = tiny.spec(tiny.save(tmp_path / f"other{settings['temperature']}", made), **settings)
        right = answers(engine(spec, share_prefix="off"), requests)
        assert answers(engine(other, share_prefix="off"), requests) == answers(engine(other), requests) == right


@pytest.mark.parametrize(("top_k", "expected"), [(None, []), (7, [7])])
def test_no_top_k_means_all_tokens_and_not_the_librarys_default_of_fifty(
    engine: Make, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top_k: int | None, expected: list[int]
) -> None:
    from transformers.generation import utils

    seen: list[int] = []
    original = utils.TopKLogitsWarper
    monkeypatch.setattr(
        utils, "TopKLogitsWarper", lambda top_k, **rest: seen.append(top_k) or original(top_k=top_k, **rest)
    )
    spec = tiny.spec(folder, temperature=1.0, top_k=top_k)
    answers(engine(spec), tiny.requests(tmp_path / "images", [1], spec.generation))
    assert seen == expected


def test_stop_strings_are_cut_alike_with_and_without_sharing(
    engine: Make, folder: Path, requests: list[Request]
) -> None:
    words = [w for text, _, _ in plain_answers(engine, requests).values() for w in (text or "").split()[1:3]]
    spec = tiny.spec(folder, stop=tuple(sorted(set(words[:3]))))
    again = [replace(r, generation=spec.generation) for r in requests]
    right = answers(engine(spec, share_prefix="off", batch_size=1), again)
    assert answers(engine(spec, share_prefix="off", batch_size=8), again) == right
    assert answers(engine(spec, share_prefix="require"), again) == right
    assert not any(stop in (text or "") for text, _, _ in right.values() for stop in spec.generation.stop)


def test_a_checkpoint_with_token_rules_is_answered_by_transformers(
    engine: Make, requests: list[Request], tmp_path: Path
) -> None:
    made = tiny.model()
    made.generation_config.no_repeat_ngram_size = 2
    spec = tiny.spec(tiny.save(tmp_path / "ngram", made))
    run = engine(spec)
    answers(run, requests)
    assert "no_repeat_ngram_size" in next(iter(run.metadata()["prefix_not_shared"]))


def test_requests_with_and_without_images_can_be_mixed(engine: Make, requests: list[Request]) -> None:
    text_only = [
        replace(
            r,
            sample_id=f"text {r.sample_id}",
            images=(),
            image_digests=(),
            messages=(replace(r.messages[0], content=(r.question,)),),
        )
        for r in requests
    ]
    both = [*requests, *text_only]
    right = plain_answers(engine, both)
    run = engine()
    assert answers(run, both) == right
    assert run.metadata()["prefix_not_shared"] == {"there is no image in the prompt": 1}


# --- memory and failures


def memory_for(places: int, original: Any) -> Any:
    def answer(loaded: Any, pack: Any, **settings: Any) -> Any:
        import torch

        at_once = settings.get("at_once") or sum(len(s.group.rows) for s in pack)
        if len(pack) * (20 + 15 * at_once) > places:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(loaded, pack, **settings)

    return answer


@pytest.mark.few(1)
@pytest.mark.parametrize("places", [200, 100, 50])
def test_running_out_of_memory_makes_batches_smaller_and_changes_no_answer(
    engine: Make, requests: list[Request], monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    right = plain_answers(engine, requests)
    monkeypatch.setattr(prefix_decode, "answer", memory_for(places, prefix_decode.answer))
    run = engine(max_batch_tokens=1000)
    assert answers(run, requests) == right
    assert run.metadata()["out_of_memory"] >= 1
    assert run.metadata()["prefix_not_shared"] == {}


def test_plain_batches_are_halved_when_memory_runs_out(
    engine: Make, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = plain_answers(engine, requests)
    original = plain_decode.answer

    def answer(loaded: Any, rows: Any) -> Any:
        if len(rows) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")
        return original(loaded, rows)

    monkeypatch.setattr(plain_decode, "answer", answer)
    run = engine(share_prefix="off", batch_size=8)
    assert answers(run, requests) == right
    assert run.metadata()["batch_size"] <= 2


def test_a_damaged_image_fails_its_own_questions_only(engine: Make, requests: list[Request]) -> None:
    right = plain_answers(engine, requests)
    bad = requests[0].image_id
    path = Path(requests[0].images[0].path)
    path.write_bytes(path.read_bytes()[:50])
    given = {p.sample_id: p for batch in engine().generate(requests) for p in batch}
    assert {i for i, p in given.items() if p.error} == {r.sample_id for r in requests if r.image_id == bad}
    for sample_id, p in given.items():
        if not p.error:
            assert (p.text, p.finish_reason, p.n_tokens) == right[sample_id]


def test_a_run_whose_samples_all_fail_stops(engine: Make, requests: list[Request]) -> None:
    for request in requests:
        Path(request.images[0].path).write_bytes(b"no image")
    with pytest.raises(EngineError, match="samples all failed"):
        list(engine().generate(requests))


def test_flips_are_counted_against_one_at_a_time(
    engine: Make, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = engine(measure_flips=4)
    answers(run, requests)
    assert run.metadata()["flips"] == {"n": 4, "differ": 0, "rate": 0.0}
    run.load().counters = Counters()
    monkeypatch.setattr(plain_decode, "answer", lambda loaded, rows: [[10, 11] for _ in rows])
    answers(run, requests)
    assert run.metadata()["flips"] == {"n": 8, "differ": 4, "rate": 0.5}
    assert run.metadata()["counters"]["vision_encodes"] == 3  # answering again is not in the run's counters


# --- settings


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 0}, {"max_batch_tokens": 0}, {"workers": -1}, {"share_prefix": "on"}, {"measure_flips": -1}],
)
def test_invalid_settings_are_refused(engine: Make, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        engine(**settings)


def test_off_without_quotes_is_understood(engine: Make) -> None:
    assert engine(share_prefix=False).metadata()["share_prefix"] == "off"


def test_exact_runs_have_their_own_identity(engine: Make) -> None:
    assert engine(exact=True).identity != engine().identity == engine(share_prefix="off").identity


def test_the_yaml_names_every_setting(folder: Path) -> None:
    from evalkit.cli.config import build, load_option

    config = load_option("engine", "hf")
    del config["shard"]  # the run's, not the engine's
    made = build({**config, "device": "cpu"}, "engine", spec=tiny.spec(folder))
    assert isinstance(made, HfEngine)


def test_plain_batches_have_the_configured_batch_size(engine: Make, requests: list[Request]) -> None:
    run = engine(share_prefix="off", batch_size=4)
    sizes = [len(batch) for batch in run.generate(requests)]
    assert sizes == [4, 4, 1]
