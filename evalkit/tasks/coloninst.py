"""ColonINST-v1: classification, referring expression generation and comprehension, captions, on colonoscopy images.

"Frontiers in Intelligent Colonoscopy", arXiv 2410.17241.  The JSON is on the Hugging Face hub.  The images are not
redistributed; users collect them from 19 sources.  Scoring needs no images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evalkit.core.boxes import read_box, size_of
from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.files import expand_home
from evalkit.core.types import ImagePlace, ImageRef, Message, Sample, digest_json
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.coloninst_hub import hub_file
from evalkit.tasks.coloninst_labels import parent_of
from evalkit.tasks.coloninst_records import (
    KINDS,
    UNKNOWN_VIDEOS,
    Record,
    RecordFile,
    category_in,
    most_common_folder,
    most_common_kind,
    read_records,
    unique_ids,
)

SPLITS = {"seen": "val", "val": "val", "unseen": "test", "test": "test", "train": "train"}
_NAMES = {"val": "seen", "test": "unseen", "train": "train"}
COUNTS = {
    "train": {"cls": 74407, "reg": 54237, "rec": 54237, "cap": 74407},
    "val": {"cls": 8929, "reg": 4874, "rec": 4874, "cap": 8929},
    "test": {"cls": 45284, "reg": 37631, "rec": 37631, "cap": 45284},
}
PROMPT = "coloninst@" + digest_json("<image>{question}")[:8]
SEEN_NOTE = (
    "trained on: the seen split is the validation file, and every published model, ColonGPT included, was trained on "
    "the train and validation files together, so published values on it are accuracy on training data"
)
CAP_NOTE = (
    "the authors do not score captions: the text metrics here are evalkit's own, with no published value to compare to"
)
# Reference captions of the released data that are refusals of the model that wrote them.
_REFUSED_CAPTION_STARTS = ("i'm sorry", "i’m sorry", "i am sorry", "i can't", "i cannot", "i'm unable", "i am unable")


class ColonInst:
    """One of ColonINST's four tasks.

    Args:
        name: name of the task in results.
        task: "cls", "reg", "rec" or "cap".
        split: "seen" (= "val"), "unseen" (= "test") or "train".
        path: the folder with Json-file/ and Positive-images/ (or with only val/ and test/), or one JSON file, either
            released or a predictions file in the authors' format; None: the files on the hub at `revision`.
        images: the folder Positive-images, if it is not next to the JSON.
        revision: commit hash of the dataset on the hub, or at least its first seven digits.
        allow_counts: accept a number of dialogues other than the published one.
        on_missing_image: "error" or "skip", for generation.
    """

    def __init__(
        self,
        *,
        name: str,
        task: str,
        split: str = "unseen",
        path: str | None = None,
        images: str | None = None,
        revision: str = "c0199a5",
        allow_counts: bool = False,
        on_missing_image: str = "error",
    ) -> None:
        if task not in KINDS:
            raise ConfigError(f"task {name}: unknown ColonINST task {task!r}. {did_you_mean(task, KINDS)}")
        if split not in SPLITS:
            raise ConfigError(f"task {name}: unknown split {split!r}. {did_you_mean(split, SPLITS)}")
        if on_missing_image not in ("error", "skip"):
            raise ConfigError(f"task {name}: invalid on_missing_image={on_missing_image!r}. Expected error or skip.")
        self.name = name
        self.kind = task
        self.folder = SPLITS[split]
        self.path = expand_home(path) if path else None
        self.images = expand_home(images) if images else None
        self.revision = revision
        self.allow_counts = allow_counts
        self.on_missing_image = on_missing_image

    def load(self, *, images: bool = True) -> LoadedTask:
        """Load the configured split.  images=True: check that every image exists, subject to on_missing_image.

        Raises:
            DataError: the file does not exist, has the records of another task or split or an unexpected number of
                them, or images are missing (listed by source).
        """
        return self._load(self.folder, images=images)

    def load_train(self) -> LoadedTask:
        """Load the train dialogues of this task, without images."""
        return self._load("train", images=False)

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """One user turn: the image, then the question verbatim, as in the released dialogues."""
        return (Message(role="user", content=(ImagePlace(0), sample.question)),)

    def _load(self, folder: str, *, images: bool) -> LoadedTask:
        file = read_records(self._json(folder))
        records = _of_kind(file, self.kind) if folder == "train" else file.records
        self._check(file, records, folder)
        root = self._image_root()
        samples = _samples(records, self.kind, root)
        skipped: tuple[str, ...] = ()
        if images:
            samples, skipped = self._present(records, samples, root)
        return LoadedTask(
            name=self.name,
            split=_NAMES[folder],
            form="predictions-json" if file.answered else "json",
            samples=samples,
            closed_rule="none",
            prompt=PROMPT,
            skipped=skipped,
            notes=self._notes(file, records, folder),
        )

    def _json(self, folder: str) -> Path:
        names = [f"ColonINST-{folder}-{self.kind}.json"]
        if folder == "train":
            names = ["ColonINST-train-cap.json" if self.kind == "cap" else "ColonINST-train-3tasks.json"]
            names += ["ColonINST-train.json"]
        if self.path is None:
            return hub_file(f"{folder}/{names[0]}", self.revision)
        if self.path.is_file() and folder == self.folder:
            return self.path
        base = self.path.parent if self.path.is_file() else self.path
        tops = (base, base / "Json-file", base / "ColonINST" / "Json-file", base.parent)
        for place in (p for top in tops for p in (top / folder, top)):
            for name in names:
                if (place / name).is_file():
                    return place / name
        raise DataError(
            f"task {self.name}: there is no {names[0]} in {self.path}, in its {folder}/ or in its Json-file/{folder}/. "
            "Set task.path to a folder with the released layout or to the JSON file itself. A folder with images only "
            "is set as task.images=DIR; without task.path the JSON comes from the hub."
        )

    def _image_root(self) -> Path | None:
        if self.images is not None:
            return self.images
        if self.path is None:
            return None
        tops = (self.path, self.path / "ColonINST", *list(self.path.resolve().parents)[:3])
        return next((top / "Positive-images" for top in tops if (top / "Positive-images").is_dir()), None)

    def _check(self, file: RecordFile, records: tuple[Record, ...], folder: str) -> None:
        if not records:
            raise DataError(f"{file.path}: none of its {len(file.records)} dialogues belongs to the task {self.kind}.")
        if (found := most_common_kind(records)) != self.kind:
            raise DataError(
                f"{file.path}: its dialogues belong to the task {found}, not to {self.kind}. Use "
                f"task=coloninst-{found}, or the file of {self.kind}."
            )
        where = most_common_folder(records)
        if where in COUNTS and where != folder:
            raise DataError(
                f"{file.path}: its images belong to the split {_NAMES[where]} ({where}), but the configured split is "
                f"{_NAMES[folder]} ({folder}). Use task.split={_NAMES[where]}, or the file of {_NAMES[folder]}."
            )
        expected = COUNTS[folder][self.kind]
        if len(records) != expected and not self.allow_counts:
            raise DataError(
                f"{file.path}: {len(records)} dialogues, the {_NAMES[folder]} split of {self.kind} has {expected}. "
                "Results over other rows are not comparable with published ones; for a deliberate subset use "
                "task.allow_counts=true."
            )

    def _notes(self, file: RecordFile, records: tuple[Record, ...], folder: str) -> tuple[str, ...]:
        notes = [SEEN_NOTE] if folder == "val" else []
        if unknown := Counter(r.source for r in records if r.source in UNKNOWN_VIDEOS):
            listed = ", ".join(f"{source} {n}" for source, n in sorted(unknown.items()))
            notes.append(
                "intervals are clustered by video where file names tell it; frames of videos that they do not tell "
                f"({listed}) count as independent, so that intervals are too narrow there"
            )
        if self.kind == "cap":
            notes.append(CAP_NOTE)
        if file.answered:
            notes.append(f"questions and references come from the predictions file itself, {file.path.name}")
        if (expected := COUNTS[folder][self.kind]) != len(records):
            notes.append(f"a subset of the split: {len(records)} of {expected} dialogues")
        if odd := [r for r in records if r.kind != self.kind and {r.kind, self.kind} != {"cls", "cap"}]:
            notes.append(f"{len(odd)} dialogues do not look like {self.kind} and are kept: first {odd[0].path}")
        if repeated := len(records) - len({(r.path, r.question, r.answer) for r in records}):
            notes.append(f"{repeated} dialogues are exact repetitions of another one")
        return tuple(notes)

    def _present(
        self, records: Sequence[Record], samples: Sequence[Sample], root: Path | None
    ) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
        """The samples whose images exist, and a message for each source with missing images."""
        paths = {record.path: record.source for record in records}
        absent = {path: source for path, source in paths.items() if root is None or not (root / path).is_file()}
        if not absent:
            return tuple(samples), ()
        total, missing = Counter(paths.values()), Counter(absent.values())
        if self.on_missing_image == "error" or len(absent) == len(paths):
            lines = (f"{source}: {n} of {total[source]}" for source, n in sorted(missing.items()))
            raise DataError(
                f"task {self.name}: {len(absent)} of {len(paths)} images are missing below "
                f"{root or 'Positive-images (no such folder found)'} ({'; '.join(lines)}), first {next(iter(absent))}. "
                "The images are not redistributed: download them from their sources and set task.images=DIR, or use "
                "task.on_missing_image=skip to answer only the other questions."
            )
        present = tuple(s for s, r in zip(samples, records, strict=True) if r.path not in absent)
        dropped = Counter(r.source for r in records if r.path in absent)
        return present, tuple(f"{source}: {n} dialogues, image missing" for source, n in sorted(dropped.items()))


def _of_kind(file: RecordFile, kind: str) -> tuple[Record, ...]:
    return tuple(record for record in file.records if record.kind == kind)


def _samples(records: tuple[Record, ...], kind: str, root: Path | None) -> tuple[Sample, ...]:
    ids = unique_ids([(r.path, r.question, r.answer) for r in records])
    return tuple(
        Sample(
            id=sample_id,
            image_id=record.cluster,
            question=record.question,
            references=(record.answer,),
            images=() if root is None else (ImageRef(kind="file", path=str(root / record.path)),),
            tags=_tags(record, kind),
        )
        for sample_id, record in zip(ids, records, strict=True)
    )


def _tags(record: Record, kind: str) -> dict[str, str]:
    tags = {"task": kind, "source": record.source}
    if category := category_in(record, kind):
        tags["category"] = category
        if parent := parent_of(category):
            tags["parent"] = parent
    box = read_box(record.answer if kind == "rec" else record.question) if kind in ("reg", "rec") else None
    if box:
        tags["box_size"] = size_of(box)
    if kind == "cap":
        refused = record.answer.strip().lower().startswith(_REFUSED_CAPTION_STARTS)
        tags["reference_refuses"] = "yes" if refused else "no"
    return tags
