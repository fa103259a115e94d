"""No edit of a run or of a saved baseline gets a verdict: the gate refuses it, whichever side it is on.

Edits come raw, and `signed`: with the digests (of a baseline: the checksum) brought up to date.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import build, load_option
from evalkit.core.types import Message, Sample, digest_json
from evalkit.engines.scripted import ScriptedEngine
from evalkit.judge.api import judge_run
from evalkit.judge.config import JudgeConfig
from evalkit.pipeline.evaluate import evaluate
from evalkit.pipeline.settings import Settings
from evalkit.runs.read import predictions_at, record_digest
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import digest_of, list_files
from evalkit.tasks.base import LoadedTask
from tests.support.gate_runs import as_text, exit_code
from tests.support.old_runs import as_of_an_earlier_version

N = 60
Record = dict[str, Any]
Edit = Callable[[Path, Path], Any]
SAMPLES = tuple(
    Sample(
        id=f"q{k}",
        image_id=f"image{k // 2}",
        question=f"is there a mass {k}?" if k % 2 else f"which organ is number {k}?",
        references=("yes",) if k % 2 else ("lung",),
        tags={"answer_type": "CLOSED" if k % 2 else "OPEN"},
    )
    for k in range(N)
)
LOADED = LoadedTask(name="toy", split="test", form="made", samples=SAMPLES, closed_rule="label", prompt="plain@0")


class Toy:
    """A task whose messages are the bare question."""

    def messages(self, item: Sample) -> tuple[Message, ...]:
        return (Message(role="user", content=(item.question,)),)


def made(out: Path, wrong: int) -> Path:
    """A judged run of a model that answers the first samples wrong."""
    answers = {s.id: s.references[0] if k >= wrong else "zzzz" for k, s in enumerate(SAMPLES)}
    engine = ScriptedEngine(answers=answers, fail=())
    protocols = [build(load_option("protocol", name), name) for name in ("llava-med", "strict", "exact-match")]
    toy: Any = Toy()
    done = evaluate(toy, LOADED, {}, engine, protocols, Settings(model=f"m{wrong}", out=out), {})
    assert done is not None

    def reply(messages: list[dict[str, Any]]) -> str:
        return json.dumps({"verdict": "wrong" if "zzzz" in str(messages) else "correct", "why": "so"})

    config = JudgeConfig(name="tiny", model="tiny-judge", transport="local", rows="all", cache=None, retries=0)
    predictions = [line.prediction for line in predictions_at(done.folder / "predictions.jsonl")]
    judge_run(done.folder, config, SAMPLES, predictions, complete=reply)
    return done.folder


@dataclass(frozen=True)
class Pair:
    """A better and a worse run, and the baseline file of the better one."""

    better: Path
    worse: Path
    saved: Path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    place = tmp_path_factory.mktemp("pair")
    found = Pair(better=made(place / "a", 6), worse=made(place / "b", 40), saved=place / "baseline.json")
    assert exit_code(candidate=str(found.better), save=str(found.saved)) == 0
    return found


@pytest.fixture(scope="module")
def counts() -> Iterator[dict[str, int]]:
    found: dict[str, int] = {}
    yield found
    print("\nedits that were refused: " + ", ".join(f"{n} {kind}" for kind, n in sorted(found.items())))


def lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def in_lines(name: str, change: Callable[[list[Record]], Any]) -> Edit:
    """An edit of the records of a JSON Lines file; the change may return new ones."""

    def edit(run: Path, _: Path) -> None:
        records = lines(run / name)
        changed = change(records)
        if isinstance(changed, list) and isinstance(changed[0], dict):
            records = changed
        (run / name).write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")

    return edit


def in_json(name: str, change: Callable[[Record], Any]) -> Edit:
    """An edit of a JSON file."""

    def edit(run: Path, _: Path) -> None:
        content = json.loads((run / name).read_text(encoding="utf-8"))
        change(content)
        (run / name).write_text(json.dumps(content), encoding="utf-8")

    return edit


def in_text(name: str, old: str, new: str) -> Edit:
    """An edit of the first occurrence of a text in a file."""

    def edit(run: Path, _: Path) -> None:
        text = (run / name).read_text(encoding="utf-8")
        assert old in text, (name, old)
        (run / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def of_other(*names: str) -> Edit:
    """Files of the other run in place of this one's."""

    def edit(run: Path, other: Path) -> None:
        for name in names:
            assert (run / name).read_bytes() != (other / name).read_bytes()
            shutil.copyfile(other / name, run / name)

    return edit


