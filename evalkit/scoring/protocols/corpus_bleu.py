"""BLEU of open answers in both meanings: of all answers together, and the mean over single answers."""

from __future__ import annotations

from collections.abc import Mapping

from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import MetricResult, RowProtocol, labelled_closed, references
from evalkit.stats.corpus_bleu import bleu_counts, bleu_of_counts


class CorpusBleu(RowProtocol):
    """Corpus BLEU with sacreBLEU's definition, and the mean of sentence BLEU over the same tokens beside it.

    The first reference counts.  A row without any label is open.
    """

    metrics = (
        Metric(name="corpus_bleu", rows="open", aggregate="corpus_bleu", of="sentence_bleu"),
        Metric(name="sentence_bleu", rows="open"),
    )
    norm = "lower-13a"

    def is_closed(self, sample: Sample) -> bool | None:
        return labelled_closed(sample) if sample.answer_type else False

    def settings(self) -> dict[str, str]:
        return super().settings() | {"smooth": "exp", "nrefs": "1"}

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        value = bleu_of_counts(bleu_counts(answer, references(sample)[0]), effective_order=True)
        return {"sentence_bleu": MetricResult(value=min(1.0, value), extracted=answer)}
