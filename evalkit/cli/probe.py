"""`probe=image`: a run and its controls with other images, answered in one pass, and what the images change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from evalkit.cli.config import Config, checked_choice
from evalkit.cli.factories import metrics_setting
from evalkit.core import console
from evalkit.core.errors import ConfigError

if TYPE_CHECKING:
    from evalkit.cli.commands.run import RunJob
    from evalkit.pipeline.conclude import Conclusion

# Answers runs in one pass; None for a dry run.
Answer = Callable[[Sequence["RunJob"]], Sequence["Conclusion | None"]]
PROBES = ("image",)
# Without the picture, with another one of the same modality and organ, with one in which details are lost.
CONTROLS = ("blank", "similar", "blurred", "noisy")
FILE = "probe.json"


def probe_of(config: Config) -> str | None:
    """The setting `probe`, checked with the settings that it cannot be combined with.

    Raises:
        ConfigError: it is unknown, or given with a suite or with other images.
    """
    if config.get("probe") is None:
        return None
    probe = checked_choice(config["probe"], PROBES, "probe")
    if config.get("suite") is not None:
        raise ConfigError(
            "probe=image is of one task, and a suite has several. Give task=NAME; -m task=A,B probes each."
        )
    if config["image"] != "original":
        raise ConfigError(
            f"probe=image asks with the own images and with {', '.join(CONTROLS)}, so image={config['image']} cannot "
            "be given too. Leave out one of them."
        )
    return probe


def with_controls(made: RunJob) -> list[RunJob]:
    """The controls of a run and the run itself, which is last: its sanity checks find the blank control finished.

    Raises:
        ConfigError: the model is given no images.
    """
    if not made.engine.needs_images:
        raise ConfigError(
            f"model={made.job.settings.model} is given no images, so probe=image would change nothing. Choose a model "
            "that sees images."
        )
    return [*(_control(made, mode) for mode in CONTROLS), made]


def _control(made: RunJob, mode: str) -> RunJob:
    """The run with other images.  Answers that make no sense are expected there, so no first ones are looked at."""
    settings = replace(made.job.settings, image=mode, preflight=None, preflight_require=None)
    config = {**made.job.config, "image": mode}
    job = replace(made.job, settings=settings, config=config)
    return made._replace(config={**made.config, "image": mode}, job=job)


def run_probes(
    jobs: Sequence[RunJob], answer: Answer, report: Callable[..., Conclusion]
) -> tuple[list[RunJob], list[Conclusion | None]]:
    """Answer runs and their controls in one pass, report each run and what its images change.

    Args:
        answer: answers runs in one pass.  report: writes the row of one, and prints its table unless told otherwise.

    Returns:
        All runs with their conclusions, None for a dry run.
    """
    groups = [with_controls(made) for made in jobs]
    every = [made for group in groups for made in group]
    answered = iter(answer(every))
    conclusions: list[Conclusion | None] = []
    for group in groups:
        found = [
            (made, conclusion) for made, conclusion in zip(group, answered, strict=False) if conclusion is not None
        ]
        done = [report(made, conclusion, is_shown=made is group[-1]) for made, conclusion in found]
        conclusions += done or [None] * len(group)
        if done and done[-1].summary is not None:
            print_effects(done[-1], done[:-1], group[-1])
    return every, conclusions


def print_effects(conclusion: Conclusion, controls: Sequence[Conclusion], made: RunJob) -> None:
    """Print what the images change, and write it into the run's folder; the folder alone on the last line."""
    from evalkit.analysis.image_probe import HEADER, image_effects, table_rows, to_json, unscored_text
    from evalkit.analysis.run_scores import read_run_scores
    from evalkit.core.files import write_json

    own, *others = (read_run_scores(c.folder) for c in (conclusion, *controls))
    hidden = frozenset() if metrics_setting(made.config) == "all" else conclusion.secondary
    effects = image_effects(own, others, [k for k in own.columns if k not in hidden])
    shared = _shared(made)
    content = to_json(own, others, effects)
    write_json(conclusion.folder / FILE, {**content, "similar": {"+".join(k) or "none": n for k, n in shared.items()}})
    caption = (
        f"percent; paired changes and shares with 95 % intervals clustered by {own.cluster}; unscored counts as wrong; "
        "right without: of the answers that are right with the own image, those that are right without it too\n"
        f"{_similar_text(shared)}"
    )
    if unscored := unscored_text(effects):
        caption += f"\n{unscored}"
    title = f"{own.header.model} on {own.header.task}: the same questions with other images"
    console.grid(HEADER, table_rows(effects), title, caption)
    console.out(str(conclusion.folder))


def _shared(made: RunJob) -> Mapping[tuple[str, ...], int]:
    from evalkit.pipeline.image_modes import shared_tags
    from evalkit.pipeline.inputs import limited

    return shared_tags(limited(made.job.loaded, made.job.settings.limit).samples, made.job.digests)


def _similar_text(shared: Mapping[tuple[str, ...], int]) -> str:
    parts = [f"{n} of the same {' and '.join(tags)}" if tags else f"{n} of any kind" for tags, n in shared.items()]
    return f"similar: another image of the split; by questions, {', '.join(parts)}"