def gone(name: str) -> Edit:
    return lambda run, _: (run / name).unlink()


def all_of(*edits: Edit) -> Edit:
    return lambda run, other: [edit(run, other) for edit in edits]


def swap(records: list[Record], one: int, two: int, *keys: str) -> None:
    for key in keys:
        records[one][key], records[two][key] = records[two][key], records[one][key]


def set_all(key: str, value: Any) -> Callable[[list[Record]], None]:
    return lambda records: [r.update({key: value}) for r in records] and None


def first_unlike(records: list[Record], place: int) -> int:
    """A later score of the same metric with another value."""
    one = records[place]
    return next(
        k
        for k, r in enumerate(records)
        if (r["protocol"], r["metric"]) == (one["protocol"], one["metric"]) and r["value"] != one["value"]
    )


def of_value(value: float) -> Callable[[Record], bool]:
    return lambda record: record["value"] == value


def in_first(name: str, which: Callable[[Record], bool], **values: Any) -> Edit:
    """An edit of the first record of a JSON Lines file that fits."""
    return in_lines(name, lambda records: next(filter(which, records)).update(values))


def in_every(name: str, which: Callable[[Record], bool], **values: Any) -> Edit:
    """An edit of every record of a JSON Lines file that fits."""
    return in_lines(name, lambda records: [r.update(values) for r in records if which(r)] and None)


def renamed(key: str, names: dict[str, str]) -> Callable[[list[Record]], None]:
    return lambda records: [r.update({key: names.get(r[key], r[key])}) for r in records] and None


def metric(content: Record, name: str = "closed_accuracy", protocol: str = "strict") -> Record:
    """A metric of summary.json over all rows."""
    found: Record = next(
        m for m in content["metrics"] if (m["protocol"], m["metric"], m["slice"]) == (protocol, name, "all")
    )
    return found


def in_metric(**values: Any) -> Edit:
    return in_json("summary.json", lambda c: metric(c).update(values))


def in_signature(old: str, new: str) -> Edit:
    def change(content: Record) -> None:
        text = metric(content)["signature"]
        assert old in text, text
        metric(content)["signature"] = text.replace(old, new, 1)

    return in_json("summary.json", change)


def a_slice(content: Record) -> Record:
    """A metric of summary.json over the rows of a slice."""
    found: Record = next(m for m in content["metrics"] if m["slice"] != "all" and m["value"] is not None)
    return found


def in_slice(**values: Any) -> Edit:
    return in_json("summary.json", lambda c: a_slice(c).update(values))


def swapped_metrics(content: Record) -> None:
    """Exchange what two protocols have for one metric."""
    one, two = metric(content), metric(content, protocol="llava-med")
    one["protocol"], two["protocol"] = two["protocol"], one["protocol"]


SCORES, ANSWERS, SUMMARY, MANIFEST = "scores.jsonl", "predictions.jsonl", "summary.json", "manifest.json"
SWAPPED = {"strict": "llava-med", "llava-med": "strict"}

