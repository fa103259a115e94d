"""What a score is worth: the baselines beside it, how the answers came out, and whether they hang together.

A number on a medical VQA set says little without what an image-blind rule gets on the same rows.  Nothing here changes
a score, and what cannot be known is said to be unknown.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.models.baselines import Lookup, Majority, normal
from evalkit.scorers.base import ScoringProtocol
from evalkit.scorers.yes_no import read_verdict
from evalkit.scoring import Context, score_all
from evalkit.stats import mean_interval
from evalkit.store import read_json
from evalkit.tasks.base import LoadedTask
from evalkit.types import Prediction, Row, Sample, Score

# The metrics whose lift over a baseline is shown, where a protocol has them.
HEADLINES = ("closed_accuracy", "open_recall", "exact_match")
# Protocols that the baselines are scored under: their own, not every published one, for time.
BASELINE_PROTOCOLS = ("llava-med", "strict", "exact-match")

_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)|i (?:cannot|can't|can not)|as an ai|unable to (?:determine|answer|"
    r"provide)|cannot be determined|consult (?:a|your) (?:doctor|physician|radiologist))\b",
    re.I,
)


def worth(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    scores: Sequence[Score],
    rows: Sequence[Row],
    protocols: Sequence[ScoringProtocol],
    context: Context,
    train: LoadedTask | str | None,
    out: Path,
) -> dict[str, Any]:
    """The block `worth` of summary.json.

    Args:
        train: the train split, why there is none, or None when the task has no such baselines.
        out: the folder with runs, where a run of the same model on blank images may lie.
    """
    return {
        "rates": rates(samples, predictions, scores),
        "yes_no": yes_no(samples, predictions),
        "consistency": consistency(samples, predictions),
        "baselines": baselines(samples, scores, protocols, train),
        "blank": blank_run(out, rows, context),
    }


def rates(samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> dict[str, Any]:
    """Shares of all samples; unparsable: closed answers that `strict` could not read, of its closed rows."""
    n = len(samples)
    closed = [s for s in scores if (s.protocol, s.metric) == ("strict", "closed_accuracy")]
    texts = [p.text for p in predictions if p.text is not None]
    return {
        "failed": sum(p.error is not None for p in predictions) / n,
        "empty": sum(not t.strip() for t in texts) / n,
        "truncated": sum(p.finish_reason == "length" for p in predictions) / n,
        "refusal": sum(bool(_REFUSAL.search(t)) for t in texts) / n,
        "unparsable": sum(s.value is None for s in closed) / len(closed) if closed else None,
        "words": sum(len(t.split()) for t in texts) / len(texts) if texts else None,
    }


def yes_no(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """A yes/no set read as a diagnostic test: yes-bias, sensitivity, specificity; None without such rows.

    n_read counts the answers that say yes or no; the shares are over them.
    """
    read: list[tuple[bool, bool]] = []
    n = 0
    for sample, prediction in zip(samples, predictions, strict=True):
        gold = sample.references[0].strip().lower().rstrip(".")
        if gold not in ("yes", "no"):
            continue
        n += 1
        text = prediction.text or ""
        says = read_verdict(text, sample.question).says if text.strip() else None
        if says is not None:
            read.append((gold == "yes", says == "yes"))
    if not read:
        return {"n": n, "n_read": 0} if n else None
    hits = {gold: [said for g, said in read if g == gold] for gold in (True, False)}
    sensitivity = sum(hits[True]) / len(hits[True]) if hits[True] else None
    specificity = sum(not said for said in hits[False]) / len(hits[False]) if hits[False] else None
    both = sensitivity is not None and specificity is not None
    return {
        "n": n,
        "n_read": len(read),
        "yes_said": sum(said for _, said in read) / len(read),
        "yes_gold": sum(gold for gold, _ in read) / len(read),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": (sensitivity + specificity) / 2 if both else None,  # type: ignore[operator]
    }


def consistency(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """Rewordings of one question about one image (tag `pair`): how many pairs get the same answer."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for sample, prediction in zip(samples, predictions, strict=True):
        if (pair := sample.tags.get("pair")) and prediction.text is not None:
            groups[sample.image_id, pair].append(normal(prediction.text).rstrip("."))
    pairs = [(a, b) for group in groups.values() for k, a in enumerate(group) for b in group[k + 1 :]]
    return {"n_pairs": len(pairs), "same_answer": sum(a == b for a, b in pairs) / len(pairs)} if pairs else None


