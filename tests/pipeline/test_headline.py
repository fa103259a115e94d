"""The headline of a run, the metrics that its table leaves out, and the line about exact matches of sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evalkit.cli.config import every_protocol
from evalkit.cli.factories import build_protocols
from evalkit.core.types import MetricKey, MetricValue, Prediction, Sample
from evalkit.pipeline.headline import headline, secondary_metrics, wordy_text


def value(protocol: str, metric: str, number: float | None, n_unscored: int = 0) -> MetricValue:
    return MetricValue(
        protocol=protocol, metric=metric, slice="all", value=number, n=10, n_unscored=n_unscored, higher_is_better=True
    )


def sample(reference: str) -> Sample:
    return Sample(id="1", image_id="i", question="Which organ?", references=(reference,))


def answer(text: str | None) -> Prediction:
    return Prediction(sample_id="1", fingerprint="f", text=text, error=None if text is not None else "failed")


def test_the_headline_is_of_the_reference_protocol() -> None:
    found = [value("strict", "closed_accuracy", 0.5), value("llava-med", "closed_accuracy", 0.75)]
    found += [value("llava-med", "open_recall", 0.25), value("llava-med", "bleu", 0.125)]
    secondary = {MetricKey("llava-med", "bleu")}
    expected = "headline: closed_accuracy 75.00, open_recall 25.00 (llava-med, what most papers print)"
    assert headline(found, secondary, "llava-med") == expected
    assert headline(found, secondary, "strict") == "headline: closed_accuracy 50.00 (strict)"
    assert headline(found[:1], secondary, "llava-med") == "headline: closed_accuracy 50.00 (strict)"
    assert headline([replace(found[0], value=None)], secondary, "strict") == ""


def test_every_protocol_keeps_a_metric_in_the_table() -> None:
    known = every_protocol()
    protocols = build_protocols({name: content for name, content in known.items() if name != "coloninst"})
    secondary = secondary_metrics(protocols)
    for protocol in protocols:
        shown = [m.name for m in protocol.metrics if MetricKey(protocol.name, m.name) not in secondary]
        assert shown, protocol.name
    assert MetricKey("llava-med", "bleu") in secondary
    assert not {MetricKey("llava-med", "open_recall"), MetricKey("llava-med", "closed_accuracy")} & secondary


SENTENCE = "The organ that can be seen in this image is the lung."


@pytest.mark.parametrize(
    ("reference", "text", "number", "is_said"),
    [
        ("Lung", SENTENCE, 0.0, True),
        ("Lung", SENTENCE, 0.00001, True),
        ("Lung", SENTENCE, 0.01, False),
        ("Lung", "Heart", 0.0, False),
        ("the upper lobe of the left lung", SENTENCE, 0.0, False),
        ("Lung", SENTENCE, None, False),
        ("Lung", None, 0.0, False),
        ("Lung", "", 0.0, False),
    ],
)
def test_wordy_answers_explain_an_exact_match_of_zero(
    reference: str, text: str | None, number: float | None, is_said: bool
) -> None:
    found = [value("exact-match", "exact_match", number), value("llava-med", "open_recall", 0.9)]
    said = wordy_text(found, [sample(reference)], [answer(text)])
    assert bool(said) == is_said
    assert not is_said or ("12 words" in said[0] and "exact-match exact_match" in said[0])
