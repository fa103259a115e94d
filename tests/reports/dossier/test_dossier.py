"""The dossier of a run: what is in it, what is not, and that every changed byte is found."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from evalkit.cli.commands.register import protocol_version
from evalkit.cli.main import main
from evalkit.core.errors import ConfigError, DataError, StoreError
from evalkit.core.types import Sample
from evalkit.judge.api import judge_run
from evalkit.reports.dossier.chain import NAME, verify_chain, write_chain
from evalkit.reports.dossier.checklists import GIVEN, PARTLY, PERSON
from evalkit.reports.dossier.content import Evidence, limits
from evalkit.reports.dossier.plan import Plan, PlanCheck, check_plan, plan_digest, read_plan, write_plan
from evalkit.reports.dossier.read import hosts_of, read_evidence
from evalkit.reports.dossier.sbom import bill_of_materials
from evalkit.reports.export.run import read_run
from evalkit.runs.read import summary_at
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import open_run
from tests.support.fake_server import Act, FakeServer
from tests.support.judge_samples import config
from tests.support.made_runs import answered, failed, made_run, made_samples

N = 40
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    samples, place = made_samples(N), tmp_path_factory.mktemp("runs")
    made = []
    for model, right in (("last", 30), (f"new{SCRIPT}", 25)):
        answers = [answered(s, s.references[0] if k < right else SCRIPT) for k, s in enumerate(samples)]
        answers[-1] = failed(samples[-1])
        config = {"task": {"licence": "CC-BY-4.0", "repo": "owner/set", "revision": "abc"}}
        made.append(made_run(place / f"made-toy-{right:08x}", samples, answers, model=model, config=config))
    return made[0], made[1]


@pytest.fixture(scope="module")
def dossier(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dossier") / "d"
    assert main(["dossier", f"run={runs[1]}", f"baseline={runs[0]}", "intended_use=triage", f"to={out}"]) == 0
    return out


def content(dossier: Path) -> dict[str, dict[str, object]]:
    found = json.loads((dossier / "dossier.json").read_text(encoding="utf-8"))
    return {section["id"]: section for section in found["sections"]}


@pytest.mark.slow
def test_it_has_every_section_and_the_numbers_of_the_run(dossier: Path, runs: tuple[Path, Path]) -> None:
    sections = content(dossier)
    assert list(sections) == [
        "run", "intended-use", "limits", "plan", "data", "model", "results", "subgroups", "answers", "image-reliance",
        "failures", "changes", "software", "hosts",
    ]  # fmt: skip
    whole = json.loads((dossier / "dossier.json").read_text(encoding="utf-8"))
    summary = summary_at(runs[1] / "summary.json")
    values = {(m["protocol"], m["metric"], m["slice"]): m["value"] for m in whole["numbers"]}
    assert values == {(m.protocol, m.metric, m.slice): m.value for m in summary.metrics}
    page = (dossier / "dossier.html").read_text(encoding="utf-8")
    for text in ("CC-BY-4.0", summary.data_sha256, "triage", "1 failed", "@media print", "TRIPOD-LLM", "STARD-AI"):
        assert text in page or text == "1 failed", text
    assert sections["failures"]["facts"]["failed"] == "1"  # type: ignore[index]
    assert "-12.50" in str(sections["changes"])


def test_answers_and_names_are_no_markup_and_answers_stay_out(dossier: Path) -> None:
    assert SCRIPT not in (dossier / "dossier.html").read_text(encoding="utf-8")
    everything = "".join(p.read_text(encoding="utf-8") for p in dossier.rglob("*") if p.is_file())
    assert "Is there a mass" not in everything and "What is seen" not in everything


def test_with_answers_the_runs_files_are_in_it(runs: tuple[Path, Path], tmp_path: Path) -> None:
    assert main(["dossier", f"run={runs[0]}", "answers=true", f"to={tmp_path / 'd'}"]) == 0
    for name in ("summary.json", "manifest.json", "predictions.jsonl", "scores.jsonl"):
        assert (tmp_path / "d" / "run" / name).read_bytes() == (runs[0] / name).read_bytes()
    verify_chain(tmp_path / "d")


def test_one_changed_byte_anywhere_is_found(dossier: Path) -> None:
    head = verify_chain(dossier)
    for path in sorted(p for p in dossier.rglob("*") if p.is_file()):
        before = path.read_bytes()
        for place in {0, len(before) // 2, len(before) - 1}:
            changed = bytearray(before)
            changed[place] ^= 1
            path.write_bytes(changed)
            with pytest.raises(DataError) as problem:
                verify_chain(dossier)
            assert path.name in str(problem.value)
        path.write_bytes(before)
    assert verify_chain(dossier, head) == head


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b.txt"):
        (tmp_path / "d" / name).write_text(name, encoding="utf-8")
    write_chain(tmp_path / "d")
    return tmp_path / "d"


@pytest.mark.parametrize(
    "kind", ["added", "removed", "renamed", "swapped", "cut", "link", "blank in the chain", "no text"]
)
def test_other_changes_are_found(small: Path, kind: str) -> None:
    a, b = small / "a.txt", small / "sub" / "b.txt"
    if kind == "added":
        (small / "sub" / ".hidden").write_text("", encoding="utf-8")
    elif kind == "removed":
        a.unlink()
    elif kind == "renamed":
        a.rename(small / "c.txt")
    elif kind == "swapped":
        first, second = a.read_bytes(), b.read_bytes()
        a.write_bytes(second)
        b.write_bytes(first)
    elif kind == "cut":
        os.truncate(b, 0)
    elif kind == "no text":
        with open(os.path.join(os.fsencode(small), b"sub", b"\xff.txt"), "w"):  # noqa: PTH118 - bytes
            pass
    elif kind == "link":
        a.rename(small.parent / "elsewhere.txt")
        a.symlink_to(small.parent / "elsewhere.txt")
    else:
        (small / NAME).write_text((small / NAME).read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(DataError):
        verify_chain(small)


def test_a_chain_that_was_made_anew_has_another_head(small: Path) -> None:
    head = verify_chain(small)
    (small / "a.txt").write_text("other", encoding="utf-8")
    write_chain(small)
    assert verify_chain(small) != head
    with pytest.raises(DataError, match="made anew"):
        verify_chain(small, head)


def test_a_folder_without_a_chain_and_one_with_a_broken_chain_are_refused(small: Path) -> None:
    (small / NAME).write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read"):
        verify_chain(small)
    (small / NAME).unlink()
    with pytest.raises(ConfigError, match=NAME):
        verify_chain(small)


@pytest.mark.slow
def test_the_verbs_exit_codes(
    dossier: Path, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", f"dossier={dossier}"]) == 0
    head = capsys.readouterr().out.split("chain: ")[1].split(";")[0]
    assert main(["verify", f"dossier={dossier}", f"head={head}"]) == 0
    assert main(["verify", f"dossier={dossier}", f"head={'0' * 64}"]) == 2
    for wrong in ("", head[:12], f"{head}0", "xyz", "null-and-void"):
        assert main(["verify", f"dossier={dossier}", f"head='{wrong}'"]) == 2, wrong
        assert "64 hexadecimal digits" in capsys.readouterr().err
    assert main(["verify", f"dossier={dossier}", f"head= {head.upper()} "]) == 0
    assert main(["verify", f"dossier={tmp_path}"]) == 2
    assert main(["dossier", f"run={runs[0]}", f"to={dossier}"]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    verify_chain(dossier)
    broken = shutil.copytree(runs[0], tmp_path / "broken")
    with (broken / "scores.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert main(["dossier", f"run={broken}", f"to={tmp_path / 'x'}"]) == 2
    assert not (tmp_path / "x").exists()


def test_every_row_of_a_checklist_says_who_gives_it_and_what_was_seen(dossier: Path) -> None:
    found = json.loads((dossier / "dossier.json").read_text(encoding="utf-8"))["checklists"]
    assert [c["name"] for c in found] == ["TRIPOD-LLM", "CHART", "MI-CLAIM-GEN", "STARD-AI"]
    for c in found:
        assert c["seen"] and c["source"] and c["stated_size"]
        for row in c["rows"]:
            expected = PERSON if not row["given"] else PARTLY if row["to_write"] else GIVEN
            assert row["status"] == expected and (row["given"] or row["to_write"])
        assert {row["status"] for row in c["rows"]} >= {PERSON}
    # The numbers of items are those that the guidelines print; CHART's single subitems were not seen.
    ids = {c["name"]: [row["id"] for row in c["rows"]] for c in found}
    assert all(len(set(row_ids)) == len(row_ids) for row_ids in ids.values())
    for name, n_items, n_rows in (("TRIPOD-LLM", 19, 49), ("STARD-AI", 40, 48)):
        numbers = {int(re.sub(r"\D", "", row_id)) for row_id in ids[name]}
        assert (numbers, len(ids[name])) == (set(range(1, n_items + 1)), n_rows)


def test_the_bill_of_materials_lists_what_is_installed() -> None:
    bill = bill_of_materials()
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    versions = {c["name"].lower(): c["version"] for c in bill["components"]}
    import numpy

    assert versions["numpy"] == numpy.__version__
    assert len({c["bom-ref"] for c in bill["components"]}) == len(bill["components"])
    assert bill == bill_of_materials()


def test_exports_of_the_hub_name_the_data_set_and_the_values(dossier: Path, runs: tuple[Path, Path]) -> None:
    (path,) = (dossier / "exports" / "hf-eval-results" / ".eval_results").iterdir()
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    valued = [m for m in summary_at(runs[1] / "summary.json").metrics if m.value is not None]
    assert [e["value"] for e in entries] == [m.value for m in valued]
    assert {e["dataset"]["id"] for e in entries} == {"owner/set"}
    assert all("95 % interval" in e["notes"] and "n " in e["notes"] for e in entries)
    (card,) = (dossier / "exports" / "croissant").iterdir()
    described = json.loads(card.read_text(encoding="utf-8"))
    assert (described["license"], described["evalkit:samples"]) == ("CC-BY-4.0", N)


def test_limits_name_what_is_not_tagged_and_controls(runs: tuple[Path, Path]) -> None:
    text = " ".join(limits(Evidence(run=read_run(runs[0], slices=True))))
    assert "site, scanner, sex, age" in text and "No plan was registered" in text


def test_hosts_are_unknown_rather_than_none_where_they_were_not_recorded(runs: tuple[Path, Path]) -> None:
    assert hosts_of(read_run(runs[0])) is None


# --- plans


def planned(run: Path, **changes: object) -> Plan:
    s = summary_at(run / "summary.json")
    fields = {
        name: getattr(s, name)
        for name in ("model", "task", "split", "data_sha256", "n", "closed_rule", "prompt", "image")
    }
    fields |= {
        "created": "2020-01-01T00:00:00+00:00",
        "evalkit": "0",
        "primary": "exact-match exact_match",
        "protocol_version": 1,
    }
    return Plan(**fields | changes)


@pytest.mark.parametrize(
    ("change", "deviation"),
    [
        ({}, None),
        ({"model": "other"}, "model: planned other"),
        ({"data_sha256": "0"}, "data_sha256"),
        ({"n": 41}, "n: planned 41"),
        ({"prompt": "short@1"}, "prompt"),
        ({"primary": "strict bleu_1"}, "no such number"),
        ({"generation": "sample.t0.7.p1.k0.seed0.max64.n8"}, "generation: planned sample.t0.7.p1.k0.seed0.max64.n8"),
        ({"protocol_version": 9}, "planned exact-match.9"),
        ({"subgroups": ("organ", "sex")}, "subgroup sex"),
        ({"secondary": ("cares closed_accuracy",)}, "secondary metric cares"),
        ({"created": "2999-01-01T00:00:00+00:00"}, "before the plan"),
    ],
)
def test_a_deviation_from_the_plan_is_named(
    runs: tuple[Path, Path], change: dict[str, object], deviation: str | None
) -> None:
    found = check_plan(planned(runs[0], **change), summary_at(runs[0] / "summary.json"), RunFolder(runs[0]))
    assert found.followed == (deviation is None)
    if deviation is not None:
        assert len(found.deviations) == 1 and deviation in found.deviations[0]


def test_a_plan_that_was_edited_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    digest = write_plan(planned(runs[0]), path)
    assert read_plan(path).digest == digest
    stored = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(stored | {"primary": "strict open_recall"}), encoding="utf-8")
    with pytest.raises(StoreError, match="changed after it was registered"):
        read_plan(path)
    path.write_text(json.dumps([1]), encoding="utf-8")
    with pytest.raises(StoreError, match="is no plan"):
        read_plan(path)
    assert plan_digest(stored) == digest


def test_the_dossier_says_whether_the_plan_was_followed(runs: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(planned(runs[0]), path)
    good = read_evidence(runs[0], baseline=None, plan=path, intended_use="", n_packages=0)
    assert good.plan is not None and good.plan.followed
    assert main(["dossier", f"run={runs[1]}", f"plan={path}", f"to={tmp_path / 'd'}"]) == 0
    section = content(tmp_path / "d")["plan"]
    assert "did not follow" in str(section["statements"])
    assert (tmp_path / "d" / "plan.json").read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_register_writes_a_plan_once_and_the_run_follows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["register", "task=phantom", "model=majority", "metric=strict closed_accuracy", f"to={tmp_path / 'p.json'}"]
    assert main(words) == 0
    digest = capsys.readouterr().out.split("digest: ")[1].strip()
    assert read_plan(tmp_path / "p.json").digest == digest
    assert main(words) == 2 and "never replaced" in capsys.readouterr().err
    assert main(["task=phantom", "model=majority", f"out={tmp_path / 'runs'}", "protocol=strict"]) == 0
    run = Path(capsys.readouterr().out.strip().splitlines()[-1])
    found = check_plan(read_plan(tmp_path / "p.json"), summary_at(run / "summary.json"), RunFolder(run))
    assert found.followed, found.deviations


# Settings of a run with several answers a sample, which a plan must state too.
DRAWS = ("model=phantom-llava", "task=phantom", "task.n_test=1", "generation.n=2", "generation.temperature=0.9")


@pytest.mark.slow
def test_a_run_of_several_answers_a_sample_follows_its_plan_and_others_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "p.json"
    words = [*DRAWS, "metric=strict exact_match.pass@2", "secondary=[strict exact_match.flip_rate]"]
    assert main(["register", *words, f"to={plan}"]) == 0
    found = read_plan(plan)
    assert (found.task, found.n, found.generation) == ("phantom[n=2]", 20, "sample.t0.9.p1.k0.seed0.max16.n2")

    def check(*changes: str) -> PlanCheck:
        capsys.readouterr()
        assert main([*DRAWS, *changes, f"out={tmp_path / 'runs'}", "protocol=strict", "leaderboard=null"]) == 0
        run = Path(capsys.readouterr().out.strip().splitlines()[-1])
        return check_plan(found, summary_at(run / "summary.json"), RunFolder(run))

    followed = check()
    assert followed.followed, followed.deviations
    assert [d.partition(":")[0] for d in check("generation.seed=1").deviations] == ["generation"]


@pytest.mark.parametrize(
    "metric", ["strict exact_match.pass@3", "strict exact_match.vote@8", "strict exact_match.best"]
)
def test_a_metric_over_other_draws_than_planned_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str
) -> None:
    assert main(["register", *DRAWS, f"metric={metric}", f"to={tmp_path / 'p.json'}"]) == 2
    assert "generation.n=2" in capsys.readouterr().err and not (tmp_path / "p.json").exists()


@pytest.mark.parametrize(
    ("metric", "known"),
    [
        ("judge:server judged_accuracy.pass@8", True), ("judge:verifier strict.closed_accuracy.best@8", True),
        ("judge:server relative_score", True), ("judge:verifier strict.closed_acuracy.best@8", False),
        ("judge:verifier strict.closed_accuracy.best@4", False),
    ],
)  # fmt: skip
def test_a_judge_s_metric_over_draws_is_planned_by_its_name(metric: str, known: bool) -> None:
    with contextlib.nullcontext() if known else pytest.raises(ConfigError, match="has no metric"):
        assert protocol_version(metric, 8) is None


def test_a_planned_judged_metric_is_read_from_the_judge_s_numbers(runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "run"))
    plan = planned(run, primary="judge:server judged_accuracy", protocol_version=None)

    def deviations() -> tuple[str, ...]:
        return check_plan(plan, summary_at(run / "summary.json"), RunFolder(run)).deviations

    assert len(deviations()) == 1 and "no such number" in deviations()[0]
    answers = [line.prediction for line in open_run(run).predictions()]
    samples = [
        Sample(id=a.sample_id, image_id="i", question="?", references=("yes",), tags={"answer_type": "OPEN"})
        for a in answers
    ]
    verdict = Act(text=json.dumps({"reason": "", "verdict": "correct"}))
    with FakeServer(lambda n, body: verdict) as server:
        judge_run(run, config(server.url, api_key_env=None, cache=None), samples, answers)
    assert deviations() == ()


@pytest.mark.parametrize(
    "metric",
    [
        "strict closed_acuracy", "strct closed_accuracy", "strict", "judge:nobody judged_accuracy",
        "judge:server judgd_accuracy", "judge:server judged_accuracy.pass@8",
        "judge:verifier strict.closed_accuracy.best@8",
    ],
)  # fmt: skip
def test_a_metric_that_no_protocol_has_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str
) -> None:
    assert main(["register", f"metric={metric}", f"to={tmp_path / 'p.json'}"]) == 2
    assert "metric" in capsys.readouterr().err and not (tmp_path / "p.json").exists()


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["margin=-0.02"], "margin=-0.02"),
        (["margin=0"], "margin=0"),
        (["margin=1"], "margin=1"),
        (["margin=5"], "margin=5"),
        (["subgroups=[modalty]"], "Did you mean 'modality'"),
        (["subgroups=[modality,site]"], "no slices by 'site'"),
        (["image=grey"], "image=grey"),
    ],
)
def test_a_plan_that_no_run_can_follow_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    plan = tmp_path / "p.json"
    assert main(["register", "metric=strict closed_accuracy", f"to={plan}", *words]) == 2
    assert message in capsys.readouterr().err and not plan.exists()


def test_a_plan_takes_every_kind_of_image_and_tags_of_the_data(tmp_path: Path) -> None:
    plan = tmp_path / "p.json"
    words = ["register", "metric=strict closed_accuracy", "image=blurred", "subgroups=[modality]", "margin=0.02"]
    assert main([*words, f"to={plan}"]) == 0
    found = read_plan(plan)
    assert (found.image, found.subgroups, found.margin) == ("blurred", ("modality",), 0.02)
