"""A plan that is registered before a run, and whether the run followed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from evalkit.core.errors import StoreError
from evalkit.core.files import read_json, write_json
from evalkit.core.types import MetricKey, digest_json
from evalkit.judge.results import judged_numbers
from evalkit.runs.codec import decode_object, encode
from evalkit.runs.schema import Summary
from evalkit.runs.store import RunFolder

KIND = "evalkit plan"
# Fields that a plan and a run's summary share.
COMPARED = ("model", "task", "split", "data_sha256", "n", "closed_rule", "prompt", "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is fixed before a run.

    created: time of this machine's clock, ISO 8601 in UTC.  primary: the metric that decides, `PROTOCOL METRIC`.
    protocol_version: of its protocol.  hypothesis: in the user's words, empty where none was given.  subgroups: tags
    whose slices will be reported.  margin: accepted loss against a baseline; None where there is none.  generation:
    decoding settings in short, as in signatures; empty in plans of earlier versions and for a model without any.
    digest: checksum of all else.
    """

    kind: Literal["evalkit plan"] = "evalkit plan"
    schema: int = 1
    created: str
    evalkit: str
    model: str
    model_revision: str | None = None
    task: str
    split: str
    data_sha256: str
    n: int
    closed_rule: str
    prompt: str
    image: str
    primary: str
    protocol_version: int | None = None
    secondary: tuple[str, ...] = ()
    subgroups: tuple[str, ...] = ()
    margin: float | None = None
    hypothesis: str = ""
    generation: str = ""
    digest: str = ""

    @property
    def key(self) -> MetricKey:
        """The primary metric."""
        return MetricKey.parse(self.primary)


def plan_digest(content: Mapping[str, Any]) -> str:
    """Checksum of a plan's content but for the checksum itself."""
    return digest_json({k: v for k, v in content.items() if k != "digest"})


def write_plan(plan: Plan, path: Path) -> str:
    """Write a plan with its digest; returns the digest."""
    content = encode(plan)
    content["digest"] = plan_digest(content)
    write_json(path, content)
    return str(content["digest"])


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        StoreError: there is none, or it was changed after it was registered.
    """
    content = read_json(path, "plan")
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise StoreError(f"{path} is no plan; expected a file that `python -m evalkit register` wrote.")
    if content.get("digest") != plan_digest(content):
        raise StoreError(
            f"{path} was changed after it was registered: its digest is not that of its content. Restore it."
        )
    plan: Plan = decode_object(Plan, content, str(path))
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCheck:
    """Whether a run followed a plan.  deviations, remarks: in words."""

    plan: Plan
    followed: bool
    deviations: tuple[str, ...]
    remarks: tuple[str, ...]


def check_plan(plan: Plan, summary: Summary, folder: RunFolder) -> PlanCheck:
    """Compare a plan with a run over the same kind of records."""
    deviations = [
        f"{name}: planned {getattr(plan, name)}, run {getattr(summary, name)}"
        for name in COMPARED
        if getattr(plan, name) != getattr(summary, name)
    ]
    if not _decodes_as_planned(plan.generation, summary.generation):
        deviations.append(f"generation: planned {plan.generation}, run {summary.generation}")
    if summary.limit is not None:
        deviations.append(f"limit: planned all samples, run the first {summary.limit}")
    values = [*summary.metrics, *(m for judge in judged_numbers(folder.path, summary) for m in judge.metrics)]
    value = next((m for m in values if m.key == plan.key and m.slice == "all"), None)
    if value is None or not value.n:
        deviations.append(f"primary metric {plan.primary}: the run has no such number")
    elif value.signature is not None and plan.protocol_version is not None:
        planned = f"{plan.key.protocol}.{plan.protocol_version}"
        if (found := value.signature["protocol"]) != planned:
            deviations.append(f"protocol: planned {planned}, run {found}")
    known = {str(m.key) for m in values}
    deviations += [
        f"secondary metric {name}: the run has no such number" for name in plan.secondary if name not in known
    ]
    tags = {m.slice.partition("=")[0] for m in summary.metrics}
    deviations += [f"subgroup {tag}: the run has no slices by it" for tag in plan.subgroups if tag not in tags]
    started = _first_written(folder)
    if started is None:
        remarks = ["The time of the run's first file is not known, so the order of plan and run is not."]
    else:
        remarks = [
            f"Plan of {plan.created}, first file of the run of {started.isoformat(timespec='seconds')}: times of this "
            "machine's clock and file system, which can be set. A digest that was published before the run is proof."
        ]
        if started < datetime.fromisoformat(plan.created):
            deviations.append(
                f"time: the run's first file is of {started.isoformat(timespec='seconds')}, before the plan"
            )
    return PlanCheck(plan=plan, followed=not deviations, deviations=tuple(deviations), remarks=tuple(remarks))


def _decodes_as_planned(planned: str, found: str) -> bool:
    """Whether a run's decoding is the planned one; an engine may add how its server was asked (`.without-seed`)."""
    ranked = found.partition(".")[0] == "none"  # nothing is generated; the metric says whether that was planned
    return not planned or ranked or found == planned or found.startswith(f"{planned}.")


def _first_written(folder: RunFolder) -> datetime | None:
    """The time of the oldest of the files that a run writes once; None where there is none.

    prompts.json is written before the first answer; predictions.jsonl is last changed with the last answer.
    """
    from datetime import UTC

    times = [path.stat().st_mtime for path in (folder.prompts, folder.predictions) if path.is_file()]
    return datetime.fromtimestamp(min(times), UTC) if times else None
