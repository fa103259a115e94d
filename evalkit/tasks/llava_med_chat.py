"""LLaVA-Med's chat questions: 193 on 50 figures, answered freely and judged against the answers of a text-only GPT-4.

Reads the released question file (JSON lines, with the reference answer, the caption and the mentions).  The licence
of the data does not allow redistribution, so evalkit does not include it: set `path`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.core import json_text
from evalkit.core.errors import ConfigError, DataError, first_line
from evalkit.core.files import expand_home
from evalkit.core.types import ImagePlace, ImageRef, Message, Sample, digest_json
from evalkit.tasks.base import LoadedTask

QUESTION_FILE = "llava_med_eval_qa50_qa.jsonl"
IMAGE_MARK = "<image>"
# A figure with two domains belongs to the first of these (the authors' precedence; gives 37, 38, 44, 34 and 40).
DOMAINS = ("chest_xray", "mri", "histology", "gross", "ct_scan")
PUBLISHED = {
    "conversation": 143,
    "detailed_description": 50,
    "chest_xray": 37,
    "mri": 38,
    "histology": 44,
    "gross": 34,
    "ct_scan": 40,
}
PUBLISHED_NULL_CONTEXTS = 14
NEEDED = ("question_id", "image", "text", "gpt4_answer", "fig_caption", "domain", "type")


class LlavaMedChat:
    """The chat task.

    Args:
        name, split: names in results; the only split is "test".
        path: the question file, or a folder that contains it.
        captions: the released caption file, for question files without caption and mentions; None if they are in the
            question file, as in the released one.
        hub: a dataset repository on the Hugging Face hub that contains the question file, as REPO@REVISION; an
            alternative to `path`.
        images: folder of the figures; None looks next to the question file (`images/` or the same folder).
        image_first: whether the image is placed before the question (LLaVA-Med 1.5) or after it (1.0).
        check_counts: add a note if the file differs from the published counts.
    """

    def __init__(
        self,
        *,
        name: str = "llava-med-chat",
        split: str = "test",
        path: str | None = None,
        captions: str | None = None,
        hub: str | None = None,
        images: str | None = None,
        image_first: bool = True,
        check_counts: bool = True,
    ) -> None:
        if split != "test":
            raise ConfigError(f"Unknown split task.split={split}: the only split of {name} is test.")
        self.name, self.split = name, split
        self.path = expand_home(path) if path else None
        self.captions = expand_home(captions) if captions else None
        self.hub = hub
        self.images = expand_home(images) if images else None
        self.image_first = image_first
        self.check_counts = check_counts

    def load(self, *, images: bool = True) -> LoadedTask:
        """Load the questions.  Raises DataError for missing fields, repeated ids or missing images."""
        file = self._file()
        rows = read_rows(file, read_captions(self.captions) if self.captions else {})
        folder = self._image_folder(file)
        samples = tuple(_sample(row, where, folder) for where, row in rows)
        ids = [s.id for s in samples]
        if repeated := sorted({i for i in ids if ids.count(i) > 1}):
            raise DataError(f"{file}: the question ids {repeated[:5]} occur more than once.")
        if images and (missing := [s for s in samples if not Path(s.images[0].path).is_file()]):
            raise DataError(
                f"{len(missing)} of {len(samples)} questions have no image in {folder}, first "
                f"{Path(missing[0].images[0].path).name}. The figures are not part of the question file; set "
                "task.images=DIR to their folder."
            )
        return LoadedTask(
            name=self.name,
            split=self.split,
            form="qa50-jsonl",
            samples=samples,
            closed_rule="label",
            prompt=f"question@{digest_json(['question', self.image_first])[:8]}",
            notes=tuple(notes(samples)) if self.check_counts else (),
        )

    def load_train(self) -> LoadedTask:
        """Raises ConfigError: there is no train split."""
        raise ConfigError(
            f"{self.name} has no train split, so baselines that learn from a train split cannot answer it."
        )

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """One user turn: the question and the figure."""
        parts = (ImagePlace(0), f"\n{sample.question}") if self.image_first else (f"{sample.question}\n", ImagePlace(0))
        return (Message(role="user", content=parts),)

    def _file(self) -> Path:
        if self.path is None and self.hub is not None:
            return _from_hub(self.hub)
        if self.path is None:
            raise ConfigError(
                f"{self.name} needs task.path=FILE, LLaVA-Med's released {QUESTION_FILE} (its repository's data/eval, "
                "a Git LFS file). Its licence does not allow evalkit to include it."
            )
        file = self.path / QUESTION_FILE if self.path.is_dir() else self.path
        if not file.is_file():
            raise DataError(f"No question file at {file}. Expected {QUESTION_FILE}.")
        return file

    def _image_folder(self, file: Path) -> Path:
        if self.images is not None:
            return self.images
        subfolder = file.parent / "images"
        return subfolder if subfolder.is_dir() else file.parent


def _from_hub(hub: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo, _, revision = hub.partition("@")
    try:
        return Path(hf_hub_download(repo, QUESTION_FILE, repo_type="dataset", revision=revision or None))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as problem:
        raise DataError(
            f"{QUESTION_FILE} cannot be downloaded from the hub repository {repo} ({problem})."
        ) from problem


def read_captions(file: Path) -> dict[str, dict[str, Any]]:
    """Figures by pair_id, from the released caption file (an object of domain -> list of figures)."""
    try:
        content = json_text.loads(file.read_text(encoding="utf-8-sig"))
        return {str(figure["pair_id"]): figure for figures in content.values() for figure in figures}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as problem:
        raise DataError(
            f"{file} is not the released caption file. Expected an object of domain -> list of figures with pair_id "
            f"({type(problem).__name__}: {problem})."
        ) from problem


def read_rows(file: Path, captions: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Rows of the question file, each as (FILE:LINE, row); missing keys are taken from its figure in `captions`.

    Raises:
        DataError: the file is not JSON lines with the released keys, or is a Git LFS pointer.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{file} cannot be read as text ({first_line(problem)}). Copy it again.") from problem
    if text.startswith("version https://git-lfs"):
        raise DataError(f"{file} is a Git LFS pointer, not the file itself. Download the file with `git lfs pull`.")
    rows: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(json_text.lines_of(text), start=1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            row = json_text.loads(line)
        except ValueError as problem:
            raise DataError(f"{where} is not JSON ({problem}).") from problem
        if isinstance(row, dict):
            row = {**captions.get(str(row.get("pair_id")), {}), **row}
        if not isinstance(row, dict) or (absent := [key for key in NEEDED if key not in row]):
            lacking = absent if isinstance(row, dict) else NEEDED
            raise DataError(f"{where} is not a row of {QUESTION_FILE}: {', '.join(lacking)} missing.")
        rows.append((where, row))
    if not rows:
        raise DataError(f"{file} contains no questions.")
    return rows


def _sample(row: Mapping[str, Any], where: str, folder: Path) -> Sample:
    raw = str(row["text"])
    question = raw.replace(IMAGE_MARK, "").strip()
    if not question or not str(row["gpt4_answer"]).strip():
        raise DataError(f"{where}: the question or its reference answer is empty.")
    domain = domain_of(row["domain"])
    if domain is None:
        raise DataError(f"{where}: the question belongs to none of the domains {', '.join(DOMAINS)}.")
    return Sample(
        id=str(row["question_id"]),
        image_id=str(row.get("pair_id") or row["image"]),
        question=question,
        references=(str(row["gpt4_answer"]),),
        images=(ImageRef(kind="file", path=str(folder / str(row["image"]))),),
        tags={"type": str(row["type"]), "domain": domain},
        context=context_of(row),
    )


def domain_of(flags: Any) -> str | None:
    """The domain of a figure by the authors' precedence; None if no flag is set."""
    if not isinstance(flags, Mapping):
        return None
    return next((name for name in DOMAINS if flags.get(name)), None)


