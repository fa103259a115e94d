"""What evalkit installs: pinned, with hashes, without known holes, and nothing that it does not use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from evalkit.core.extras import HF
from tests.support.paths import ROOT
from tests.support.supply_chain import checks, imported

CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
# Declared ahead of their use, docs/adr/0007-dependencies.md; a name leaves this set when the package imports it.
WAITING: set[str] = set()
# Import names of distributions that may be missing here, or that several distributions have.
DISTRIBUTIONS = {
    "ray": "ray",
    "bert_score": "bert-score",
    "vllm": "vllm",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "pydantic_core": "pydantic",
}


@cache
def distributions() -> Mapping[str, list[str]]:
    """Import names with the distributions that have them; reads the files of all distributions."""
    return metadata.packages_distributions()


def distribution_of(name: str) -> str:
    found = distributions().get(name, ())
    return DISTRIBUTIONS.get(name) or (checks().canonicalize_name(found[0]) if found else name)


def declared(extra: str | None = None) -> set[str]:
    return {checks().canonicalize_name(r.name) for r in checks().declared(extra)}


# --- pins


def test_every_distribution_that_evalkit_brings_is_pinned() -> None:
    installed = checks().closure(checks().default_install())
    assert len(installed) > len(checks().default_install())
    assert checks().pin_problems(installed, checks().pins(CONSTRAINTS)) == []


@pytest.mark.parametrize("extra", ["dev", "xlsx", "dicom", "view", "sign"])
def test_every_distribution_of_the_extras_that_ci_installs_is_pinned(extra: str) -> None:
    installed = checks().closure(checks().declared(extra))
    assert checks().pin_problems(installed, checks().pins(CONSTRAINTS)) == []


def test_the_pins_are_what_is_installed() -> None:
    installed = checks().closure(checks().default_install())
    differ = checks().version_problems(installed, checks().pins(CONSTRAINTS))
    if differ and "CI" not in os.environ:
        pytest.skip(f"this environment was not made with constraints.txt: {'; '.join(differ)}")
    assert differ == []


def test_every_pin_but_torch_has_hashes_in_the_lock() -> None:
    assert checks().lock_problems(checks().pins(CONSTRAINTS), LOCK) == []
    assert [*checks().UNLOCKED] == ["torch"]
    assert all(n >= 1 for n in checks().hashes(LOCK).values())


def test_a_pin_is_allowed_by_the_declared_range() -> None:
    pinned = checks().pins(CONSTRAINTS)
    extras = [r for extra in ("dev", "xlsx", "dicom", "view", "sign") for r in checks().declared(extra)]
    for requirement in [*checks().default_install(), *extras]:
        assert requirement.specifier.contains(pinned[checks().canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("text", [CONSTRAINTS, LOCK], ids=["constraints.txt", "requirements.lock"])
def test_no_index_is_named(text: str) -> None:
    assert "://" not in text and "index-url" not in text and "find-links" not in text


def test_a_missing_pin_another_version_and_a_lost_hash_are_seen() -> None:
    given = {"a": "1.0", "b": "2.0+cpu", "c": None}
    assert checks().pin_problems(given, {"a": "1", "b": "2.0"}) == [
        "c is installed with evalkit and not pinned in constraints.txt"
    ]
    pinned = {"a": "1.1", "b": "2.0", "c": "3"}
    assert checks().version_problems(given, pinned) == [
        "a: 1.0 is installed, 1.1 is pinned",
        "c: nothing is installed, 3 is pinned",
    ]
    lock = f"a==1.1 \\\n    --hash=sha256:{'0' * 64}\nc==2\n"
    assert checks().lock_problems({"a": "1.1", "c": "3", "torch": "2"}, lock) == [
        "c==2 is in only one of constraints.txt and requirements.lock",
        "c==3 is in only one of constraints.txt and requirements.lock",
        "c has no hash in requirements.lock",
    ]


# --- what is declared


def test_everything_that_the_package_imports_is_declared() -> None:
    trackers = ("tracking-mlflow", "tracking-tensorboard", "tracking-trackio", "tracking-wandb")
    extras = ("hf", "vllm", "ray", "xlsx", "dicom", "peft", "bertscore", "figures", "view", "sign", *trackers)
    allowed = declared().union(*map(declared, extras))
    assert {name for name in imported() if distribution_of(name) not in allowed} == set()


@pytest.mark.slow
def test_everything_that_is_declared_is_imported() -> None:
    used = {distribution_of(name) for name in imported()}
    assert (declared() | declared("hf")) - used == WAITING


def test_the_core_brings_no_package_that_runs_checkpoints() -> None:
    """A light install scores without torch; the extra has what it leaves out, and the tests' extra has both."""
    assert declared("hf") == set(HF)
    assert checks().closure(checks().declared()).keys() & declared("hf") == set()
    assert declared("hf") <= declared("dev") and "evalkit-medvqa" not in declared("dev")


# --- known holes


