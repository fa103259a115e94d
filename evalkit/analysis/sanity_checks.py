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

from evalkit.core.files import read_json, read_lines
from evalkit.core.types import Prediction, Row, Sample, Score
from evalkit.models.text_only_baselines import Lookup, Majority, fold_text
from evalkit.scoring.aggregate import Context, score_all
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.text.medical import read_list
from evalkit.scoring.text.yes_no import gold_polarity, read_verdict
from evalkit.stats import mean_interval, paired_interval
from evalkit.tasks.base import LoadedTask

# The metrics whose lift over a baseline is shown, where a protocol has them.
HEADLINES = ("closed_accuracy", "open_recall", "exact_match")
# Protocols that the baselines are scored under: their own, not every published one, for time.
BASELINE_PROTOCOLS = ("llava-med", "strict", "exact-match")
# Samples that a baseline answers before they are scored: memory must not hold all their scores.
AT_ONCE = 1000
# Slices by a tag that says what is the matter with a row.
PARTS = ("leak=", "repeats=")

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
        "blank": blank_run(out, samples, scores, context),
        "parts": parts(rows),
    }


def rates(samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score]) -> dict[str, Any]:
    """Shares of all samples; unparsable: closed answers that `strict` could not read, of its closed rows.

    truncated: None where no answer says how it ended, as in other people's files.
    """
    n = len(samples)
    closed = [s for s in scores if (s.protocol, s.metric) == ("strict", "closed_accuracy")]
    texts = [p.text for p in predictions if p.text is not None]
    return {
        "failed": sum(p.error is not None for p in predictions) / n,
        "empty": sum(not t.strip() for t in texts) / n,
        "truncated": sum(p.finish_reason == "length" for p in predictions) / n
        if any(p.finish_reason != "unknown" for p in predictions)
        else None,
        "refusal": sum(bool(_REFUSAL.search(t)) for t in texts) / n,
        "unparsable": sum(s.value is None for s in closed) / len(closed) if closed else None,
        "words": sum(len(t.split()) for t in texts) / len(texts) if texts else None,
    }


