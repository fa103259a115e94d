"""The files that a gate writes: gate.json, JUnit XML for the CI's test view, Markdown for its job summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from evalkit.analysis.gate.verdicts import (
    ALPHA,
    BOUND,
    FAIL,
    INCONCLUSIVE,
    PASS,
    GateComparison,
    MetricVerdict,
    needed_margin,
    overall,
)
from evalkit.analysis.run_scores import clusters_in_words
from evalkit.core.files import indented, write_whole
from evalkit.core.format import interval, percent, shown_metric
from evalkit.core.plain_text import one_line
from evalkit.core.types import worst_score
from evalkit.runs.codec import encode

SCHEMA = 2
REFUSED = "refused"
# CI services cut job summaries (at 1 MiB for the strictest); gate.json has everything.
MOST_SHOWN = 50
# Keys of a comparison's lists of samples, which may have hundreds of thousands of entries.
CHANGED = ("flipped", "moved")


# Reference answers of one comparison's samples by id.
Golds = Mapping[str, Sequence[str]]


def record(
    comparisons: Sequence[GateComparison], exact: bool = False, golds: Sequence[Golds] | None = None
) -> dict[str, Any]:
    """The content of gate.json.

    Args:
        golds: of each comparison, as `gold_answers` gives them; None where they are not known.
    """
    known = golds if golds is not None else [{}] * len(comparisons)
    return {
        "schema": SCHEMA,
        "verdict": overall(comparisons, exact),
        "exact": exact,
        "alpha": ALPHA,
        "interval_level": 1 - 2 * BOUND,
        "comparisons": [_comparison(c, gold) for c, gold in zip(comparisons, known, strict=True)],
    }


def changed_samples(c: GateComparison) -> frozenset[str]:
    """The ids of the samples that gate.json lists: another text, or another score in some metric."""
    places = set(c.changed_answers).union(*(v.paired.flipped for v in c.verdicts))
    return frozenset(c.baseline.ids[k] for k in places)


def gold_answers(c: GateComparison) -> dict[str, tuple[str, ...]]:
    """The reference answers of the changed samples, from the folder of either run; empty for baseline files alone."""
    from evalkit.runs.read import references_at
    from evalkit.runs.store import RunFolder

    wanted = changed_samples(c)
    for run in (c.candidate, c.baseline):
        path = RunFolder(Path(run.origin)).predictions
        if wanted and path.is_file():
            return references_at(path, wanted)
    return {}


def refusal(message: str) -> dict[str, Any]:
    """The content of gate.json when the gate was refused; it replaces an earlier verdict in the same place."""
    return {"schema": SCHEMA, "verdict": REFUSED, "reason": message, "comparisons": []}


def _comparison(c: GateComparison, golds: Golds) -> dict[str, Any]:
    header = c.baseline.header
    return {
        "task": header.task,
        "split": header.split,
        "n": header.n,
        "baseline": {"origin": c.baseline.origin, **encode(header)},
        "candidate": {"origin": c.candidate.origin, **encode(c.candidate.header)},
        "cluster": c.candidate.cluster,
        "metrics": [{**_metric(v), "cluster": c.candidate.cluster} for v in c.verdicts],
        "n_moved": len(c.changed_answers),
        **_changes(c, golds),
    }


def _metric(v: MetricVerdict) -> dict[str, Any]:
    p = v.paired
    return {
        "metric": str(v.key),
        "higher_is_better": p.higher_is_better,
        "verdict": v.verdict,
        "margin": v.margin,
        "baseline": p.first,
        "candidate": p.second,
        "baseline_table": p.table_values[0],
        "candidate_table": p.table_values[1],
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
        "n_unscored": [p.first_unscored, p.second_unscored],
        "smallest_margin": needed_margin(p),
    }


def _changes(c: GateComparison, golds: Golds) -> dict[str, list[dict[str, Any]]]:
    """The samples that changed, with image and both answers where they are known.

    flipped: every sample whose score changed, by metric.  moved: every sample whose answer has another text, whether or
    not a score changed.
    """
    place = {i: k for k, i in enumerate(c.candidate.ids)}
    # A sample may be in several lists: its entry is made once.
    changed = set(c.changed_answers).union(*(v.paired.flipped for v in c.verdicts))
    samples = {k: _sample(c, k, place, golds) for k in changed}
    flipped: list[dict[str, Any]] = []
    ids = c.baseline.ids
    for v in c.verdicts:
        name = str(v.key)
        one, two = (run.columns[v.key].listed() for run in (c.baseline, c.candidate))
        flipped += [
            {"metric": name, **samples[k], "baseline": one[k], "candidate": two[place[ids[k]]]}
            for k in v.paired.flipped
        ]
    return {"flipped": flipped, "moved": [samples[k] for k in c.changed_answers]}


def _sample(c: GateComparison, k: int, place: Mapping[str, int], golds: Golds) -> dict[str, Any]:
    a, b = c.baseline, c.candidate
    other = place[a.ids[k]]
    questions, at = (b.questions, other) if b.questions else (a.questions, k)
    return {
        "sample_id": a.ids[k],
        "image_id": a.image_ids[k],
        "question": questions[at] if questions else None,
        "references": list(golds[a.ids[k]]) if a.ids[k] in golds else None,
        "baseline_text": a.texts[k] if a.texts else None,
        "candidate_text": b.texts[other] if b.texts else None,
    }


def sentence(m: Mapping[str, Any]) -> str:
    """The verdict of a metric (an entry of gate.json) in words."""
    worst = f"{worst_score(m['higher_is_better']):.0f}"
    one, two = m["n_unscored"]
    unscored = f"; unscored {one} and {two}, counted as {worst}" if one or two else ""
    values = f"{percent(m['baseline'])} -> {percent(m['candidate'])}"
    table = f"{percent(m['baseline_table'])} -> {percent(m['candidate_table'])}"
    shown = values if table == values else f"{table} (worst case {values})"
    direction = "" if m["higher_is_better"] else "; lower is better"
    return (
        f"{shown_metric(m['metric'])}: {m['verdict']}; {shown}, difference {_difference(m)} against a margin of "
        f"{percent(m['margin'])}; {m['n_worse']} worse, {m['n_better']} better of {m['n']} on "
        f"{m['n_images']} {clusters_in_words(m['cluster'])}{unscored}{direction}"
    )


def exact_sentence(c: Mapping[str, Any]) -> str:
    """The verdict of exact=true on a comparison (an entry of gate.json) in words."""
    return f"{c['n_moved']} of {c['n']} answers differ from the baseline's, {len(c['flipped'])} scores changed"


def _difference(m: Mapping[str, Any]) -> str:
    return f"{percent(m['difference'], signed=True)} {interval(m['low'], m['high'], signed=True)}"


class _Case(NamedTuple):
    """A test case of the JUnit file."""

    task: str
    name: str
    verdict: str
    message: str


def _cases(content: Mapping[str, Any]) -> list[_Case]:
    if content["verdict"] == REFUSED:
        return [_Case("gate", "inputs", REFUSED, content["reason"])]
    comparisons = content["comparisons"]
    if content["exact"]:
        return [
            _Case(c["task"], "answers", FAIL if c["n_moved"] or c["flipped"] else PASS, exact_sentence(c))
            for c in comparisons
        ]
    return [_Case(c["task"], m["metric"], m["verdict"], sentence(m)) for c in comparisons for m in c["metrics"]]


def junit(content: Mapping[str, Any]) -> str:
    """JUnit XML: a test case per task and metric; failure for fail, skipped for inconclusive, error for refused."""
    cases = _cases(content)
    kinds = {FAIL: "failure", INCONCLUSIVE: "skipped", REFUSED: "error"}
    suite = ElementTree.Element(
        "testsuite",
        name="evalkit gate",
        tests=str(len(cases)),
        failures=str(sum(c.verdict == FAIL for c in cases)),
        skipped=str(sum(c.verdict == INCONCLUSIVE for c in cases)),
        errors=str(sum(c.verdict == REFUSED for c in cases)),
    )
    for c in cases:
        names = {"classname": _printable(f"evalkit.gate.{c.task}"), "name": _printable(c.name)}
        case = ElementTree.SubElement(suite, "testcase", names)
        if c.verdict in kinds:
            ElementTree.SubElement(case, kinds[c.verdict], message=_printable(c.message))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _printable(text: str) -> str:
    """The text with a replacement for the characters that XML cannot represent."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def markdown(content: Mapping[str, Any], limit: int = MOST_SHOWN) -> str:
    """A job summary with the first `limit` changed samples of each comparison."""
    lines = [f"## evalkit gate: {content['verdict']}", ""]
    if content["verdict"] == REFUSED:
        return "\n".join([*lines, _escaped(content["reason"], 2000)]) + "\n"
    lines += _metric_table(content)
    for c in content["comparisons"]:
        one, two = (_escaped(str(c[side]["model"])) for side in ("candidate", "baseline"))
        where = f"{_escaped(c['task'])} ({_escaped(c['split'])})"
        lines += ["", f"{one} against {two} on {where}, {c['n']} samples: {exact_sentence(c)}"]
        flipped = _by_sample(c["flipped"])
        lines += _sample_table(flipped, "with changed scores", limit, c["cluster"])
        if content["exact"]:
            lines += _sample_table([[f] for f in c["moved"]], "with changed answers", limit, c["cluster"])
    return "\n".join(lines) + "\n"


