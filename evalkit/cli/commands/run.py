"""Generate with model= on task=, score, print the table (the default).

A run that was interrupted goes on where it stopped when the same command is given again.  engine.shard=i/n answers
one part of the questions; `evalkit merge` joins the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from evalkit.cli.config import Config
from evalkit.cli.factories import (
    FROM_CONFIG,
    ModelMaker,
    is_checkpoint,
    load_for_model,
    make_analysis_settings,
    make_protocols,
    make_settings,
    make_spec,
    make_task,
    metrics_setting,
    model_name,
    table_title,
    with_letters,
    with_sample,
)
from evalkit.cli.jobs import shared_by_jobs
from evalkit.cli.leaderboard import add_to_leaderboard, check_row, check_stored
from evalkit.cli.option_settings import with_draws, with_orders, with_scoring
from evalkit.cli.probe import probe_of, run_probes
from evalkit.cli.tracking import check_tracked, make_tracker, track, untracked
from evalkit.core import console
from evalkit.core.errors import ConfigError, Partial
from evalkit.core.network import setting_text, watched

if TYPE_CHECKING:
    from evalkit.engines.base import Engine
    from evalkit.pipeline.conclude import Conclusion
    from evalkit.pipeline.evaluate import Job

HELP_ORDER = 0
EXAMPLES = (
    "evalkit model=phantom-llava task=phantom limit=20",
    "evalkit model=./my-checkpoint task=slake generation.max_new_tokens=64",
)
# Engines whose workers may run in processes on other machines.
UNWATCHED_ENGINES = ("ray",)


class RunJob(NamedTuple):
    """A run that is ready to start: its configuration, what is answered, and by which engine."""

    config: Config
    job: Job
    engine: Engine


def main(config: Config) -> int:
    """Generate, score, print; write the leaderboard row; for a suite, several prompts or a probe, a run for each."""
    probe = probe_of(config)
    with watched_run(config):
        if config.get("suite") is not None:
            from evalkit.cli.suite import run_suite

            return run_suite(config, make_job, run_jobs)
        one = OneEngine()
        jobs = [make_job(variant, one) for variant in variants(config)]
        if probe is not None:
            jobs, conclusions = run_probes(jobs, answer, report)
        else:
            conclusions = run_jobs(jobs)
        for made, conclusion in zip(jobs, conclusions, strict=True):
            check_finished(made, conclusion)
        check_stored(conclusions)
        check_tracked(conclusions)
    return 0


@contextmanager
def watched_run(config: Config) -> Iterator[None]:
    """Record or refuse the servers that a run speaks to.

    Raises:
        ConfigError: the engine has processes whose connections cannot be refused, or `offline` has another value.
    """
    offline = config.get("offline", False)
    engine = (config.get("choices") or {}).get("engine")
    if offline and engine in UNWATCHED_ENGINES:
        raise ConfigError(
            f"offline={setting_text(offline)} is not possible with engine={engine}: its workers are processes of their "
            "own, whose connections evalkit cannot refuse. Use engine=hf, or cut the network of the machines."
        )
    # Of servers that only some of the processes speak to, no list is better than a part of it.
    with nullcontext() if engine in UNWATCHED_ENGINES else watched(offline):
        yield


class OneEngine:
    """The engine of a command: made once, for all its prompts."""

    def __init__(self) -> None:
        self._made: Engine | None = None

    def __call__(self, make: Callable[[], Engine]) -> Engine:
        """The engine; `make` makes it at the first call."""
        if self._made is None:
            self._made = make()
        return self._made


def variants(config: Config) -> list[Config]:
    """The configurations of a command: one, or one for each of the prompts that it lists.

    Raises:
        ConfigError: a list of prompts is empty, or names one twice.
    """
    found = [config]
    for key in ("prompt", "choice_prompt"):
        values = config["task"].get(key)
        if not isinstance(values, list | tuple):
            continue
        if not values or len(set(map(str, values))) < len(values):
            raise ConfigError(f"task.{key}={list(values)} is invalid; expected a list of different prompt variants.")
        found = [{**c, "task": {**c["task"], key: value}} for c in found for value in values]
    return found


def make_job(
    config: Config, through: Callable[[Callable[[], Engine]], Engine], maker: ModelMaker = FROM_CONFIG
) -> RunJob:
    """Everything that one run needs; its data are loaded and checked.

    Args:
        through: makes the engine by a function, or gives one that fits.
        maker: where the model is from.
    """
    from evalkit.pipeline.evaluate import Job
    from evalkit.pipeline.train_split import TrainSplit

    config = with_sample(with_letters(with_scoring(with_orders(config))))
    config = with_draws(config, make_spec(config, model_name(config)).generation.n if is_checkpoint(config) else 1)
    check_row(config)
    make_tracker(config)
    settings = make_settings(config)
    protocols = make_protocols(config)
    task = make_task(config)
    maker.check(config, settings.model)
    checked = load_for_model(config, task)
    train = TrainSplit(task)
    engine = through(lambda: maker.engine(config, settings.model, train))
    job = Job(
        task=task,
        loaded=checked.loaded,
        digests=checked.digests,
        protocols=protocols,
        settings=settings,
        config=untracked(config),
        template=maker.template(config, settings.model),
        analysis=make_analysis_settings(config["task"], train),
    )
    return RunJob(config, job, engine)


def run_jobs(jobs: Sequence[RunJob]) -> list[Conclusion | None]:
    """Answer runs in one pass of the first one's engine, and report each; None for a dry run."""
    return [
        None if conclusion is None else report(made, conclusion)
        for made, conclusion in zip(jobs, answer(jobs), strict=True)
    ]