def yes_no(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """A yes/no set read as a diagnostic test: yes-bias, sensitivity, specificity; None without such rows.

    n_read counts the answers that say yes or no; the shares are over them, their intervals clustered by image.
    """
    read: list[tuple[bool, bool, str]] = []
    n = 0
    for sample, prediction in zip(samples, predictions, strict=True):
        gold = sample.references[0].strip().lower().rstrip(".")
        if gold not in ("yes", "no"):
            continue
        n += 1
        text = prediction.text or ""
        says = read_verdict(text, sample.question).says if text.strip() else None
        if says is not None:
            read.append((gold == "yes", says == "yes", sample.image_id))
    if not read:
        return {"n": n, "n_read": 0} if n else None
    hits = {gold: [float(said == gold) for g, said, _ in read if g == gold] for gold in (True, False)}
    images = {gold: [image for g, _, image in read if g == gold] for gold in (True, False)}
    sensitivity, specificity = (sum(hits[gold]) / len(hits[gold]) if hits[gold] else None for gold in (True, False))
    both = sensitivity is not None and specificity is not None
    return {
        "n": n,
        "n_read": len(read),
        "yes_said": sum(said for _, said, _ in read) / len(read),
        "yes_gold": sum(gold for gold, _, _ in read) / len(read),
        "sensitivity": sensitivity,
        "sensitivity_interval": _bounds(hits[True], images[True]),
        "specificity": specificity,
        "specificity_interval": _bounds(hits[False], images[False]),
        "balanced_accuracy": (sensitivity + specificity) / 2 if both else None,  # type: ignore[operator]
    }


def _bounds(values: Sequence[float], images: Sequence[str]) -> list[float | None]:
    interval = mean_interval(values, images)
    return [interval.low, interval.high] if interval else [None, None]


def consistency(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """Rewordings of one question about one image (tag `pair`): how many pairs get the same answer.

    Linked questions may ask different things ("is the trachea normal?", "is it midline?"), so only pairs with one gold
    answer count; n_other_gold says how many do not.  Answers are the same when `strict` reads the same from both: the
    verdict where the gold is yes or no, else the list after aliases.
    """
    groups: dict[tuple[str, str], list[tuple[Sample, str]]] = defaultdict(list)
    for sample, prediction in zip(samples, predictions, strict=True):
        if (pair := sample.tags.get("pair")) and prediction.text is not None:
            groups[sample.image_id, pair].append((sample, prediction.text))
    linked = [(a, b) for group in groups.values() for k, a in enumerate(group) for b in group[k + 1 :]]
    if not linked:
        return None
    pairs = [(a, b) for a, b in linked if _says(a[0], a[0].references[0]) == _says(b[0], b[0].references[0])]
    same = [float(_says(*a) == _says(*b)) for a, b in pairs]
    right = sum(_says(*a) == _says(*b) == _says(a[0], a[0].references[0]) for a, b in pairs)
    return {
        "n_pairs": len(pairs),
        "n_other_gold": len(linked) - len(pairs),
        "same_answer": sum(same) / len(same) if same else None,
        "interval": _bounds(same, [a[0].image_id for a, _ in pairs]),
        "both_right": right / len(pairs) if pairs else None,
    }


def _says(sample: Sample, text: str) -> object:
    """What an answer says; an unreadable verdict is its own text."""
    if gold_polarity(sample.references[0], sample.question) and text.strip():
        return read_verdict(text, sample.question).says or fold_text(text)
    return read_list(text)[0]


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
        theirs: dict[tuple[str, str], Pairs] = defaultdict(lambda: ([], []))
        for start in range(0, len(samples), AT_ONCE):
            part = samples[start : start + AT_ONCE]
            blind = [Prediction(sample_id=s.id, text=fitted.answer(s.question, s.answer_type)) for s in part]
            for s in score_all(part, blind, chosen):
                if s.metric in HEADLINES:
                    ids, values = theirs[s.protocol, s.metric]
                    ids.append(s.sample_id)
                    values.append(s.value or 0.0)
        for (protocol, metric), (ids, values) in theirs.items():
            lift = _lift(mine[protocol, metric], ids, values, image_of)
            found["metrics"].append({"baseline": name, "protocol": protocol, "metric": metric, **lift})
    return found


# (protocol, metric) -> sample id -> value, of the headline metrics alone.
Table = dict[tuple[str, str], dict[str, float | None]]
# Sample ids and their values, what could not be scored as zero.
Pairs = tuple[list[str], list[float]]


def _lift(
    mine: Mapping[str, float | None], ids: Sequence[str], others: Sequence[float], image_of: Mapping[str, str]
) -> dict[str, Any]:
    """Their value, and how much higher ours is on the same rows; what could not be scored is zero on either side."""
    ours = [mine.get(i) or 0.0 for i in ids]
    interval = paired_interval(others, ours, [image_of[i] for i in ids])
    return {
        "value": sum(others) / len(others),
        "lift": (sum(ours) - sum(others)) / len(others),
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
    }


def _values(scores: Sequence[Score]) -> Table:
    values: Table = defaultdict(dict)
    for s in scores:
        if s.metric in HEADLINES:
            values[s.protocol, s.metric][s.sample_id] = s.value
    return values


def blank_run(out: Path, samples: Sequence[Sample], scores: Sequence[Score], context: Context) -> dict[str, Any]:
    """The same model on blank images, when such a run over the same rows and prompt lies in `out`, and the lift."""
    task = context.task
    if context.image == "blank":
        return {"unknown": "this is the run with blank images"}
    wanted = {
        "model": context.model, "task": task.name, "split": task.split, "data_sha256": task.data_sha256,
        "prompt": context.prompt, "image": "blank", "generation": context.generation,
    }  # fmt: skip
    image_of = {s.id: s.image_id for s in samples}
    mine = _values(scores)
    for path in sorted(out.glob("*/summary.json")):
        summary = read_json(path, "summary")
        if any(summary.get(k) != v for k, v in wanted.items()) or summary.get("limit"):
            continue
        theirs: Table = defaultdict(dict)
        for record in read_lines(path.with_name("scores.jsonl")):
            theirs[record["protocol"], record["metric"]][record["sample_id"]] = record["value"]
        shared = [k for k in mine if k[1] in HEADLINES and k in theirs and theirs[k].keys() <= image_of.keys()]
        return {
            "run_id": summary["run_id"],
            "metrics": [
                {"protocol": p, "metric": m}
                | _lift(mine[p, m], list(theirs[p, m]), [v or 0.0 for v in theirs[p, m].values()], image_of)
                for p, m in shared
            ],
        }
    return {"unknown": "no run of this model with image=blank over the same rows and prompt is beside this one"}


def parts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The headline metrics on the rows that training may have shown, or that contradict others, and on the rest."""
    return [
        {"part": r.slice, "protocol": r.protocol, "metric": r.metric, "value": r.value, "low": r.low, "high": r.high}
        | {"n": r.n}
        for r in rows
        if r.slice.startswith(PARTS) and r.metric in HEADLINES and r.n
    ]


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
        shown = [
            f"{m['protocol']} {m['metric']} {_percent(m['value'])} (lift {100 * m['lift']:+.1f}{_interval(m)})"
            for m in values
            if m["protocol"] == values[0]["protocol"]
        ]
        lines.append(f"{'blank image':<20}{', '.join(shown)} ({block['blank']['run_id']})")
    else:
        lines.append(f"{'blank image':<20}not known: {block['blank']['unknown']}")
    if (answers := block["yes_no"]) and answers["n_read"]:
        lines.append(
            f"{'yes/no answers':<20}{answers['n_read']} of {answers['n']} read; yes {_percent(answers['yes_said'])} "
            f"(reference {_percent(answers['yes_gold'])}), sensitivity {_percent(answers['sensitivity'])}"
            f"{_pair(answers['sensitivity_interval'])}, specificity {_percent(answers['specificity'])}"
            f"{_pair(answers['specificity_interval'])}"
        )
    if pairs := block["consistency"]:
        lines.append(
            f"{'rewordings':<20}same answer to {_percent(pairs['same_answer'])}{_pair(pairs['interval'])} of "
            f"{pairs['n_pairs']} pairs, both right {_percent(pairs['both_right'])}"
        )
    by_part: dict[str, list[str]] = defaultdict(list)
    for m in block["parts"]:
        if m["protocol"] == BASELINE_PROTOCOLS[0]:
            by_part[m["part"]].append(
                f"{m['metric']} {_percent(m['value'])}{_pair([m['low'], m['high']])} (n {m['n']})"
            )
    lines += [f"{part:<20}{', '.join(shown)}" for part, shown in by_part.items()]
    shares = {k: v for k, v in block["rates"].items() if k != "words" and v is not None}
    lines.append(f"{'rates, percent':<20}{', '.join(f'{k} {100 * v:.1f}' for k, v in shares.items())}")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _pair(bounds: Sequence[float | None]) -> str:
    low, high = bounds
    return "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"


def _interval(m: Mapping[str, Any]) -> str:
    return "" if m["low"] is None else f" [{100 * m['low']:+.1f}, {100 * m['high']:+.1f}]"
