"""A plan fixed before a run, with its time and digest: metric='PROTOCOL METRIC' to=plan.json.

`dossier plan=FILE` says whether the run followed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit import __version__
from evalkit.cli.config import Config, build, checked_choice, load_option, options
from evalkit.cli.factories import as_list, is_checkpoint, make_spec, make_task, model_name, with_letters
from evalkit.cli.option_settings import with_draws
from evalkit.core import console
from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.types import MetricKey

if TYPE_CHECKING:
    from evalkit.tasks.base import LoadedTask

HELP_ORDER = 122
EXAMPLES = (
    "evalkit register task=phantom model=phantom-llava metric='strict closed_accuracy' to=plan.json",
    "evalkit register task=phantom metric='strict closed_accuracy' margin=0.02 to=plan.json",
    "evalkit register metric='strict exact_match.vote@8' generation.n=8 generation.temperature=0.7 to=plan.json",
)


def main(config: Config) -> int:
    """Write a plan."""
    from evalkit.pipeline.image_modes import IMAGE_MODES
    from evalkit.pipeline.manifest import describe_generation
    from evalkit.reports.dossier.plan import Plan, write_plan

    target = Path(config["to"])
    if target.exists():
        raise ConfigError(f"to={target} exists; a registered plan is never replaced. Give the plan another name.")
    config = with_letters(config)
    margin = config["margin"]
    if margin is not None and not 0 < margin < 1:
        raise ConfigError(f"margin={margin:g} is not possible: expected a fraction, such as 0.02 for two points.")
    spec = make_spec(config, model_name(config)) if is_checkpoint(config) else None
    n = 1 if spec is None else spec.generation.n
    config = with_draws(config, n)
    versions = [protocol_version(str(name), n) for name in (config["metric"], *as_list(config["secondary"]))]
    loaded = make_task(config).load(images=False)
    model = config["model"] or {}
    plan = Plan(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        evalkit=__version__,
        model=model_name(config),
        model_revision=None if model.get("revision") is None else str(model["revision"]),
        task=loaded.name,
        split=loaded.split,
        data_sha256=loaded.data_sha256,
        n=len(loaded.samples),
        closed_rule=loaded.closed_rule,
        prompt=loaded.prompt,
        image=checked_choice(config["image"], IMAGE_MODES, "image"),
        primary=str(config["metric"]),
        protocol_version=versions[0],
        secondary=tuple(as_list(config["secondary"])),
        subgroups=_subgroups(as_list(config["subgroups"]), loaded),
        margin=margin,
        hypothesis=config["hypothesis"] or "",
        generation="" if spec is None else describe_generation(spec.generation),
    )
    digest = write_plan(plan, target)
    console.note(
        "Publish the digest before the run (a registry, a commit, a mail): this machine's clock proves nothing."
    )
    console.out(f"{target}\ndigest: {digest}")
    return 0


def _subgroups(tags: Sequence[str], loaded: LoadedTask) -> tuple[str, ...]:
    """The tags, which make slices of the data.  Raises ConfigError for one that does not."""
    from evalkit.scoring.aggregate import slice_tags

    known = slice_tags(loaded.samples)
    for tag in tags:
        if tag not in known:
            raise ConfigError(f"subgroups: {loaded.name} has no slices by {tag!r}. {did_you_mean(tag, known)}")
    return tuple(tags)


def protocol_version(name: str, n: int = 1) -> int | None:
    """The version of a metric's protocol; None for a judge, whose prompt and model are its version.

    Args:
        n: answers that are drawn of each sample; above 1 there are metrics over them.

    Raises:
        ConfigError: there is no such protocol or metric.
    """
    from evalkit.scoring.draws import averaged_metrics, derived_metrics

    try:
        key = MetricKey.parse(name)
    except ValueError as problem:
        raise ConfigError(f"metric: {problem}.") from None
    kind, _, judge = key.protocol.partition(":")
    if kind == "judge":
        if judge not in options("judge"):
            raise ConfigError(f"metric={name}: there is no judge {judge!r}. {did_you_mean(judge, options('judge'))}")
        _check_judged(name, key.metric, judge, n)
        return None
    if key.protocol not in options("protocol"):
        known = options("protocol")
        raise ConfigError(f"metric={name}: there is no protocol {key.protocol!r}. {did_you_mean(key.protocol, known)}")
    protocol = build(load_option("protocol", key.protocol), f"protocol {key.protocol}")
    metrics = [m.name for m in protocol.metrics]
    metrics += [d.name for m in averaged_metrics(protocol) if n > 1 for d in derived_metrics(m, n)]
    if key.metric not in metrics:
        raise ConfigError(
            f"metric={name}: {key.protocol} has no metric {key.metric!r} with generation.n={n}. "
            f"{did_you_mean(key.metric, metrics)}"
        )
    return int(protocol.version)


def _check_judged(name: str, metric: str, judge: str, n: int) -> None:
    """Check that a judge may give this metric.

    Raises:
        ConfigError: it does not.
    """
    from evalkit.judge.draws import names_of

    chosen, mark, _ = metric.rpartition(f".best@{n}")
    if mark and n > 1 and metric.endswith(mark):  # the score of the answer that the judge rates best
        protocol, _, scored = chosen.partition(".")
        protocol_version(f"{protocol} {scored}")
        return
    config = load_option("judge", judge)
    known = names_of(str(config.get("judged", "auto")), str(config.get("counting", "once")), n)
    if metric not in known:
        raise ConfigError(
            f"metric={name}: judge {judge} has no metric {metric!r} with generation.n={n}. "
            f"{did_you_mean(metric, known)}"
        )
