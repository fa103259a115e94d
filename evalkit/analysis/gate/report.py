"""What a gate leaves behind: gate.json, JUnit XML for the CI's test view, Markdown for its job summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from evalkit.analysis.gate.verdicts import (
    ALPHA,
    BOUND,
    FAIL,
    INCONCLUSIVE,
    PASS,
    Comparison,
    Verdict,
    needed_margin,
    overall,
)
from evalkit.core.files import write_whole

SCHEMA = 2
REFUSED = "refused"
# Job summaries are cut by CI services (1 MiB at the strictest); gate.json has everything.
MOST_SHOWN = 50


def record(comparisons: Sequence[Comparison], exact: bool = False) -> dict[str, Any]:
    """gate.json."""
    return {
        "schema": SCHEMA,
        "verdict": overall(comparisons, exact),
        "exact": exact,
        "alpha": ALPHA,
        "interval_level": 1 - 2 * BOUND,
        "comparisons": [_comparison(c) for c in comparisons],
    }


def _comparison(c: Comparison) -> dict[str, Any]:
    header = c.baseline.header
    return {
        "task": header["task"],
        "split": header["split"],
        "n": header["n"],
        "baseline": {"origin": c.baseline.origin, **header},
        "candidate": {"origin": c.candidate.origin, **c.candidate.header},
        "metrics": [_metric(v) for v in c.verdicts],
        "n_moved": len(c.moved),
        "flipped": flips(c),
        "moved": moved(c),
    }


def _metric(v: Verdict) -> dict[str, Any]:
    p = v.paired
    return {
        "metric": v.metric,
        "verdict": v.verdict,
        "margin": v.margin,
        "baseline": p.first,
        "candidate": p.second,
        "difference": p.difference,
        "low": p.interval.low,
        "high": p.interval.high,
        "interval": p.interval.method,
        "p_worse_holm": v.p_worse,
        "p_better_holm": v.p_better,
        "n": p.n,
        "n_images": p.n_clusters,
        "n_worse": p.n_worse,
        "n_better": p.n_better,
        "n_unscored": list(p.n_unscored),
        "smallest_margin": needed_margin(p),
    }


def flips(c: Comparison) -> list[dict[str, Any]]:
    """Every sample whose score changed, metric by metric, with image and both answers where they are known."""
    place = {i: k for k, i in enumerate(c.candidate.ids)}
    return [
        {
            "metric": v.metric,
            **_sample(c, k, place),
            "baseline": c.baseline.scores[v.metric][k],
            "candidate": c.candidate.scores[v.metric][place[c.baseline.ids[k]]],
        }
        for v in c.verdicts
        for k in v.paired.flipped
    ]


def moved(c: Comparison) -> list[dict[str, Any]]:
    """Every sample whose answer is another text, whether or not a score changed."""
    place = {i: k for k, i in enumerate(c.candidate.ids)}
    return [_sample(c, k, place) for k in c.moved]


def _sample(c: Comparison, k: int, place: Mapping[str, int]) -> dict[str, Any]:
    a, b = c.baseline, c.candidate
    other = place[a.ids[k]]
    questions, at = (b.questions, other) if b.questions else (a.questions, k)
    return {
        "sample_id": a.ids[k],
        "image_id": a.image_ids[k],
        "question": questions[at] if questions else None,
        "baseline_text": a.texts[k] if a.texts else None,
        "candidate_text": b.texts[other] if b.texts else None,
    }


def refusal(message: str) -> dict[str, Any]:
    """gate.json of a gate that could not be held: an earlier verdict in the same place must not outlive it."""
    return {"schema": SCHEMA, "verdict": REFUSED, "reason": message, "comparisons": []}


def junit(content: Mapping[str, Any]) -> str:
    """JUnit XML: a test case a task and metric, a failure for fail, a skip for inconclusive, an error for refused."""
    cases = [(c["task"], m["metric"], m["verdict"], sentence(m)) for c in content["comparisons"] for m in c["metrics"]]
    if content["verdict"] == REFUSED:
        cases = [("gate", "inputs", REFUSED, content["reason"])]
    elif content["exact"]:
        cases = [
            (c["task"], "answers", FAIL if c["n_moved"] or c["flipped"] else PASS, exactly(c))
            for c in content["comparisons"]
        ]
    kinds = {FAIL: "failure", INCONCLUSIVE: "skipped", REFUSED: "error"}
    suite = ElementTree.Element(
        "testsuite",
        name="evalkit gate",
        tests=str(len(cases)),
        failures=str(sum(kind == FAIL for _, _, kind, _ in cases)),
        skipped=str(sum(kind == INCONCLUSIVE for _, _, kind, _ in cases)),
        errors=str(sum(kind == REFUSED for _, _, kind, _ in cases)),
    )
    for task, name, verdict, said in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=f"evalkit.analysis.gate.{task}", name=name)
        if verdict in kinds:
            ElementTree.SubElement(case, kinds[verdict], message=printable(said))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def printable(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def sentence(m: Mapping[str, Any]) -> str:
    """A metric's verdict in words."""
    lost = f"; unscored {m['n_unscored'][0]} and {m['n_unscored'][1]}, counted as 0" if any(m["n_unscored"]) else ""
    return (
        f"{m['metric']}: {m['verdict']}; {100 * m['baseline']:.2f} -> {100 * m['candidate']:.2f}, difference "
        f"{100 * m['difference']:+.2f} {_bounds(m)} against a margin of {100 * m['margin']:.2f}; {m['n_worse']} worse, "
        f"{m['n_better']} better of {m['n']} on {m['n_images']} images{lost}"
    )


