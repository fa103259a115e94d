"""The end of every run and re-scoring: score -> analyse -> write, and the printed result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import __version__
from evalkit.analysis import confidence, disagreement, sanity_checks
from evalkit.analysis.disagreement import ProtocolComparison
from evalkit.analysis.draw_texts import draw_texts
from evalkit.analysis.thoughts import (
    has_thought,
    reasoning_texts,
    thought_length_text,
    thought_warning,
    with_thoughts,
)
from evalkit.core import console
from evalkit.core.columns import column_values
from evalkit.core.error_texts import error_text_warning
from evalkit.core.errors import Partial
from evalkit.core.files import whole_file, write_json, write_whole
from evalkit.core.format import FEW_CLUSTERS_NOTE, SENTENCE_BLEU_NOTE, has_sentence_bleu, is_few
from evalkit.core.reasoning import inside_a_thought
from evalkit.core.types import CUT_IN_REASONING, MetricKey, MetricValue, Prediction, Sample, UnscoredCount
from evalkit.pipeline.derived import all_values, derived_checks, derived_scores, hidden_metrics
from evalkit.pipeline.headline import headline, wordy_text
from evalkit.pipeline.train_split import TrainSplit
from evalkit.runs.schema import Summary, Timing
from evalkit.runs.store import RunFolder, write_record
from evalkit.runs.verify import scoring_digests
from evalkit.scoring.aggregate import RunProvenance
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.golds import check_golds, letter_golds, small_classes, uncounted_rows, with_rows
from evalkit.scoring.score_table import RowKinds, ScoreTable, score_line, score_table

# With this many protocols or more, a run also compares the protocols with each other.
PROTOCOLS_TO_COMPARE = 4
# Values of the setting `metrics`.
METRICS = ("main", "all")
# So many reasons for unscored samples are printed, and so many metrics of each; summary.json has all of them.
SHOWN_REASONS, SHOWN_METRICS = 6, 3
# The beginning of a reason that says how many draws a metric needs; pass@2, pass@4 … need different numbers.
_MANY_NEEDS = re.compile(r"\Afewer than \d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSettings:
    """Settings of a task for the analysis of its runs.

    baseline_protocols: the protocols under which the image-blind baselines are scored; the first one is printed.
    reference_protocol: the protocol that the others are compared with.  train: what the baselines learn from; None for
    no baselines.
    """

    baseline_protocols: tuple[str, ...] = ("llava-med", "strict", "exact-match")
    reference_protocol: str = "llava-med"
    train: TrainSplit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The analysis of a run: sanity checks (empty where no baseline protocol was scored), protocols compared."""

    checks: Mapping[str, Any]
    comparison: ProtocolComparison | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """The result of a run or re-scoring.

    summary: None for a part of a run.  texts: printed below the table.  untracked, unstored: why the run could not be
    sent to the chosen tracker, or its row not put on the leaderboard; None where it was, or where none is chosen.
    secondary: metrics that the table leaves out unless all are asked for.  headline: the first line below the table; ""
    for none.
    """

    folder: Path
    n_failed: int
    summary: Summary | None = None
    texts: tuple[str, ...] = ()
    untracked: str | None = None
    unstored: str | None = None
    secondary: frozenset[MetricKey] = frozenset()
    headline: str = ""


def conclude(
    folder: RunFolder,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    protocols: Sequence[ScoringProtocol],
    provenance: RunProvenance,
    timing: Timing | None,
    settings: AnalysisSettings,
) -> Conclusion:
    """Score answers, analyse the scores, write the files that `run`, `merge` and `score` all end with."""
    provenance = replace(provenance, has_thoughts=any(map(has_thought, with_thoughts(predictions))))
    check_golds(samples, protocols, f"{provenance.task.name} ({provenance.task.split})")
    protocols = with_rows(samples, protocols)
    kinds = RowKinds.among(samples)
    # The scores of an earlier scoring stay in place until these are complete and all numbers made from them.
    with whole_file(folder.scores) as file:
        scores = score_table(samples, predictions, protocols, kinds, file.write)
        for score in derived_scores(samples, predictions, scores, protocols):
            file.write(score_line(score))
        values = all_values(samples, scores, protocols, provenance)
        findings = analyse(
            samples, predictions, scores, values, protocols, provenance, settings, folder.path.parent, kinds
        )
        further = derived_checks(samples, predictions, scores, protocols)
        findings = replace(findings, checks={**findings.checks, **further})
        summary = summarise(folder.path.name, samples, predictions, scores, values, provenance, timing, findings)
        noted = [note for about in (uncounted_rows, letter_golds, small_classes) for note in about(samples, protocols)]
        if noted:
            summary = replace(summary, notes=(*summary.notes, *noted))
    if findings.comparison is not None:
        write_json(folder.path / "lens.json", disagreement.to_json(findings.comparison))
        write_whole(folder.path / "lens.csv", disagreement.to_csv(findings.comparison))
    else:  # an earlier scoring under more protocols would contradict this one
        for name in ("lens.json", "lens.csv"):
            (folder.path / name).unlink(missing_ok=True)
    # After the files that it vouches for; the caller's manifest, which says that the run is finished, comes after it.
    write_record(folder.summary, replace(summary, files=scoring_digests(folder)))
    hidden = hidden_metrics(samples, protocols)
    return Conclusion(
        folder=folder.path,
        n_failed=summary.n_failed,
        summary=summary,
        texts=(
            *wordy_text(values, samples, predictions),
            *reasoning_texts(predictions, protocols, provenance),
            *draw_texts(findings.checks.get("draws"), values, hidden.table),
            *_texts(findings, settings),
        ),
        secondary=hidden.table,
        headline=headline(values, hidden.headline, settings.reference_protocol),
    )


