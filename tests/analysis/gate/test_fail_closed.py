"""A gate with an invalid baseline or candidate never passes: its exit code is not 0."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.__main__ import main
from evalkit.analysis.gate import report
from evalkit.analysis.gate.verdicts import distinct_metrics, overall
from evalkit.analysis.run_scores import read_run_scores
from evalkit.core.errors import EvalkitError, StoreError
from tests.support.fuzzing import examples
from tests.support.gate_runs import BASE, ERROR_RATE, as_content, as_text, exit_code, gate_runs, run
from tests.support.interruptions import How, interrupted, moments_of
from tests.support.paths import ROOT

SMALL = BASE[:30]
METRIC = "strict closed_accuracy"
Content = dict[str, Any]
# Each damages the content of a baseline at position k of its n samples.
KINDS: dict[str, Callable[[Content, int, int], Any]] = {
    "no kind": lambda c, n, k: c.pop("kind"),
    "another kind": lambda c, n, k: c.update(kind="other"),
    "no schema": lambda c, n, k: c.pop("schema"),
    "an older schema": lambda c, n, k: c.update(schema=1),
    "no header": lambda c, n, k: c.pop("header"),
    "a header that is a list": lambda c, n, k: c.update(header=[]),
    "no number of samples": lambda c, n, k: c["header"].pop("n"),
    "another number of samples": lambda c, n, k: c["header"].update(n=n + 1),
    "no digest of the data": lambda c, n, k: c["header"].pop("data_sha256"),
    "other data": lambda c, n, k: c["header"].update(data_sha256="other"),
    "no prompt": lambda c, n, k: c["header"].update(prompt=None),
    "a limited run": lambda c, n, k: c["header"].update(limit=n),
    "a run that is not finished": lambda c, n, k: c["header"].update(status="running"),
    "no status": lambda c, n, k: c["header"].pop("status"),
    "no ids": lambda c, n, k: c.pop("ids"),
    "an empty set": lambda c, n, k: c.update(ids=[]),
    "a sample less": lambda c, n, k: c["ids"].pop(k),
    "an id twice": lambda c, n, k: c["ids"].__setitem__(k, c["ids"][k - 1]),
    "another sample": lambda c, n, k: c["ids"].__setitem__(k, "stranger"),
    "an id that is null": lambda c, n, k: c["ids"].__setitem__(k, None),
    "no images": lambda c, n, k: c.pop("image_ids"),
    "an image less": lambda c, n, k: c["image_ids"].pop(k),
    "an image that is null": lambda c, n, k: c["image_ids"].__setitem__(k, None),
    "no scores": lambda c, n, k: c.pop("scores"),
    "no metrics": lambda c, n, k: c.update(scores={}),
    "a metric without scores": lambda c, n, k: c["scores"].update({METRIC: []}),
    "a score less": lambda c, n, k: c["scores"][METRIC].pop(k),
    "a score that is text": lambda c, n, k: c["scores"][METRIC].__setitem__(k, "1"),
    "a score that is a truth value": lambda c, n, k: c["scores"][METRIC].__setitem__(k, True),
    "a score out of range": lambda c, n, k: c["scores"][METRIC].__setitem__(k, 1e12),
    "a score that is no number": lambda c, n, k: c["scores"][METRIC].__setitem__(k, float("nan")),
    "a score that is a list": lambda c, n, k: c["scores"][METRIC].__setitem__(k, [1]),
    "scores without decimals": lambda c, n, k: c.update(decimals=0),
    "no rows": lambda c, n, k: c.pop("rows"),
    "a row less": lambda c, n, k: c["rows"][METRIC].pop(k),
    "a row twice": lambda c, n, k: c["rows"][METRIC].append(k),
    "a row too far": lambda c, n, k: c["rows"][METRIC].__setitem__(k, n),
    "a row that is a truth value": lambda c, n, k: c["rows"][METRIC].__setitem__(1, True),
    "a metric over no rows": lambda c, n, k: c["rows"].update({METRIC: []}),
    "no signatures": lambda c, n, k: c.pop("signatures"),
    "no signature": lambda c, n, k: c.update(signatures={}),
    "a signature that is none": lambda c, n, k: c["signatures"].update({METRIC: "nonsense"}),
    "a signature that is null": lambda c, n, k: c["signatures"].update({METRIC: None}),
    "a signature without a protocol": lambda c, n, k: c["signatures"].update({METRIC: "closed_accuracy|task:toy.test"}),
    "no directions": lambda c, n, k: c.pop("higher_is_better"),
    "a metric without a direction": lambda c, n, k: c.update(higher_is_better={}),
    "a direction that is text": lambda c, n, k: c["higher_is_better"].update({METRIC: "true"}),
    "a direction that is null": lambda c, n, k: c["higher_is_better"].update({METRIC: None}),
    "a direction that is a number": lambda c, n, k: c["higher_is_better"].update({METRIC: 1}),
    "the other direction": lambda c, n, k: c["higher_is_better"].update({METRIC: False}),
    "a later schema": lambda c, n, k: c.update(schema=99),
    "no answers": lambda c, n, k: c.pop("answers"),
    "an answer less": lambda c, n, k: c["answers"].pop(k),
    "a failed answer": lambda c, n, k: c["answers"].__setitem__(k, None),
    "an answer's digest cut short": lambda c, n, k: c["answers"].__setitem__(k, "abc"),
    "a question less": lambda c, n, k: c["questions"].pop(k),
    "a text less": lambda c, n, k: c["texts"].pop(k),
    "a text that is a number": lambda c, n, k: c["texts"].__setitem__(k, 7),
}


def damaged(kind: str, where: float) -> str:
    content = as_content(run(SMALL))
    n = len(SMALL)
    KINDS[kind](content, n, min(int(where * n), n - 1))
    return as_text(content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(300), deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), where=st.floats(0, 1))
def test_no_malformed_baseline_ever_passes(tmp_path: Path, kind: str, where: float) -> None:
    path = tmp_path / "base.json"
    path.write_text(damaged(kind, where), encoding="utf-8")
    with pytest.raises(EvalkitError) as refused:
        gate_runs((read_run_scores(path), run(SMALL, "b")))
    assert refused.value.exit_code == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(150), deadline=None)
@given(data=st.data())
def test_no_baseline_that_was_cut_or_changed_anywhere_ever_passes(tmp_path: Path, data: st.DataObject) -> None:
    whole = as_text(as_content(run(SMALL))).encode()
    place = data.draw(st.integers(0, len(whole) - 3))
    byte = data.draw(st.one_of(st.none(), st.integers(0, 255)))
    broken = whole[:place] if byte is None else whole[:place] + bytes([byte]) + whole[place + 1 :]
    path = tmp_path / "base.json"
    path.write_bytes(broken)
    try:
        same = byte is not None and json.loads(broken) == json.loads(whole)
    except ValueError:
        same = False
    if not same:
        with pytest.raises(StoreError):
            read_run_scores(path)


OLD_BASELINE = ROOT / "tests" / "saved_runs" / "gate" / "baseline.json"


def test_a_baseline_of_schema_2_still_gates(tmp_path: Path) -> None:
    assert json.loads(OLD_BASELINE.read_text(encoding="utf-8"))["schema"] == 2
    old = read_run_scores(OLD_BASELINE)
    assert all(c.higher_is_better for c in old.columns.values())
    path = tmp_path / "new.json"
    path.write_text(as_text(as_content(old)), encoding="utf-8")
    new = read_run_scores(path)
    assert json.loads(path.read_text(encoding="utf-8"))["schema"] == 3
    (comparison,) = gate_runs((old, new))
    assert [v.verdict for v in comparison.verdicts] == ["pass"] * len(distinct_metrics(old))
    changed = replace(new, answers=("f" * 16, *new.answers[1:]))
    assert overall(gate_runs((old, changed)), exact=True) == "fail"


@pytest.mark.parametrize("kind", ["a sample less", "a score that is text", "no signatures", "no header"])
def test_a_damaged_baseline_of_schema_2_is_refused(kind: str, tmp_path: Path) -> None:
    content = as_content(run(SMALL)) | {"schema": 2}
    del content["higher_is_better"]
    KINDS[kind](content, len(SMALL), 3)
    (tmp_path / "base.json").write_text(as_text(content), encoding="utf-8")
    with pytest.raises(StoreError):
        read_run_scores(tmp_path / "base.json")


def test_a_baseline_of_schema_2_of_a_plug_in_protocol_is_refused_because_its_direction_is_unknown(
    tmp_path: Path,
) -> None:
    content = as_content(run(SMALL, key=ERROR_RATE)) | {"schema": 2}
    del content["higher_is_better"]
    (tmp_path / "base.json").write_text(as_text(content), encoding="utf-8")
    with pytest.raises(StoreError, match="direction"):
        read_run_scores(tmp_path / "base.json")


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[]", "null", "{}", "7", '"a"', '{"kind": 1}', "\x00\x01", "[" * 100_000, "NaN"]
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "base.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StoreError):
        read_run_scores(path)
    with pytest.raises(StoreError):
        read_run_scores(tmp_path / "missing")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run and its baseline file."""
    place = tmp_path_factory.mktemp("runs")
    made = ("model=scripted", "model.rule=digest", "task=phantom", "task.n_test=6", "leaderboard=null")
    assert main([*made, f"out={place / 'runs'}"]) == 0
    (folder,) = [p for p in (place / "runs").iterdir() if p.is_dir()]
    assert main(["gate", f"candidate={folder}", f"save={place / 'base.json'}"]) == 0
    return folder, place / "base.json"


