"""Audit of a copy of a dataset: findings with counts and examples, no verdict.

Counts are checked against the published ones when the data are loaded; the audit covers problems that even a complete
copy has: duplicates, contradictory answers, and questions, answers and images that it shares with other splits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.analysis.contradictions import ceiling, contradictions_of_samples, names_images, question_key
from evalkit.analysis.empty_images import empty_images
from evalkit.analysis.image_fingerprint import Fingerprints, fingerprints, matches
from evalkit.core.errors import DataError
from evalkit.core.types import CHOICE, CLOSED, OPEN, ImageRef, Sample
from evalkit.tasks.base import NO_SPLIT, LoadedTask, Task, check_ids, load_train, why_no_split
from evalkit.tasks.formats import duplicate_key, is_yes_or_no
from evalkit.tasks.image_check import check_images
from evalkit.tasks.vqa import VqaTask

EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check.  count: number of rows or pairs; 0 where the check found nothing."""

    check: str
    count: int
    text: str
    examples: tuple[str, ...] = ()


def audit(task: Task, *, images: bool = True, others: Mapping[str, LoadedTask | str] | None = None) -> list[Finding]:
    """Every finding on the task's configured split.

    Args:
        images: check the image files too.
        others: name -> another split to compare with, or why it cannot be loaded; with references to images where
            `images` is true.
    """
    loaded = task.load(images=images)
    findings = [_counts(loaded), *_repeated_ids(loaded), _closed_rules(loaded), *_skipped(loaded)]
    if images:
        findings += [_images(loaded), _empty(loaded)]
    findings += [_duplicates(loaded), _conflicts(loaded), *_against_train(task, loaded)]
    loadable = {name: other for name, other in (others or {}).items() if not isinstance(other, str)}
    for name, other in (others or {}).items():
        if isinstance(other, str):
            new = [Finding(check=f"{name} split", count=0, text=f"not checked: {other}")]
        else:
            new = _shared_texts(loaded, other, name)
        known = {f.check for f in findings}
        findings += [f for f in new if f.check not in known]
    if images and loadable:
        own = _fingerprints(loaded)
        findings += [_shared_pictures(own, _fingerprints(other), name) for name, other in loadable.items()]
    return findings


def _against_train(task: Task, loaded: LoadedTask) -> list[Finding]:
    try:
        train = load_train(task)
    except NO_SPLIT as problem:
        return [Finding(check="train split", count=0, text=f"not checked: {why_no_split(problem)}")]
    others = task.other_train() if isinstance(task, VqaTask) else {}
    shared = [_shared_images(loaded, t, name) for name, t in others.items()]
    return [*_shared_texts(loaded, train, "train"), *_leaks(loaded), *shared]


def _images(task: LoadedTask) -> Finding:
    n = len(task.samples)
    try:
        checked, digests = check_images(task, on_missing="skip")
    except DataError as problem:  # no row is left, which is a finding too
        return Finding(check="images", count=n, text=f"rows without a usable image, of {n}", examples=(str(problem),))
    skipped = checked.skipped[len(task.skipped) :]
    text = f"rows without a usable image, of {n}; {len(set(digests.values()))} images differ"
    return Finding(check="images", count=len(skipped), text=text, examples=skipped[:EXAMPLES])


def _empty(task: LoadedTask) -> Finding:
    """Rows about an image that shows nothing as the model sees it."""
    kinds = empty_images(ref for sample in task.samples for ref in sample.images)
    rows = [
        (s, next(kinds[ref] for ref in s.images if ref in kinds)) for s in task.samples if kinds.keys() & {*s.images}
    ]
    counted = Counter(kinds.values())
    text = "rows about an image that shows nothing" + (
        f": {', '.join(f'{count} {kind}' for kind, count in counted.most_common())}" if counted else ""
    )
    shown = tuple(f"{s.id} ({s.pictures}): {kind}" for s, kind in rows[:EXAMPLES])
    return Finding(check="empty images", count=len(rows), text=text, examples=shown)


def _counts(task: LoadedTask) -> Finding:
    n_images = len({s.pictures for s in task.samples})
    text = f"rows of {task.name} ({task.split}) in the form {task.form}, on {n_images} images"
    return Finding(check="rows", count=len(task.samples), text="; ".join((text, *task.notes)))


def _closed_rules(task: LoadedTask) -> Finding:
    # An option whose text is yes or no makes no closed row of a multiple-choice one.
    samples = [s for s in task.samples if s.answer_type != CHOICE]
    labelled = Counter(s.answer_type for s in samples)
    yes_no = sum(is_yes_or_no(s.references[0]) for s in samples)
    differ = [s for s in samples if (s.answer_type == CLOSED) != is_yes_or_no(s.references[0])]
    choices = len(task.samples) - len(samples)
    return Finding(
        check="closed",
        count=len(differ),
        text=f"rows on which the two meanings of closed differ: {labelled[OPEN]} open and {labelled[CLOSED]} closed by "
        f"{task.closed_rule}, {len(samples) - yes_no} and {yes_no} by yes or no"
        + (f"; {choices} rows of multiple choice are neither" if choices else ""),
        examples=_shown(differ),
    )


def _repeated_ids(task: LoadedTask) -> list[Finding]:
    try:
        check_ids(task)
    except DataError as problem:
        rows = sum(n for n in Counter(s.id for s in task.samples).values() if n > 1)
        return [Finding(check="ids", count=rows, text=f"rows without an id of their own: {problem}")]
    return []