def answer_warnings(
    samples: Sequence[Sample], predictions: Sequence[Prediction], generation: str = "unknown", prompt: str = "unknown"
) -> tuple[str, ...]:
    """Warnings about the answers themselves, which the values do not show.

    generation, prompt: of the run, in short.
    """
    found = (
        *sanity_checks.uniform_answers(samples, predictions),
        error_text_warning(predictions),
        thought_warning(predictions, generation, prompt),
    )
    n_inside, unmarked = inside_a_thought(predictions)
    unmarked_text = (
        f"{n_inside} answers begin inside a thought that their prompt opened, but {len(unmarked)} have no mark of its "
        f"end, first for sample {predictions[unmarked[0]].sample_id}: these were scored as answers. If they are cut "
        "thoughts, raise the limit of new tokens"
        if unmarked
        else None
    )
    return tuple(text for text in (*found, unmarked_text) if text)


def analyse(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    scores: ScoreTable,
    values: Sequence[MetricValue],
    protocols: Sequence[ScoringProtocol],
    provenance: RunProvenance,
    settings: AnalysisSettings,
    runs: Path,
    kinds: RowKinds | None = None,
) -> Findings:
    """The sanity checks and, for several protocols, their comparison.

    Args:
        runs: the folder that may hold a run of the same model on blank images.
        kinds: of the samples, where they are known.
    """
    checks: dict[str, Any] = {}
    baseline_protocols = [p for p in protocols if p.name in settings.baseline_protocols]
    if baseline_protocols:
        checks = sanity_checks.check_run(
            samples,
            predictions,
            scores,
            values,
            baseline_protocols,
            provenance,
            None if settings.train is None else settings.train.load_or_reason(),
            runs,
            kinds,
        )
    hidden = hidden_metrics(samples, protocols).table
    if found := confidence.confidence_block(samples, predictions, scores, protocols, hidden):
        checks["confidence"] = found
    comparison = None
    if len(protocols) >= PROTOCOLS_TO_COMPARE:
        comparison = disagreement.compare_protocols(samples, predictions, scores, values, protocols)
        checks["spread"] = {c: disagreement.spread_record(comparison, c) for c in comparison.columns}
    return Findings(checks=checks, comparison=comparison)


def _texts(findings: Findings, settings: AnalysisSettings) -> tuple[str, ...]:
    texts = []
    if block := findings.checks.get("confidence"):
        texts.append(f"{confidence.render(block, settings.baseline_protocols[0])}\n")
    if "rates" in findings.checks:
        texts.append(f"{sanity_checks.render(findings.checks, settings.baseline_protocols[0])}\n")
    if findings.comparison is not None:
        texts.append(
            f"{disagreement.render(findings.comparison, settings.reference_protocol)}\n"
            "Every pair of protocols, with examples of each cause: lens.json; the matrix: lens.csv\n"
        )
    return tuple(texts)


def summarise(
    run_id: str,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    scores: ScoreTable,
    values: Sequence[MetricValue],
    provenance: RunProvenance,
    timing: Timing | None,
    findings: Findings,
) -> Summary:
    """summary.json: the numbers, what they are over, and the counts of everything that went wrong."""
    task, ends = provenance.task, _ends(predictions)
    return Summary(
        run_id=run_id,
        evalkit=__version__,
        model=provenance.model,
        task=task.name,
        split=task.split,
        form=task.form,
        n=len(samples),
        **_clusters(task.cluster, samples),
        data_sha256=task.data_sha256,
        closed_rule=task.closed_rule,
        prompt=provenance.prompt,
        image=provenance.image,
        generation=provenance.generation,
        limit=provenance.limit,
        n_failed=ends.failed,
        n_empty=ends.empty,
        n_truncated=ends.truncated,
        n_skipped=len(task.skipped),
        skipped=tuple(task.skipped[:20]),
        notes=tuple(task.notes),
        metrics=tuple(values),
        timing=timing,
        unscored=tuple(scores.unscored_counts()),
        sanity_checks=findings.checks,
        warnings=answer_warnings(samples, predictions, provenance.generation, provenance.prompt),
    )


class _Ends(NamedTuple):
    """Numbers of answers without a good end."""

    failed: int
    empty: int
    truncated: int