def test_the_undamaged_baseline_passes(runs: tuple[Path, Path], tmp_path: Path) -> None:
    folder, base = runs
    assert main(["gate", f"baseline={base}", f"candidate={folder}", f"out={tmp_path}"]) == 0
    assert json.loads((tmp_path / "gate.json").read_text(encoding="utf-8"))["verdict"] == "pass"
    assert main(["gate", f"baseline={folder}", f"candidate={folder}", f"out={tmp_path}"]) == 0


@pytest.mark.few(14)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_damage_exits_with_2_and_overwrites_an_earlier_pass(
    kind: str, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    base, out = tmp_path / "base.json", tmp_path / "out"
    base.write_text(damaged(kind, 0.5), encoding="utf-8")
    out.mkdir()
    (out / "gate.json").write_text('{"verdict": "pass"}', encoding="utf-8")
    assert exit_code(baseline=str(base), candidate=str(runs[0]), out=str(out)) == 2
    assert json.loads((out / "gate.json").read_text(encoding="utf-8"))["verdict"] == "refused"
    assert "error" in (out / "gate.xml").read_text(encoding="utf-8")


def cut(path: Path, lines: int) -> None:
    kept = path.read_text(encoding="utf-8").splitlines(keepends=True)[:-lines]
    path.write_text("".join(kept), encoding="utf-8")


def change(path: Path, key: str, value: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    content[key] = value
    path.write_text(json.dumps(content), encoding="utf-8")


def without_a_protocol(folder: Path) -> None:
    lines = (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["protocol"] != "exact-match"]
    assert len(kept) < len(lines)
    (folder / "scores.jsonl").write_text("".join(kept), encoding="utf-8")


FOLDERS: dict[str, Callable[[Path], Any]] = {
    "no summary": lambda f: (f / "summary.json").unlink(),
    "no scores": lambda f: (f / "scores.jsonl").unlink(),
    "no answers": lambda f: (f / "predictions.jsonl").unlink(),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "no score in the file": lambda f: (f / "scores.jsonl").write_text("", encoding="utf-8"),
    "the last scores cut off": lambda f: cut(f / "scores.jsonl", 3),
    "a whole protocol cut off": without_a_protocol,
    "the last answers cut off": lambda f: cut(f / "predictions.jsonl", 1),
    "half a line": lambda f: (f / "scores.jsonl").write_text(
        (f / "scores.jsonl").read_text(encoding="utf-8")[:-20], encoding="utf-8"
    ),
    "lines twice": lambda f: (f / "scores.jsonl").write_text(
        (f / "scores.jsonl").read_text(encoding="utf-8") * 2, encoding="utf-8"
    ),
    "an empty folder": lambda f: [p.unlink() for p in f.iterdir()],
    "a run that goes on": lambda f: change(f / "manifest.json", "status", "running"),
    "a limited run": lambda f: change(f / "summary.json", "limit", 5),
    "other data": lambda f: change(f / "summary.json", "data_sha256", "x"),
    "a manifest that is a list": lambda f: (f / "manifest.json").write_text("[]", encoding="utf-8"),
    "a record of prompts that is a list": lambda f: (f / "prompts.json").write_text("[]", encoding="utf-8"),
    "judgments that are not ours": lambda f: (f / "judgments.jsonl").write_text("{}\n", encoding="utf-8"),
    "judgments without a plan": lambda f: (f / "judgments.jsonl").write_text('{"record": "plan"}\n', encoding="utf-8"),
}


@pytest.mark.few(9)
@pytest.mark.parametrize("side", ["baseline", "candidate"])
@pytest.mark.parametrize("kind", sorted(FOLDERS))
def test_a_damaged_run_is_refused_on_either_side(kind: str, side: str, runs: tuple[Path, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(runs[0], broken)
    FOLDERS[kind](broken)
    sides = {"baseline": str(runs[0]), "candidate": str(runs[0]), side: str(broken)}
    assert exit_code(**sides, out=str(tmp_path / "out")) == 2


@pytest.mark.few(2)
@pytest.mark.parametrize("text", ["", "[]", '{"kind": "evalkit gate baseline"}', damaged("no scores", 0.5)])
def test_the_command_line_exits_with_2(text: str, runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(text, encoding="utf-8")
    assert main(["gate", f"baseline={tmp_path / 'base.json'}", f"candidate={runs[0]}", f"out={tmp_path}"]) == 2
    assert main(["gate", f"baseline={tmp_path / 'missing'}", f"candidate={runs[0]}", f"out={tmp_path}"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["baseline={base}"], ["candidate={folder}"], ["baseline=", "candidate={folder}"],
        ["baseline=[]", "candidate={folder}"], ["baseline={base}", "candidate=[]"],
        ["baseline={empty}", "candidate={folder}"], ["baseline={base}", "candidate={empty}"],
        ["baseline={base}", "candidate={base}"], ["baseline={base}", "candidate={folder}/.."],
        ["baseline=[{base},{base}]", "candidate={folder}"], ["baseline={base}", "candidate={folder}", "margin=0"],
        ["baseline={base}", "candidate={folder}", "margin=much"],
        ["baseline={base}", "candidate={folder}", "margins=3"],
        ["baseline={base}", "candidate={folder}", "metrics=['strict clsoed_accuracy']"],
        ["baseline={base}", "candidate={folder}", "metrics=['exact-match constant']"],
        ["baseline={base}", "candidate={folder}", "metrics=strict"],
        ["baseline={base}", "dry_run=true", "metrics=['strict x']"], ["dry_run=true"], ["save={empty}/x.json"],
        ["prompts=true"], ["prompts=true", "baseline={base}", "candidate={folder}"],
        ["prompts=true", "baseline={folder}", "candidate={empty}"],
    ],
)  # fmt: skip
@pytest.mark.few(4)
def test_an_incomplete_or_wrong_command_exits_with_2(
    arguments: list[str], runs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    named = [a.format(folder=runs[0], base=runs[1], empty=tmp_path / "empty") for a in arguments]
    assert main(["gate", *named]) == 2


def earlier_pass(out: Path) -> None:
    """The files of a gate that passed."""
    out.mkdir(exist_ok=True)
    for name in report.FILES:
        (out / name).write_text('{"verdict": "pass"}', encoding="utf-8")


def says_pass(out: Path) -> list[str]:
    return [n for n in report.FILES if (out / n).is_file() and "pass" in (out / n).read_text(encoding="utf-8")]


@pytest.mark.few(2)
@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError(), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["out", "run"])
def test_after_a_crash_no_file_of_an_earlier_gate_says_pass(
    error: BaseException, where: str, runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[0], run)
    out = tmp_path / "out" if where == "out" else run
    earlier_pass(out)

    def crash(*_: object) -> None:
        raise error

    monkeypatch.setattr("evalkit.analysis.run_scores.read_run_scores", crash)
    command = ["gate", f"baseline={runs[1]}", f"candidate={run}", *([f"out={out}"] if where == "out" else [])]
    assert main(command) not in (0, 1, 4)
    assert says_pass(out) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"candidate": "{run}"},
        {"baseline": "{base}"},
        {"baseline": "{base}", "candidate": "nowhere"},
        {"baseline": "nowhere", "candidate": "{run}"},
        {"baseline": "{base}", "candidate": "{run}", "margin": 2},
        {"baseline": "{base}", "candidate": "{run}", "margins": 3},
        {"baseline": "{base}", "candidate": "{run}", "metrics": ["strict nothing"]},
    ],
)
def test_a_wrong_command_leaves_no_file_of_an_earlier_gate_that_says_pass(
    arguments: dict[str, Any], runs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    earlier_pass(out)
    named = {k: v.format(run=runs[0], base=runs[1]) if isinstance(v, str) else v for k, v in arguments.items()}
    assert exit_code(**named, out=str(out)) == 2
    assert says_pass(out) == []


REFUSED = {
    "an unknown setting": ("bogus=1",),
    "a value of another type": ("margin=much",),
    "a value that cannot be read": ("margin={",),
    "a flag that is none": ("--bogus",),
    "a folder that is none": ("--config-dir", "nowhere"),
    "a flag without its value": ("--config-dir",),
    "a word that is none": ("verdict",),
    "a callback": ("+hydra.callbacks.x=1",),
    "an option that is none": ("+task=nothing",),
    "several values": ("margin=0.1,0.2",),
    "settings of another tree": ("--config-path=x",),
    "an interpolation": ("margin='${nothing}'",),
}
OUTPUTS = {
    "a folder": ("out=out", "candidate={run}"),
    "the candidate": ("candidate={run}",),
    "a pattern of candidates": ("candidate={run}*",),
    "a list of candidates": ("candidate=[{run},nowhere]",),
    "a folder in quotes": ("out='out'",),
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.few(7)
def test_a_command_line_that_is_refused_leaves_no_pass_of_an_earlier_gate(
    kind: str, output: str, runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    shutil.copytree(runs[0], run)
    place = tmp_path / "out" if "out" in OUTPUTS[output][0].partition("=")[0] else run
    other = run if place != run else tmp_path / "out"
    earlier_pass(place)
    earlier_pass(other)
    words = [word.format(run=run) for word in OUTPUTS[output]]
    refused = REFUSED[kind]
    named = [*refused, *words] if refused == ("verdict",) else [*words, *refused]
    assert main(["gate", f"baseline={runs[1]}", *named] if refused != ("verdict",) else ["gate", *named]) == 2
    assert says_pass(place) == []
    assert len(says_pass(other)) == len(report.FILES), "files of another gate stay"


@pytest.mark.parametrize("words", [("--help",), ("dry_run=true", "bogus=1"), ("save=x.json", "bogus=1")])
def test_a_command_that_writes_no_verdict_removes_none(
    words: tuple[str, ...], runs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    earlier_pass(out)
    main(["gate", f"baseline={runs[1]}", f"candidate={runs[0]}", f"out={out}", *words])
    assert len(says_pass(out)) == len(report.FILES)


def test_a_pattern_of_candidates_keeps_no_pass_in_what_it_matches(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a-run", "b-run"):
        shutil.copytree(runs[0], tmp_path / name)
        earlier_pass(tmp_path / name)
    assert exit_code(baseline=str(runs[1]), candidate=str(tmp_path / "*-run")) == 2
    assert says_pass(tmp_path / "a-run") == says_pass(tmp_path / "b-run") == []


def test_a_candidate_that_is_no_run_any_more_keeps_no_pass_in_its_folder(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[0], run)
    earlier_pass(run)
    for name in ("summary.json", "manifest.json"):
        (run / name).unlink()
    assert exit_code(baseline=str(runs[1]), candidate=str(run)) == 2
    assert says_pass(run) == []


@pytest.mark.parametrize("how", ["kill", "full disk"])
@pytest.mark.slow
def test_a_gate_that_is_interrupted_at_any_moment_leaves_no_earlier_verdict(
    how: How, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def gate() -> int:
        return exit_code(baseline=str(runs[1]), candidate=str(runs[0]), margin=2, out=str(out))

    earlier_pass(out)
    n = moments_of(gate, out)
    assert n > 10
    n_left = 0
    for at in range(1, n + 1):
        earlier_pass(out)
        interrupted(gate, out, at, how)
        n_left += bool(says_pass(out))
    # Killed before the first removal, nothing has happened yet; after it, a file that is left is the last one removed.
    assert n_left <= (len(report.FILES) if how == "kill" else 0)
