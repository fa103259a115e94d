"""The verb of the gate: scores against a baseline, or what is asked against a record of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.build import asked, listed, make_engine, make_spec, make_task
from evalkit.cli.config import Config, choose
from evalkit.core import console
from evalkit.core.errors import ConfigError, EvalkitError, GateFailed, Inconclusive

if TYPE_CHECKING:
    from evalkit.analysis.run_scores import Scored
    from evalkit.core.types import ImageRef
    from evalkit.runs.prompt_record import Asked

# How many changed prompts and images are shown in full.
FEW = 5


def gate(config: Config) -> int:
    """Pass, fail or leave open a candidate against a baseline."""
    if config["prompts"]:
        return _prompts(config)
    if config["save"]:
        return _save(config)
    if config["dry_run"]:
        return _preflight(config)
    if not config["baseline"] or not config["candidate"]:
        raise ConfigError(
            "The gate needs baseline=RUN (or a file that `gate candidate=RUN save=FILE` wrote) and candidate=RUN."
        )
    from evalkit.analysis.gate import report

    out = _out(config)
    try:
        content = _held(config)
    except EvalkitError as problem:
        report.write(out, report.refusal(str(problem)))
        raise
    report.write(out, content)
    return _verdict(content)


def _out(config: Config) -> Path:
    """Where the gate's files go: into the candidate's folder, unless it is a file or a folder of several."""
    from evalkit.analysis.gate.inputs import is_run

    named, candidates = config["out"], _paths(config["candidate"])
    if named:
        return Path(str(named))
    if len(candidates) == 1 and is_run(candidates[0]):
        return candidates[0]
    raise ConfigError(
        f"Where do gate.json, gate.xml and gate.md go? candidate={config['candidate']} is not the folder of one run, "
        "so give out=DIR."
    )


def _held(config: Config) -> dict[str, Any]:
    """The gate's record."""
    from evalkit.analysis.gate.inputs import matched
    from evalkit.analysis.gate.report import record
    from evalkit.analysis.gate.verdicts import chosen, judge

    matches = matched(_paths(config["baseline"]), _paths(config["candidate"]))
    metrics = chosen(matches, _metrics(config))
    margin_of = _margins(metrics, config)
    if not config["exact"]:
        for (baseline, _), mine in zip(matches, metrics, strict=True):
            for text in _uncertain(baseline, mine, margin_of):
                console.warn(f"{text}; expect 'inconclusive' unless fewer do")
    return record(judge(matches, metrics, margin_of), bool(config["exact"]))


def _verdict(content: Mapping[str, Any]) -> int:
    """Say the verdicts; raise what sets the exit code."""
    from evalkit.analysis.gate import verdicts as v
    from evalkit.analysis.gate.report import exactly, sentence

    for c in content["comparisons"]:
        for entry in c["metrics"]:
            console.out(f"{c['task']}: {sentence(entry)}")
        if content["exact"]:
            console.out(f"{c['task']}: {exactly(c)}")
            for m in c["moved"][:FEW]:
                console.out(
                    f"  {m['sample_id']} (image {m['image_id']}): {m['question']!r}: {m['baseline_text']!r} -> "
                    f"{m['candidate_text']!r}"
                )
    console.out(f"gate: {content['verdict']}")
    if content["verdict"] == v.FAIL and content["exact"]:
        raise GateFailed(
            "Answers are not the baseline's, and exact=true allows none to move; gate.json lists them all."
        )
    if content["verdict"] == v.FAIL:
        raise GateFailed("The candidate is worse than the baseline by more than the margin; gate.md lists the samples.")
    if content["verdict"] == v.INCONCLUSIVE:
        raise Inconclusive("The gate cannot tell at this number of samples; see smallest_margin in gate.json.")
    return 0


def _paths(setting: Any) -> list[Path]:
    return [Path(p) for p in listed(setting)]


def _metrics(config: Config) -> list[str] | None:
    return listed(config["metrics"]) or None


def _whole(setting: Any) -> list[Scored]:
    """The runs that a setting names, each whole enough for a baseline."""
    from evalkit.analysis.gate.inputs import expanded
    from evalkit.analysis.run_scores import incomplete, read_scored

    runs = [read_scored(path) for path in expanded(_paths(setting))]
    if found := [text for run in runs for text in incomplete(run)]:
        raise ConfigError(f"This cannot be a baseline: {'; '.join(found)}.")
    return runs


def _margins(metrics: Sequence[Sequence[str]], config: Config) -> dict[str, float]:
    from evalkit.analysis.gate.verdicts import margins_of

    own = config["margins"] or {}
    if not isinstance(own, Mapping):
        raise ConfigError(f"margins={own} is not possible; give margins='{{strict open_recall: 0.03}}'.")
    return margins_of(sorted({m for mine in metrics for m in mine}), config["margin"], own)


