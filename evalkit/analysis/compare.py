"""Several runs over the same samples: paired differences, each against the first, and the answers that changed."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.analysis.paired import Paired, aligned, differences, only, pair
from evalkit.analysis.run_scores import ASKED, Scored
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import Sample
from evalkit.scoring.aggregate import slice_tags
from evalkit.stats import holm, sign_flip_p

LEVEL = 0.95
# Another prompt or blanked images may be the very thing that is compared; a signature beside each run says which.
WHAT_WAS_ASKED = frozenset({"prompt", "image", "answers", *ASKED})


def compare(runs: Sequence[Scored], metrics: Sequence[str] | None) -> list[tuple[Scored, list[Paired]]]:
    """For each run after the first the paired differences of the metrics.

    Raises:
        ConfigError: fewer than two runs, or no metric that all of them have.
        DataError: two runs are not over the same rows under the same protocols; says every difference.
    """
    if len(runs) < 2:
        raise ConfigError("compare needs at least two runs: runs=[DIR,DIR].")
    first = runs[0]
    shared = [m for m in first.scores if all(m in r.scores for r in runs) and first.rows[m]]
    wanted = list(metrics) if metrics else shared
    if not wanted:
        raise ConfigError("The runs have no metric in common; score them under the same protocols first.")
    for other in runs[1:]:
        if found := differences(first, other, wanted, WHAT_WAS_ASKED):
            raise DataError(f"{first.origin} and {other.origin} may not be compared: {'; '.join(found)}.")
    return [(other, [pair(first, other, m, LEVEL) for m in wanted]) for other in runs[1:]]


def by_slice(runs: Sequence[Scored], metrics: Sequence[str], samples: Sequence[Sample]) -> list[tuple[str, Paired]]:
    """The first metric rows of two runs within each tag value: ("modality=CT", difference), in order of the names."""
    groups: dict[str, set[str]] = {}
    for sample in samples:
        for tag in slice_tags(samples):
            if tag in sample.tags:
                groups.setdefault(f"{tag}={sample.tags[tag]}", set()).add(sample.id)
    found = []
    for name in sorted(groups):
        first, second = (only(run, frozenset(groups[name])) for run in runs[:2])
        found += [(name, pair(first, second, m, LEVEL)) for m in metrics if m in first.rows and m in second.rows]
    return found


def render_slices(found: Sequence[tuple[str, Paired]]) -> str:
    """One line a slice and metric."""
    width = max((len(name) for name, _ in found), default=0)
    lines = []
    for name, p in found:
        low, high = p.interval.low, p.interval.high
        bounds = "–" if low is None or high is None else f"[{100 * low:+.2f}, {100 * high:+.2f}]"
        lines.append(
            f"  {name:<{width}}  {p.metric}  {100 * p.difference:+6.2f} {bounds}  worse {p.n_worse}, "
            f"better {p.n_better} of {p.n}"
        )
    return "\n".join(lines)


def render(results: Sequence[tuple[Scored, list[Paired]]], first: Scored, flips: int) -> str:
    """The comparison as text: a table a run, then the first changed answers."""
    parts = []
    for other, pairs in results:
        p_values = holm([sign_flip_p(*aligned(first, other, p.metric)) for p in pairs])
        names = [
            f"{run.header['model']} ({run.header['run_id']}, image {run.header['image']})" for run in (other, first)
        ]
        parts.append(f"{' against '.join(names)}: percent, 95 % interval clustered by image, p by sign flips, Holm")
        width = max(len(p.metric) for p in pairs)
        for p, q in zip(pairs, p_values, strict=True):
            low, high = p.interval.low, p.interval.high
            bounds = "–" if low is None or high is None else f"[{100 * low:+.2f}, {100 * high:+.2f}]"
            parts.append(
                f"  {p.metric:<{width}}  {100 * p.first:6.2f} -> {100 * p.second:6.2f}  {100 * p.difference:+6.2f} "
                f"{bounds:<18} p={q:.4f}  worse {p.n_worse}, better {p.n_better} of {p.n}"
            )
        parts += _changed(first, other, pairs, flips)
    return "\n".join(parts)


def _changed(first: Scored, other: Scored, pairs: Sequence[Paired], most: int) -> list[str]:
    place = {i: k for k, i in enumerate(other.ids)}
    seen = list(dict.fromkeys(k for p in pairs for k in p.flipped))
    lines = [f"  {len(seen)} samples changed their score in some metric"] if seen else ["  no sample changed its score"]
    for k in seen[:most]:
        old = first.texts[k] if first.texts else "?"
        new = other.texts[place[first.ids[k]]] if other.texts else "?"
        question = first.questions[k] if first.questions else ""
        lines.append(f"    {first.ids[k]} (image {first.image_ids[k]}): {question!r}: {old!r} -> {new!r}")
    return lines