# Edits that are refused raw and signed.
BOTH: dict[str, Edit] = {
    "scores of the other run under this summary": of_other(SCORES),
    "all scores 1": in_lines(SCORES, set_all("value", 1.0)),
    "all scores 0": in_lines(SCORES, set_all("value", 0.0)),
    "one score raised": in_first(SCORES, of_value(0), value=1.0),
    "one score lowered": in_first(SCORES, of_value(1), value=0.0),
    "a score of 2": in_lines(SCORES, lambda r: r[0].update(value=2.0)),
    "a score of 1e8": in_lines(SCORES, lambda r: r[0].update(value=1e8)),
    "scores of 2 and -1 with the same mean": in_lines(
        SCORES, lambda r: (r[first_unlike(r, 0)].update(value=2.0), r[0].update(value=-1.0))
    ),
    "a negative score": in_lines(SCORES, lambda r: r[0].update(value=-0.5)),
    "a score of -1e8": in_lines(SCORES, lambda r: r[0].update(value=-1e8)),
    "a score of NaN": in_lines(SCORES, lambda r: r[0].update(value=float("nan"))),
    "an infinite score": in_lines(SCORES, lambda r: r[0].update(value=float("inf"))),
    "a score of minus infinity": in_lines(SCORES, lambda r: r[0].update(value=float("-inf"))),
    "a score that is text": in_lines(SCORES, lambda r: r[0].update(value="1.0")),
    "a score that is a truth value": in_lines(SCORES, lambda r: r[0].update(value=True)),
    "a score without a value or a reason": in_lines(SCORES, lambda r: r[0].update(value=None)),
    "a wrong answer that counts as unscored": in_first(SCORES, of_value(0), value=None, reason="unreadable"),
    "all wrong answers unscored": in_every(SCORES, of_value(0), value=None, reason="unreadable"),
    "the last score removed": in_lines(SCORES, lambda r: r[:-1]),
    "the first score removed": in_lines(SCORES, lambda r: r[1:]),
    "every wrong score removed": in_lines(SCORES, lambda r: [s for s in r if s["value"] != 0]),
    "a score twice": in_lines(SCORES, lambda r: [*r, r[0]]),
    "all scores twice": in_lines(SCORES, lambda r: [*r, *r]),
    "a second, better score of a sample": in_lines(SCORES, lambda r: [*r, {**r[0], "value": 1.0}]),
    "a score of an unknown sample": in_lines(SCORES, lambda r: [*r, {**r[0], "sample_id": "stranger"}]),
    "a score moved to an unknown sample": in_lines(SCORES, lambda r: r[0].update(sample_id="stranger")),
    "one protocol's scores under another's name": in_lines(SCORES, renamed("protocol", {"llava-med": "strict"})),
    "two protocols' names exchanged": in_lines(SCORES, renamed("protocol", SWAPPED)),
    "two protocols' names exchanged in scores and summary": all_of(
        in_lines(SCORES, renamed("protocol", SWAPPED)),
        in_json(SUMMARY, lambda c: renamed("protocol", SWAPPED)(c["metrics"])),
    ),
    "two metrics' names exchanged": in_lines(
        SCORES, renamed("metric", {"closed_accuracy": "open_recall", "open_recall": "closed_accuracy"})
    ),
    "a protocol that the summary lacks": in_lines(SCORES, renamed("protocol", {"strict": "stricter"})),
    "a protocol's scores removed": in_lines(SCORES, lambda r: [s for s in r if s["protocol"] != "strict"]),
    "a metric's scores removed": in_lines(
        SCORES, lambda r: [s for s in r if (s["protocol"], s["metric"]) != ("strict", "exact_match")]
    ),
    "no scores": lambda run, _: (run / SCORES).write_bytes(b""),
    "half a line of scores": lambda run, _: (run / SCORES).write_bytes((run / SCORES).read_bytes()[:-20]),
    "a line that is no JSON": lambda run, _: (run / SCORES).write_bytes((run / SCORES).read_bytes() + b"x\n"),
    "an empty line": lambda run, _: (run / SCORES).write_bytes((run / SCORES).read_bytes() + b"\n"),
    "a value twice in a score": in_text(SCORES, '"value": 0.0', '"value": 0.0, "value": 1.0'),
    "a sample id twice in a score": in_text(SCORES, '"sample_id": "q0"', '"sample_id": "q1", "sample_id": "q0"'),
    "a text twice in an answer": in_text(ANSWERS, '"text": "zzzz"', '"text": "zzzz", "text": "yes"'),
    "an answer removed": in_lines(ANSWERS, lambda r: r[:-1]),
    "an answer twice": in_lines(ANSWERS, lambda r: [*r, r[0]]),
    "a stranger's answer": in_lines(ANSWERS, lambda r: r[0].update(sample_id="stranger")),
    "two answers' images exchanged": in_lines(ANSWERS, lambda r: swap(r, 0, -1, "image_id")),
    "two answers' ids exchanged, on other images": in_lines(ANSWERS, lambda r: swap(r, 0, -1, "sample_id")),
    "all answers about one image": in_lines(ANSWERS, set_all("image_id", "image0")),
    "every answer about an image of its own": in_lines(
        ANSWERS, lambda r: [a.update(image_id=a["sample_id"]) for a in r]
    ),
    "an answer that failed": in_lines(
        ANSWERS, lambda r: r[0].update(text=None, error="out of memory", finish_reason="error")
    ),
    "an answer with text and error": in_lines(ANSWERS, lambda r: r[0].update(error="x")),
    "no answers": lambda run, _: (run / ANSWERS).write_bytes(b""),
    "a higher value": in_metric(value=0.99),
    "a higher worst case": in_metric(value_worst_case=0.99),
    "a higher value and worst case": in_metric(value=0.99, value_worst_case=0.99),
    "a value that is null": in_metric(value=None),
    "a value of NaN": in_metric(value=float("nan")),
    "a smaller n": in_metric(n=10),
    "a larger n": in_metric(n=N),
    "an unscored sample more": in_metric(n_unscored=1),
    "more clusters than images": in_metric(n_clusters=N),
    "the other direction": in_metric(higher_is_better=False),
    "no direction": in_metric(higher_is_better=None),
    "another number of samples": in_json(SUMMARY, lambda c: c.update(n=N + 1)),
    "another number of images": in_json(SUMMARY, lambda c: c.update(n_images=7)),
    "a failed answer more": in_json(SUMMARY, lambda c: c.update(n_failed=1)),
    "other data": in_json(SUMMARY, lambda c: c.update(data_sha256="e" * 64)),
    "another prompt": in_json(SUMMARY, lambda c: c.update(prompt="other@1")),
    "other images": in_json(SUMMARY, lambda c: c.update(image="blank")),
    "another task": in_json(SUMMARY, lambda c: c.update(task="other")),
    "another split": in_json(SUMMARY, lambda c: c.update(split="train")),
    "another rule for closed": in_json(SUMMARY, lambda c: c.update(closed_rule="yesno")),
    "another decoding": in_json(SUMMARY, lambda c: c.update(generation="sample")),
    "a limit": in_json(SUMMARY, lambda c: c.update(limit=5)),
    "a metric twice": in_json(SUMMARY, lambda c: c["metrics"].append(metric(c))),
    "a metric less": in_json(SUMMARY, lambda c: c["metrics"].remove(metric(c))),
    "two protocols exchanged in the summary": in_json(SUMMARY, swapped_metrics),
    "no signature": in_metric(signature=None),
    "a signature of another metric": in_signature("closed_accuracy|", "open_recall|"),
    "a signature of another protocol": in_signature("protocol:strict", "protocol:llava-med"),
    "a signature of another version": in_signature("protocol:strict.", "protocol:strict.9"),
    "a signature of another task": in_signature("task:toy", "task:slake"),
    "a signature of another split": in_signature("toy.test", "toy.train"),
    "a signature of other data": in_signature("|data:", "|data:0"),
    "a signature of another n": in_signature("|n:", "|n:1"),
    "a signature of another slice": in_signature("slice:all", "slice:modality=CT"),
    "a signature of another prompt": in_signature("prompt:plain", "prompt:short"),
    "a signature of other images": in_signature("image:original", "image:blank"),
    "a signature of another decoding": in_signature("gen:", "gen:sample"),
    "a signature of another normaliser": in_signature("norm:", "norm:other"),
    "a signature of another version of evalkit": in_signature("|v:", "|v:9"),
    "a summary with a value twice": in_text(SUMMARY, '"n_failed": 0', '"n_failed": 1, "n_failed": 0'),
    "the summary of the other run": of_other(SUMMARY),
    "summary and scores of the other run": of_other(SUMMARY, SCORES),
    "no summary": gone(SUMMARY),
    "a status twice": in_text(MANIFEST, '"status": "done"', '"status": "running", "status": "done"'),
    "a run that goes on": in_json(MANIFEST, lambda c: c.update(status="running")),
    "a status that is none": in_json(MANIFEST, lambda c: c.update(status="fine")),
    "other versions in the manifest": in_json(MANIFEST, lambda c: [p.update(version=9) for p in c["protocols"]]),
    "other protocols in the manifest": in_json(MANIFEST, lambda c: [p.update(name="other") for p in c["protocols"]]),
    "a manifest that is a list": lambda run, _: (run / MANIFEST).write_text("[]", encoding="utf-8"),
    "no manifest": gone(MANIFEST),
    "a prompt record of other images": in_json("prompts.json", lambda c: c["image_ids"].reverse()),
    "a prompt record of other messages": in_json(
        "prompts.json", lambda c: c["header"].update(messages_sha256="0" * 64)
    ),
    "a prompt record with ids twice": in_text("prompts.json", '"ids": [', '"ids": [], "ids": ['),
    "a judgment turned round": in_text("judgments.jsonl", '"verdict": "wrong"', '"verdict": "correct"'),
    "all judgments correct": in_every("judgments.jsonl", lambda j: bool(j.get("verdict")), verdict="correct"),
    "a judgment with a verdict twice": in_text(
        "judgments.jsonl", '"verdict": "wrong"', '"verdict": "wrong", "verdict": "correct"'
    ),
    "judgments of other answers": in_lines("judgments.jsonl", lambda r: r[0].update(answers_sha256="0" * 64)),
    "a judgment removed": in_lines("judgments.jsonl", lambda r: r[:-1]),
    "a judgment that is no JSON": lambda run, _: (run / "judgments.jsonl").write_bytes(
        (run / "judgments.jsonl").read_bytes() + b"x\n"
    ),
    "a judged number raised": in_json("judged-tiny.json", lambda c: [m.update(value=1.0) for m in c["metrics"]]),
    "judgments of the other run": of_other("judgments.jsonl"),
}
# Edits that fit in themselves once they are signed: only a digest tells them from the original.
RAW: dict[str, Edit] = {
    "two scores exchanged": in_lines(SCORES, lambda r: swap(r, 0, first_unlike(r, 0), "value")),
    "two samples exchanged in the scores": in_lines(SCORES, lambda r: swap(r, 0, first_unlike(r, 0), "sample_id")),
    "scores in another order": in_lines(SCORES, lambda r: list(reversed(r))),
    "scores sorted into the samples": in_lines(
        SCORES,
        lambda r: [{**s, "value": v} for s, v in zip(r, [*[x["value"] for x in r[1:]], r[0]["value"]], strict=True)],
    ),
    "an extracted part": in_lines(SCORES, lambda r: r[0].update(extracted="x")),
    "answers of the worse run under scores of the better": of_other(ANSWERS),
    "one answer edited": in_text(ANSWERS, '"text": "zzzz"', '"text": "yes"'),
    "answers in another order": in_lines(ANSWERS, lambda r: list(reversed(r))),
    "a question edited": in_text(ANSWERS, "which organ", "what organ"),
    "a digest edited": in_json(SUMMARY, lambda c: c["files"][SCORES].update(sha256="0" * 64)),
    "a length edited": in_json(SUMMARY, lambda c: c["files"][ANSWERS].update(bytes=1)),
    "digests of two files exchanged": in_json(
        SUMMARY, lambda c: c["files"].update({SCORES: c["files"][ANSWERS], ANSWERS: c["files"][SCORES]})
    ),
    "the scores not listed": in_json(SUMMARY, lambda c: c["files"].pop(SCORES)),
    "the answers not listed": in_json(SUMMARY, lambda c: c["files"].pop(ANSWERS)),
    "the prompt record not listed": in_json(SUMMARY, lambda c: c["files"].pop("prompts.json")),
    "the judgments listed shorter": in_json(SUMMARY, lambda c: c["files"]["judgments.jsonl"].update(bytes=100)),
    "no files listed": in_json(SUMMARY, lambda c: c.update(files={})),
    "no scores file": gone(SCORES),
    "no answers file": gone(ANSWERS),
    "no prompt record": gone("prompts.json"),
    "no judgments": gone("judgments.jsonl"),
    "no judged numbers": gone("judged-tiny.json"),
    "a slice's value": in_slice(value=0.01),
    "a slice's n": in_slice(n=3),
    "a slice's name": in_slice(slice="answer_type=OTHER"),
    "an interval's lower end": in_metric(low=0.0),
    "an interval's upper end": in_metric(high=0.99),
    "no interval": in_metric(low=None, high=None),
    "a slice's interval": in_slice(low=0.0),
    "a slice less": in_json(SUMMARY, lambda c: c["metrics"].remove(a_slice(c))),
    "another version": in_json(SUMMARY, lambda c: c.update(notes=["made up"])),
    "sanity checks removed": in_json(SUMMARY, lambda c: c.update(sanity_checks={"x": 1})),
    "a warning": in_json(SUMMARY, lambda c: c.update(warnings=["all is well"])),
    "an unknown key": in_json(SUMMARY, lambda c: c.update(more=1)),
    "another checkpoint": in_json(MANIFEST, lambda c: c.update(checkpoint="f" * 64)),
    "another seed": in_json(MANIFEST, lambda c: c["config"].update(task={"seed": 7})),
    "other images in the manifest": in_json(MANIFEST, lambda c: c.update(images_sha256="0" * 64)),
    "other facts": in_json(MANIFEST, lambda c: c["facts"].update(dtype="float64")),
    "an unknown key in the manifest": in_json(MANIFEST, lambda c: c.update(more=1)),
    "no files": in_json(SUMMARY, lambda c: c.pop("files")),
    "files that are null": in_json(SUMMARY, lambda c: c.update(files=None)),
    "no files and no checksum": in_json(SUMMARY, lambda c: [c.pop("files"), c.pop("digest")]),
    "no checksum": in_json(SUMMARY, lambda c: c.pop("digest")),
    "a checksum that is null": in_json(SUMMARY, lambda c: c.update(digest=None)),
    "an empty checksum": in_json(SUMMARY, lambda c: c.update(digest="")),
    "an older summary": in_json(SUMMARY, lambda c: c.update(schema=1)),
    "no checksum in the manifest, another seed": in_json(
        MANIFEST, lambda c: [c.pop("digest"), c["config"].update(task={"seed": 7})]
    ),
    "a manifest with a checksum that is null": in_json(MANIFEST, lambda c: c.update(digest=None)),
    "no manifest": gone(MANIFEST),
    "digests of an earlier version, and the other run's scores": all_of(
        in_json(SUMMARY, lambda c: c.pop("files")), of_other(SCORES)
    ),
    "digests of an earlier version, and a score of 2": all_of(
        in_json(SUMMARY, lambda c: c.pop("files")), in_lines(SCORES, lambda r: r[0].update(value=2.0))
    ),
}
CASES = [(name, edit, kind) for name, edit in BOTH.items() for kind in ("raw", "signed")]
CASES += [(name, edit, "raw") for name, edit in RAW.items()]