def _uncertain(baseline: Scored, metrics: Sequence[str], margin_of: Mapping[str, float]) -> list[str]:
    """The metrics whose margin their rows cannot certify, in words."""
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


def _preflight(config: Config) -> int:
    """Before anything is run: what the baselines' numbers of rows can certify."""
    from evalkit.analysis.gate.verdicts import chosen, smallest_margin

    if not config["baseline"]:
        raise ConfigError("gate dry_run=true needs baseline=RUN or a file that `gate candidate=RUN save=FILE` wrote.")
    baselines = _whole(config["baseline"])
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
            f"This gate could hardly ever pass unless the answers stay the same: {len(doubts)} of "
            f"{sum(map(len, every))} metrics, first {doubts[0]}. Widen the margin, name other metrics or add samples."
        )
    return 0


def _save(config: Config) -> int:
    """Write candidates as baseline files."""
    from evalkit.analysis.gate.verdicts import gated
    from evalkit.analysis.run_scores import baseline_content
    from evalkit.core.files import write_whole
    from evalkit.pipeline.rescore import safe

    if not config["candidate"]:
        raise ConfigError("gate save=FILE needs candidate=RUN: what is to be the baseline.")
    runs = _whole(config["candidate"])
    target = Path(config["save"])
    if len(runs) > 1 and target.suffix:
        raise ConfigError(f"save={target} is one file, and there are {len(runs)} candidates: name a folder.")
    names = [safe("-".join(str(run.header[k]) for k in ("model", "task", "split"))) for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(f"Two of the candidates would become one file: {', '.join(sorted(names))}; name one of them.")
    contents = [baseline_content(run, _metrics(config) or gated(run), bool(config["texts"])) for run in runs]
    for name, content in zip(names, contents, strict=True):
        file = target if target.suffix else target / f"{name}.json"
        write_whole(file, content)
        console.out(str(file))
    return 0


def _prompts(config: Config) -> int:
    """Compare what would be asked, without a model."""
    from evalkit.analysis.gate.prompt_diff import compare, describe
    from evalkit.core.files import write_json, write_whole
    from evalkit.runs.prompt_record import content, read_asked

    if config["candidate"]:
        if config.get("model") or config.get("task"):
            raise ConfigError("Give candidate=RUN, or model= and task= for what they would be asked now; not both.")
        now = read_asked(_one(config["candidate"], "candidate"))
    else:
        now = _asked_now(config)
    if config["save"]:
        write_whole(Path(config["save"]), content(now))
        console.out(str(config["save"]))
        return 0
    before = read_asked(_one(config["baseline"], "baseline"))
    for side in (before, now):
        if side.header["limit"] is not None:
            raise ConfigError(
                f"{side.origin} is over the first {side.header['limit']} samples only; compare whole sets."
            )
    changes = compare(before, now)
    console.out(describe(before, now, changes, FEW))
    if config["out"]:
        fields = ("settings", "prompts", "images", "added", "gone", "notes")
        said = {"schema": 1, "changed": changes.any} | {k: list(getattr(changes, k)) for k in fields}
        write_json(Path(config["out"]) / "gate-prompts.json", said)
    if changes.any:
        raise GateFailed(
            "What is asked has changed. If that is meant, make the record anew with save=FILE and the baselines of "
            "scores with it."
        )
    return 0


def _one(setting: Any, what: str) -> Path:
    found = _paths(setting)
    if len(found) != 1:
        raise ConfigError(f"gate prompts=true compares two records; give one {what}=FILE or RUN.")
    return found[0]


def _asked_now(config: Config) -> Asked:
    from evalkit.pipeline.evaluate import IMAGE_MODES, limited
    from evalkit.tasks.image_check import check_images

    if not config.get("model") or not config.get("task"):
        raise ConfigError("gate prompts=true needs model= and task=, or candidate=RUN.")
    model = str(config["model"].get("name") or config["choices"]["model"])
    task = make_task(config)
    sees = config["model"].get("kind") == "checkpoint"
    loaded = task.load(images=sees)
    digests: dict[ImageRef, str] = {}
    if sees:
        loaded, digests = check_images(loaded, on_missing=config["task"].get("on_missing_image", "error"))
    image = choose(config["image"], IMAGE_MODES, "image")
    generation = make_spec(config, model).generation if sees else make_engine(config, model, task).generation
    return asked(config, model, task, limited(loaded, config["limit"]), digests, image, config["limit"], generation)
