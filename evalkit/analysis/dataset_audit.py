"""What is wrong with a copy of a dataset: facts with counts and examples, no verdict.

Counts against the published ones are checked at load; here is what even a complete copy holds: duplicates, answers that
contradict one another, and what it shares with other splits: questions, answers, and pictures whatever they are called.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from evalkit.analysis.image_fingerprint import Fingerprint, fingerprints, matches
from evalkit.core.errors import DataError
from evalkit.core.types import CLOSED, OPEN, ImageRef, Sample
from evalkit.tasks.base import LoadedTask, Task
from evalkit.tasks.formats import duplicate_key, is_yes_or_no
from evalkit.tasks.image_check import check_images
from evalkit.tasks.vqa import VqaTask

EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's outcome.  count: rows or pairs concerned; 0 says that the check found nothing."""

    check: str
    count: int
    text: str
    examples: tuple[str, ...] = ()


def audit(task: Task, *, images: bool = True, others: Mapping[str, LoadedTask | str] | None = None) -> list[Finding]:
    """Every finding on the task's configured split.

    images: look at the image files too.  others: name -> another split that it may share something with, or why that
    one cannot be looked at; with references to images where `images` is asked for.
    """
    loaded = task.load(images=images)
    findings = [_counts(loaded), _rules(loaded), *_skipped(loaded)]
    if images:
        findings.append(_images(loaded))
    findings += [_duplicates(loaded), _conflicts(loaded), *_against_train(task, loaded)]
    for name, other in (others or {}).items():
        if isinstance(other, str):
            new = [Finding(check=f"{name} split", count=0, text=f"not looked at: {other}")]
        else:
            new = _texts_shared(loaded, other, name)
        known = {f.check for f in findings}
        findings += [f for f in new if f.check not in known]
    if images:
        mine = _pictures(loaded)
        findings += [
            _same_pictures(mine, _pictures(other), name)
            for name, other in (others or {}).items()
            if not isinstance(other, str)
        ]
    return findings


def _against_train(task: Task, loaded: LoadedTask) -> list[Finding]:
    try:
        train = task.load_train()
    except DataError as problem:
        return [Finding(check="train split", count=0, text=f"not looked at: {problem}")]
    others = task.other_train() if isinstance(task, VqaTask) else {}
    shared = [_shared_images(loaded, t, name) for name, t in others.items()]
    return [*_texts_shared(loaded, train, "train"), *_leaks(loaded), *shared]


def _images(task: LoadedTask) -> Finding:
    n = len(task.samples)
    try:
        kept, digests = check_images(task, on_missing="skip")
    except DataError as problem:  # not one row is left, which is a finding too
        return Finding(check="images", count=n, text=f"rows without a usable image, of {n}", examples=(str(problem),))
    skipped = kept.skipped[len(task.skipped) :]
    text = f"rows without a usable image, of {n}; {len(set(digests.values()))} images differ"
    return Finding(check="images", count=len(skipped), text=text, examples=skipped[:EXAMPLES])


def _counts(task: LoadedTask) -> Finding:
    n_images = len({s.image_id for s in task.samples})
    text = f"rows of {task.name} ({task.split}) in the form {task.form}, on {n_images} images"
    return Finding(check="rows", count=len(task.samples), text="; ".join((text, *task.notes)))


def _rules(task: LoadedTask) -> Finding:
    labelled = Counter(s.answer_type for s in task.samples)
    yes_no = sum(is_yes_or_no(s.references[0]) for s in task.samples)
    differ = [s for s in task.samples if (s.answer_type == CLOSED) != is_yes_or_no(s.references[0])]
    return Finding(
        check="closed",
        count=len(differ),
        text=f"rows on which the two meanings of closed differ: {labelled[OPEN]} open and {labelled[CLOSED]} closed by "
        f"{task.closed_rule}, {len(task.samples) - yes_no} and {yes_no} by yes or no",
        examples=_shown(differ),
    )


def _skipped(task: LoadedTask) -> list[Finding]:
    if not task.skipped:
        return []
    return [Finding(check="left out", count=len(task.skipped), text="rows left out", examples=task.skipped[:EXAMPLES])]


def _duplicates(task: LoadedTask) -> Finding:
    if not _names_images(task):
        return Finding(check="duplicates", count=0, text="not comparable: this form names no images")
    groups = _groups(task.samples, lambda s: (s.image_id, duplicate_key(s.question), duplicate_key(s.references[0])))
    again = [s for group in groups for s in group[1:]]
    text = "rows that repeat an earlier row's image, question and answer"
    return Finding(check="duplicates", count=len(again), text=text, examples=_shown(again))


def _conflicts(task: LoadedTask) -> Finding:
    if not _names_images(task):
        return Finding(check="conflicts", count=0, text="not comparable: this form names no images")
    groups = _groups(task.samples, lambda s: (s.image_id, duplicate_key(s.question)))
    conflicting = [g for g in groups if len({duplicate_key(s.references[0]) for s in g}) > 1]
    rows = sum(len(g) for g in conflicting)
    both = sum({"yes", "no"} <= {duplicate_key(s.references[0]) for s in g} for g in conflicting)
    examples = tuple(f"{g[0].image_id}: {g[0].question!r}: {sorted({s.references[0] for s in g})}" for g in conflicting)
    return Finding(
        check="conflicts",
        count=len(conflicting),
        text=f"pairs of image and question with different answers ({rows} rows), {both} of them with yes and no",
        examples=examples[:EXAMPLES],
    )


