"""The chat task: counts, domain precedence, image marks, null contexts; on made-up rows in the released form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import ImagePlace
from evalkit.tasks.llava_med_chat import LlavaMedChat


def row(number: int, domains: tuple[str, ...] = ("mri",), **changes: object) -> dict:
    names = ("chest_xray", "mri", "ct_scan", "histology", "gross")
    return {
        "question_id": number,
        "image": f"{number // 4}.jpg",
        "pair_id": f"pair{number // 4}",
        "text": f"What is {number}?\n<image>",
        "gpt4_answer": f"It is {number}.",
        "fig_caption": "A slice.",
        "fig_label": "Fig. 1",
        "in_text_mention": [{"tokens": "See Fig. 1 .", "entities": []}],
        "domain": {name: name in domains for name in names},
        "type": "conversation",
        **changes,
    }


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def load(tmp_path: Path, rows: list[dict], **settings: object):
    task = LlavaMedChat(path=write(tmp_path / "qa.jsonl", rows), check_counts=False, **settings)
    return task.load(images=False)


def test_a_row_becomes_a_sample_with_the_context_for_a_judge(tmp_path: Path) -> None:
    (sample,) = load(tmp_path, [row(0)]).samples
    assert (sample.id, sample.image_id, sample.question) == ("0", "pair0", "What is 0?")
    assert sample.references == ("It is 0.",)
    assert dict(sample.tags) == {"type": "conversation", "domain": "mri"}
    assert sample.context["caption"] == "Fig. 1: A slice."
    assert sample.context["mentions"] == "- See Fig. 1 ."
    assert sample.context["mentions_repr"] == "[{'tokens': 'See Fig. 1 .', 'entities': []}]"
    assert sample.context["question"] == "What is 0?\n<image>"


def test_a_null_context_is_empty_for_our_prompt_and_none_for_the_authors(tmp_path: Path) -> None:
    (sample,) = load(tmp_path, [row(0, in_text_mention=None)]).samples
    assert (sample.context["mentions"], sample.context["mentions_repr"]) == ("", "None")


@pytest.mark.parametrize(
    ("domains", "expected"),
    [
        (("gross", "histology"), "histology"),
        (("ct_scan", "chest_xray"), "chest_xray"),
        (("ct_scan",), "ct_scan"),
        (("ct_scan", "gross"), "gross"),
        (("histology", "mri"), "mri"),
    ],
)
def test_a_figure_of_two_domains_follows_the_authors_precedence(
    tmp_path: Path, domains: tuple[str, ...], expected: str
) -> None:
    (sample,) = load(tmp_path, [row(0, domains)]).samples
    assert sample.tags["domain"] == expected


def test_the_image_is_placed_before_or_after_the_question(tmp_path: Path) -> None:
    file = write(tmp_path / "qa.jsonl", [row(0)])
    for first in (True, False):
        task = LlavaMedChat(path=file, image_first=first, check_counts=False)
        (message,) = task.messages(task.load(images=False).samples[0])
        expected = (ImagePlace(0), "\nWhat is 0?") if first else ("What is 0?\n", ImagePlace(0))
        assert message.content == expected


def test_a_copy_that_differs_from_the_published_counts_has_a_note(tmp_path: Path) -> None:
    loaded = LlavaMedChat(path=write(tmp_path / "qa.jsonl", [row(0)])).load(images=False)
    assert "conversation 1 (published 143)" in loaded.notes[0] and "published 14" in loaded.notes[0]


def test_captions_may_come_from_the_released_caption_file(tmp_path: Path) -> None:
    bare = {k: v for k, v in row(0).items() if k not in ("fig_caption", "fig_label", "in_text_mention", "domain")}
    figure = {k: row(0)[k] for k in ("fig_caption", "fig_label", "in_text_mention", "domain", "pair_id")}
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"mri": [figure]}))
    (sample,) = load(tmp_path, [bare], captions=str(captions)).samples
    assert sample.context["caption"] == "Fig. 1: A slice." and sample.tags["domain"] == "mri"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no questions"),
        ([{"question_id": 1}], "missing"),
        ([row(0), row(0)], "more than once"),
        ([row(0, text="\n<image>")], "empty"),
        ([row(0, gpt4_answer=" ")], "empty"),
        ([row(0, domains=())], "none of the domains"),
    ],
)
def test_a_bad_question_file_is_refused(tmp_path: Path, rows: list[dict], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, rows)


def test_a_git_lfs_pointer_is_recognised(tmp_path: Path) -> None:
    file = tmp_path / "qa.jsonl"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(DataError, match="git lfs pull"):
        LlavaMedChat(path=str(file)).load(images=False)


def test_missing_images_are_named_with_the_setting_that_gives_them(tmp_path: Path) -> None:
    file = write(tmp_path / "qa.jsonl", [row(0)])
    with pytest.raises(DataError, match=r"task\.images=DIR"):
        LlavaMedChat(path=file).load()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.jpg").write_bytes(b"x")
    assert LlavaMedChat(path=file).load().samples[0].images[0].path.endswith("images/0.jpg")


def test_without_a_path_the_error_names_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"task\.path=FILE"):
        LlavaMedChat().load()
    with pytest.raises(ConfigError, match="the only split"):
        LlavaMedChat(split="train")
