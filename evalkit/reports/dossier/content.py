"""The content of a dossier: sections of statements, facts and tables, all from the files of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.analysis.compare import RunComparison
from evalkit.analysis.run_scores import RunScores
from evalkit.core.format import MISSING, interval, percent
from evalkit.core.types import MetricValue
from evalkit.reports.dossier.plan import PlanCheck
from evalkit.reports.export.run import FinishedRun, name_of
from evalkit.reports.numbers import interval_text, value_text

# Tags by which people and devices differ, as data sets name them.
SUBGROUPS: Mapping[str, frozenset[str]] = {
    "site": frozenset({"site", "hospital", "institution", "centre", "center"}),
    "scanner": frozenset({"scanner", "manufacturer", "vendor", "device", "scanner_model"}),
    "sex": frozenset({"sex", "gender", "patient_sex"}),
    "age": frozenset({"age", "age_group", "patient_age"}),
}
TO_WRITE = "To be written by a person."


@dataclass(frozen=True, slots=True, kw_only=True)
class FactTable:
    """A table of texts."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section.  to_write: what a person must add; empty where the run knows all of it."""

    id: str
    title: str
    statements: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[FactTable, ...] = ()
    to_write: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a dossier is made from.

    against: the scores of the last version and the paired differences from it.  hosts: servers that were spoken to;
    None where the run did not record them.
    """

    run: FinishedRun
    intended_use: str = ""
    plan: PlanCheck | None = None
    against: tuple[RunScores, Sequence[RunComparison]] | None = None
    hosts: tuple[str, ...] | None = None
    n_packages: int = 0


def sections(e: Evidence) -> list[Section]:
    """The sections in order."""
    return [
        _identity(e),
        Section(
            id="intended-use",
            title="Intended use",
            statements=(e.intended_use,) if e.intended_use else (),
            to_write=""
            if e.intended_use
            else f"{TO_WRITE} No run knows what a model is meant for (intended_use=TEXT).",
        ),
        Section(id="limits", title="What this run does not show", statements=limits(e)),
        _plan(e),
        _data(e),
        _model(e),
        _results(e),
        _subgroups(e),
        _answers(e),
        _image_reliance(e),
        _failures(e),
        _changes(e),
        _software(e),
        _hosts(e),
    ]


def _identity(e: Evidence) -> Section:
    s = e.run.summary
    facts = {"model": s.model, "data set": f"{e.run.task}, {s.split}", "run": s.run_id, "evalkit": s.evalkit}
    return Section(id="run", title="Run", facts=facts)


def limits(e: Evidence) -> tuple[str, ...]:
    """What cannot be concluded from the run, by its own records."""
    s = e.run.summary
    found = [
        "Answers to questions with known references were scored. No patient was treated, no physician worked with the "
        "model, and no clinical outcome was measured.",
        f"The numbers hold for {s.n} questions on {s.n_images} images of {s.task} ({s.split}) under the named "
        "protocols, and for no other population, device, language or wording of questions.",
        "A protocol compares texts. An answer that it accepts may be wrong in what it does not compare.",
    ]
    if s.limit:
        found.append(f"Only the first {s.limit} samples were asked.")
    if s.image != "original":
        found.append(f"The model saw {s.image} images: this is a control, and no measurement of the model.")
    if s.generation == "unknown":
        found.append("The answers came from a file: decoding, prompt and weights are as its author says, not verified.")
    if e.run.manifest is None:
        found.append("The run has no manifest: its configuration is not known.")
    unseen = [name for name, tags in SUBGROUPS.items() if not _slices(e.run, tags)]
    if unseen:
        found.append(f"Nothing is known by {', '.join(unseen)}: the data set has no such tags.")
    if e.plan is None:
        found.append("No plan was registered: which of the metrics is the main one may have been chosen afterwards.")
    return (*found, *s.warnings)


def _plan(e: Evidence) -> Section:
    if e.plan is None:
        return Section(
            id="plan",
            title="Plan",
            statements=("No plan was given: nothing shows that the primary metric was fixed before the run.",),
            to_write="`python -m evalkit register` before the next run, and plan=FILE here.",
        )
    p = e.plan.plan
    facts = {
        "primary metric": p.primary, "secondary": ", ".join(p.secondary) or MISSING,
        "subgroups": ", ".join(p.subgroups) or MISSING, "margin": percent(p.margin),
        "hypothesis": p.hypothesis or MISSING, "registered": p.created, "digest": p.digest,
    }  # fmt: skip
    verdict = "The run followed the plan." if e.plan.followed else "The run did not follow the plan:"
    return Section(id="plan", title="Plan", statements=(verdict, *e.plan.deviations, *e.plan.remarks), facts=facts)


def _data(e: Evidence) -> Section:
    s, m, task = e.run.summary, e.run.manifest, e.run.config.get("task") or {}
    facts = {
        "name": s.task, "split": s.split, "form": s.form, "samples": str(s.n), "images": str(s.n_images),
        "licence": str(task.get("licence") or ""), "citation": str(task.get("citation") or ""),
        "repository": e.run.dataset_repo or "", "revision": str(task.get("revision") or ""),
        "sha256 of the samples": s.data_sha256,
        "sha256 of the images": (m.images_sha256 or "") if m is not None else "",
        "rows left out": str(s.n_skipped),
    }  # fmt: skip
    parts = [x for x in s.metrics if x.slice.startswith(("leak=", "repeats="))]
    tables = (_metric_table(parts, "Samples that training may have included, or that repeat others"),) if parts else ()
    return Section(
        id="data", title="Data set", facts={k: v or "not stated" for k, v in facts.items()}, tables=tables,
        statements=(*s.notes, *(f"left out: {text}" for text in s.skipped)),
        to_write=f"{TO_WRITE} Origin of the patients, consent, and who set the reference answers.",
    )  # fmt: skip


def _model(e: Evidence) -> Section:
    s, m, model = e.run.summary, e.run.manifest, e.run.config.get("model") or {}
    facts = dict(m.facts) if m is not None else {}
    known = {
        "name": s.model, "source": str(model.get("source") or ""), "revision": str(model.get("revision") or ""),
        "licence": str(model.get("licence") or ""), "checkpoint": (m.checkpoint or "") if m is not None else "",
        "sha256 of the weights": str(facts.get("weights_sha256") or ""), "engine": str(facts.get("engine") or ""),
        "dtype": str(facts.get("dtype") or ""), "device": str(facts.get("device_name") or facts.get("device") or ""),
        "prompt": s.prompt, "decoding": s.generation, "images": s.image,
        "sha256 of the prompts": (m.prompts_sha256 or "") if m is not None else "",
    }  # fmt: skip
    return Section(
        id="model", title="Model, prompts and decoding", facts={k: v or "not recorded" for k, v in known.items()},
        to_write=f"{TO_WRITE} What the model was trained on.",
    )  # fmt: skip


def _metric_table(values: Sequence[MetricValue], caption: str) -> FactTable:
    rows = tuple(
        (
            m.protocol, m.metric, m.slice, value_text(m, m.value), interval_text(m), str(m.n), str(m.n_unscored),
            value_text(m, m.value_worst_case) if m.n_unscored else MISSING,
        )
        for m in values
    )  # fmt: skip
    header = ("protocol", "metric", "slice", "value", "95 % interval", "n", "unscored", "worst case")
    return FactTable(header=header, rows=rows, caption=caption)


def _results(e: Evidence) -> Section:
    over_all = [m for m in e.run.numbers if m.slice == "all"]
    first = [m for m in over_all if e.plan is not None and m.key == e.plan.plan.key]
    ordered = [*first, *(m for m in over_all if m not in first)]
    statements = (
        "Percent, or points on a judge's scale. Intervals: 95 %, clustered by " + e.run.summary.cluster + ".",
        *(f"{name_of(m)} has no value: {e.run.problem(m)}." for m in e.run.missing if m.slice == "all"),
    )
    caption = "Over all samples" + ("; the primary metric first" if first else "")
    return Section(id="results", title="Results", statements=statements, tables=(_metric_table(ordered, caption),))


def _slices(run: FinishedRun, tags: frozenset[str]) -> list[MetricValue]:
    return [m for m in run.numbers if m.slice != "all" and m.slice.partition("=")[0].lower() in tags]


def _subgroups(e: Evidence) -> Section:
    found = {name: _slices(e.run, tags) for name, tags in SUBGROUPS.items()}
    people = frozenset().union(*SUBGROUPS.values())
    others = [m for m in e.run.numbers if m.slice != "all" and m.slice.partition("=")[0].lower() not in people]
    tables = [_metric_table(values, f"By {name}") for name, values in found.items() if values]
    tables += [_metric_table(others, "By other tags of the data set")] if others else []
    missing = tuple(f"By {name}: not tagged in the data set." for name, values in found.items() if not values)
    return Section(id="subgroups", title="Subgroups", statements=missing, tables=tuple(tables))


def _block(title: str, identity: str, blocks: Mapping[str, Any], nothing: str) -> Section:
    """A section of the values in blocks of the sanity checks; lists of records are tables."""
    facts = {name: text for block, content in blocks.items() for name, text in _flat(block, content).items()}
    tables = tuple(t for block, content in blocks.items() for t in _record_tables(block, content))
    statements = () if facts or tables else (nothing,)
    return Section(id=identity, title=title, facts=facts, tables=tables, statements=statements)


def _is_records(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(part, Mapping) for part in value)


def _record_tables(name: str, value: Any) -> list[FactTable]:
    """The lists of records in a block, each a table; a column that a record lacks is empty."""
    if isinstance(value, Mapping):
        return [table for key, part in value.items() for table in _record_tables(f"{name}, {key}", part)]
    if not _is_records(value):
        return []
    header = tuple(dict.fromkeys(key for record in value for key in record))
    rows = tuple(tuple(_short(record.get(key)) for key in header) for record in value)
    return [FactTable(header=tuple(map(str, header)), rows=rows, caption=name.replace("_", " "))]


def _flat(name: str, value: Any) -> dict[str, str]:
    """Values by their place: numbers with four digits, mappings opened; lists of records are tables."""
    if isinstance(value, Mapping):
        return {k: v for key, part in value.items() for k, v in _flat(f"{name}, {key}".replace("_", " "), part).items()}
    if isinstance(value, list | tuple):
        return {} if not value or _is_records(value) else {name: ", ".join(map(_short, value))}
    return {} if value is None else {name: _short(value)}


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value))
    return MISSING if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _answers(e: Evidence) -> Section:
    checks = e.run.summary.sanity_checks
    blocks = {"yes or no": checks.get("yes_no"), "rewordings": checks.get("consistency"), "rates": checks.get("rates")}
    return _block("Answers: yes and no, rewordings, rates", "answers", blocks, "The run has no such block.")


def _image_reliance(e: Evidence) -> Section:
    checks = e.run.summary.sanity_checks
    blocks = {"without images": checks.get("blank"), "baselines": checks.get("baselines")}
    return _block(
        "Reliance on the image", "image-reliance", blocks,
        "Neither baselines nor a run on blank images are known: the numbers may rest on the questions alone.",
    )  # fmt: skip


def _failures(e: Evidence) -> Section:
    s = e.run.summary
    facts = {
        "samples": str(s.n), "failed": str(s.n_failed), "empty": str(s.n_empty), "cut": str(s.n_truncated),
    }  # fmt: skip
    rows = tuple((u.protocol, u.metric, u.reason, str(u.count)) for u in s.unscored)
    header = ("protocol", "metric", "reason", "samples")
    table = FactTable(header=header, rows=rows, caption="Samples that could not be scored, abstentions among them")
    return Section(id="failures", title="Failures and abstentions", facts=facts, tables=(table,) if rows else ())


def _changes(e: Evidence) -> Section:
    if e.against is None:
        return Section(id="changes", title="Changes against the last version", statements=("No baseline was given.",))
    first, results = e.against
    rows = tuple(
        (
            str(p.key), *(percent(v) for v in p.table_values), percent(p.difference, signed=True),
            interval(p.interval.low, p.interval.high, signed=True), str(p.n_worse), str(p.n_better), str(p.n),
        )
        for result in results
        for p in result.pairs
    )  # fmt: skip
    header = ("metric", "last version", "this run", "difference", "95 % interval", "worse", "better", "n")
    h = first.header
    return Section(
        id="changes", title="Changes against the last version",
        facts={"last version": f"{h.model} ({h.run_id})", "prompt": h.prompt, "decoding": h.generation},
        tables=(FactTable(header=header, rows=rows, caption="Paired differences, percent"),),
    )  # fmt: skip


def _software(e: Evidence) -> Section:
    m = e.run.manifest
    facts = {"evalkit of the run": e.run.summary.evalkit, "packages now installed": str(e.n_packages)}
    for name in ("torch", "transformers", "vllm"):
        if m is not None and m.facts.get(name):
            facts[f"{name} of the run"] = str(m.facts[name])
    statement = (
        "sbom.cdx.json lists the software of the environment in which this dossier was made; where the run was made "
        "in another one, make the dossier there."
    )
    return Section(id="software", title="Software", statements=(statement,), facts=facts)


def _hosts(e: Evidence) -> Section:
    title = "What left the machine"
    if e.hosts is None:
        text = (
            "The run did not record which servers were spoken to: it is of an earlier version, or its answers came "
            "from a file."
        )
        return Section(id="hosts", title=title, statements=(text,))
    if not e.hosts:
        return Section(id="hosts", title=title, statements=("Engine and judges spoke to no server.",))
    return Section(
        id="hosts", title=title, statements=("Engine and judges spoke to these servers, which were sent the prompts:",),
        facts={host: "questions and images, where the model sees them" for host in e.hosts},
    )  # fmt: skip


def checklist_facts(e: Evidence, head_of_files: str) -> dict[str, str]:
    """The facts that checklists name, as short texts; empty where the run does not know."""
    s, m, config = e.run.summary, e.run.manifest, e.run.config
    task, model = config.get("task") or {}, config.get("model") or {}
    facts = dict(m.facts) if m is not None else {}
    valued = [x for x in e.run.numbers if x.slice == "all" and x.value is not None]
    primary = next((x for x in valued if e.plan is not None and x.key == e.plan.plan.key), None)
    tags = sorted({x.slice.partition("=")[0] for x in e.run.numbers if x.slice != "all"})
    known = {
        "task": f"{s.task}, {s.split}: {task.get('about') or 'questions with references'}",
        "data": f"{s.n} samples on {s.n_images} images",
        "licence": task.get("licence"),
        "data_digest": f"samples {s.data_sha256}",
        "references": f"closed questions by {s.closed_rule}; the data set's own answers",
        "skipped": f"{s.n_skipped} rows left out",
        "model": s.model,
        "revision": model.get("revision") or facts.get("weights_sha256") or (m.checkpoint if m is not None else None),
        "model_licence": model.get("licence"),
        "engine": facts.get("engine"),
        "prompt": None if s.prompt == "unknown" else s.prompt,
        "generation": None if s.generation == "unknown" else s.generation,
        "metrics": valued and f"{len(valued)} numbers with intervals in section Results",
        "primary": primary and f"{primary.key} {value_text(primary, primary.value)} {interval_text(primary)}",
        "failures": f"{s.n_failed} failed, {s.n_empty} empty, {s.n_truncated} cut, of {s.n}",
        "subgroups": tags and f"slices by {', '.join(tags)}",
        "plan": e.plan and f"registered {e.plan.plan.created}, {'followed' if e.plan.followed else 'not followed'}",
        "software": f"evalkit {s.evalkit}; sbom.cdx.json",
        "files": head_of_files,
        "limits": "section What this run does not show",
        "statistics": f"95 % intervals, clustered by {s.cluster}",
        "image_reliance": "section Reliance on the image" if s.sanity_checks else None,
        "hosts": None if e.hosts is None else ", ".join(e.hosts) or "no server was spoken to",
        "intended_use": e.intended_use,
        "created": None,  # a run records no date
    }
    return {name: str(text) if text else "" for name, text in known.items()}


def files_of_run(run: FinishedRun) -> list[tuple[str, str, str]]:
    """Name, bytes and sha256 of each file of the run that the numbers belong to."""
    from evalkit.runs.verify import digest_of

    names = dict.fromkeys(("summary.json", "manifest.json", *(run.summary.files or ())))
    found = [(name, digest_of(path)) for name in names if (path := Path(run.folder.path) / name).is_file()]
    return [(name, str(digest.bytes), digest.sha256) for name, digest in found]