def signed(run: Path) -> None:
    """Bring the digests of a run's summary and manifest up to date, where there still are any."""
    for name in (SUMMARY, MANIFEST):
        if not (run / name).is_file():
            continue
        text = (run / name).read_text(encoding="utf-8")
        content = json.loads(text)
        if not isinstance(content, dict) or text.count('"n_failed": ') == 2 or text.count('"status": ') == 2:
            continue  # a doubled key must survive the signature
        for file in content.get("files", {}):
            if (run / file).is_file():
                found = digest_of(run / file)
                content["files"][file] = {"bytes": found.bytes, "sha256": found.sha256}
        if "digest" in content:
            content["digest"] = record_digest(content)
        (run / name).write_text(json.dumps(content), encoding="utf-8")


def verdict(out: Path) -> str:
    return str(json.loads((out / "gate.json").read_text(encoding="utf-8"))["verdict"])


def test_pairs_that_nobody_edited_have_their_verdicts(pair: Pair, tmp_path: Path) -> None:
    assert exit_code(baseline=str(pair.better), candidate=str(pair.worse), out=str(tmp_path)) == 1
    for baseline in (pair.better, pair.saved):
        assert exit_code(baseline=str(baseline), candidate=str(pair.better), out=str(tmp_path)) == 0
    assert exit_code(baseline=str(pair.worse), candidate=str(pair.better), out=str(tmp_path)) == 0
    assert verdict(tmp_path) == "improved"
    checked = {
        m["metric"] for m in json.loads((tmp_path / "gate.json").read_text("utf-8"))["comparisons"][0]["metrics"]
    }
    assert "judge:tiny judged_accuracy" in checked
    copied = tmp_path / "copy" / pair.worse.name
    shutil.copytree(pair.worse, copied)
    signed(copied)
    assert exit_code(baseline=str(pair.better), candidate=str(copied), out=str(tmp_path)) == 1