def answer(jobs: Sequence[RunJob]) -> list[Conclusion | None]:
    """Answer and score runs in one pass of the first one's engine; None for a dry run.

    A checkpoint that an earlier job of this command line has loaded is not loaded again.
    """
    from evalkit.pipeline.evaluate import evaluate_together

    engine = shared_by_jobs().model.share(jobs[0].engine)
    return evaluate_together([made.job for made in jobs], engine)


def report(made: RunJob, conclusion: Conclusion, *, is_shown: bool = True) -> Conclusion:
    """Write the leaderboard row of a finished run, track it and print its table, or report a finished part of a run."""
    from evalkit.pipeline.conclude import show

    settings = made.job.settings
    if (shard := settings.shard) is not None:
        count = f"{conclusion.n_failed} failed"
        console.note(f"part {shard.index} of {shard.of}: {count}; `evalkit merge runs=[...]` joins the parts")
        console.out(str(conclusion.folder))
        return conclusion
    conclusion = track(made.config, add_row(made, conclusion))
    assert conclusion.summary is not None, "a whole run has a summary"
    if is_shown:
        show(conclusion, table_title(conclusion.summary), metrics_setting(made.config))
    return conclusion


def add_row(made: RunJob, conclusion: Conclusion) -> Conclusion:
    """Write the leaderboard row of a finished run; returns its conclusion, with the reason where that failed."""
    return add_to_leaderboard(made.config, conclusion, limit=made.job.settings.limit, model=made.config["model"])


def answer_task(
    config: Config, through: Callable[[Engine], Engine], maker: ModelMaker = FROM_CONFIG
) -> Conclusion | None:
    """Answer and score one task and write its leaderboard row; nothing is printed.

    Args:
        through: a function that the engine passes first.
        maker: where the model is from.

    Returns:
        The conclusion, without a summary for a part of a run; None for a dry run.

    Raises:
        ConfigError: several runs are asked for.
    """
    from evalkit.pipeline.evaluate import evaluate_together

    if config.get("probe") is not None:
        raise ConfigError(
            f"probe={config['probe']} makes several runs, and one is asked for here. Use the command line, or "
            "image=blank, similar, blurred and noisy one by one and compare them."
        )

    with watched_run(config):
        made = make_job(config, lambda make: through(make()), maker)
        conclusion = evaluate_together([made.job], made.engine)[0]
    if conclusion is not None and conclusion.summary is not None:
        conclusion = track(made.config, add_row(made, conclusion))
    return conclusion


def check_finished(made: RunJob, conclusion: Conclusion | None) -> None:
    """Check that every sample was answered, after everything was printed and written.

    Raises:
        Partial: some samples failed.
    """
    from evalkit.pipeline.conclude import check_complete

    if conclusion is None:
        return
    if (shard := made.job.settings.shard) is None:
        check_complete(conclusion)
    elif conclusion.n_failed:
        raise Partial(
            f"{conclusion.n_failed} samples of part {shard.index}/{shard.of} failed. Finished answers are kept; the "
            "same command asks the failed samples again."
        )