def _metric_table(content: Mapping[str, Any]) -> list[str]:
    difference = f"difference [{percent(content['interval_level'], 0)} %]"
    counted = ", ".join(dict.fromkeys(clusters_in_words(c["cluster"]) for c in content["comparisons"])) or "images"
    names = (
        "task", "metric", "verdict", "baseline", "candidate", difference, "margin", "worse", "better", "n",
        _escaped_name(counted),
    )  # fmt: skip
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for c in content["comparisons"]:
        for m in c["metrics"]:
            name = _escaped_name(m["metric"])
            name = name if m["higher_is_better"] else f"{name} (lower is better)"
            cells = (
                _escaped(c["task"]), name, m["verdict"], _value(m, "baseline"), _value(m, "candidate"), _difference(m),
                percent(m["margin"]), m["n_worse"], m["n_better"], m["n"], m["n_images"],
            )  # fmt: skip
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def _value(m: Mapping[str, Any], side: str) -> str:
    """The value of a run's table, and the worst case where it is another one."""
    table, worst_case = percent(m[f"{side}_table"]), percent(m[side])
    return table if table == worst_case else f"{table} (worst case {worst_case})"


def _by_sample(flipped: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The changed scores, those of one sample together: a sample is one row, whatever the number of its metrics."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for f in flipped:
        found.setdefault(f["sample_id"], []).append(f)
    return list(found.values())


def _sample_table(found: Sequence[Sequence[Mapping[str, Any]]], title: str, limit: int, cluster: str) -> list[str]:
    """A row a sample: question, gold answer, both answers, and what became of its scores."""
    if not found:
        return []
    lines = [
        "",
        f"### {len(found)} sample{'s' if len(found) > 1 else ''} {title}",
        "",
        f"| sample | {_escaped_name(cluster)} | question | gold | baseline | candidate | scores |",
        "|---" * 7 + "|",
    ]
    for entries in found[:limit]:
        f = entries[0]
        gold = " / ".join(f["references"]) if f["references"] else None
        cells = (f["sample_id"], f["image_id"], f["question"], gold, f["baseline_text"], f["candidate_text"])
        scores = "; ".join(_escaped_name(text) for e in entries if (text := _change_text(e)))
        lines.append("| " + " | ".join([*(_escaped(c) for c in cells), scores or "–"]) + " |")
    return lines + ([f"\n{len(found) - limit} more in gate.json"] if len(found) > limit else [])


def _change_text(f: Mapping[str, Any]) -> str:
    """A changed score in short; empty for an answer whose scores are not known."""
    if "metric" not in f:
        return ""
    one, two = ("unscored" if f[side] is None else f"{f[side]:g}" for side in ("baseline", "candidate"))
    return f"{f['metric']} {one} → {two}"


def _escaped_name(text: str) -> str:
    """A metric or column for a Markdown table; underscores inside words are left as they are, as Markdown does."""
    return _escaped(text).replace(f"&#{ord('_')};", "_")


def _escaped(text: str | None, limit: int = 120) -> str:
    """Untrusted text for a Markdown table: no pipes, no markup, no line breaks."""
    clean = one_line(text or "–")[:limit].replace("&", "&amp;")
    for mark in "\\`*_[]<>|":
        clean = clean.replace(mark, f"&#{ord(mark)};")
    return clean


FILES = ("gate.json", "gate.xml", "gate.md")


def clear(folder: Path) -> None:
    """Remove the files of an earlier gate, so that none of them is taken for the verdict of one that does not end."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the files of `FILES`."""
    xml, page = junit(content), markdown(content)
    for name, text in zip(FILES, (indented(content, in_lines=CHANGED), xml, page), strict=True):
        write_whole(folder / name, text)
