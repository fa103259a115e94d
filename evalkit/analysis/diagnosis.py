"""Yes/no answers of a run as a diagnostic test: 2x2 table with unread answers, measures, and the same per finding.

A question counts where its reference is just yes or no.  An answer is yes, no, or unread: a failure, an empty or cut
answer, and text that says neither or both.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evalkit.core.remembered import remembered
from evalkit.core.types import CHOICE
from evalkit.runs.schema import PredictionLine
from evalkit.scoring.text.normalise import word_set
from evalkit.scoring.text.statement_words import singular
from evalkit.scoring.text.yes_no import gold_polarity, read_yes_no
from evalkit.stats import effective_clusters
from evalkit.stats.diagnostic import Measure, diagnostic_measures
from evalkit.stats.label_noise import Contradictions

# A group of fewer images has its table and no measures.
MIN_IMAGES = 5
UNREAD = "unread"
_FINDINGS = word_set(
    """abnormality lesion mass nodule tumor cyst effusion pneumothorax pneumonia consolidation atelectasis opacity edema
    infiltrate infiltration cardiomegaly emphysema fibrosis granuloma fracture dislocation hemorrhage hematoma infarct
    ischemia stroke hydrocephalus aneurysm thrombus embolism stenosis calcification lymphadenopathy hernia obstruction
    perforation ascites abscess inflammation infection necrosis metastasis cancer carcinoma malignancy scoliosis
    osteophyte pneumoperitoneum pneumomediastinum ulcer polyp thickening stone gallstone sclerosis bronchiectasis"""
)
_SPELLINGS = {
    "tumour": "tumor", "oedema": "edema", "haemorrhage": "hemorrhage", "bleed": "hemorrhage", "bleeding": "hemorrhage",
    "haematoma": "hematoma", "infarction": "infarct", "ischaemia": "ischemia", "metastases": "metastasis",
    "metastase": "metastasis", "calcified": "calcification", "adenopathy": "lymphadenopathy",
    "opacification": "opacity", "fractured": "fracture",
}  # fmt: skip
# With one of these, yes does not say that the finding is there.
_TURNS = word_set("no not without absent free normal resolved besides other than or healed same either larger bigger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A yes/no question with its reference and the answer; said: True for yes, False for no, None for unread."""

    sample_id: str
    image_id: str
    question: str
    group: str
    gold: bool
    said: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The measures of one group of questions.

    n_effective: Kish's effective number of images.  table: reference -> answer (yes, no, unread) -> rows.  read: the
    measures over the answers that were read.  worst: where some were not, the measures with these as wrong (a missed
    yes, a false alarm).
    """

    group: str
    n: int
    n_images: int
    n_effective: float
    n_unread: int
    prevalence: float
    table: Mapping[str, Mapping[str, int]]
    read: tuple[Measure, ...]
    worst: tuple[Measure, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The blocks of a run, all questions first.

    prevalence: the stated one of `ppv_at` and `npv_at`, or None.  contradictions: of the references; None where the
    run's clusters are no images, so that its lines do not tell which image a question is about.
    """

    run_id: str
    prevalence: float | None
    by: str
    blocks: tuple[Block, ...]
    contradictions: Contradictions | None = None

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def finding_of(question: str) -> str:
    """The finding whose presence a question asks for; empty where it names none, several, or turns its yes around.

    >>> finding_of("Is there evidence of a pneumothorax?"), finding_of("Are there any masses in the liver?")
    ('pneumothorax', 'mass')
    >>> finding_of("Is the lung free of nodules?"), finding_of("A mass or a cyst?"), finding_of("Is this an MRI?")
    ('', '', '')
    """
    words = re.findall(r"[a-z]+", question.lower())
    if any(word in _TURNS for word in words):
        return ""
    known = {_SPELLINGS.get(w, w) for word in words for w in (word, singular(word))} & _FINDINGS
    return known.pop() if len(known) == 1 else ""


def verdicts(lines: Sequence[PredictionLine], group_of: Callable[[PredictionLine], str]) -> list[Verdict]:
    """The yes/no questions of a run, with their answers as `strict` reads them."""
    read = remembered(lambda text, question: read_yes_no(text, question).polarity)
    found = []
    for line in lines:
        gold = gold_polarity(line.references[0], line.question) if line.answer_type != CHOICE else None
        if gold is not None:
            said = read(line.text, line.question) if line.text and line.text.strip() else None
            found.append(
                Verdict(
                    sample_id=line.sample_id,
                    image_id=line.image_id,
                    question=line.question,
                    group=group_of(line),
                    gold=gold == "yes",
                    said=None if said is None else said == "yes",
                )
            )
    return found


def diagnose(run_id: str, found: Sequence[Verdict], by: str, prevalence: float | None) -> Diagnosis:
    """The block of all questions, then one a group with a name, largest first."""
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in found:
        if verdict.group:
            groups[verdict.group].append(verdict)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    blocks = [_block("all", found, prevalence), *(_block(name, rows, prevalence) for name, rows in ordered)]
    return Diagnosis(run_id=run_id, prevalence=prevalence, by=by, blocks=tuple(blocks))


def _block(group: str, rows: Sequence[Verdict], prevalence: float | None) -> Block:
    import numpy as np

    images = Counter(row.image_id for row in rows)
    read = [row for row in rows if row.said is not None]
    few = len(images) < MIN_IMAGES
    names = {True: "yes", False: "no", None: UNREAD}
    table = {
        names[gold]: {names[said]: sum(r.gold is gold and r.said is said for r in rows) for said in names}
        for gold in (True, False)
    }
    all_read = len(read) == len(rows)
    return Block(
        group=group,
        n=len(rows),
        n_images=len(images),
        n_effective=effective_clusters(np.array(list(images.values()))),
        n_unread=len(rows) - len(read),
        prevalence=sum(r.gold for r in rows) / len(rows),
        table=table,
        read=() if few else _measures(read, prevalence),
        worst=() if few or all_read else _measures(rows, prevalence),
        note=f"too few images ({len(images)}; {MIN_IMAGES} are needed)" if few else "",
    )


def _measures(rows: Sequence[Verdict], prevalence: float | None) -> tuple[Measure, ...]:
    """The measures; an unread answer counts as the wrong one."""
    said = [(not r.gold) if r.said is None else r.said for r in rows]
    return tuple(diagnostic_measures([r.gold for r in rows], said, [r.image_id for r in rows], prevalence))
