"""The regression gate: is a candidate no worse than a baseline by more than a margin?

Non-inferiority on the image-clustered paired difference.  "No significant drop" is not a pass: a set too small to tell
gives `inconclusive`.  Whatever is wrong with an input, the gate does not pass (it raises).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from evalkit.errors import ConfigError, DataError
from evalkit.paired import Paired, Scored, differences, pair
from evalkit.stats import holm, paired_minimum_detectable_effect

ALPHA = 0.05
PASS, IMPROVED, FAIL, INCONCLUSIVE = "pass", "improved", "fail", "inconclusive"
# Share of rows on which two similar models differ, assumed before anything is known of the candidate.
ASSUMED_DISCORDANCE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One metric's verdict.

    low, high: two-sided 90 % interval of the difference, that is two one-sided 95 % bounds.
    p_worse: one-sided p of "not worse at all", Holm-adjusted over the metrics of the gate.
    """

    metric: str
    verdict: str
    margin: float
    paired: Paired
    p_worse: float


def judge(baseline: Scored, candidate: Scored, metrics: Sequence[str], margin: float) -> list[Verdict]:
    """The verdict of each metric.

    pass: lower bound > -margin.  improved: lower bound > 0.  fail: worse by more than the margin in point and
    significantly worse than equal (Holm over the metrics).  inconclusive: anything else.  The gate as a whole passes
    when every metric does (each at 5 %, which needs no correction: all of them must hold), and fails when one fails.

    Raises:
        DataError: the two runs may not be compared; says every difference.
        ConfigError: the margin is not a fraction between 0 and 1, or there is no metric.
    """
    if not 0 < margin < 1:
        raise ConfigError(f"margin={margin} is not possible; give a fraction such as 0.02 for two percentage points.")
    if not metrics:
        raise ConfigError("The gate needs at least one metric: metrics=['llava-med closed_accuracy'].")
    if found := differences(baseline, candidate, metrics):
        raise DataError(
            f"{baseline.origin} and {candidate.origin} may not be compared: {'; '.join(found)}. A gate needs the same "
            "rows, prompts and protocol versions on both sides; make the baseline anew if the change is meant."
        )
    pairs = [pair(baseline, candidate, m, 1 - 2 * ALPHA) for m in metrics]
    adjusted = holm([_p_worse(p) for p in pairs])
    return [
        Verdict(metric=p.metric, verdict=_verdict(p, margin, q), margin=margin, paired=p, p_worse=q)
        for p, q in zip(pairs, adjusted, strict=True)
    ]


def _verdict(p: Paired, margin: float, p_worse: float) -> str:
    low = p.interval.low
    if not p.flipped:
        return PASS  # identical scores: nothing to estimate
    if low is None:
        return INCONCLUSIVE  # one image: no variance can be estimated
    if low > 0:
        return IMPROVED
    if low > -margin:
        return PASS
    return FAIL if p.difference < -margin and p_worse < ALPHA else INCONCLUSIVE


def _p_worse(p: Paired) -> float:
    """One-sided p-value of a difference this low or lower, were the two equal; t with clusters - 1 degrees."""
    from scipy.special import stdtr

    if not p.flipped or math.isnan(p.standard_error):
        return 1.0
    if p.standard_error == 0.0:
        return 0.0 if p.difference < 0 else 1.0
    return float(stdtr(p.n_clusters - 1, p.difference / p.standard_error))


def smallest_margin(n: int, discordance: float = ASSUMED_DISCORDANCE, power: float = 0.8) -> float:
    """The margin that n independent rows can certify for an equal candidate, one-sided 5 %, with the given power.

    >>> round(smallest_margin(451), 3)
    0.037
    """
    return paired_minimum_detectable_effect(n, discordance, alpha=ALPHA, power=power, sides=1)


def overall(verdicts: Sequence[Verdict]) -> str:
    """The gate's verdict: fail when one fails, inconclusive when one is, improved when all are, else pass."""
    kinds = {v.verdict for v in verdicts}
    for kind in (FAIL, INCONCLUSIVE):
        if kind in kinds:
            return kind
    return IMPROVED if kinds == {IMPROVED} else PASS


def record(verdicts: Sequence[Verdict], baseline: Scored, candidate: Scored) -> dict[str, Any]:
    """gate.json."""
    return {
        "schema": 1,
        "verdict": overall(verdicts),
        "alpha": ALPHA,
        "baseline": {"origin": baseline.origin, **baseline.header},
        "candidate": {"origin": candidate.origin, **candidate.header},
        "metrics": [_metric(v) for v in verdicts],
        "flipped": flips(verdicts, baseline, candidate),
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
        "p_worse_holm": v.p_worse,
        "n": p.n,
        "n_images": p.n_clusters,
        "n_worse": p.n_worse,
        "n_better": p.n_better,
        "n_unscored": list(p.n_unscored),
        "smallest_margin": smallest_margin(p.n, max(len(p.flipped) / p.n, 1 / p.n)),
    }