def test_no_pin_no_installed_version_and_no_lowest_version_has_a_known_hole() -> None:
    known = checks().advisories()
    assert checks().advisory_problems(known, checks().pins(CONSTRAINTS).items(), "pinned") == []
    assert checks().advisory_problems(known, checks().lowest(checks().default_install()), "lowest") == []
    brought = checks().closure(checks().default_install())
    installed = [pair for pair in checks().installed_here() if pair[0] in brought]
    found = checks().advisory_problems(known, installed, "installed")
    if found and "CI" not in os.environ:
        pytest.skip(f"this environment was not made with constraints.txt: {'; '.join(found)}")
    assert found == []


def test_every_advisory_says_where_it_is_from_and_when() -> None:
    pinned = checks().pins(CONSTRAINTS)
    for advisory in checks().advisories():
        assert advisory.source.startswith("https://") and len(advisory.date) == 10 and advisory.why
        assert advisory.package in pinned, advisory.id


def test_an_affected_version_is_found_whatever_its_local_part() -> None:
    known = [
        checks().Advisory(
            id="X-1", package="torch", affected=SpecifierSet(">=2,<2.10"), source="https://x", date="", why="it burns"
        )
    ]
    versions = [("torch", "2.9.1+cpu"), ("torch", "2.10.0"), ("torch", "2.9.0rc1"), ("other", "2.5"), ("torch", "1.9")]
    found = checks().advisory_problems(known, versions, "pinned")
    assert [line.split(" (")[0] for line in found] == ["torch 2.9.0rc1", "torch 2.9.1+cpu"]
    assert "X-1" in found[0] and "https://x" in found[0]
    assert checks().lowest([Requirement("torch>=2.5,<3"), Requirement("numpy")]) == [("torch", "2.5")]


# --- the advisory service, by pip-audit


@pytest.fixture
def service() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An advisory service in the form of OSV that knows one hole, of idna; and the queries that it got."""
    queries: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            queries.append(query)
            body = json.dumps({"vulns": [HOLE]} if query["package"]["name"] == "idna" else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/query", queries
    server.shutdown()
    server.server_close()
    thread.join()


HOLE = {
    "id": "MADE-1",
    "aliases": [],
    "summary": "made",
    "details": "made",
    "published": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "idna", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
            "versions": [],
        }
    ],
}


def constraints(folder: Path) -> Path:
    path = folder / "constraints.txt"
    path.write_text("idna==3.20\njinja2==3.1.6\n", encoding="utf-8")
    return path


def test_what_the_advisory_service_finds_is_a_problem(
    service: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    pytest.importorskip("pip_audit")
    url, queries = service
    audit = checks().online(constraints(tmp_path), ["-s", "osv", "--osv-url", url])
    assert list(audit.found) == ["idna 3.20: MADE-1, fixed in 99"]
    assert (audit.asked, audit.answered) == (2, 2)
    assert {q["package"]["name"]: q["version"] for q in queries} == {"idna": "3.20", "jinja2": "3.1.6"}


def test_a_service_that_cannot_be_reached_has_checked_nothing(tmp_path: Path) -> None:
    pytest.importorskip("pip_audit")
    audit = checks().online(constraints(tmp_path), ["-s", "osv", "--osv-url", "http://127.0.0.1:9/v1/query"])
    assert (list(audit.found), audit.asked, audit.answered) == ([], 2, 0)
    assert audit.why


def test_distributions_that_the_service_skips_do_not_count_as_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entries = [{"name": "idna", "skip_reason": "not found"}, {"name": "jinja2", "version": "3.1.6", "vulns": []}]
    done = subprocess.CompletedProcess([], 0, stdout=json.dumps({"dependencies": entries}), stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: done)
    audit = checks().online(constraints(tmp_path), [])
    assert (list(audit.found), audit.asked, audit.answered, audit.why) == ([], 2, 1, "not found")


def test_the_program_ends_with_1_and_names_each_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = checks().Advisory(
        id="X-2", package="jinja2", affected=SpecifierSet("<99"), source="https://x", date="", why="it leaks"
    )
    monkeypatch.setattr(checks(), "advisories", lambda: [known])
    assert checks().main([]) == 1
    assert "problem: jinja2 3.1.6 (pinned): X-2, it leaks" in capsys.readouterr().out


# --- the bill of materials


@pytest.mark.slow
def test_the_bill_of_materials_names_everything_that_evalkit_installs(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py")
    out = tmp_path / "sbom.json"
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable, "--pyproject", "pyproject.toml"]
    subprocess.run([*command, "--output-reproducible", "--validate", "-o", str(out)], check=True, cwd=ROOT)
    bill = json.loads(out.read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "evalkit-medvqa")
    versions = {checks().canonicalize_name(c["name"]): c.get("version") for c in bill["components"]}
    assert checks().closure(checks().default_install()).items() <= versions.items()


def test_ci_installs_by_hash_and_writes_the_bill_of_materials() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    first = script.index('bash -euo pipefail -c "${commands[0]}"')
    assert script.index("--require-hashes -r requirements.lock") < script.index("PIP_NO_INDEX=1") < first
    assert first < script.index("cyclonedx-py") < script.index('bash -euo pipefail -c "${commands[1]}"')
    assert ".ci/supply_chain.py" in script