@pytest.mark.parametrize("kept", [("files",), ()], ids=["with digests of files", "without digests"])
def test_runs_of_earlier_versions_are_read_with_a_note(
    kept: tuple[str, ...], pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "copy" / pair.worse.name
    shutil.copytree(pair.worse, copied)
    as_of_an_earlier_version(copied, kept)
    assert exit_code(baseline=str(pair.better), candidate=str(copied), out=str(tmp_path)) == 1
    assert capsys.readouterr().err.count("is of an earlier version of evalkit") == 1
    assert "digest" not in json.loads((copied / SUMMARY).read_text(encoding="utf-8"))
    list_files(RunFolder(copied), present=(ANSWERS,), absent=(SCORES,))  # as a judge does
    list_files(RunFolder(copied), present=(SCORES,))
    assert exit_code(baseline=str(pair.better), candidate=str(copied), out=str(tmp_path)) == 1


def sides() -> Iterator[Any]:
    """Every case on either side; by default each on the candidate's side, and every fourth on the baseline's."""
    for k, (name, edit, kind) in enumerate(CASES):
        for side in ("candidate", "baseline"):
            marks = pytest.mark.slow if side == "baseline" and k % 4 else ()
            yield pytest.param(name, edit, kind, side, id=f"{name}, {kind}-{side}", marks=marks)


@pytest.mark.parametrize(("name", "edit", "kind", "side"), [*sides()])
@pytest.mark.few(45)
def test_an_edited_run_is_refused_on_either_side(
    name: str, edit: Edit, kind: str, side: str, pair: Pair, tmp_path: Path, counts: dict[str, int]
) -> None:
    # The worse run is edited on the candidate's side, the better one on the baseline's: an edit that worked would pay.
    own, other = (pair.worse, pair.better) if side == "candidate" else (pair.better, pair.worse)
    run, out = tmp_path / own.name, tmp_path / "out"
    shutil.copytree(own, run)
    edit(run, other)
    if kind == "signed":
        signed(run)
    out.mkdir()
    (out / "gate.json").write_text('{"verdict": "pass"}', encoding="utf-8")
    sides = {"baseline": str(pair.better), "candidate": str(pair.worse), side: str(run)}
    assert exit_code(**sides, out=str(out)) == 2
    assert verdict(out) == "refused"
    counts[f"{side}, {kind}"] = counts.get(f"{side}, {kind}", 0) + 1


KEY = "strict closed_accuracy"
# Edits of a saved baseline: refused raw and with a new checksum.
SAVED: dict[str, Callable[[Record], Any]] = {
    "a score of 2": lambda c: c["scores"][KEY].__setitem__(c["rows"][KEY][0], 2.0),
    "a score of 1e8": lambda c: c["scores"][KEY].__setitem__(c["rows"][KEY][0], 1e8),
    "a negative score": lambda c: c["scores"][KEY].__setitem__(c["rows"][KEY][0], -1.0),
    "a score of NaN": lambda c: c["scores"][KEY].__setitem__(c["rows"][KEY][0], float("nan")),
    "an infinite score": lambda c: c["scores"][KEY].__setitem__(c["rows"][KEY][0], float("inf")),
    "a score of a row that is not covered": lambda c: c["rows"].update({KEY: c["rows"][KEY][1:]}),
    "a row less and its score": lambda c: (
        c["scores"][KEY].__setitem__(c["rows"][KEY][0], None),
        c["rows"][KEY].pop(0),
    ),
    "a row twice": lambda c: c["rows"][KEY].append(c["rows"][KEY][0]),
    "a sample twice": lambda c: c["ids"].__setitem__(0, c["ids"][1]),
    "another sample": lambda c: c["ids"].__setitem__(0, "stranger"),
    "a sample less": lambda c: c["ids"].pop(),
    "another n": lambda c: c["header"].update(n=N - 1),
    "another task": lambda c: c["header"].update(task="other"),
    "another split": lambda c: c["header"].update(split="train"),
    "other data": lambda c: c["header"].update(data_sha256="e" * 64),
    "other messages": lambda c: c["header"].update(messages_sha256="0" * 64),
    "a run that goes on": lambda c: c["header"].update(status="running"),
    "a limit": lambda c: c["header"].update(limit=10),
    "a failed answer": lambda c: c["answers"].__setitem__(0, None),
    "the other direction": lambda c: c["higher_is_better"].update({KEY: False}),
    "a signature of another metric": lambda c: c["signatures"].update(
        {KEY: c["signatures"][KEY].replace("closed_accuracy", "open_recall", 1)}
    ),
    "a signature of another protocol": lambda c: c["signatures"].update(
        {KEY: c["signatures"]["llava-med closed_accuracy"]}
    ),
    "a signature of another n": lambda c: c["signatures"].update({KEY: c["signatures"][KEY].replace("|n:", "|n:1", 1)}),
    "a signature of another task": lambda c: c["signatures"].update(
        {KEY: c["signatures"][KEY].replace("toy.", "slake.", 1)}
    ),
    "two protocols' scores exchanged by name": lambda c: [
        c[k].update({KEY: c[k]["llava-med open_recall"], "llava-med open_recall": c[k][KEY]})
        for k in ("scores", "rows", "signatures", "higher_is_better")
    ],
    "no metrics": lambda c: [c[k].clear() for k in ("scores", "rows", "signatures", "higher_is_better")],
}
# Only the checksum tells these from the original.
SAVED_RAW: dict[str, Callable[[Record], Any]] = {
    "all scores 0": lambda c: c["scores"].update({KEY: [None if v is None else 0.0 for v in c["scores"][KEY]]}),
    "one score lowered": lambda c: c["scores"][KEY].__setitem__(c["rows"][KEY][-1], 0.0),
    "other answers": lambda c: c["answers"].__setitem__(0, "0" * 16),
    "another model": lambda c: c["header"].update(model="other"),
    "another checksum": lambda c: c.update(digest="0" * 64),
    "no checksum": lambda c: c.pop("digest"),
}
SAVED_CASES = [(n, e, k) for n, e in SAVED.items() for k in ("raw", "signed")] + [
    (n, e, "raw") for n, e in SAVED_RAW.items()
]


@pytest.mark.few(14)
@pytest.mark.parametrize(("name", "edit", "kind"), SAVED_CASES, ids=[f"{n}, {k}" for n, _, k in SAVED_CASES])
def test_an_edited_baseline_file_is_refused(
    name: str, edit: Callable[[Record], Any], kind: str, pair: Pair, tmp_path: Path, counts: dict[str, int]
) -> None:
    content = json.loads(pair.saved.read_text(encoding="utf-8"))
    edit(content)
    file = tmp_path / "baseline.json"
    file.write_text(as_text(content) if kind == "signed" else json.dumps(content), encoding="utf-8")
    assert exit_code(baseline=str(file), candidate=str(pair.better), out=str(tmp_path)) == 2
    assert verdict(tmp_path) == "refused"
    counts[f"saved baseline, {kind}"] = counts.get(f"saved baseline, {kind}", 0) + 1


@pytest.mark.parametrize("text", ['"ids": ["x"], "ids": [', '"digest": "0", "digest": "'])
def test_a_baseline_file_with_a_key_twice_is_refused(text: str, pair: Pair, tmp_path: Path) -> None:
    old = text.rpartition(", ")[2]
    content = pair.saved.read_text(encoding="utf-8")
    assert old in content
    (tmp_path / "baseline.json").write_text(content.replace(old, text, 1), encoding="utf-8")
    assert exit_code(baseline=str(tmp_path / "baseline.json"), candidate=str(pair.better), out=str(tmp_path)) == 2


def test_an_edited_run_does_not_become_a_baseline(pair: Pair, tmp_path: Path) -> None:
    run = tmp_path / pair.better.name
    shutil.copytree(pair.better, run)
    BOTH["all scores 0"](run, pair.worse)
    assert exit_code(candidate=str(run), save=str(tmp_path / "baseline.json")) == 2
    assert not (tmp_path / "baseline.json").exists()


@pytest.mark.parametrize(
    ("margin", "code"),
    [(0.02, 1), (0.9, 2), (0.99, 2), (1, 2), (1.5, 2), (0, 2), (-0.1, 2), (float("nan"), 2), (1e9, 2)],
)
def test_a_margin_that_lets_everything_pass_is_refused(margin: float, code: int, pair: Pair, tmp_path: Path) -> None:
    sides = {"baseline": str(pair.better), "candidate": str(pair.worse), "out": str(tmp_path)}
    assert exit_code(**sides, margin=margin, metrics=[KEY]) == code
    forced = exit_code(**sides, margin=margin, metrics=[KEY], force=True)
    assert forced == (code if margin in (0.02, 0, -0.1) or margin != margin else 0)


def test_a_margin_of_one_metric_that_lets_everything_pass_is_refused(pair: Pair, tmp_path: Path) -> None:
    sides = {"baseline": str(pair.better), "candidate": str(pair.better), "out": str(tmp_path)}
    assert exit_code(**sides, margins={KEY: 0.95}) == 2
    assert exit_code(**sides, margins={KEY: 0.95}, dry_run=True) == 2
    assert exit_code(**sides, margins={KEY: 0.95}, force=True) == 0


def test_digests_are_those_of_the_files(pair: Pair) -> None:
    listed = json.loads((pair.better / SUMMARY).read_text(encoding="utf-8"))["files"]
    names = {p.name for p in pair.better.iterdir()} - {SUMMARY, MANIFEST, "run.lock"}
    assert set(listed) == names
    folder = RunFolder(pair.better)
    assert listed[SCORES]["bytes"] == folder.scores.stat().st_size
    assert digest_json(listed) == digest_json(
        {n: {"bytes": digest_of(folder.path / n).bytes, "sha256": digest_of(folder.path / n).sha256} for n in names}
    )
