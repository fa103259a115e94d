"""Refuse a worse model: baseline=RUN candidate=RUN [margin=0.02].

Exit codes: 0 pass or improved, 1 fail, 4 inconclusive.  save=FILE writes the candidate as a baseline file, and
dry_run=true shows which margins the baselines can certify.  prompts=true compares prompts, images and generation
settings with a record of them, without a model: 0 same, 1 changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config
from evalkit.cli.factories import (
    as_list,
    load_for_model,
    make_engine,
    make_settings,
    make_spec,
    make_task,
    make_template,
    sees_images,
    with_letters,
)
from evalkit.core import console
from evalkit.core.collector import collector_paused
from evalkit.core.errors import ConfigError, DataError, EvalkitError, GateFailed, Inconclusive

if TYPE_CHECKING:
    from evalkit.analysis.run_scores import RunScores
    from evalkit.core.types import MetricKey
    from evalkit.runs.prompt_record import PromptRecord

HELP_ORDER = 40
EXAMPLES = (
    "evalkit gate baseline=RUN candidate=RUN margin=0.02",
    "evalkit gate candidate=RUN save=baseline.json",
)
# How many changed prompts, images and answers are shown in full.
N_SHOWN = 5
PROMPTS_FILE = "gate-prompts.json"


def main(config: Config) -> int:
    """Compare a candidate with a baseline: pass, fail or inconclusive."""
    if config["prompts"]:
        return compare_prompts(config)
    if config["save"]:
        return save_baselines(config)
    if config["dry_run"]:
        return show_certifiable_margins(config)
    from evalkit.analysis.gate import report

    for folder in _possible_outputs(config):
        report.clear(folder)
    if not config["baseline"] or not config["candidate"]:
        raise ConfigError(
            "The gate needs baseline=RUN (or a file that `gate candidate=RUN save=FILE` wrote) and candidate=RUN."
        )
    out = _output_folder(config)
    if config["to"]:
        from evalkit.reports.sheet import form_of

        form_of(Path(config["to"]), None)  # a wrong suffix is refused before anything is computed
    with collector_paused():
        try:
            content = compare_scores(config)
        except EvalkitError as problem:
            report.write(out, report.refusal(str(problem)))
            raise
        report.write(out, content)
    if config["to"]:
        write_table(content, Path(config["to"]))
    return _report_verdicts(content)


def write_table(content: Mapping[str, Any], target: Path) -> None:
    """Write the verdicts as the table of a paper."""
    from evalkit.reports.difference_tables import gate_sheet
    from evalkit.reports.sheet import form_of, write_sheet

    write_sheet(gate_sheet(content), target, form_of(target, None))
    console.out(str(target))


def refused(arguments: Sequence[str]) -> None:
    """Remove what an earlier gate left where this one would have written, had its command line been possible."""
    from evalkit.analysis.gate import report

    words = dict(argument.lstrip("+").partition("=")[::2] for argument in arguments)
    is_other = any(words.get(name, "").lower() not in ("", "null", "false") for name in ("save", "prompts", "dry_run"))
    if is_other or any(argument in ("--help", "-h", "--cfg", "-c") for argument in arguments):
        return
    named = words.get("out", "").strip("'\"")
    texts = re.split(r"[\[\],]", words.get("candidate", "")) if named in ("", "null") else [named]
    for folder in _folders_of(Path(text) for part in texts if (text := part.strip(" '\""))):
        report.clear(folder)


def _possible_outputs(config: Config) -> list[Path]:
    """The folders in which files of an earlier gate could be taken for those of this one."""
    if config["out"]:
        return [Path(str(config["out"]))]
    return _folders_of(_paths(config["candidate"]))


def _folders_of(paths: Iterable[Path]) -> list[Path]:
    """The folders that paths and patterns name; a pattern without a match names none."""
    from evalkit.analysis.run_folders import expand_patterns

    found = []
    for path in paths:
        try:
            found += [place for place in expand_patterns([path]) if place.is_dir()]
        except (EvalkitError, OSError, ValueError):  # no match; a name that is none
            continue
    return found


def _output_folder(config: Config) -> Path:
    """The folder for the gate's files: out=, else the candidate's, where the candidate is a single run."""
    from glob import has_magic

    from evalkit.analysis.gate.inputs import is_run

    named, candidates = config["out"], _paths(config["candidate"])
    if named:
        return Path(str(named))
    if len(candidates) == 1 and is_run(candidates[0]):
        return candidates[0]
    for path in candidates:
        if not path.exists() and not has_magic(str(path)):
            raise ConfigError(f"candidate={path} does not exist: give the folder of a run, or of several runs.")
    raise ConfigError(
        f"Give out=DIR for gate.json, gate.xml and gate.md: candidate={config['candidate']} is not the folder of one "
        "run, into which they would go."
    )


def compare_scores(config: Config) -> dict[str, Any]:
    """The content of gate.json, of the runs `baseline` and `candidate` of the configuration."""
    from evalkit.analysis.gate.inputs import match_by_task
    from evalkit.analysis.gate.report import gold_answers, record
    from evalkit.analysis.gate.verdicts import choose_metrics, decide

    matches = match_by_task(_paths(config["baseline"]), _paths(config["candidate"]))
    check_cards(run for match in matches for run in match)
    metrics = choose_metrics(matches, _metrics(config), _own_margins(config))
    margin_of = _margins(metrics, config)
    if not config["exact"]:
        _check_margins([baseline for baseline, _ in matches], metrics, margin_of, config)
        for (baseline, _), compared in zip(matches, metrics, strict=True):
            for text in _uncertain(baseline, compared, margin_of):
                console.warn(f"{text}; expect 'inconclusive' unless fewer do")
        _say_family([baseline for baseline, _ in matches], metrics, margin_of, config)
    comparisons = decide(matches, metrics, margin_of)
    return record(comparisons, bool(config["exact"]), [gold_answers(c) for c in comparisons])


def check_cards(runs: Iterable[RunScores]) -> None:
    """Refuse runs that lack the scores of a metric which, by its protocol's card, has scores of its own.

    Protocols that are not registered here are not checked.

    Raises:
        DataError: names the metric.
    """
    from evalkit.cli.config import build, load_option, options

    known = set(options("protocol"))
    for run in runs:
        for protocol, metric in sorted(run.without_scores):
            if protocol not in known:
                continue
            card = build(load_option("protocol", protocol), f"protocol {protocol}")
            if any(m.name == metric and not m.of for m in card.metrics):
                raise DataError(
                    f"{run.origin} has a value of {protocol} {metric} and no scores of it in scores.jsonl, which the "
                    "protocol gives each sample: lines were removed. Give the run's command again."
                )


def _report_verdicts(content: Mapping[str, Any]) -> int:
    """Print the verdicts.

    Raises:
        GateFailed: the candidate is worse.
        Inconclusive: the gate cannot tell.
    """
    from evalkit.analysis.gate import verdicts as v
    from evalkit.analysis.gate.report import exact_sentence, sentence

    for c in content["comparisons"]:
        for entry in c["metrics"]:
            console.out(f"{c['task']}: {sentence(entry)}")
        if content["exact"]:
            console.out(f"{c['task']}: {exact_sentence(c)}")
            for m in c["moved"][:N_SHOWN]:
                console.out(
                    f"  {m['sample_id']} ({c['cluster']} {m['image_id']}): {m['question']!r}: "
                    f"{m['baseline_text']!r} -> {m['candidate_text']!r}"
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


def _complete_runs(setting: Any) -> list[RunScores]:
    """The runs that a setting names.

    Raises:
        ConfigError: one of them is not complete, so that it cannot be a baseline.
    """
    from evalkit.analysis.gate.inputs import expand
    from evalkit.analysis.run_scores import incomplete, read_run_scores

    runs = [read_run_scores(path) for path in expand(_paths(setting))]
    check_cards(runs)
    if found := [text for run in runs for text in incomplete(run)]:
        raise ConfigError(f"This cannot be a baseline: {'; '.join(found)}.")
    return runs


def _own_margins(config: Config) -> Mapping[str, float]:
    """The margins that the command names for single metrics."""
    by_metric = config["margins"] or {}
    if not isinstance(by_metric, Mapping):
        raise ConfigError(f"margins={by_metric} is not possible; give margins='{{strict open_recall: 0.03}}'.")
    return by_metric


def _margins(metrics: Sequence[Sequence[MetricKey]], config: Config) -> dict[MetricKey, float]:
    from evalkit.analysis.gate.verdicts import margins_of

    by_metric = _own_margins(config)
    keys = sorted({m for of_run in metrics for m in of_run})
    return margins_of(keys, config["margin"], by_metric, forced=bool(config.get("force")))


def _check_margins(
    baselines: Sequence[RunScores],
    metrics: Sequence[Sequence[MetricKey]],
    margin_of: Mapping[MetricKey, float],
    config: Config,
) -> None:
    """Refuse margins that let anything pass, unless force=true; warn of those that decide nothing beside others."""
    from evalkit.analysis.gate.verdicts import check_margins

    if not config.get("force"):
        for text in check_margins(baselines, metrics, margin_of, set(_own_margins(config))):
            console.warn(text)


def _uncertain(baseline: RunScores, metrics: Sequence[MetricKey], margin_of: Mapping[MetricKey, float]) -> list[str]:
    """One text for each metric whose margin cannot be certified with its number of rows."""
    from evalkit.analysis.gate.verdicts import smallest_margin
    from evalkit.analysis.paired import ASSUMED_DISCORDANCE

    found = []
    for metric in metrics:
        n, margin = len(baseline.rows(metric)), margin_of[metric]
        if n and (needed := smallest_margin(n)) > margin:
            found.append(
                f"{baseline.header.task} {metric}: {n} rows can certify a margin of about {100 * needed:.1f} points "
                f"(when {100 * ASSUMED_DISCORDANCE:.0f} % of the answers change), not {100 * margin:.1f}"
            )
    return found


def _say_family(
    baselines: Sequence[RunScores],
    every: Sequence[Sequence[MetricKey]],
    margin_of: Mapping[MetricKey, float],
    config: Config,
) -> None:
    """Print which metrics are left out as copies, the chance that an equal candidate passes all others, and limits."""
    from evalkit.analysis.gate.family import joint_chance, near_copies
    from evalkit.analysis.gate.verdicts import BOUND, default_metrics
    from evalkit.analysis.paired import ASSUMED_DISCORDANCE

    if _metrics(config) is None:
        for baseline in baselines:
            for copy, kept in near_copies(baseline, default_metrics(baseline)).items():
                if str(copy) in (config["margins"] or ()):
                    continue
                console.note(f"note: {baseline.header.task} {copy} is left out: nearly the scores of {kept}")
    n = sum(map(len, every))
    chance = joint_chance(baselines, every, margin_of, BOUND)
    console.note(
        f"note: an equal candidate passes {'all ' if n > 1 else ''}{n} metric{'s' if n > 1 else ''} with a chance of "
        f"{chance.text} (when {100 * ASSUMED_DISCORDANCE:.0f} % of the answers change, rows taken as independent)"
    )
    for baseline, metrics in zip(baselines, every, strict=True):
        _say_whole_losses(baseline, metrics, margin_of)


def _say_whole_losses(baseline: RunScores, metrics: Sequence[MetricKey], margin_of: Mapping[MetricKey, float]) -> None:
    """Print the largest chance that a loss of whole clusters passes, where it is above what a gate promises."""
    from evalkit.analysis.gate.family import whole_loss_chance
    from evalkit.analysis.gate.verdicts import ALPHA

    chances = {key: whole_loss_chance(baseline, key, margin_of[key]) for key in metrics if key in baseline.columns}
    key = max(chances, key=lambda key: chances[key], default=None)
    if key is not None and chances[key] > ALPHA:
        console.note(
            f"note: {baseline.header.task} {key}: a candidate that loses whole {baseline.clusters} and nothing else, "
            f"{100 * margin_of[key]:.1f} points in all, passes with a chance of roughly {100 * chances[key]:.0f} %; "
            f"the {100 * ALPHA:.0f} % that a gate promises are about losses spread over {baseline.clusters}"
        )


def show_certifiable_margins(config: Config) -> int:
    """Print the margins that the baselines' numbers of rows can certify, before anything is run.

    Raises:
        Inconclusive: a margin of the configuration cannot be certified.
    """
    from evalkit.analysis.gate.verdicts import choose_metrics, smallest_margin

    if not config["baseline"]:
        raise ConfigError("gate dry_run=true needs baseline=RUN or a file that `gate candidate=RUN save=FILE` wrote.")
    baselines = _complete_runs(config["baseline"])
    doubts: list[str] = []
    every = choose_metrics([[b] for b in baselines], _metrics(config), _own_margins(config))
    margin_of = _margins(every, config)
    _check_margins(baselines, every, margin_of, config)
    for baseline, metrics in zip(baselines, every, strict=True):
        for metric in metrics:
            n = len(baseline.rows(metric))
            if not n:
                raise ConfigError(
                    f"{baseline.origin} has no rows of {metric}; it has {', '.join(map(str, baseline.columns))}."
                )
            able = " / ".join(f"{100 * smallest_margin(n, d):.1f}" for d in (0.05, 0.10, 0.20))
            n_clusters = len({baseline.image_ids[k] for k in baseline.rows(metric)})
            console.out(
                f"{baseline.header.task} {metric}: {n} rows on {n_clusters} {baseline.clusters} certify {able} points "
                f"when 5 / 10 / 20 % of the answers change; the margin is {100 * margin_of[metric]:.1f}"
            )
        doubts += _uncertain(baseline, metrics, margin_of)
    _say_family(baselines, every, margin_of, config)
    if doubts:
        raise Inconclusive(
            f"This gate can hardly pass unless the answers stay the same: {len(doubts)} of {sum(map(len, every))} "
            f"metrics have too few rows for their margin, first {doubts[0]}. Widen the margin, name other metrics or "
            "add samples."
        )
    return 0


def save_baselines(config: Config) -> int:
    """Write candidates as baseline files."""
    from evalkit.analysis.compare import metric_keys
    from evalkit.analysis.gate.verdicts import default_metrics
    from evalkit.analysis.run_scores import baseline_file
    from evalkit.core.files import safe_name, write_whole

    if not config["candidate"]:
        raise ConfigError("gate save=FILE needs candidate=RUN, the run that becomes the baseline.")
    runs = _complete_runs(config["candidate"])
    target = Path(config["save"])
    if len(runs) > 1 and target.suffix == ".json":
        raise ConfigError(f"save={target} is one file, and there are {len(runs)} candidates: name a folder.")
    names = [safe_name(f"{run.header.model}-{run.header.task}-{run.header.split}") for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"Two of the candidates would get the same file name: {', '.join(sorted(names))}; give only one of them."
        )
    named = metric_keys(_metrics(config) or ())
    contents = [baseline_file(run, named or default_metrics(run), bool(config["texts"])) for run in runs]
    for name, content in zip(names, contents, strict=True):
        file = target if target.suffix == ".json" else target / f"{name}.json"
        write_whole(file, content)
        console.out(str(file))
    return 0


def compare_prompts(config: Config) -> int:
    """Compare prompts, images and generation settings with a record of them, without a model.

    Raises:
        GateFailed: they have changed.
    """
    from evalkit.analysis.gate.prompt_diff import compare, describe
    from evalkit.core.files import write_json
    from evalkit.runs.prompt_record import as_file, read_prompt_record
    from evalkit.runs.store import write_prompts

    if config["out"]:
        (Path(config["out"]) / PROMPTS_FILE).unlink(missing_ok=True)
    if config["candidate"]:
        if config.get("model") or config.get("task"):
            raise ConfigError(
                "Give candidate=RUN for a stored prompt record, or model= and task= for the present prompts; not both."
            )
        now = read_prompt_record(_single_path(config["candidate"], "candidate"))
    else:
        now = _present_prompts(config)
    if config["save"]:
        write_prompts(Path(config["save"]), as_file(now))
        console.out(str(config["save"]))
        return 0
    before = read_prompt_record(_single_path(config["baseline"], "baseline"))
    for record in (before, now):
        if record.header.limit is not None:
            raise ConfigError(
                f"{record.origin} is over the first {record.header.limit} samples only; compare whole sets."
            )
    changes = compare(before, now)
    console.out(describe(before, now, changes, N_SHOWN))
    if config["out"]:
        fields = ("settings", "prompts", "images", "added", "gone", "notes")
        result = {"schema": 1, "changed": changes.any} | {k: list(getattr(changes, k)) for k in fields}
        write_json(Path(config["out"]) / PROMPTS_FILE, result)
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
    from evalkit.pipeline.inputs import build_prompts
    from evalkit.pipeline.train_split import TrainSplit

    if not config.get("model") or not config.get("task"):
        raise ConfigError("gate prompts=true needs model= and task=, or candidate=RUN.")
    config = with_letters(config)
    settings = make_settings(config)
    task = make_task(config)
    checked = load_for_model(config, task)
    if sees_images(config):
        generation = make_spec(config, settings.model).generation
    else:
        generation = make_engine(config, settings.model, TrainSplit(task)).generation
    digests = checked.digests if sees_images(config) else None
    template = make_template(config, settings.model)
    return build_prompts(task, checked.loaded, digests, generation, template, settings).record
