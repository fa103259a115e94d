"""The command line: `python -m evalkit [VERB] [overrides...]`, no verb means `run`.

A verb is a primary config `conf/VERB.yaml` and a function below `evalkit.cli.commands`.  Exit codes: 0 done, 1 gate
failed, 2 usage, config or data error, 3 finished in part, 4 gate inconclusive, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from evalkit import __version__
from evalkit.cli.config import config_dir, config_dirs, options
from evalkit.core.errors import EvalkitError

VERBS = {
    "run": "generate with model= on task=, score, print the table (the default)",
    "merge": "join the parts of a run made with engine.shard=i/n: runs=[DIR,DIR,...]",
    "score": "score existing answers: predictions=FILE task=NAME",
    "compare": "paired differences of runs over the same samples: runs=[A,B]",
    "gate": "refuse a worse model: baseline=RUN candidate=RUN [margin=0.02]",
    "judge": "add judged scores to a run: run=DIR judge=NAME; `judge check labels=FILE`: does it agree with people",
    "fetch": "bring weights and data into the cache, checked: model=NAME task=NAME",
    "doctor": "what a model is, needs and would be asked, before anything is loaded: model=NAME",
    "convert": "save a checkpoint once in Hugging Face form: model=NAME to=DIR",
    "report": "a run's page: run=DIR, or two side by side: run=DIR against=DIR",
    "paper": "a paper's table, published beside reproduced: paper=NAME [runs=DIR] [file=TABLE.tex]",
    "export": "a run in other tools' forms: run=DIR format=every-eval-ever|hf-model-index|latex|lm-eval",
    "board": "rebuild the leaderboards from papers' figures and results",
    "bench": "how fast a model answers a task: one at a time, in batches, with shared image prefixes",
    "audit": "what is wrong with a copy of a dataset: task=NAME task.path=DIR",
    "list": "tasks, models, protocols, engines ..., one line each",
}
GROUPS = ("task", "model", "protocol", "engine", "judge", "experiment", "paper")

# Hydra's own folders and logs are off: a run's folder is named by its content, not by the time.
HYDRA_SETTINGS = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra.sweep.dir=.",
    "hydra.sweep.subdir=.",
    "hydra.job.name=evalkit",
    "hydra.help.app_name=evalkit",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)


def help_text() -> str:
    """Every verb, and every task, model, protocol and engine with its one line."""
    lines = [
        f"evalkit {__version__}: medical VQA benchmarks whose numbers can be trusted",
        "",
        "usage: python -m evalkit [VERB] [key=value ...]     e.g. python -m evalkit model=phantom-llava task=phantom",
        "",
        "verbs",
        *(f"  {verb:<12}{about}" for verb, about in VERBS.items()),
    ]
    for group in ("task", "model", "protocol", "engine", "judge"):
        lines += ["", f"{group}="]
        lines += [f"  {name:<24}{about}" for name, about in options(group).items()]
    lines += [
        "",
        "common settings",
        "  task.path=DIR           a local copy of the dataset, in any of its released forms",
        "  task.split=  task.prompt=plain|short|options  protocol=NAME or '[A,B]' or all",
        "  limit=N  out=DIR  image=original|blank|shuffled  engine.batch_size=N  engine.dtype=float32|bfloat16|auto",
        "  dry_run=true  resume=true|false  debug=true (tracebacks)",
        "",
        "also: --cfg job (print the configuration), -m (sweep), --config-dir DIR or EVALKIT_CONF=DIR (your own YAMLs)",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m evalkit` and of the console script; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--help | head` must not end in a traceback
    verb = arguments.pop(0) if arguments and arguments[0] in VERBS else "run"
    if verb == "judge" and arguments[:1] == ["check"]:
        verb = f"judge_{arguments.pop(0)}"
    debug = any(a.replace(" ", "") in ("debug=true", "debug=True") for a in arguments)
    try:
        if {"-h", "--help"} & set(arguments):
            _out(help_text())
            return 0
        if "--version" in arguments:
            _out(__version__)
            return 0
        if verb == "list":
            from evalkit.cli.commands.list_options import list_options

            _out(list_options(arguments, GROUPS))
            return 0
        if arguments and "=" not in arguments[0] and not arguments[0].startswith(("-", "+", "~")):
            from evalkit.core.errors import ConfigError, did_you_mean

            raise ConfigError(f"There is no verb {arguments[0]!r}. {did_you_mean(arguments[0], VERBS)}")
        return _hydra(verb, arguments)
    except EvalkitError as problem:
        if debug:
            raise
        return _report(problem)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; what was answered is kept, the same command goes on from there\n")
        return 130


def _hydra(verb: str, arguments: list[str]) -> int:
    """Compose the verb's configuration with Hydra and run the verb on it."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    codes: list[int] = []
    user_dirs = [f"--config-dir={d}" for d in config_dirs()[1:]]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us instead of being printed by Hydra
    saved, sys.argv = sys.argv, ["evalkit", *user_dirs, *with_settings(arguments)]
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=verb)(_job(verb, codes))()
    except (HydraException, OmegaConfBaseException) as problem:
        from evalkit.cli.config_errors import explain

        raise explain(problem, verb) from problem
    finally:
        sys.argv = saved
    return max(codes, default=0)


def with_settings(arguments: list[str]) -> list[str]:
    """The arguments with ours before the first override: flags must stand together, and the user's word goes last."""
    place = next((k for k, a in enumerate(arguments) if "=" in a and not a.startswith("-")), len(arguments))
    return [*arguments[:place], *HYDRA_SETTINGS, *arguments[place:]]


def _job(verb: str, codes: list[int]) -> Callable[[Any], None]:
    """The function that Hydra calls once a job; a sweep goes on after a job that fails.

    Where a launcher runs the job in another process (submitit), Hydra brings back what it raises and nothing else.
    """
    home = os.getpid()

    def job(cfg: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        from evalkit.cli.commands import find
        from evalkit.cli.config import plain

        choices = {str(k): v for k, v in HydraConfig.get().runtime.choices.items()}
        try:
            codes.append(find(verb)({**plain(cfg), "choices": choices}))
        except EvalkitError as problem:
            if cfg.get("debug") or os.getpid() != home:
                raise
            codes.append(_report(problem))
        except OSError as problem:  # a folder that cannot be written, a full disk
            if cfg.get("debug"):
                raise
            if os.getpid() != home:
                raise refused(problem) from problem
            codes.append(_report(refused(problem)))

    return job


def refused(problem: OSError) -> EvalkitError:
    """What the operating system would not do, in one paragraph."""
    where = problem.filename or "A file"
    return EvalkitError(
        f"{where}: {problem.strerror or problem}. Nothing that was answered is lost; check the path (out=DIR), its "
        "permissions and the disk, then give the same command again."
    )


def _report(problem: EvalkitError) -> int:
    sys.stderr.write(f"evalkit: {problem}\n")
    return problem.exit_code


def _out(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
