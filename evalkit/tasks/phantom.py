"""phantom: the built-in task, a synthetic medical-looking VQA set with ten questions per image, as many as SLAKE.

No file is read: images and questions follow from the seed.  Every question needs its image: the answers to each
wording are evenly distributed, so a model that sees a blank image, or none, can only guess.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from sys import intern

from evalkit.core.columns import column_values
from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.packed_samples import PackedSamples
from evalkit.core.types import CLOSED, OPEN, ImagePlace, ImageRef, Message, Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.phantom_draw import MODALITIES, ORGANS, Dice, Scene, draw, make_scene
from evalkit.tasks.prompts import options_note, prompt_id, render

__all__ = ["QUESTIONS_PER_IMAGE", "Phantom", "draw", "questions"]

QUESTIONS_PER_IMAGE = 10
YES_NO = ("Yes", "No")
SIDES = ("Left", "Right")
# Images whose samples a process keeps, under 1 MB: both splits in their default size.
N_REMEMBERED = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneQuestion:
    """One question about a scene.  `choices` is empty for an open question; `kind` is the question_type tag."""

    kind: str
    text: str
    answer: str
    choices: tuple[str, ...] = ()


class Phantom:
    """The phantom task.

    name: name in results.  split: "test" or "train".  prompt: a variant of `evalkit.tasks.prompts`.
    closed_rule: "label" (every question that states its options is CLOSED) or "yesno" (only those answered Yes or No).
    n_train, n_test: number of images per split.  seed: seed of the whole set.  Raises ConfigError for invalid settings.
    """

    def __init__(
        self,
        *,
        name: str = "phantom",
        split: str = "test",
        prompt: str = "short",
        closed_rule: str = "label",
        n_train: int = 500,
        n_test: int = 60,
        seed: int = 0,
    ) -> None:
        sizes = {"train": n_train, "test": n_test}
        if split not in sizes:
            raise ConfigError(f"task {name}: unknown split {split!r}. {did_you_mean(split, sizes)}")
        if closed_rule not in ("label", "yesno"):
            raise ConfigError(f"task {name}: invalid closed_rule={closed_rule!r}. Expected label or yesno.")
        for key, value in (("n_train", n_train), ("n_test", n_test)):
            if value < 1:
                raise ConfigError(f"task {name}: invalid {key}={value}. Expected at least one image.")
        if seed < 0:
            raise ConfigError(f"task {name}: invalid seed={seed}. Expected a whole number of 0 or more.")
        self._name = name
        self._split = split
        self._prompt = prompt
        self._prompt_id = prompt_id(prompt)
        self._closed_rule = closed_rule
        self._sizes = sizes
        self._seed = seed

    def load(self, *, images: bool = True) -> LoadedTask:
        """Load the configured split.  `images` has no effect: images are drawn on access and need no files."""
        del images
        return self._load(self._split)

    def load_train(self) -> LoadedTask:
        """Load the train split of the same seed."""
        return self._load("train")

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """One user turn: the image, then the question under the prompt variant."""
        text = render(self._prompt, sample.question, sample.choices)
        return (Message(role="user", content=(ImagePlace(0), text)),)

    def _load(self, split: str) -> LoadedTask:
        samples = PackedSamples(
            sample
            for index in range(self._sizes[split])
            for sample in _samples(f"{self._seed}/{split}/{index}", self._closed_rule)
        )
        return LoadedTask(
            name=self._name,
            split=split,
            form="drawn",
            samples=samples,
            closed_rule=self._closed_rule,
            prompt=self._prompt_id,
            notes=tuple(options_note(self._prompt, column_values(samples, "choices"))),
        )


@lru_cache(N_REMEMBERED)
def _samples(member: str, closed_rule: str) -> tuple[Sample, ...]:
    """The samples of one image; several jobs of a process share those of the train split, which each of them reads."""
    scene = make_scene(member)
    image = ImageRef(kind="draw", path="evalkit.tasks.phantom:draw", member=member)
    images = (image,)
    samples = []
    for number, question in enumerate(questions(scene)):
        closed = bool(question.choices) if closed_rule == "label" else question.answer in YES_NO
        samples.append(
            Sample(
                id=f"{member}/{number}",
                image_id=member,
                question=intern(question.text),
                references=_references(question.answer),
                images=images,
                choices=question.choices if closed else (),
                tags=_tags(CLOSED if closed else OPEN, scene.modality, scene.organ, question.kind),
            )
        )
    return tuple(samples)


@cache
def _references(answer: str) -> tuple[str, ...]:
    """The gold answers of a sample; samples with the same one share them."""
    return (answer,)


@cache
def _tags(answer_type: str, modality: str, organ: str, kind: str) -> dict[str, str]:
    """The tags of a sample; samples with the same tags share them."""
    return {
        "answer_type": answer_type, "modality": modality, "organ": organ, "question_type": kind, "language": "en",
    }  # fmt: skip


def questions(scene: Scene) -> list[SceneQuestion]:
    """Ten questions about a scene: seven that apply to any image, and three drawn from those that apply to this one."""
    dice = Dice(f"phantom questions {scene.member}")
    either: list[Callable[[Scene, Dice], SceneQuestion]] = dice.shuffled([_is_modality, _is_organ])
    selected = [ask(scene, dice) for ask in (_modality, _organ, _count, either[0], _affected, _clip_present, _larger)]
    about_lesions: list[Callable[[Scene, Dice], SceneQuestion]] = []
    if scene.lesions:
        about_lesions += [_shape, _size, _brightness]
        if len(scene.lesions) == 1:
            about_lesions.append(_where)
        elif not (scene.has_lesion("Left") and scene.has_lesion("Right")):
            about_lesions.append(_which_side)
    others: list[Callable[[Scene, Dice], SceneQuestion]] = [_smaller, _is_larger, either[1]]
    if scene.clip:
        others.append(_clip_place)
    optional = dice.shuffled(about_lesions) + dice.shuffled(others)
    return selected + [ask(scene, dice) for ask in optional[: QUESTIONS_PER_IMAGE - len(selected)]]


def _yes_no(truth: bool) -> str:
    return "Yes" if truth else "No"


def _lesions(scene: Scene) -> str:
    return "lesion" if len(scene.lesions) == 1 else "lesions"


def _be(scene: Scene) -> str:
    return "is" if len(scene.lesions) == 1 else "are"


def _modality(scene: Scene, dice: Dice) -> SceneQuestion:
    text = dice.pick(("What modality is used to take this image?", "Which imaging modality is this?"))
    return SceneQuestion(kind="Modality", text=text, answer=scene.modality)


def _organ(scene: Scene, dice: Dice) -> SceneQuestion:
    text = dice.pick(("Which organ is shown in this image?", "What is the main organ in the picture?"))
    return SceneQuestion(kind="Organ", text=text, answer=scene.organ)


def _count(scene: Scene, dice: Dice) -> SceneQuestion:
    text = dice.pick(("How many lesions are there in this image?", "What is the number of lesions?"))
    return SceneQuestion(kind="Quantity", text=text, answer=str(len(scene.lesions)))


def _name_to_ask_about(truth: str, known: tuple[str, ...], dice: Dice) -> str:
    """Name to ask about in a yes/no question: the true one with probability 1/2, else one of the others."""
    return truth if dice.below(2) else dice.pick([other for other in known if other != truth])


def _is_modality(scene: Scene, dice: Dice) -> SceneQuestion:
    name = _name_to_ask_about(scene.modality, MODALITIES, dice)
    text = dice.pick((f"Is this image taken by {name}?", f"Is the modality of this image {name}?"))
    return SceneQuestion(kind="Modality", text=text, answer=_yes_no(name == scene.modality), choices=YES_NO)


def _is_organ(scene: Scene, dice: Dice) -> SceneQuestion:
    name = _name_to_ask_about(scene.organ, ORGANS, dice)
    text = dice.pick((f"Does the picture contain the {name.lower()}?", f"Is this an image of the {name.lower()}?"))
    return SceneQuestion(kind="Organ", text=text, answer=_yes_no(name == scene.organ), choices=YES_NO)


def _affected(scene: Scene, dice: Dice) -> SceneQuestion:
    """Question on one side, worded as lesion or as normal; the side is affected in half of the questions.

    Of all images 1/4 have no lesion, 5/12 have lesions on both sides and 1/3 on one side only; in the latter the
    question is about the affected side in one of four cases: 5/12 + 1/3 * 1/4 = 1/2.
    """
    affected = [side for side in SIDES if scene.has_lesion(side)]
    side = dice.pick(SIDES)
    if len(affected) == 1:
        side = affected[0] if dice.below(4) == 0 else _other_side(affected[0])
    if dice.below(2):
        text, truth = f"Is there a lesion in the {side.lower()} {scene.organ.lower()}?", scene.has_lesion(side)
    else:
        text, truth = f"Is the {side.lower()} {scene.organ.lower()} normal?", not scene.has_lesion(side)
    return SceneQuestion(kind="Abnormality", text=text, answer=_yes_no(truth), choices=YES_NO)


def _clip_present(scene: Scene, dice: Dice) -> SceneQuestion:
    text = dice.pick(("Is there a metal clip in the image?", "Does the image contain a metal clip?"))
    return SceneQuestion(kind="Presence", text=text, answer=_yes_no(scene.clip is not None), choices=YES_NO)


def _clip_place(scene: Scene, dice: Dice) -> SceneQuestion:
    text = dice.pick(("Where is the metal clip, top or bottom?", "Is the metal clip at the top or at the bottom?"))
    return SceneQuestion(kind="Position", text=text, answer=scene.clip or "", choices=("Top", "Bottom"))


def _other_side(side: str) -> str:
    return "Right" if side == "Left" else "Left"


def _sides(dice: Dice) -> tuple[str, str]:
    first = dice.pick(SIDES)
    return first, _other_side(first)


def _larger(scene: Scene, dice: Dice) -> SceneQuestion:
    first, second = _sides(dice)
    text = f"Which {scene.organ.lower()} is larger, the {first.lower()} or the {second.lower()}?"
    return SceneQuestion(kind="Size", text=text, answer=scene.larger, choices=(first, second))


def _smaller(scene: Scene, dice: Dice) -> SceneQuestion:
    first, second = _sides(dice)
    text = f"Which {scene.organ.lower()} is smaller, the {first.lower()} or the {second.lower()}?"
    return SceneQuestion(kind="Size", text=text, answer=_other_side(scene.larger), choices=(first, second))


def _is_larger(scene: Scene, dice: Dice) -> SceneQuestion:
    first, second = _sides(dice)
    text = f"Is the {first.lower()} {scene.organ.lower()} larger than the {second.lower()} one?"
    return SceneQuestion(kind="Size", text=text, answer=_yes_no(first == scene.larger), choices=YES_NO)


def _shape(scene: Scene, dice: Dice) -> SceneQuestion:
    text = dice.pick(
        (f"What is the shape of the {_lesions(scene)}?", f"What shape {_be(scene)} the {_lesions(scene)}?")
    )
    return SceneQuestion(kind="Shape", text=text, answer=scene.shape)


def _size(scene: Scene, dice: Dice) -> SceneQuestion:
    first, second = dice.shuffled(("Large", "Small"))
    text = f"{_be(scene).capitalize()} the {_lesions(scene)} {first.lower()} or {second.lower()}?"
    return SceneQuestion(kind="Size", text=text, answer=scene.size, choices=(first, second))


def _brightness(scene: Scene, dice: Dice) -> SceneQuestion:
    first, second = dice.shuffled(("Brighter", "Darker"))
    verb = _be(scene).capitalize()
    text = f"{verb} the {_lesions(scene)} {first.lower()} or {second.lower()} than the tissue around?"
    return SceneQuestion(kind="Color", text=text, answer=scene.brightness, choices=(first, second))


def _where(scene: Scene, dice: Dice) -> SceneQuestion:
    text = dice.pick(("Where is the lesion located?", "What is the position of the lesion?"))
    side, row = scene.lesions[0]
    return SceneQuestion(kind="Position", text=text, answer=f"{row} {side.lower()}")


def _which_side(scene: Scene, dice: Dice) -> SceneQuestion:
    first, second = _sides(dice)
    text = f"Which side are the lesions on, {first.lower()} or {second.lower()}?"
    return SceneQuestion(kind="Position", text=text, answer=scene.lesions[0][0], choices=(first, second))
