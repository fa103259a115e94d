"""Thoughts beside the answers of a run: how long they are, how many were cut or closed at their budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from evalkit.core.columns import column_values
from evalkit.core.format import percent
from evalkit.core.types import Prediction
from evalkit.scoring.aggregate import RunProvenance
from evalkit.scoring.base import ScoringProtocol
from evalkit.tasks.prompts import asks_for_thought

# The setting generation.reasoning, as decoding settings in short have it.
ASKED, REFUSED = ".think-on", ".think-off"
# So many ids of answers that were cut inside their reasoning are printed.
SHOWN_CUT = 5


def has_thought(prediction: Prediction) -> bool:
    """Whether an answer came with a thought that is in the record."""
    return bool(prediction.reasoning) or prediction.raw is not None


def is_hidden(prediction: Prediction) -> bool:
    """Whether a server counted the tokens of a thought that it did not show."""
    return not has_thought(prediction) and bool(prediction.thought_tokens)


def with_thoughts(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The answers that came with a thought, shown or hidden, in order."""
    marks = zip(*(column_values(predictions, name) for name in ("reasoning", "raw", "thought_tokens")), strict=True)
    return [
        predictions[place]
        for place, (reasoning, raw, tokens) in enumerate(marks)
        if reasoning or raw is not None or tokens
    ]


def thought_record(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Counts of thoughts, for the summary; empty for a run without any.

    words: of a thought that is shown, the median and the largest number.  tokens: likewise of all thoughts, where those
    of every one are known; a thought in which an answer was cut has all tokens of that answer.  hidden: thoughts that a
    server counted and did not show, where there are any.
    """
    found = with_thoughts(predictions)
    hidden = sum(map(is_hidden, found))
    if not found:
        return {}
    counts = [_tokens_of(p) for p in found]
    known = [n for n in counts if n is not None]
    words = [len(p.reasoning.split()) for p in found if has_thought(p)]
    return {
        "n": len(found),
        "cut": sum(p.is_cut for p in found),
        "forced": sum(p.thought_forced for p in found),
        **({"hidden": hidden} if hidden else {}),
        **({"words": {"median": median(words), "most": max(words)}} if words else {}),
        **({"tokens": {"median": median(known), "most": max(known)}} if len(known) == len(found) else {}),
    }


def _tokens_of(prediction: Prediction) -> int | None:
    """Tokens of an answer's thought; None where they are not known."""
    if prediction.thought_tokens is None and prediction.is_cut:
        return prediction.n_tokens
    return prediction.thought_tokens


def thought_length_text(found: Mapping[str, Any]) -> str:
    """The length of thoughts and the shares that were cut or closed, for beside the table.

    The length is in tokens where those of every thought are known, else in words.

    Args:
        found: see `thought_record`; not empty.

    >>> thought_length_text(thought_record([Prediction(sample_id="1", text="CT", reasoning="MRI or CT?", raw="…")]))
    'a thought has 3 words in the median, 3 at most; 0.0 % are cut, 0.0 % closed at their budget'
    """
    cut, forced = (percent(found[key] / found["n"], 1) for key in ("cut", "forced"))
    unit = "tokens" if "tokens" in found else "words"
    length, hidden = found[unit], found.get("hidden", 0)
    which = "a thought that is shown" if hidden and unit == "words" else "a thought"
    return (
        f"{which} has {length['median']:g} {unit} in the median, {length['most']} at most; {cut} % are cut, "
        f"{forced} % closed at their budget" + (f"; {hidden} are hidden by the server" if hidden else "")
    )


def thought_warning(predictions: Sequence[Prediction], generation: str, prompt: str) -> str | None:
    """A warning where answers do not follow the switch or the request to think; None where they do.

    Args:
        generation: decoding settings in short.
        prompt: the name of the prompt variants.
    """
    if asks_for_thought(prompt):
        unmarked = [p.sample_id for p in predictions if p.text is not None and not has_thought(p)]
        if unmarked:
            return (
                f"{len(unmarked)} of {len(predictions)} answers to task.prompt=cot have no heading of a thought and an "
                f"answer, first for sample {unmarked[0]}: their whole text was scored"
            )
    n = len(with_thoughts(predictions)) if ASKED in generation or REFUSED in generation else 0
    if ASKED in generation and len(predictions) and not n:
        return (
            "generation.reasoning=on, and no answer came with a thought: the model or its server has not followed the "
            "switch, marks its thoughts in a way that is not known, or neither shows nor counts them"
        )
    if REFUSED in generation and n:
        return f"generation.reasoning=off, and {n} of {len(predictions)} answers came with a thought all the same"
    return None


def reasoning_texts(
    predictions: Sequence[Prediction], protocols: Sequence[ScoringProtocol], provenance: RunProvenance
) -> tuple[str, ...]:
    """Lines about reasoning in the answers and how it was handled; empty for a run without any."""
    found = with_thoughts(predictions) if provenance.reasoning == "auto" else []
    if not found:
        return ()
    n, thoughts, hidden = len(predictions), sum(map(has_thought, found)), sum(map(is_hidden, found))
    shown = f"{thoughts} of {n} answers came with a thought, not scored (reasoning=keep scores it)"
    unseen = f"{hidden} of {n} answers came after a thought that the server counts and does not show"
    said = [text for text, count in ((shown, thoughts), (unseen, hidden)) if count]
    texts = [f"{'' if k else 'reasoning':<20}{text}" for k, text in enumerate(said)]
    if cut := [p.sample_id for p in predictions if p.is_cut]:
        named = ", ".join(cut[:SHOWN_CUT]) + (f" and {len(cut) - SHOWN_CUT} more" if len(cut) > SHOWN_CUT else "")
        texts.append(f"                    {len(cut)} of {n} end inside their reasoning and are unscored: {named}")
    if thoughts and (raw := [p.name for p in protocols if getattr(p, "reads", "answer") == "raw"]):
        texts.append(f"                    {', '.join(raw)}: the text as it came, as the authors' code reads it")
    return ("\n".join(texts),)
