"""A small made-up ColonINST in the released layout: our own records, drawn images."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

FOLDERS = {"train": "Train", "val": "Val", "test": "Test"}
QUESTIONS = {
    "cls": ("Categorize the object.", "Determine the object's category.", "Classify the object's category."),
    "reg": ("What category does {box} belong to?", "Can you tell me the category of {box}?"),
    "rec": (
        "Where is the location of {label}?",
        "Could you give the position of {label}?",
        "Where is {label} located?",
        "Could you specify the location of {label}?",
        "Please specify the coordinates of {label}.",
    ),
    "cap": ("Interpret what the image shows.", "Describe what you see in the image."),
}
# source, class, file name with the frame number
KINDS = (
    ("SUN", "low grade adenoma", "case_7_image{:05d}.jpg"),
    ("PolypGen", "polyp", "14_endocv2021_positive_{}.jpg"),
    ("Kvasir-Capsule", "erosion", "eb0203196e284797_{}.jpg"),
    ("CVC-ClinicDB", "polyp", "{}.png"),
    ("Kvasir-Instrument", "accessory tool", "ckcu9yqhb{:04d}.jpg"),
)


def written(box: tuple[int, int, int, int]) -> str:
    return "{" + "".join(f"<{v}>" for v in box) + "}"


def dialogue(path: str, question: str, answer: str, prediction: str | None = None) -> dict[str, Any]:
    """A record as released; with a prediction, as the authors' inference script writes it back."""
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    if prediction is not None:
        turns.append({"from": "prediction", "value": prediction})
    return {"id": path, "image": Path(path).stem, "conversations": turns}


def records(kind: str, folder: str, n: int) -> list[dict[str, Any]]:
    """n records of a task; in the test files of reg and rec one EDD2020 image has two dialogues."""
    dice = random.Random(f"{kind} {folder}")
    made = []
    for index in range(n):
        source, label, name = KINDS[index % len(KINDS)]
        path = f"{source}/{FOLDERS[folder]}/{label.replace(' ', '_')}/{name.format(index)}"
        made.append(_one(kind, dice, path, label))
    if kind in ("reg", "rec") and folder == "test":
        path = "EDD2020/Test/all-images/EDD2020_AJ0021.jpg"
        made[-2] = _one(kind, dice, path, "suspicious precancerous lesion")
        made[-1] = _one(kind, dice, path, "adenocarcinoma")
    return made


def _one(kind: str, dice: random.Random, path: str, label: str) -> dict[str, Any]:
    x, y = dice.randrange(30), dice.randrange(20)
    box = (x, y, x + dice.randrange(5, 30), y + dice.randrange(5, 25))
    question = dice.choice(QUESTIONS[kind]).format(box=written(box), label=label)
    named = "instrument" if label == "accessory tool" else label  # REG's own word for it
    answers = {"cls": label, "reg": named, "rec": written(box), "cap": f"This image shows a {label}, reddish."}
    return dialogue(path, question, answers[kind])


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def build(root: Path, n: int = 20, images: bool = True) -> Path:
    """The folder with Json-file/ and Positive-images/."""
    every: list[dict[str, Any]] = []
    for folder in ("val", "test"):
        for kind in QUESTIONS:
            made = records(kind, folder, n)
            write(root / "Json-file" / folder / f"ColonINST-{folder}-{kind}.json", made)
            every += made
    train = {kind: records(kind, "train", n) for kind in QUESTIONS}
    write(root / "Json-file/train/ColonINST-train-cap.json", train["cap"])
    write(root / "Json-file/train/ColonINST-train-3tasks.json", train["cls"] + train["reg"] + train["rec"])
    if images:
        for path in {item["id"] for item in every}:
            _draw(root / "Positive-images" / path)
    return root


def _draw(path: Path) -> None:
    from PIL import Image, ImageDraw

    dice = random.Random(str(path.name))
    picture = Image.new("RGB", (64, 48), (150 + dice.randrange(60), 80, 70))
    x, y = dice.randrange(40), dice.randrange(30)
    ImageDraw.Draw(picture).ellipse((x, y, x + 15, y + 12), fill=(220, 120 + dice.randrange(80), 110))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