def flips(verdicts: Sequence[Verdict], baseline: Scored, candidate: Scored) -> list[dict[str, Any]]:
    """Every sample whose score changed, with both answers where they are known."""
    place = {i: k for k, i in enumerate(candidate.ids)}
    found = []
    for v in verdicts:
        for k in v.paired.flipped:
            other = place[baseline.ids[k]]
            found.append(
                {
                    "metric": v.metric,
                    "sample_id": baseline.ids[k],
                    "image_id": baseline.image_ids[k],
                    "question": candidate.questions[other] if candidate.questions else None,
                    "baseline": baseline.scores[v.metric][k],
                    "candidate": candidate.scores[v.metric][other],
                    "baseline_text": baseline.texts[k] if baseline.texts else None,
                    "candidate_text": candidate.texts[other] if candidate.texts else None,
                }
            )
    return found


def junit(content: Mapping[str, Any]) -> str:
    """JUnit XML: a test case a metric, a failure for fail, a skip for inconclusive."""
    metrics = content["metrics"]
    suite = ElementTree.Element(
        "testsuite",
        name=f"evalkit gate {content['candidate']['task']}",
        tests=str(len(metrics)),
        failures=str(sum(m["verdict"] == FAIL for m in metrics)),
        skipped=str(sum(m["verdict"] == INCONCLUSIVE for m in metrics)),
        errors="0",
    )
    for metric in metrics:
        case = ElementTree.SubElement(suite, "testcase", classname="evalkit.gate", name=metric["metric"])
        kind = {FAIL: "failure", INCONCLUSIVE: "skipped"}.get(metric["verdict"])
        if kind:
            ElementTree.SubElement(case, kind, message=sentence(metric))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def sentence(m: Mapping[str, Any]) -> str:
    """A metric's verdict in words."""
    interval = "–" if m["low"] is None else f"[{100 * m['low']:+.2f}, {100 * m['high']:+.2f}]"
    return (
        f"{m['metric']}: {m['verdict']}; {100 * m['baseline']:.2f} -> {100 * m['candidate']:.2f}, difference "
        f"{100 * m['difference']:+.2f} {interval} against a margin of {100 * m['margin']:.2f}; {m['n_worse']} worse, "
        f"{m['n_better']} better of {m['n']} on {m['n_images']} images"
    )


def markdown(content: Mapping[str, Any], most: int = 50) -> str:
    """A job summary."""
    lines = [
        f"## evalkit gate: {content['verdict']}",
        "",
        f"`{content['candidate']['model']}` against `{content['baseline']['model']}` on {content['candidate']['task']} "
        f"({content['candidate']['split']}, {content['candidate']['n']} samples)",
        "",
        "| metric | verdict | baseline | candidate | difference [90 %] | margin | worse | better | n |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for m in content["metrics"]:
        interval = "–" if m["low"] is None else f"[{100 * m['low']:+.2f}, {100 * m['high']:+.2f}]"
        lines.append(
            f"| {m['metric']} | {m['verdict']} | {100 * m['baseline']:.2f} | {100 * m['candidate']:.2f} | "
            f"{100 * m['difference']:+.2f} {interval} | {100 * m['margin']:.2f} | {m['n_worse']} | {m['n_better']} | "
            f"{m['n']} |"
        )
    flipped = content["flipped"]
    if flipped:
        lines += [
            "",
            f"### {len(flipped)} changed scores",
            "",
            "| sample | question | baseline | candidate |",
            "|---|---|---|---|",
        ]
        for f in flipped[:most]:
            cells = (f["sample_id"], f["question"], f["baseline_text"], f["candidate_text"])
            lines.append("| " + " | ".join(_cell(c) for c in cells) + " |")
        if len(flipped) > most:
            lines.append(f"\n{len(flipped) - most} more in gate.json")
    return "\n".join(lines) + "\n"


def _cell(text: str | None) -> str:
    """Untrusted text in a Markdown table: no pipes, no markup, no line breaks."""
    clean = " ".join((text or "–").split())[:120]
    for mark in "\\`*_[]<>|":
        clean = clean.replace(mark, f"&#{ord(mark)};")
    return clean


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """gate.json, gate.xml and gate.md."""
    from evalkit.store import write_whole

    write_whole(folder / "gate.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_whole(folder / "gate.xml", junit(content))
    write_whole(folder / "gate.md", markdown(content))
