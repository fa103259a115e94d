"""Text metrics of whole tables, as MedEvalKit, HELM and MedVLMBench print them: ROUGE, BLEU, METEOR, CIDEr, BERTScore.

Protocols of their own, chosen by name: they import nltk, and METEOR and HELM's BLEU need data of nltk's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from evalkit.core.errors import ConfigError, first_line
from evalkit.core.types import Metric, Sample
from evalkit.scoring.protocols.medevalkit import MedEvalKit, final_part, unwrap
from evalkit.scoring.protocols.other_harnesses import Helm, MedVLMBench
from evalkit.scoring.protocols.text_overlap import cumulative_bleu, rouge_l
from evalkit.scoring.row_protocol import MetricResult, best_of, references
from evalkit.scoring.text.normalise import quac_words, vqa2
from evalkit.scoring.text.overlap import sentence_bleu
from evalkit.scoring.text.rouge import rouge_n, rouge_of_sets, rouge_words

_ROUGE = ("rouge_1", "rouge_2", "rouge_l")
_BLEU = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
_AUTHORS_RAISE = "the authors' code raises on an answer without words; counted as wrong"
_BERT = "emilyalsentzer/Bio_ClinicalBERT"
_PLACES = {"wordnet": "corpora/wordnet.zip", "punkt_tab": "tokenizers/punkt_tab"}
_NO_CORPUS = "0 for every answer: the authors compute it over a corpus of one row"


class MedEvalKitText(MedEvalKit):
    """MedEvalKit's ROUGE-1, -2 and -L over its open rows, from the library `rouge`."""

    metrics = tuple(Metric(name=name, rows="open") for name in _ROUGE)

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        raw = unwrap(answer)
        said = final_part(raw.lower().strip() if self.rule == "yesno" else raw)
        golds = [gold.lower().strip() if self.rule == "yesno" else gold.lower() for gold in references(sample)]
        found = [values for gold in golds if (values := rouge_of_sets(said.lower(), gold)) is not None]
        if not found or not said.split():
            return {name: MetricResult(value=0.0, note=_AUTHORS_RAISE) for name in _ROUGE}
        return best_of(found, said)


class HelmText(Helm):
    """VHELM's ROUGE-L (stemmed), BLEU-1, BLEU-4, CIDEr and quasi-exact match with articles over all rows.

    bleu_4 is the precision of 4-grams alone, and cider is 0 for every answer, both as in the authors' code.
    """

    metrics = tuple(
        Metric(name=name) for name in ("rouge_l", "bleu_1", "bleu_4", "cider", "quasi_leave_articles_exact_match")
    )
    norm = "porter"

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        said = answer.strip()
        golds = [gold.lower() if self.golds == "lower-case" else gold for gold in references(sample)]
        words = rouge_words(said, stemmed=True)
        values = (
            {
                "rouge_l": rouge_l(words, rouge_words(gold, stemmed=True)),
                "quasi_leave_articles_exact_match": float(bool(said) and quac_words(said) == quac_words(gold)),
            }
            for gold in golds
        )
        results = best_of(values, " ".join(words)) | {"cider": MetricResult(value=0.0, note=_NO_CORPUS)}
        return results | _with_nltk_data(lambda: best_of((_helm_bleu(said, gold) for gold in golds), said), _BLEU[::3])


def _helm_bleu(said: str, gold: str) -> dict[str, float]:
    from nltk.tokenize import word_tokenize

    return sentence_bleu(word_tokenize(said), word_tokenize(gold), _BLEU[::3])


class MedVLMBenchText(MedVLMBench):
    """MedVLMBench's BLEU-1 to -4, ROUGE-1, -2, -L and METEOR of open rows, after VQA-v2 cleaning; BERTScore if asked.

    METEOR is given the whole texts as one word each: 0.5 where they are equal, have one stem or their stems are
    synonyms in WordNet, else 0.  bertscore: also BERTScore with Bio_ClinicalBERT, which needs the extra bertscore and
    its weights.
    """

    norm = "vqa2/rouge"

    def __init__(self, *, bertscore: bool = False, **common: Any) -> None:
        super().__init__(**common)
        names = (*_BLEU, *_ROUGE, "meteor", *(("bertscore",) if bertscore else ()))
        self.metrics = tuple(Metric(name=name, rows="open") for name in names)
        self.bertscore = bertscore

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        said, golds = vqa2(answer.lower()), [vqa2(gold.lower()) for gold in references(sample)]
        results = best_of((_medvlmbench_text(said, gold) for gold in golds), said)
        meteor = ({"meteor": _meteor(said, gold)} for gold in golds)
        results |= _with_nltk_data(lambda: best_of(meteor, said), ("meteor",))
        if self.bertscore:
            results |= best_of(({"bertscore": _bertscore(said, gold)} for gold in golds), said)
        return results


def _medvlmbench_text(said: str, gold: str) -> dict[str, float]:
    bleu = cumulative_bleu(said.split(), gold.split())
    words, gold_words = rouge_words(said), rouge_words(gold)
    return {
        **dict(zip(_BLEU, bleu, strict=True)),
        "rouge_1": rouge_n(words, gold_words, 1),
        "rouge_2": rouge_n(words, gold_words, 2),
        "rouge_l": rouge_l(words, gold_words),
    }


def _meteor(said: str, gold: str) -> float:
    from nltk.corpus import wordnet
    from nltk.translate.meteor_score import single_meteor_score

    # Raises LookupError without the data. nltk asks for synonyms of words that differ alone, and a mean over the rows
    # whose texts are equal would be 0.5 for every model.
    wordnet.synsets("")
    return float(single_meteor_score([gold], [said], alpha=0.9, beta=3.0, gamma=0.5))


def _with_nltk_data(compute: Callable[[], dict[str, MetricResult]], names: tuple[str, ...]) -> dict[str, MetricResult]:
    """The results, or unscored ones that name the data of nltk's that is missing."""
    try:
        return compute()
    except LookupError:
        needed = "wordnet" if names == ("meteor",) else "punkt_tab"
        why = (
            f"needs data of nltk's: python -m nltk.downloader {needed}; without a network {_PLACES[needed]} in a "
            "folder that NLTK_DATA names"
        )
        return {name: MetricResult(value=None, reason=why) for name in names}


def _bertscore(said: str, gold: str) -> float:
    scorer = _scorer()
    _, _, f1 = scorer.score(*([_cut(text, scorer)] for text in (said, gold)))
    return float(f1.max())


def _cut(text: str, scorer: Any) -> str:
    """The text as the authors give it to the model: its first 510 tokens, as the model's window is 512."""
    tokenizer = scorer._tokenizer
    return str(tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)[:510], skip_special_tokens=True))


@cache
def _scorer() -> Any:
    """BERTScore's model, from the hub or its cache.  Raises ConfigError without the library or the weights."""
    try:
        from bert_score import BERTScorer
    except ImportError:
        raise ConfigError(
            "bertscore=true needs the library bert-score: pip install 'evalkit-medvqa[bertscore]', or leave it false."
        ) from None
    try:
        return BERTScorer(model_type=_BERT, num_layers=12)
    except OSError as problem:  # of transformers, where neither the hub nor its cache has the files
        raise ConfigError(
            f"bertscore=true needs the weights of {_BERT}, which cannot be loaded ({first_line(problem)}). Bring them "
            f"into the cache of the hub once: hf download {_BERT}, and copy the cache to a machine without a network "
            "(docs/protocols.md), or leave it false."
        ) from None