def context_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Text for a judge that cannot see the image; never shown to the evaluated model.

    question: verbatim from the file, image mark included.  caption: label and caption.  mentions: the sentences that
    mention the figure, empty if the file has null.  mentions_repr: the same in the format of the authors' prompt, the
    Python repr of the list, or "None".
    """
    found = row.get("in_text_mention")
    sentences = [str(m.get("tokens", "")) for m in found if isinstance(m, Mapping)] if isinstance(found, list) else []
    return {
        "question": str(row["text"]),
        "caption": f"{row.get('fig_label')}: {row['fig_caption']}",
        "mentions": "\n".join(f"- {s}" for s in sentences if s.strip()),
        "mentions_repr": repr(found),
    }


def notes(samples: tuple[Sample, ...]) -> list[str]:
    """A note listing the counts that differ from the published ones; no note if all agree."""
    differing = []
    for group, published in PUBLISHED.items():
        here = sum(group in (s.tags["type"], s.tags["domain"]) for s in samples)
        if here != published:
            differing.append(f"{group} {here} (published {published})")
    null = sum(s.context["mentions_repr"] == "None" for s in samples)
    if null != PUBLISHED_NULL_CONTEXTS:
        differing.append(f"without context {null} (published {PUBLISHED_NULL_CONTEXTS})")
    return [f"this copy differs from the published counts: {', '.join(differing)}"] if differing else []