def _texts_shared(task: LoadedTask, other: LoadedTask, name: str) -> list[Finding]:
    """What the split shares with another one.  Images are compared by id, where there are ids."""
    seen_questions = {duplicate_key(s.question) for s in other.samples}
    seen_answers = {duplicate_key(s.references[0]) for s in other.samples}
    seen_rows = {(s.image_id, duplicate_key(s.question), duplicate_key(s.references[0])) for s in other.samples}
    named = _names_images(task) and _names_images(other)
    keys = [(s.image_id, duplicate_key(s.question), duplicate_key(s.references[0])) for s in task.samples]
    same = [s for s, key in zip(task.samples, keys, strict=True) if named and key in seen_rows]
    wording = [s for s in task.samples if duplicate_key(s.question) in seen_questions]
    answers = [s for s in task.samples if duplicate_key(s.references[0]) in seen_answers]
    n = len(task.samples)
    return [
        _shared_images(task, other, name),
        Finding(
            check=f"{name} rows",
            count=len(same),
            text=f"rows whose image, question and answer are a row of {name}"
            if named
            else "not comparable: no image names",
            examples=_shown(same),
        ),
        Finding(check=f"{name} questions", count=len(wording), text=f"of {n} question texts occur in {name}"),
        Finding(check=f"{name} answers", count=len(answers), text=f"of {n} answers occur in {name}"),
    ]


def _leaks(task: LoadedTask) -> list[Finding]:
    """Rows that the task itself marks as leaked, by kind."""
    kinds = {
        "frame": "rows have their rewording, with the same image and answer, in the larger train split in use",
        "zh-train": "rows are about an image of the Chinese train split",
    }
    leaked = [s for s in task.samples if s.tags.get("leak", "none") != "none"]
    if not leaked:
        return []
    n = len(task.samples)
    counted = Counter(s.tags["leak"] for s in leaked)
    text = "; ".join(f"{k} of {n} {kinds.get(kind, f'rows are marked {kind}')}" for kind, k in counted.most_common())
    return [Finding(check="leaks", count=len(leaked), text=text, examples=_shown(leaked))]


Pictures = tuple[dict[str, Fingerprint], dict[str, str]]


def _pictures(task: LoadedTask) -> Pictures:
    """Fingerprints of a split's images by name, and why some have none."""
    refs: dict[str, ImageRef] = {}
    for sample in task.samples:
        for k, ref in enumerate(sample.images):
            refs.setdefault(sample.image_id if k == 0 else f"{sample.image_id}#{k + 1}", ref)
    return fingerprints(refs)


def _same_pictures(mine: Pictures, theirs: Pictures, name: str) -> Finding:
    """Images that are a picture of the other split, whatever either calls it (`evalkit.analysis.image_fingerprint`)."""
    found = matches(mine[0], theirs[0])
    renamed = [m for m in found if m.name != m.other and m.name not in theirs[0]]
    unseen = f"{len(mine[1])} here and {len(theirs[1])} there cannot be compared"
    return Finding(
        check=f"{name} pictures",
        count=len(found),
        text=f"of {len(mine[0])} images look like one of {len(theirs[0])} in {name}, {len(renamed)} of them under "
        f"another name only; {unseen}",
        examples=tuple(
            f"{m.name} is {m.other} ({m.bits} of 64 bits apart, correlation {m.correlation:.3f})" for m in renamed
        )[:EXAMPLES],
    )


def _shared_images(task: LoadedTask, train: LoadedTask, name: str) -> Finding:
    n, n_train = len(task.samples), len(train.samples)
    if not (_names_images(task) and _names_images(train)):
        text = f"not comparable: a split of this copy ({n} rows, {name} {n_train} rows) names no images"
        return Finding(check=f"{name} images", count=0, text=text)
    images = {s.image_id for s in task.samples}
    shared = images & {s.image_id for s in train.samples}
    rows = sum(s.image_id in shared for s in task.samples)
    text = f"of {len(images)} images are in the {name} split too ({n_train} rows); {rows} of {n} rows are about them"
    return Finding(check=f"{name} images", count=len(shared), text=text)


def _names_images(task: LoadedTask) -> bool:
    """Whether the form names its images: the readers give one made-up id a row where it does not."""
    return not all(re.fullmatch(r"row\d+", s.image_id) for s in task.samples)


def _groups(samples: Sequence[Sample], key: Callable[[Sample], Hashable]) -> list[list[Sample]]:
    groups: dict[Hashable, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[key(sample)].append(sample)
    return list(groups.values())


def _shown(samples: Sequence[Sample]) -> tuple[str, ...]:
    return tuple(f"{s.id} ({s.image_id}): {s.question!r} -> {s.references[0]!r}" for s in samples[:EXAMPLES])


def render(findings: Sequence[Finding]) -> str:
    """The findings as text, with examples indented below."""
    lines = []
    wide = max((len(f.check) for f in findings), default=0) + 1
    for f in findings:
        lines.append(f"{f.check:<{max(wide, 16)}}{f.count:>7}  {f.text}")
        lines += [f"{'':<{max(wide, 16) + 9}}e.g. {example}" for example in f.examples]
    return "\n".join(lines)
