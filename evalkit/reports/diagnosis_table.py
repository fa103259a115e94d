"""Tables of a diagnosis on the screen."""

from __future__ import annotations

from evalkit.analysis.contradictions import in_words
from evalkit.analysis.diagnosis import MIN_IMAGES, Block, Diagnosis
from evalkit.core import console
from evalkit.core.format import FEW_CLUSTERS_NOTE, MISSING, interval, is_few, percent
from evalkit.stats.diagnostic import Measure

NAMES = {
    "sensitivity": "sensitivity %",
    "specificity": "specificity %",
    "ppv": "PPV %, of these rows",
    "npv": "NPV %, of these rows",
    "accuracy": "accuracy %",
    "ppv_at": "PPV %",
    "npv_at": "NPV %",
    "lr_positive": "LR+",
    "lr_negative": "LR-",
    "balanced_accuracy": "balanced accuracy %",
    "mcc": "MCC",
}
# Measures that are no fractions.
PLAIN = ("lr_positive", "lr_negative", "mcc")
GROUP_MEASURES = ("sensitivity", "specificity", "lr_positive", "lr_negative")


def print_diagnosis(found: Diagnosis) -> None:
    """Print the 2x2 table and the measures of all questions, then the groups, a row each."""
    whole, *groups = found.blocks
    console.grid(
        ["reference", "answer yes", "answer no", "unread"],
        [[gold, *(str(row[said]) for said in ("yes", "no", "unread"))] for gold, row in whole.table.items()],
        f"{found.run_id}: {whole.n} answers to yes/no questions on {whole.n_images} images",
    )
    at = found.prevalence if found.prevalence is not None else whole.prevalence
    if whole.read:
        console.grid(*measure_rows(whole, at), "95 % intervals clustered by image")
        if is_few(whole.n_effective):
            console.out(f"eff {whole.n_effective:.1f}{FEW_CLUSTERS_NOTE.removeprefix('eff')}")
    else:
        console.out(whole.note)
    if few := [f"{block.group} ({block.n_images})" for block in groups if not block.read]:
        console.out(f"Too few images ({MIN_IMAGES} are needed): {', '.join(few)}.")
    if found.contradictions is not None and found.contradictions.pairs:
        console.out(in_words(found.contradictions))
    groups = [block for block in groups if block.read]
    if groups:
        header = [found.by, "n", "images", "yes", "unread", *(NAMES[name] for name in GROUP_MEASURES)]
        console.grid(header, [_group_row(block) for block in groups], f"by {found.by}")


def measure_rows(block: Block, prevalence: float) -> tuple[list[str], list[list[str] | None]]:
    """Header and rows of a block's measures; with unread answers as wrong beside, where there are some."""
    sides = [block.read, *([block.worst] if block.worst else [])]
    header = ["measure", "read answers", *(["unread as wrong"] if block.worst else [])]
    rows: list[list[str] | None] = []
    for measures in zip(*sides, strict=True):
        name = measures[0].name
        title = f"{NAMES[name]}, at {_stated(prevalence)} % prevalence" if name.endswith("_at") else NAMES[name]
        rows.append([title, *(shown(m) for m in measures)])
    return header, rows


def _stated(prevalence: float) -> str:
    """Percent, with as many digits as keep it apart from 0 and 100: 99.9999 is not 100."""
    return next(text for digits in range(3, 18) if 0 < float(text := f"{100 * prevalence:.{digits}g}") < 100)


def shown(measure: Measure) -> str:
    """Value and interval of a measure, with as many digits as keep the bounds apart."""
    if measure.name not in PLAIN:
        digits = _digits(measure, 1, 100)
        return f"{percent(measure.value, digits)} {interval(measure.low, measure.high, digits)}"
    if measure.low is None:
        return MISSING if measure.value is None else f"{measure.value:.2f} {MISSING}"
    digits = _digits(measure, 2, 1)
    if measure.value is None:
        return f"infinite, above {measure.low:.{digits}f}"
    high = MISSING if measure.high is None else f"{measure.high:.{digits}f}"
    return f"{measure.value:.{digits}f} [{measure.low:.{digits}f}, {high}]"


def _digits(measure: Measure, least: int, factor: int) -> int:
    """The digits of a measure: the predictive value of a rare condition is not 0.0 [0.0, 0.0]."""
    if measure.low is None or measure.high is None:
        return least
    low, high = factor * measure.low, factor * measure.high
    return next((d for d in range(least, 12) if f"{low:.{d}f}" != f"{high:.{d}f}"), least)


def _group_row(block: Block) -> list[str]:
    counts = [
        block.group,
        str(block.n),
        str(block.n_images),
        str(sum(block.table["yes"].values())),
        str(block.n_unread),
    ]
    by_name = {m.name: m for m in block.read}
    return [*counts, *(shown(by_name[name]) for name in GROUP_MEASURES)]