def _ends(predictions: Sequence[Prediction]) -> _Ends:
    failed, empty, truncated = 0, 0, 0
    for text, error, reason in zip(
        *(column_values(predictions, name) for name in ("text", "error", "finish_reason")), strict=True
    ):
        is_cut = error == CUT_IN_REASONING
        failed += error is not None and not is_cut
        empty += text is not None and not text.strip()
        truncated += reason == "length" or is_cut
    return _Ends(failed, empty, truncated)


def _clusters(cluster: str, samples: Sequence[Sample]) -> dict[str, Any]:
    """Numbers of images, and of clusters where they are not the images."""
    images = {"n_images": len(set(column_values(samples, "pictures")))}
    return (
        images
        if cluster == "image"
        else {**images, "cluster": cluster, "n_clusters": len(set(column_values(samples, "image_id")))}
    )


def remarks(summary: Summary) -> list[str]:
    """Warnings about a run's numbers: what is unscored and why, skipped rows, cut answers, suspicious answers."""
    found = _unscored_texts(summary.unscored)[:SHOWN_REASONS]
    if summary.n_skipped:
        found.append(f"{summary.n_skipped} rows were skipped, first: {summary.skipped[0]}")
    if summary.n_truncated:
        found.append(
            f"{summary.n_truncated} of {summary.n} answers were cut at the token limit or inside their reasoning"
        )
    return [*found, *summary.warnings]


def _unscored_texts(counts: Sequence[UnscoredCount]) -> list[str]:
    """One text a reason, the most frequent first; the metrics over several draws have one together.

    >>> _unscored_texts([UnscoredCount(protocol="a", metric=m, reason="cut", count=n) for m, n in [("b", 7), ("c", 5)]])
    ['5 to 7 unscored under 2 metrics (a b 7, a c 5): cut']
    """
    alike: dict[str, list[UnscoredCount]] = {}
    for entry in counts:
        alike.setdefault(_MANY_NEEDS.sub("too few", entry.reason), []).append(entry)
    texts = []
    for entries in alike.values():
        first, least, most = entries[0], min(e.count for e in entries), max(e.count for e in entries)
        if len(entries) == 1:
            texts.append(f"{first.protocol} {first.metric}: {first.count} unscored: {first.reason}")
            continue
        named = ", ".join(f"{e.protocol} {e.metric} {e.count}" for e in entries[:SHOWN_METRICS])
        more = f" and {len(entries) - SHOWN_METRICS} more" if len(entries) > SHOWN_METRICS else ""
        number = f"{most}" if least == most else f"{least} to {most}"
        reason = first.reason if len({e.reason for e in entries}) == 1 else _MANY_NEEDS.sub("too few", first.reason)
        texts.append(f"{number} unscored under {len(entries)} metrics ({named}{more}): {reason}")
    return texts


def caption_of(summary: Summary) -> str:
    """The line below a run's table: over what its numbers are, and the counts of what went wrong."""
    clusters = summary.cluster if summary.n_clusters is None else f"{summary.cluster} ({summary.n_clusters})"
    return (
        f"{summary.n} samples on {summary.n_images} images, intervals clustered by {clusters}; "
        f"failed {summary.n_failed}, empty {summary.n_empty}, truncated {summary.n_truncated}"
        + "".join(f"; {text.partition(':')[0]}" for text in summary.warnings)
        + (f"; {FEW_CLUSTERS_NOTE}" if any(is_few(m.n_effective) for m in summary.metrics if m.slice == "all") else "")
        + (f"; {thought_length_text(thoughts)}" if (thoughts := summary.sanity_checks.get("thoughts")) else "")
    )


def show(conclusion: Conclusion, title: str, metrics: str = METRICS[0]) -> None:
    """Print the table and what must be known with it; the run's folder alone on the last line.

    Args:
        metrics: one of METRICS: the main metrics in the table, or all.
    """
    summary = conclusion.summary
    assert summary is not None, "a part of a run has no table"
    for text in summary.notes:
        console.note(f"note: {text}")
    for text in remarks(summary):
        console.warn(text)
    whole = [m for m in summary.metrics if m.slice == "all"]
    shown = [m for m in whole if metrics == METRICS[1] or m.key not in conclusion.secondary]
    caption = "\n".join(filter(None, (conclusion.headline, caption_of(summary))))
    if hidden := len(whole) - len(shown):
        caption += f"\n{hidden} further metrics are shown by metrics=all, and are in summary.json"
    if has_sentence_bleu(m.metric for m in shown):
        caption += f"\n{SENTENCE_BLEU_NOTE}"
    console.table(shown, title, caption)
    for text in conclusion.texts:
        console.out(text)
    console.out(str(conclusion.folder))


def check_complete(conclusion: Conclusion) -> None:
    """Check that every sample was answered, after everything was printed and written.

    Raises:
        Partial: some samples failed.
    """
    if conclusion.n_failed:
        assert conclusion.summary is not None, "a part of a run has no table"
        raise Partial(
            f"{conclusion.n_failed} of {conclusion.summary.n} samples failed and are not in the values above. What was "
            "answered is kept; the same command asks the failed ones again."
        )