def _skipped(task: LoadedTask) -> list[Finding]:
    if not task.skipped:
        return []
    return [Finding(check="left out", count=len(task.skipped), text="rows left out", examples=task.skipped[:EXAMPLES])]


class _Row(NamedTuple):
    """A row by the texts that identify it."""

    image_id: str
    question: str
    answer: str

    @classmethod
    def of(cls, sample: Sample) -> _Row:
        return cls(sample.pictures, duplicate_key(sample.question), duplicate_key(sample.references[0]))


def _duplicates(task: LoadedTask) -> Finding:
    if not names_images(task.samples):
        return Finding(check="duplicates", count=0, text="not comparable: this form names no images")
    groups = _groups(task.samples, _Row.of)
    repeated = [s for group in groups for s in group[1:]]
    text = "rows that repeat an earlier row's image, question and answer"
    return Finding(check="duplicates", count=len(repeated), text=text, examples=_shown(repeated))


def _conflicts(task: LoadedTask) -> Finding:
    found = contradictions_of_samples(task.samples)
    if found is None:
        return Finding(check="conflicts", count=0, text="not comparable: this form names no images")
    groups = _groups(task.samples, question_key)
    conflicting = [g for g in groups if len({duplicate_key(s.references[0]) for s in g}) > 1]
    both = sum({"yes", "no"} <= {duplicate_key(s.references[0]) for s in g} for g in conflicting)
    examples = tuple(f"{g[0].pictures}: {g[0].question!r}: {sorted({s.references[0] for s in g})}" for g in conflicting)
    return Finding(
        check="conflicts",
        count=found.pairs,
        text=f"pairs of image and question with different answers ({found.rows} rows), {both} of them with yes and no"
        + (f"; {ceiling(found)}" if found.pairs else ""),
        examples=examples[:EXAMPLES],
    )


def _shared_texts(task: LoadedTask, other: LoadedTask, name: str) -> list[Finding]:
    """Images, rows, questions and answers that the split shares with another one; images by id, where there are ids."""
    rows = [_Row.of(s) for s in task.samples]
    known = {_Row.of(s) for s in other.samples}
    questions, answers = {r.question for r in known}, {r.answer for r in known}
    comparable = names_images(task.samples) and names_images(other.samples)
    same = [s for s, row in zip(task.samples, rows, strict=True) if comparable and row in known]
    n = len(rows)
    return [
        _shared_images(task, other, name),
        Finding(
            check=f"{name} rows",
            count=len(same),
            text=f"rows whose image, question and answer are a row of {name}"
            if comparable
            else "not comparable: no image names",
            examples=_shown(same),
        ),
        Finding(
            check=f"{name} questions",
            count=sum(r.question in questions for r in rows),
            text=f"of {n} question texts occur in {name}",
        ),
        Finding(
            check=f"{name} answers",
            count=sum(r.answer in answers for r in rows),
            text=f"of {n} answers occur in {name}",
        ),
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


def _fingerprints(task: LoadedTask) -> Fingerprints:
    refs: dict[str, ImageRef] = {}
    for sample in task.samples:
        for k, ref in enumerate(sample.images):
            refs.setdefault(sample.pictures if k == 0 else f"{sample.pictures}#{k + 1}", ref)
    return fingerprints(refs)


def _shared_pictures(own: Fingerprints, other: Fingerprints, name: str) -> Finding:
    """Images that show the same picture as one of the other split, whatever their names."""
    found = matches(own.by_name, other.by_name)
    renamed = [m for m in found if m.name != m.other and m.name not in other.by_name]
    unusable = f"{len(own.failures)} here and {len(other.failures)} there cannot be compared"
    return Finding(
        check=f"{name} pictures",
        count=len(found),
        text=f"of {len(own.by_name)} images look like one of {len(other.by_name)} in {name}, {len(renamed)} of them "
        f"under another name only; {unusable}",
        examples=tuple(
            f"{m.name} is {m.other} ({m.bits} of 64 bits apart, correlation {m.correlation:.3f})" for m in renamed
        )[:EXAMPLES],
    )


def _shared_images(task: LoadedTask, train: LoadedTask, name: str) -> Finding:
    n, n_train = len(task.samples), len(train.samples)
    if not (names_images(task.samples) and names_images(train.samples)):
        text = f"not comparable: a split of this copy ({n} rows, {name} {n_train} rows) names no images"
        return Finding(check=f"{name} images", count=0, text=text)
    images = {s.pictures for s in task.samples}
    shared = images & {s.pictures for s in train.samples}
    rows = sum(s.pictures in shared for s in task.samples)
    text = f"of {len(images)} images are in the {name} split too ({n_train} rows); {rows} of {n} rows are about them"
    return Finding(check=f"{name} images", count=len(shared), text=text)


def _groups(samples: Sequence[Sample], key: Callable[[Sample], Hashable]) -> list[list[Sample]]:
    groups: dict[Hashable, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[key(sample)].append(sample)
    return list(groups.values())


def _shown(samples: Sequence[Sample]) -> tuple[str, ...]:
    return tuple(f"{s.id} ({s.pictures}): {s.question!r} -> {s.references[0]!r}" for s in samples[:EXAMPLES])


def render(findings: Sequence[Finding]) -> str:
    """The findings as text, with examples indented below."""
    lines = []
    width = max(max((len(f.check) for f in findings), default=0) + 1, 16)
    for f in findings:
        lines.append(f"{f.check:<{width}}{f.count:>7}  {f.text}")
        lines += [f"{'':<{width + 9}}e.g. {example}" for example in f.examples]
    return "\n".join(lines)