def exactly(c: Mapping[str, Any]) -> str:
    """The verdict of exact=true in words."""
    return f"{c['n_moved']} of {c['n']} answers are not the baseline's, {len(c['flipped'])} scores changed"


def _bounds(m: Mapping[str, Any]) -> str:
    return "–" if m["low"] is None else f"[{100 * m['low']:+.2f}, {100 * m['high']:+.2f}]"


def markdown(content: Mapping[str, Any], most: int = MOST_SHOWN) -> str:
    """A job summary."""
    lines = [f"## evalkit gate: {content['verdict']}", ""]
    if content["verdict"] == REFUSED:
        return "\n".join([*lines, _cell(content["reason"], 2000)]) + "\n"
    interval = f"difference [{100 * content['interval_level']:.0f} %]"
    names = ("task", "metric", "verdict", "baseline", "candidate", interval, "margin", "worse", "better", "n", "images")
    lines += ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for c in content["comparisons"]:
        for m in c["metrics"]:
            cells = (
                c["task"], m["metric"], m["verdict"], f"{100 * m['baseline']:.2f}", f"{100 * m['candidate']:.2f}",
                f"{100 * m['difference']:+.2f} {_bounds(m)}", f"{100 * m['margin']:.2f}", m["n_worse"], m["n_better"],
                m["n"], m["n_images"],
            )  # fmt: skip
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    for c in content["comparisons"]:
        one, two = (_cell(str(c[side]["model"])) for side in ("candidate", "baseline"))
        lines += ["", f"{one} against {two} on {c['task']} ({c['split']}), {c['n']} samples: {exactly(c)}"]
        lines += _changed(c["flipped"], "changed scores", most)
        if content["exact"]:
            lines += _changed(c["moved"], "changed answers", most)
    return "\n".join(lines) + "\n"


def _changed(found: Sequence[Mapping[str, Any]], what: str, most: int) -> list[str]:
    if not found:
        return []
    lines = ["", f"### {len(found)} {what}", "", "| sample | image | question | baseline | candidate |"]
    lines.append("|---|---|---|---|---|")
    for f in found[:most]:
        cells = (f["sample_id"], f["image_id"], f["question"], f["baseline_text"], f["candidate_text"])
        lines.append("| " + " | ".join(_cell(c) for c in cells) + " |")
    return lines + ([f"\n{len(found) - most} more in gate.json"] if len(found) > most else [])


def _cell(text: str | None, most: int = 120) -> str:
    """Untrusted text in a Markdown table: no pipes, no markup, no line breaks."""
    clean = " ".join((text or "–").split())[:most]
    for mark in "\\`*_[]<>|":
        clean = clean.replace(mark, f"&#{ord(mark)};")
    return clean


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """gate.json, gate.xml and gate.md."""
    write_whole(folder / "gate.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_whole(folder / "gate.xml", junit(content))
    write_whole(folder / "gate.md", markdown(content))
