"""Writing of a dossier: its page, its data, software, checklists, exports, and the hash chain last."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from evalkit import __version__
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.files import write_json, write_whole
from evalkit.reports import markdown
from evalkit.reports.dossier.chain import write_chain
from evalkit.reports.dossier.checklists import Checklist, checklists
from evalkit.reports.dossier.content import Evidence, sections
from evalkit.reports.dossier.facts import checklist_facts, files_of_run
from evalkit.reports.dossier.pdf import NAME as PDF
from evalkit.reports.dossier.pdf import Printer
from evalkit.reports.dossier.sections import FactTable
from evalkit.reports.export import writer
from evalkit.runs.codec import encode

KIND = "evalkit dossier"
SCHEMA = 1
# Exports that hold numbers alone, and those that hold questions and answers too.
OF_NUMBERS, OF_ANSWERS = ("hf-model-index", "hf-eval-results", "croissant"), ("every-eval-ever",)
CHECKLIST_HEADER = ("item", "topic", "status", "given by the run", "to write")


def write_dossier(
    e: Evidence,
    bill: Mapping[str, Any],
    out: Path,
    *,
    answers: bool,
    plan: Path | None,
    print_page: Printer | None = None,
) -> str:
    """Write a dossier into a new or empty folder; returns the head of its hash chain.

    Args:
        bill: the software bill of materials.
        answers: also the files of the run, which have questions and answers.
        plan: the file of the registered plan.
        print_page: what makes the PDF of the page; None for a dossier without one.

    Raises:
        ConfigError: the folder has content.
        Partial: everything is written but the PDF.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"to={out} exists and is not an empty folder; a dossier is made in a folder of its own.")
    out.mkdir(parents=True, exist_ok=True)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(out / "sbom.cdx.json", bill)
    listed = files_of_run(e.run)
    found = checklists(checklist_facts(e, "the folder's chain.json"))
    write_whole(out / "checklists.md", checklists_text(found))
    write_whole(out / "dossier.html", page(e, found, listed, created))
    write_json(out / "dossier.json", record(e, found, listed, created))
    if plan is not None:
        shutil.copyfile(plan, out / "plan.json")
    _write_exports(e, out / "exports", OF_NUMBERS + (OF_ANSWERS if answers else ()))
    if answers:
        (out / "run").mkdir()
        for name, _, _ in listed:
            shutil.copyfile(e.run.folder.path / name, out / "run" / name)
    try:
        if print_page is not None:
            print_page(out / "dossier.html", out / PDF)
    finally:
        head = write_chain(out)
    return head


def _write_exports(e: Evidence, out: Path, forms: Sequence[str]) -> None:
    """Write the run in other tools' forms; a form that has no place for this run says why in a text file."""
    for form in forms:
        try:
            writer(form)(e.run, out / form)
        except DataError as problem:
            write_whole(out / form / "not-written.txt", f"{problem}\n")


def record(
    e: Evidence, found: Sequence[Checklist], listed: Sequence[tuple[str, str, str]], created: str
) -> dict[str, Any]:
    """The content of dossier.json: the sections as texts, and every number as in summary.json."""
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "created": created,
        "evalkit": __version__,
        "run_id": e.run.summary.run_id,
        "plan": None if e.plan is None else encode(e.plan),
        "hosts": None if e.hosts is None else list(e.hosts),
        "sections": [encode(s) for s in sections(e)],
        "numbers": encode(e.run.numbers),
        "checklists": [encode(c) for c in found],
        "files_of_the_run": [{"name": n, "bytes": int(b), "sha256": d} for n, b, d in listed],
    }


def page(e: Evidence, found: Sequence[Checklist], listed: Sequence[tuple[str, str, str]], created: str) -> str:
    """The page, with a print style.  Texts are data, never markup: a script tag in one does nothing."""
    from jinja2 import Environment, StrictUndefined

    parts = files("evalkit.reports.dossier")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_part(parts, "page.html.j2"))
    s = e.run.summary
    return template.render(
        title=f"{s.model} on {s.task}",
        style=_part(parts, "page.css"),
        version=__version__,
        created=created,
        sections=sections(e),
        checklists=[
            {"name": c.name, "source": c.source, "stated_size": c.stated_size, "seen": c.seen, "table": _table(c)}
            for c in found
        ],
        files=FactTable(header=("file", "bytes", "sha256"), rows=tuple(listed)),
    )


def _part(parts: Any, name: str) -> str:
    return str(parts.joinpath(name).read_text(encoding="utf-8"))


def _table(c: Checklist) -> FactTable:
    rows = tuple((r.id or "not seen", r.topic, r.status, "; ".join(r.given), r.to_write) for r in c.rows)
    return FactTable(header=CHECKLIST_HEADER, rows=rows, caption=f"{c.name}, as far as its items were seen")


def checklists_text(found: Sequence[Checklist]) -> str:
    """The checklists as Markdown, to be completed by a person."""
    lines = ["# Checklists", ""]
    for c in found:
        rows = [[markdown.escape(cell) for cell in row] for row in _table(c).rows]
        about = markdown.escape(f"{c.source}; {c.stated_size}. {c.seen}")
        lines += [f"## {c.name}", "", about, "", *markdown.table(CHECKLIST_HEADER, rows), ""]
    return "\n".join(lines)
