"""Refuse a worse model: baseline=RUN candidate=RUN [margin=0.02].

Exit codes: 0 pass or improved, 1 fail, 4 inconclusive.  save=FILE writes the candidate as a baseline file, and
dry_run=true shows which margins the baselines can certify.  prompts=true compares prompts, images and generation
settings with a record of them, without a model: 0 same, 1 changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, checked_choice
from evalkit.cli.factories import as_list, make_engine, make_prompt_record, make_spec, make_task, model_name
from evalkit.core import console
from evalkit.core.errors import ConfigError, EvalkitError, GateFailed, Inconclusive

if TYPE_CHECKING:
    from evalkit.analysis.run_scores import Scored
    from evalkit.core.types import ImageRef
    from evalkit.runs.prompt_record import Asked as PromptRecord

HELP_ORDER = 40
# How many changed prompts, images and answers are shown in full.
N_SHOWN = 5


def main(config: Config) -> int:
    """Compare a candidate with a baseline: pass, fail or inconclusive."""
    if config["prompts"]:
        return compare_prompts(config)
    if config["save"]:
        return save_baselines(config)
    if config["dry_run"]:
        return show_certifiable_margins(config)
    if not config["baseline"] or not config["candidate"]:
        raise ConfigError(
            "The gate needs baseline=RUN (or a file that `gate candidate=RUN save=FILE` wrote) and candidate=RUN."
        )
    from evalkit.analysis.gate import report

    out = _output_folder(config)
    try:
        content = _compare_scores(config)
    except EvalkitError as problem:
        report.write(out, report.refusal(str(problem)))
        raise
    report.write(out, content)
    return _report_verdicts(content)


def _output_folder(config: Config) -> Path:
    """The folder for the gate's files: out=, else the candidate's, where the candidate is a single run."""
    from evalkit.analysis.gate.inputs import is_run

    named, candidates = config["out"], _paths(config["candidate"])
    if named:
        return Path(str(named))
    if len(candidates) == 1 and is_run(candidates[0]):
        return candidates[0]
    raise ConfigError(
        f"Give out=DIR for gate.json, gate.xml and gate.md: candidate={config['candidate']} is not the folder of one "
        "run, into which they would go."
    )


def _compare_scores(config: Config) -> dict[str, Any]:
    """The content of gate.json."""
    from evalkit.analysis.gate.inputs import matched
    from evalkit.analysis.gate.report import record
    from evalkit.analysis.gate.verdicts import chosen, judge

    matches = matched(_paths(config["baseline"]), _paths(config["candidate"]))
    metrics = chosen(matches, _metrics(config))
    margin_of = _margins(metrics, config)
    if not config["exact"]:
        for (baseline, _), compared in zip(matches, metrics, strict=True):
            for text in _uncertain(baseline, compared, margin_of):
                console.warn(f"{text}; expect 'inconclusive' unless fewer do")
    return record(judge(matches, metrics, margin_of), bool(config["exact"]))


def _report_verdicts(content: Mapping[str, Any]) -> int:
    """Print the verdicts.

    Raises:
        GateFailed: the candidate is worse.
        Inconclusive: the gate cannot tell.
    """
    from evalkit.analysis.gate import verdicts as v
    from evalkit.analysis.gate.report import exactly, sentence

    for c in content["comparisons"]:
        for entry in c["metrics"]:
            console.out(f"{c['task']}: {sentence(entry)}")
        if content["exact"]:
            console.out(f"{c['task']}: {exactly(c)}")
            for m in c["moved"][:N_SHOWN]:
                console.out(
                    f"  {m['sample_id']} (image {m['image_id']}): {m['question']!r}: {m['baseline_text']!r} -> "
                    f"{m['candidate_text']!r}"
                )
    console.out(f"gate: {content['verdict']}")
    if content["verdict"] == v.FAIL and content["exact"]:
        raise GateFailed(
            "Some answers differ from the baseline's, which exact=true does not allow; gate.json lists them all."
        )
    if content["verdict"] == v.FAIL:
        raise GateFailed("The candidate is worse than the baseline by more than the margin; gate.md lists the samples.")
    if content["verdict"] == v.INCONCLUSIVE:
        raise Inconclusive("The gate cannot tell at this number of samples; see smallest_margin in gate.json.")
    return 0


def _paths(setting: Any) -> list[Path]:
    return [Path(p) for p in as_list(setting)]


def _metrics(config: Config) -> list[str] | None:
    return as_list(config["metrics"]) or None


def _complete_runs(setting: Any) -> list[Scored]:
    """The runs that a setting names.

    Raises:
        ConfigError: one of them is not complete, so that it cannot be a baseline.
    """
    from evalkit.analysis.gate.inputs import expanded
    from evalkit.analysis.run_scores import incomplete, read_scored

    runs = [read_scored(path) for path in expanded(_paths(setting))]
    if found := [text for run in runs for text in incomplete(run)]:
        raise ConfigError(f"This cannot be a baseline: {'; '.join(found)}.")
    return runs


def _margins(metrics: Sequence[Sequence[str]], config: Config) -> dict[str, float]:
    from evalkit.analysis.gate.verdicts import margins_of

    by_metric = config["margins"] or {}
    if not isinstance(by_metric, Mapping):
        raise ConfigError(f"margins={by_metric} is not possible; give margins='{{strict open_recall: 0.03}}'.")
    return margins_of(sorted({m for of_run in metrics for m in of_run}), config["margin"], by_metric)


def _uncertain(baseline: Scored, metrics: Sequence[str], margin_of: Mapping[str, float]) -> list[str]:
    """One text for each metric whose margin cannot be certified with its number of rows."""
    from evalkit.analysis.gate.verdicts import ASSUMED_DISCORDANCE, smallest_margin

    found = []
    for metric in metrics:
        n, margin = len(baseline.rows.get(metric, ())), margin_of[metric]
        if n and (needed := smallest_margin(n)) > margin:
            found.append(
                f"{baseline.header['task']} {metric}: {n} rows can certify a margin of about {100 * needed:.1f} points "
                f"(when {100 * ASSUMED_DISCORDANCE:.0f} % of the answers change), not {100 * margin:.1f}"
            )
    return found


def show_certifiable_margins(config: Config) -> int:
    """Print the margins that the baselines' numbers of rows can certify, before anything is run.

    Raises:
        Inconclusive: a margin of the configuration cannot be certified.
    """
    from evalkit.analysis.gate.verdicts import chosen, smallest_margin

    if not config["baseline"]:
        raise ConfigError("gate dry_run=true needs baseline=RUN or a file that `gate candidate=RUN save=FILE` wrote.")
    baselines = _complete_runs(config["baseline"])
    doubts: list[str] = []
    every = chosen([[b] for b in baselines], _metrics(config))
    margin_of = _margins(every, config)
    for baseline, metrics in zip(baselines, every, strict=True):
        for metric in metrics:
            n = len(baseline.rows.get(metric, ()))
            if not n:
                raise ConfigError(f"{baseline.origin} has no rows of {metric}; it has {', '.join(baseline.scores)}.")
            able = " / ".join(f"{100 * smallest_margin(n, d):.1f}" for d in (0.05, 0.10, 0.20))
            images = len({baseline.image_ids[k] for k in baseline.rows[metric]})
            console.out(
                f"{baseline.header['task']} {metric}: {n} rows on {images} images certify {able} points when 5 / 10 / "
                f"20 % of the answers change; the margin is {100 * margin_of[metric]:.1f}"
            )
        doubts += _uncertain(baseline, metrics, margin_of)
    if doubts:
        raise Inconclusive(
            f"This gate can hardly pass unless the answers stay the same: {len(doubts)} of {sum(map(len, every))} "
            f"metrics have too few rows for their margin, first {doubts[0]}. Widen the margin, name other metrics or "
            "add samples."
        )
    return 0


def save_baselines(config: Config) -> int:
    """Write candidates as baseline files."""
    from evalkit.analysis.gate.verdicts import gated
    from evalkit.analysis.run_scores import baseline_content
    from evalkit.core.files import write_whole
    from evalkit.pipeline.rescore import safe

    if not config["candidate"]:
        raise ConfigError("gate save=FILE needs candidate=RUN, the run that becomes the baseline.")
    runs = _complete_runs(config["candidate"])
    target = Path(config["save"])
    if len(runs) > 1 and target.suffix:
        raise ConfigError(f"save={target} is one file, and there are {len(runs)} candidates: name a folder.")
    names = [safe("-".join(str(run.header[k]) for k in ("model", "task", "split"))) for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"Two of the candidates would get the same file name: {', '.join(sorted(names))}; give only one of them."
        )
    contents = [baseline_content(run, _metrics(config) or gated(run), bool(config["texts"])) for run in runs]
    for name, content in zip(names, contents, strict=True):
        file = target if target.suffix else target / f"{name}.json"
        write_whole(file, content)
        console.out(str(file))
    return 0


def compare_prompts(config: Config) -> int:
    """Compare prompts, images and generation settings with a record of them, without a model.

    Raises:
        GateFailed: they have changed.
    """
    from evalkit.analysis.gate.prompt_diff import compare, describe
    from evalkit.core.files import write_json, write_whole
    from evalkit.runs.prompt_record import content, read_asked

    if config["candidate"]:
        if config.get("model") or config.get("task"):
            raise ConfigError(
                "Give candidate=RUN for a stored prompt record, or model= and task= for the present prompts; not both."
            )
        now = read_asked(_single_path(config["candidate"], "candidate"))
    else:
        now = _present_prompts(config)
    if config["save"]:
        write_whole(Path(config["save"]), content(now))
        console.out(str(config["save"]))
        return 0
    before = read_asked(_single_path(config["baseline"], "baseline"))
    for record in (before, now):
        if record.header["limit"] is not None:
            raise ConfigError(
                f"{record.origin} is over the first {record.header['limit']} samples only; compare whole sets."
            )
    changes = compare(before, now)
    console.out(describe(before, now, changes, N_SHOWN))
    if config["out"]:
        fields = ("settings", "prompts", "images", "added", "gone", "notes")
        result = {"schema": 1, "changed": changes.any} | {k: list(getattr(changes, k)) for k in fields}
        write_json(Path(config["out"]) / "gate-prompts.json", result)
    if changes.any:
        raise GateFailed(
            "The prompts, images or generation settings have changed. If that is intended, write the record again with "
            "save=FILE, and the score baselines with it."
        )
    return 0


def _single_path(setting: Any, name: str) -> Path:
    found = _paths(setting)
    if len(found) != 1:
        raise ConfigError(f"gate prompts=true compares two records; give one {name}=FILE or RUN.")
    return found[0]


def _present_prompts(config: Config) -> PromptRecord:
    """The prompt record of the chosen model and task as they are now."""
    from evalkit.pipeline.evaluate import IMAGE_MODES, limited
    from evalkit.tasks.image_check import check_images

    if not config.get("model") or not config.get("task"):
        raise ConfigError("gate prompts=true needs model= and task=, or candidate=RUN.")
    model = model_name(config)
    task = make_task(config)
    sees_images = config["model"].get("kind") == "checkpoint"
    loaded = task.load(images=sees_images)
    digests: dict[ImageRef, str] = {}
    if sees_images:
        loaded, digests = check_images(loaded, on_missing=config["task"].get("on_missing_image", "error"))
    image = checked_choice(config["image"], IMAGE_MODES, "image")
    generation = make_spec(config, model).generation if sees_images else make_engine(config, model, task).generation
    return make_prompt_record(
        config, task, limited(loaded, config["limit"]), digests,
        model=model, image=image, limit=config["limit"], generation=generation,
    )  # fmt: skip