def baselines(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    protocols: Sequence[ScoringProtocol],
    train: LoadedTask | str | None,
) -> dict[str, Any]:
    """Majority and lookup on the same rows, with the paired lift over each (95 %, clustered by image).

    On either side a row that could not be scored counts as zero.
    """
    if train is None or isinstance(train, str):
        return {"unknown": train or "the task has no train split to learn from"}
    chosen = [p for p in protocols if p.name in BASELINE_PROTOCOLS]
    found: dict[str, Any] = {"train_rows": len(train.samples), "train_sha256": train.data_sha256, "metrics": []}
    image_of = {s.id: s.image_id for s in samples}
    mine = _values(scores)
    for name, kind in (("majority", Majority()), ("lookup", Lookup())):
        fitted = kind.fit(train.samples)
        blind = [Prediction(sample_id=s.id, text=fitted.answer(s.question, s.answer_type)) for s in samples]
        scored = score_all(samples, blind, chosen)
        theirs = _values(scored)
        for key, values in theirs.items():
            if key[1] not in HEADLINES:
                continue
            deltas = {i: (mine[key].get(i) or 0.0) - (value or 0.0) for i, value in values.items()}
            interval = mean_interval(list(deltas.values()), [image_of[i] for i in deltas], bounded=False)
            found["metrics"].append(
                {
                    "baseline": name,
                    "protocol": key[0],
                    "metric": key[1],
                    "value": sum(v or 0.0 for v in values.values()) / len(values),
                    "lift": sum(deltas.values()) / len(deltas),
                    "low": interval.low if interval else None,
                    "high": interval.high if interval else None,
                }
            )
    return found


def _values(scores: Sequence[Score]) -> dict[tuple[str, str], dict[str, float | None]]:
    values: dict[tuple[str, str], dict[str, float | None]] = defaultdict(dict)
    for s in scores:
        values[s.protocol, s.metric][s.sample_id] = s.value
    return values


def blank_run(out: Path, rows: Sequence[Row], context: Context) -> dict[str, Any]:
    """The same model on blank images, when such a run over the same rows and prompt lies in `out`."""
    task = context.task
    wanted = {
        "model": context.model, "task": task.name, "split": task.split, "data_sha256": task.data_sha256,
        "prompt": context.prompt, "image": "blank", "generation": context.generation,
    }  # fmt: skip
    for path in sorted(out.glob("*/summary.json")):
        summary = read_json(path, "summary")
        if all(summary.get(k) == v for k, v in wanted.items()) and not summary.get("limit"):
            theirs = {(m["protocol"], m["metric"]): m["value"] for m in summary["metrics"] if m["slice"] == "all"}
            values = [
                {"protocol": r.protocol, "metric": r.metric, "value": theirs[r.protocol, r.metric]}
                for r in rows
                if r.slice == "all" and r.metric in HEADLINES and (r.protocol, r.metric) in theirs
            ]
            return {"run_id": summary["run_id"], "metrics": values}
    return {"unknown": "no run of this model with image=blank over the same rows and prompt is beside this one"}


def render(block: Mapping[str, Any]) -> str:
    """The block in a few lines of text."""
    lines = []
    for name in ("majority", "lookup"):
        shown = [
            f"{m['protocol']} {m['metric']} {100 * m['value']:.1f} (lift {100 * m['lift']:+.1f}{_interval(m)})"
            for m in block["baselines"].get("metrics", ())
            if m["baseline"] == name and m["protocol"] == BASELINE_PROTOCOLS[0]
        ]
        if shown:
            lines.append(f"{name + ' (no image)':<20}{', '.join(shown)}")
    if unknown := block["baselines"].get("unknown"):
        lines.append(f"{'majority, lookup':<20}not known: {unknown}")
    if values := block["blank"].get("metrics"):
        shown = [f"{m['protocol']} {m['metric']} {_percent(m['value'])}" for m in values]
        lines.append(f"{'blank image':<20}{', '.join(shown)} ({block['blank']['run_id']})")
    else:
        lines.append(f"{'blank image':<20}not known: {block['blank']['unknown']}")
    if (answers := block["yes_no"]) and answers["n_read"]:
        lines.append(
            f"{'yes/no answers':<20}{answers['n_read']} of {answers['n']} read; yes {_percent(answers['yes_said'])} "
            f"(reference {_percent(answers['yes_gold'])}), sensitivity {_percent(answers['sensitivity'])}, "
            f"specificity {_percent(answers['specificity'])}"
        )
    if pairs := block["consistency"]:
        lines.append(f"{'rewordings':<20}same answer to {_percent(pairs['same_answer'])} of {pairs['n_pairs']} pairs")
    shares = {k: v for k, v in block["rates"].items() if k != "words" and v is not None}
    lines.append(f"{'rates, percent':<20}{', '.join(f'{k} {100 * v:.1f}' for k, v in shares.items())}")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _interval(m: Mapping[str, Any]) -> str:
    return "" if m["low"] is None else f" [{100 * m['low']:+.1f}, {100 * m['high']:+.1f}]"
