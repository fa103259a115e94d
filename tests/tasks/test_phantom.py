"""The drawn task: the same bytes everywhere, disjoint splits, questions that only the image answers."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict

import pytest
import yaml

from evalkit.cli.config import DESCRIPTIVE
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import ImagePlace
from evalkit.tasks.phantom import QUESTIONS_PER_IMAGE, SIDES, YES_NO, Phantom, draw, questions
from evalkit.tasks.phantom_draw import MODALITIES, ORGANS, SHAPES, SLOTS, Dice, make_scene
from tests.support.paths import CONF

PIXELS = {
    "0/test/0": ("406caa7fa569cea7", (72, 80), "L"),
    "0/test/1": ("d0df418a434a4848", (80, 80), "L"),
    "0/test/2": ("a4b9d47b04fae283", (70, 64), "L"),
    "0/test/17": ("528c0813c7776030", (70, 64), "L"),
    "0/train/0": ("5878c9f069520d0d", (64, 71), "L"),
    "7/test/59": ("146f7c65700a734a", (64, 71), "L"),
}


def pixel_digest(member: str) -> str:
    return hashlib.sha256(draw(member).tobytes()).hexdigest()[:16]


@pytest.fixture(scope="module")
def train():
    return Phantom(split="train", n_train=1000).load().samples


@pytest.fixture(scope="module")
def test():
    return Phantom().load().samples


@pytest.mark.parametrize("member", PIXELS)
def test_pixels_are_the_same_bytes_on_every_machine(member):
    image = draw(member)
    assert (pixel_digest(member), image.size, image.mode) == PIXELS[member]


def test_drawing_twice_gives_the_same_image_whatever_was_drawn_between():
    first = draw("0/test/5").tobytes()
    draw("0/test/6")
    assert draw("0/test/5").tobytes() == first


@pytest.mark.parametrize(
    "member", ["", "17", "test/17", "0/val/1", "0/test/-1", "x/test/1", "0/test/1/2", "0/test/1.0"]
)
def test_an_unknown_member_is_refused_by_name(member):
    with pytest.raises(DataError, match="expected SEED/SPLIT/INDEX"):
        draw(member)


def test_the_dice_are_fixed_for_ever():
    dice = Dice("a key")
    assert [dice.below(100) for _ in range(8)] == [90, 19, 71, 55, 90, 69, 68, 15]


def test_images_are_small_vary_in_shape_and_come_grey_and_in_colour():
    images = [draw(f"0/test/{index}") for index in range(60)]
    assert {image.mode for image in images} == {"L", "RGB"}
    assert len({image.size for image in images}) >= 5
    assert all(64 <= side <= 80 for image in images for side in image.size)
    assert all(max(image.size) / min(image.size) <= 1.2 for image in images)


def test_no_two_images_are_alike_and_the_splits_share_none():
    members = [f"0/{split}/{index}" for split in ("train", "test") for index in range(300)]
    members += [f"1/test/{index}" for index in range(60)]
    assert len({pixel_digest(member) for member in members}) == len(members)


def test_the_splits_share_no_image_and_every_id_is_unique(train, test):
    assert {s.image_id for s in train}.isdisjoint(s.image_id for s in test)
    assert len({s.id for s in (*train, *test)}) == len(train) + len(test)


def test_the_default_test_split_is_60_images_of_10_questions(test):
    assert len(test) == 600
    assert Counter(Counter(s.image_id for s in test).values()) == {QUESTIONS_PER_IMAGE: 60}
    assert all(len({s.question for s in group}) == len(group) for group in by_image(test).values())


def by_image(samples):
    groups = defaultdict(list)
    for sample in samples:
        groups[sample.image_id].append(sample)
    return groups


def test_every_sample_carries_the_tags_of_the_real_sets(test):
    for sample in test:
        what = make_scene(sample.image_id)
        assert set(sample.tags) == {"answer_type", "modality", "organ", "question_type", "language"}
        assert (sample.tags["modality"], sample.tags["organ"]) == (what.modality, what.organ)
        assert (sample.answer_type == "CLOSED") == bool(sample.choices)
        assert not sample.choices or sample.references[0] in sample.choices
        assert sample.images[0].member == sample.image_id
    kinds = {"Modality", "Organ", "Quantity", "Abnormality", "Presence", "Size", "Shape", "Position", "Color"}
    assert {s.tags["question_type"] for s in test} == kinds


def test_both_answer_types_are_common_and_closed_is_not_only_yes_and_no(test):
    types = Counter(s.answer_type for s in test)
    assert min(types.values()) > 0.35 * len(test)
    closed = Counter(s.references[0] for s in test if s.answer_type == "CLOSED")
    assert {"Yes", "No", "Left", "Right", "Top", "Bottom", "Large", "Small", "Brighter", "Darker"} == set(closed)


def test_no_wording_gives_its_answer_away(train):
    """Over 1000 images the best constant answer to a wording stays within four standard errors of an even spread."""
    answers = defaultdict(Counter)
    for sample in train:
        answers[sample.question][sample.references[0]] += 1
    options = {"How": 4, "number": 4, "position": 4, "located": 4, "shape": 3, "modality": 3, "organ": 3}
    for question, counts in answers.items():
        is_open = not any(word in counts for word in ("Yes", "No", *SIDES, "Top", "Large", "Brighter"))
        share = 1 / next(n for word, n in options.items() if word in question) if is_open else 1 / 2
        n = counts.total()
        assert max(counts.values()) / n < share + 4 * (share * (1 - share) / n) ** 0.5, (question, counts)


def test_yes_and_no_are_as_common_in_every_kind_of_question(train):
    kinds = defaultdict(Counter)
    for sample in train:
        if sample.choices == YES_NO:
            kinds[sample.tags["question_type"]][sample.references[0]] += 1
    for kind, counts in kinds.items():
        assert abs(counts["Yes"] / counts.total() - 0.5) < 0.06, (kind, counts)


def test_the_order_of_the_options_does_not_tell_the_answer(train):
    places = Counter(s.choices.index(s.references[0]) for s in train if s.choices and s.choices != YES_NO)
    assert abs(places[0] / places.total() - 0.5) < 0.04


def test_the_answers_follow_from_the_scene():
    for index in range(200):
        what = make_scene(f"0/train/{index}")
        answers = {question.text: question.answer for question in questions(what)}
        assert what.modality in MODALITIES and what.organ in ORGANS and what.shape in SHAPES
        assert set(what.lesions) <= set(SLOTS)
        for text, answer in answers.items():
            if "How many" in text or "number" in text:
                assert answer == str(len(what.lesions))
            if "normal" in text:
                side = "Left" if "left" in text else "Right"
                assert answer == ("No" if any(slot[0] == side for slot in what.lesions) else "Yes")
            if "Which" in text and "larger" in text:
                assert answer == what.larger
            if "lesions are there" not in text and "number of lesions" not in text and "lesions " in text:
                assert len(what.lesions) > 1


def test_the_patients_left_is_on_the_images_right():
    import numpy as np

    members = (f"0/train/{index}" for index in range(5000))
    scenes = (make_scene(member) for member in members)
    what = next(
        s for s in scenes
        if s.lesions == (("Left", "Upper"),) and s.brightness == "Brighter" and s.size == "Large"
        and s.shape != "Ring" and s.modality == "CT" and s.clip is None
    )  # fmt: skip
    levels = np.asarray(draw(what.member).convert("L")).astype(int)
    height, width = levels.shape
    bright = (levels[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] > 200).nonzero()
    assert bright[1].mean() > width // 4  # of a window half as wide: its right half
    assert bright[0].mean() < height // 4


def test_the_train_split_is_the_same_whichever_split_is_configured():
    task = Phantom(n_train=7)
    assert task.load_train().samples == Phantom(n_train=7, split="train").load().samples
    assert task.load_train().split == "train"
    assert task.load(images=False) == task.load()


def test_a_larger_split_begins_with_the_smaller_one():
    assert Phantom(n_test=9).load().samples[:50] == Phantom(n_test=5).load().samples


def test_another_seed_is_another_set():
    assert Phantom(seed=1).load().data_sha256 != Phantom().load().data_sha256


def test_the_questions_never_change():
    assert Phantom().load().data_sha256[:16] == "29695e9b62768142"


def test_under_the_yes_no_rule_only_yes_and_no_are_closed():
    label, yesno = Phantom().load(), Phantom(closed_rule="yesno").load()
    assert (label.closed_rule, yesno.closed_rule) == ("label", "yesno")
    assert {s.references[0] for s in yesno.samples if s.answer_type == "CLOSED"} == set(YES_NO)
    assert {s.references[0] for s in yesno.samples if s.answer_type == "OPEN"} >= set(SIDES)
    assert [s.question for s in label.samples] == [s.question for s in yesno.samples]


def test_the_image_comes_first_and_the_question_uses_the_prompt_variant():
    task = Phantom(prompt="options")
    closed = next(s for s in task.load().samples if s.choices == ("Left", "Right"))
    (message,) = task.messages(closed)
    assert message.role == "user"
    assert message.content[0] == ImagePlace(0)
    assert closed.question in message.content[1] and "[Left, Right]" in message.content[1]
    assert Phantom(prompt="plain").messages(closed)[0].content == (ImagePlace(0), closed.question)
    assert task.load().prompt.startswith("options@")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"split": "tset"}, "Did you mean 'test'"),
        ({"closed_rule": "maybe"}, "label or yesno"),
        ({"prompt": "shrt"}, "short"),
        ({"n_test": 0}, "n_test=0"),
        ({"n_train": -1}, "n_train=-1"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_a_bad_setting_is_refused(setting, words):
    with pytest.raises(ConfigError, match=words):
        Phantom(**setting)


def test_the_yaml_builds_the_task():
    settings = yaml.safe_load((CONF / "task" / "phantom.yaml").read_text("utf-8"))
    assert next(iter(settings)) == "about"
    kept = {key: value for key, value in settings.items() if key not in DESCRIPTIVE}
    assert settings["target"] == "evalkit.tasks.phantom:Phantom"
    assert Phantom(**kept).load() == Phantom().load()
