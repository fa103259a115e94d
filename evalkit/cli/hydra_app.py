"""Composition of a verb's configuration with Hydra, and the jobs of a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.cli.code_settings import check_code_settings
from evalkit.cli.command_words import readable, with_own_key, with_own_keys
from evalkit.cli.completion import is_completion
from evalkit.cli.compose import VERSION_BASE, compose, import_hydra
from evalkit.cli.config import MULTIPLE_CHOICE, config_dir
from evalkit.cli.config_source import check_user_folders, register
from evalkit.cli.hydra_mode import known_mode
from evalkit.cli.hydra_words import check_words
from evalkit.cli.interpolation import guarded, resolve_node
from evalkit.cli.jobs import jobs_of_one_command, shared_by_jobs, with_models_first
from evalkit.cli.model_identity import with_own_name
from evalkit.cli.providers import with_providers
from evalkit.cli.recipe_settings import with_recipe
from evalkit.cli.sent_settings import check_sent_settings
from evalkit.cli.typed_settings import groups_of, setting_names, typed
from evalkit.cli.verbs import command_line_refused, load
from evalkit.core import console
from evalkit.core.errors import ConfigError, EvalkitError
from evalkit.core.extras import without_hf

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
# Characters of a file's name that a message shows.
LONGEST_NAME = 300
CONFIG_DIR_FLAGS = ("--config-dir", "-cd")


def run_verb(verb: str, arguments: Sequence[str]) -> int:
    """Compose the verb's configuration and run the verb on it, once a job; returns the highest exit code."""
    begun: list[str] = []
    try:
        return _run_verb(verb, arguments, begun)
    except Exception:
        if not begun:
            command_line_refused(verb, arguments)
        raise


