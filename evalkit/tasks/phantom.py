"""phantom: the built-in task, a drawn medical-looking VQA set with ten questions an image, as SLAKE has.

No file is read: images and questions follow from the seed.  Every question needs its image: the answers to each
wording are spread evenly, so that a model that sees a blank image, or none, is left with guessing among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.types import CLOSED, OPEN, ImagePlace, ImageRef, Message, Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.phantom_draw import MODALITIES, ORGANS, Dice, Scene, draw, scene
from evalkit.tasks.prompts import prompt_id, render

__all__ = ["QUESTIONS_PER_IMAGE", "Phantom", "draw", "questions"]

QUESTIONS_PER_IMAGE = 10
YES_NO = ("Yes", "No")
SIDES = ("Left", "Right")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question about a scene.  `choices` is empty for an open question; `kind` is the question_type tag."""

    kind: str
    text: str
    answer: str
    choices: tuple[str, ...] = ()


class Phantom:
    """The phantom task.

    name: what results call it.  split: "test" or "train".  prompt: a variant of `evalkit.tasks.prompts`.
    closed_rule: "label" (every question that states its options is CLOSED) or "yesno" (only those answered Yes or No).
    n_train, n_test: images a split.  seed: another seed is another set.  Raises ConfigError for a bad setting.
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
            raise ConfigError(f"task {name}: no split {split!r}. {did_you_mean(split, sizes)}")
        if closed_rule not in ("label", "yesno"):
            raise ConfigError(f"task {name}: closed_rule={closed_rule!r}; expected label or yesno.")
        for key, value in (("n_train", n_train), ("n_test", n_test)):
            if value < 1:
                raise ConfigError(f"task {name}: {key}={value}; expected at least one image.")
        if seed < 0:
            raise ConfigError(f"task {name}: seed={seed}; expected a whole number from 0.")
        self._name = name
        self._split = split
        self._prompt = prompt
        self._prompt_id = prompt_id(prompt)
        self._closed_rule = closed_rule
        self._sizes = sizes
        self._seed = seed

    def load(self, *, images: bool = True) -> LoadedTask:
        """The configured split.  `images` changes nothing: drawings need no files and are made when asked for."""
        del images
        return self._load(self._split)

    def load_train(self) -> LoadedTask:
        """The train split of the same seed."""
        return self._load("train")

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """One user turn: the image, then the question under the prompt variant."""
        text = render(self._prompt, sample.question, sample.choices)
        return (Message(role="user", content=(ImagePlace(0), text)),)

    def _load(self, split: str) -> LoadedTask:
        samples = tuple(
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
        )


def _samples(member: str, closed_rule: str) -> list[Sample]:
    what = scene(member)
    image = ImageRef(kind="draw", path="evalkit.tasks.phantom:draw", member=member)
    samples = []
    for number, asked in enumerate(questions(what)):
        closed = bool(asked.choices) if closed_rule == "label" else asked.answer in YES_NO
        samples.append(
            Sample(
                id=f"{member}/{number}",
                image_id=member,
                question=asked.text,
                references=(asked.answer,),
                images=(image,),
                choices=asked.choices if closed else (),
                tags={
                    "answer_type": CLOSED if closed else OPEN,
                    "modality": what.modality,
                    "organ": what.organ,
                    "question_type": asked.kind,
                    "language": "en",
                },
            )
        )
    return samples


def questions(what: Scene) -> list[Asked]:
    """Ten questions about a scene: seven that any image allows, and three drawn from those that this one allows."""
    dice = Dice(f"phantom questions {what.member}")
    either: list[Callable[[Scene, Dice], Asked]] = dice.shuffled([_is_modality, _is_organ])
    asked = [ask(what, dice) for ask in (_modality, _organ, _count, either[0], _affected, _clip_present, _larger)]
    about_lesions: list[Callable[[Scene, Dice], Asked]] = []
    if what.lesions:
        about_lesions += [_shape, _size, _brightness]
        if len(what.lesions) == 1:
            about_lesions.append(_where)
        elif not (what.has_lesion("Left") and what.has_lesion("Right")):
            about_lesions.append(_which_side)
    others: list[Callable[[Scene, Dice], Asked]] = [_smaller, _is_larger, either[1]]
    if what.clip:
        others.append(_clip_place)
    optional = dice.shuffled(about_lesions) + dice.shuffled(others)
    return asked + [ask(what, dice) for ask in optional[: QUESTIONS_PER_IMAGE - len(asked)]]


def _yes_no(truth: bool) -> str:
    return "Yes" if truth else "No"


def _lesions(what: Scene) -> str:
    return "lesion" if len(what.lesions) == 1 else "lesions"


def _be(what: Scene) -> str:
    return "is" if len(what.lesions) == 1 else "are"


def _modality(what: Scene, dice: Dice) -> Asked:
    text = dice.pick(("What modality is used to take this image?", "Which imaging modality is this?"))
    return Asked(kind="Modality", text=text, answer=what.modality)


def _organ(what: Scene, dice: Dice) -> Asked:
    text = dice.pick(("Which organ is shown in this image?", "What is the main organ in the picture?"))
    return Asked(kind="Organ", text=text, answer=what.organ)


def _count(what: Scene, dice: Dice) -> Asked:
    text = dice.pick(("How many lesions are there in this image?", "What is the number of lesions?"))
    return Asked(kind="Quantity", text=text, answer=str(len(what.lesions)))


def _asked_about(truth: str, known: tuple[str, ...], dice: Dice) -> str:
    """The truth for half of the images, one of the others for the rest."""
    return truth if dice.below(2) else dice.pick([other for other in known if other != truth])


def _is_modality(what: Scene, dice: Dice) -> Asked:
    name = _asked_about(what.modality, MODALITIES, dice)
    text = dice.pick((f"Is this image taken by {name}?", f"Is the modality of this image {name}?"))
    return Asked(kind="Modality", text=text, answer=_yes_no(name == what.modality), choices=YES_NO)


def _is_organ(what: Scene, dice: Dice) -> Asked:
    name = _asked_about(what.organ, ORGANS, dice)
    text = dice.pick((f"Does the picture contain the {name.lower()}?", f"Is this an image of the {name.lower()}?"))
    return Asked(kind="Organ", text=text, answer=_yes_no(name == what.organ), choices=YES_NO)


def _affected(what: Scene, dice: Dice) -> Asked:
    """Asked of each side so often that it is affected in half of the questions, and both ways round.

    Of all images 1/4 have no lesion, 5/12 have lesions on both sides and 1/3 on one side only; in these the affected
    side is asked about once in four times: 5/12 + 1/3 * 1/4 = 1/2.
    """
    affected = [side for side in SIDES if what.has_lesion(side)]
    side = dice.pick(SIDES)
    if len(affected) == 1:
        side = affected[0] if dice.below(4) == 0 else _other_side(affected[0])
    if dice.below(2):
        text, truth = f"Is there a lesion in the {side.lower()} {what.organ.lower()}?", what.has_lesion(side)
    else:
        text, truth = f"Is the {side.lower()} {what.organ.lower()} normal?", not what.has_lesion(side)
    return Asked(kind="Abnormality", text=text, answer=_yes_no(truth), choices=YES_NO)


def _clip_present(what: Scene, dice: Dice) -> Asked:
    text = dice.pick(("Is there a metal clip in the image?", "Does the image contain a metal clip?"))
    return Asked(kind="Presence", text=text, answer=_yes_no(what.clip is not None), choices=YES_NO)


def _clip_place(what: Scene, dice: Dice) -> Asked:
    text = dice.pick(("Where is the metal clip, top or bottom?", "Is the metal clip at the top or at the bottom?"))
    return Asked(kind="Position", text=text, answer=what.clip or "", choices=("Top", "Bottom"))


def _other_side(side: str) -> str:
    return "Right" if side == "Left" else "Left"


def _sides(dice: Dice) -> tuple[str, str]:
    first = dice.pick(SIDES)
    return first, _other_side(first)


def _larger(what: Scene, dice: Dice) -> Asked:
    first, second = _sides(dice)
    text = f"Which {what.organ.lower()} is larger, the {first.lower()} or the {second.lower()}?"
    return Asked(kind="Size", text=text, answer=what.larger, choices=(first, second))


def _smaller(what: Scene, dice: Dice) -> Asked:
    first, second = _sides(dice)
    text = f"Which {what.organ.lower()} is smaller, the {first.lower()} or the {second.lower()}?"
    return Asked(kind="Size", text=text, answer=_other_side(what.larger), choices=(first, second))


def _is_larger(what: Scene, dice: Dice) -> Asked:
    first, second = _sides(dice)
    text = f"Is the {first.lower()} {what.organ.lower()} larger than the {second.lower()} one?"
    return Asked(kind="Size", text=text, answer=_yes_no(first == what.larger), choices=YES_NO)


def _shape(what: Scene, dice: Dice) -> Asked:
    text = dice.pick((f"What is the shape of the {_lesions(what)}?", f"What shape {_be(what)} the {_lesions(what)}?"))
    return Asked(kind="Shape", text=text, answer=what.shape)


def _size(what: Scene, dice: Dice) -> Asked:
    first, second = dice.shuffled(("Large", "Small"))
    text = f"{_be(what).capitalize()} the {_lesions(what)} {first.lower()} or {second.lower()}?"
    return Asked(kind="Size", text=text, answer=what.size, choices=(first, second))


def _brightness(what: Scene, dice: Dice) -> Asked:
    first, second = dice.shuffled(("Brighter", "Darker"))
    verb = _be(what).capitalize()
    text = f"{verb} the {_lesions(what)} {first.lower()} or {second.lower()} than the tissue around?"
    return Asked(kind="Color", text=text, answer=what.brightness, choices=(first, second))


def _where(what: Scene, dice: Dice) -> Asked:
    text = dice.pick(("Where is the lesion located?", "What is the position of the lesion?"))
    side, row = what.lesions[0]
    return Asked(kind="Position", text=text, answer=f"{row} {side.lower()}")


def _which_side(what: Scene, dice: Dice) -> Asked:
    first, second = _sides(dice)
    text = f"Which side are the lesions on, {first.lower()} or {second.lower()}?"
    return Asked(kind="Position", text=text, answer=what.lesions[0][0], choices=(first, second))
