"""The content of a dossier: sections of statements, facts and tables, all from the files of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.analysis.compare import RunComparison
from evalkit.analysis.run_scores import RunScores
from evalkit.core.format import MISSING, interval, percent, shown_metric
from evalkit.core.types import MetricValue
from evalkit.reports.dossier.plan import PlanCheck
from evalkit.reports.dossier.sections import FactTable, Section, block_section
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
        "decoding": p.generation or MISSING, "hypothesis": p.hypothesis or MISSING, "registered": p.created,
        "digest": p.digest,
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
            m.protocol, shown_metric(m.metric), m.slice, value_text(m, m.value), interval_text(m), str(m.n),
            str(m.n_unscored), value_text(m, m.value_worst_case) if m.n_unscored else MISSING,
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


def _answers(e: Evidence) -> Section:
    checks = e.run.summary.sanity_checks
    blocks = {"yes or no": checks.get("yes_no"), "rewordings": checks.get("consistency"), "rates": checks.get("rates")}
    return block_section("Answers: yes and no, rewordings, rates", "answers", blocks, "The run has no such block.")


def _image_reliance(e: Evidence) -> Section:
    checks = e.run.summary.sanity_checks
    blocks = {"without images": checks.get("blank"), "baselines": checks.get("baselines")}
    return block_section(
        "Reliance on the image", "image-reliance", blocks,
        "Neither baselines nor a run on blank images are known: the numbers may rest on the questions alone.",
    )  # fmt: skip


def _failures(e: Evidence) -> Section:
    s = e.run.summary
    facts = {
        "samples": str(s.n), "failed": str(s.n_failed), "empty": str(s.n_empty), "cut": str(s.n_truncated),
    }  # fmt: skip
    rows = tuple((u.protocol, shown_metric(u.metric), u.reason, str(u.count)) for u in s.unscored)
    header = ("protocol", "metric", "reason", "samples")
    table = FactTable(header=header, rows=rows, caption="Samples that could not be scored, abstentions among them")
    return Section(id="failures", title="Failures and abstentions", facts=facts, tables=(table,) if rows else ())


def _changes(e: Evidence) -> Section:
    if e.against is None:
        return Section(id="changes", title="Changes against the last version", statements=("No baseline was given.",))
    first, results = e.against
    rows = tuple(
        (
            shown_metric(str(p.key)), *(percent(v) for v in p.table_values), percent(p.difference, signed=True),
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