def _run_verb(verb: str, arguments: Sequence[str], begun: list[str]) -> int:
    """See `run_verb`; begun: gets the verb's name when a job calls it."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    codes: list[int] = []
    check_words(arguments, setting_names(verb))
    command = take_config_dirs(arguments)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us instead of being printed by Hydra
    saved = sys.argv
    with user_config_dirs(command.folders), guarded(), jobs_of_one_command():
        if not is_completion(arguments):
            check_user_folders()
        register()
        try:
            words = with_models_first(readable(command.arguments, groups_of(verb)))
            sys.argv = ["evalkit", *with_settings(words)]
            with known_mode(words):
                hydra.main(version_base=VERSION_BASE, config_path=str(config_dir()), config_name=verb)(
                    make_job(verb, codes, begun)
                )()
        except (HydraException, OmegaConfBaseException) as problem:
            from evalkit.cli.config_errors import explain

            raise explain(problem, verb, arguments) from problem
        except BrokenPipeError:
            raise
        except OSError as problem:  # a name that is too long, a folder that may not be read; jobs report their own
            raise unreadable(problem) from problem
        finally:
            sys.argv = saved
    return max(codes, default=0)


class WithoutConfigDirs(NamedTuple):
    """Arguments without `--config-dir`, and the folders that it named."""

    arguments: list[str]
    folders: list[Path]


def take_config_dirs(arguments: Sequence[str]) -> WithoutConfigDirs:
    """Take the user's config folders out of the arguments.

    Hydra's own flag would read them as plain files, not as `evalkit.cli.config_source` does.

    >>> take_config_dirs(["--config-dir=mine", "task=slake"]).arguments
    ['task=slake']

    Raises:
        ConfigError: the flag has no value.
    """
    rest: list[str] = []
    folders: list[Path] = []
    waiting = iter(arguments)
    for argument in waiting:
        flag, equals, value = argument.partition("=")
        if flag not in CONFIG_DIR_FLAGS:
            rest.append(argument)
            continue
        folder = value if equals else next(waiting, "")
        if not folder:
            raise ConfigError(f"{flag} needs a folder: {flag} DIR.")
        folders.append(Path(folder).absolute())
    return WithoutConfigDirs(rest, folders)


@contextmanager
def user_config_dirs(folders: Sequence[Path]) -> Iterator[None]:
    """Add config folders to EVALKIT_CONF, an environment variable, so that jobs in other processes see them too."""
    if not folders:
        yield
        return
    before = os.environ.get("EVALKIT_CONF")
    os.environ["EVALKIT_CONF"] = os.pathsep.join([*([before] if before else []), *map(str, folders)])
    try:
        yield
    finally:
        if before is None:
            del os.environ["EVALKIT_CONF"]
        else:
            os.environ["EVALKIT_CONF"] = before


def with_settings(arguments: Sequence[str]) -> list[str]:
    """The arguments with evalkit's Hydra settings before the first override.

    Flags must stay together, and of two overrides of one key the later one, the user's, takes effect.  For Hydra, no
    option of a group is an empty list and not null.
    """
    no_option = {f"{group}=null": f"{group}=[]" for group in MULTIPLE_CHOICE}
    arguments = [no_option.get(argument, argument) for argument in arguments]
    place = next((k for k, a in enumerate(arguments) if "=" in a and not a.startswith("-")), len(arguments))
    return [*arguments[:place], *HYDRA_SETTINGS, *arguments[place:]]


def make_job(verb: str, codes: list[int], begun: list[str]) -> Callable[[Any], None]:
    """The function that Hydra calls once a job, which appends its exit code to `codes`; a failed job ends no sweep.

    It appends the verb to `begun` before it calls it.

    Where a launcher runs the job in another process (submitit), Hydra transfers only its exceptions back.
    """
    main_process = os.getpid()

    def job(cfg: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        choices = {str(k): v for k, v in HydraConfig.get().runtime.choices.items()}
        words = list(HydraConfig.get().overrides.task)
        n_begun = len(begun)
        try:
            config = finished(verb, cfg, choices, words)
            function = load(verb)
            begun.append(verb)
            with jobs_of_one_command():  # for a process of its own; else this is inside of that of `run_verb`
                shared_by_jobs().words = tuple(with_own_key(word) for word in words)
                codes.append(function(config))
        except EvalkitError as problem:
            if len(begun) == n_begun:
                command_line_refused(verb, words)
            if cfg.get("debug") or os.getpid() != main_process:
                raise
            codes.append(report_error(problem))
        except ModuleNotFoundError as problem:  # an import of the extra hf, in a light install
            known = without_hf(problem)
            if known is None or cfg.get("debug"):
                raise
            if os.getpid() != main_process:
                raise known from problem
            codes.append(report_error(known))
        except BrokenPipeError:  # the reader of the output has gone
            console.discard_output()
            codes.append(console.PIPE_EXIT_CODE)
        except OSError as problem:  # a folder that cannot be written, a full disk
            if cfg.get("debug"):
                raise
            if os.getpid() != main_process:
                raise refused(problem) from problem
            codes.append(report_error(refused(problem)))

    return job


def finished(verb: str, node: Any, choices: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The configuration that a verb gets: resolved, checked, every setting as its type, the model under its own name.

    Args:
        node: as Hydra composed it.  choices: config group -> the chosen option.  words: the overrides.
    """
    found = resolve_node(node)
    environment = {"from_environment": found.from_environment} if found.from_environment else {}
    # `run` has settings under the name that the options of the groups have.
    settings = found.content.get("choices")
    both = {**(settings if isinstance(settings, dict) else {}), **choices}
    content = {**found.content, "choices": both, **environment}
    check_code_settings(content, words)
    check_sent_settings(content, words)
    content = with_recipe(with_providers(content, words), words)
    own = [with_own_key(word) for word in words]
    return with_own_name(typed(verb, with_own_keys(content), own), own)


def configuration(verb: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The configuration that a verb would get with this command line; nothing of the process is changed.

    Raises:
        ConfigError: a word cannot be read, or is not a setting of the verb.
    """
    import_hydra()
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    check_words(arguments, setting_names(verb))
    with guarded():
        check_user_folders()
        try:
            composed = compose(verb, with_settings(readable(arguments, groups_of(verb))))
        except (HydraException, OmegaConfBaseException) as problem:
            from evalkit.cli.config_errors import explain

            raise explain(problem, verb, arguments) from problem
        except OSError as problem:
            raise unreadable(problem) from problem
        return finished(verb, composed.node, composed.choices, composed.words)


def unreadable(problem: OSError) -> ConfigError:
    """An error of the operating system while a configuration is composed, as a message."""
    name = str(problem.filename or "A file of the configuration")
    shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return ConfigError(f"{shown} cannot be read: {problem.strerror or problem}.")


def refused(problem: OSError) -> EvalkitError:
    """An error of the operating system, as a message of one paragraph."""
    where = problem.filename or "A file"
    return EvalkitError(
        f"{where}: {problem.strerror or problem}. Finished answers are kept; check the path (out=DIR), its permissions "
        "and the disk, then give the same command again."
    )


def report_error(problem: EvalkitError) -> int:
    """Print an error; returns its exit code."""
    console.note(f"evalkit: {problem}")
    return problem.exit_code
