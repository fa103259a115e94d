"""Settings of how a model is asked: decoding on top of a preset, chat template, wording of the questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.cli.code_settings import is_typed
from evalkit.cli.command_words import typed_values
from evalkit.core.errors import ConfigError
from evalkit.core.files import expand_home

# Settings that every option of a group takes, whatever its YAML has.
SETTINGS_OF_ALL: Mapping[str, Mapping[str, Any]] = {
    "task": {"where": {}, "template": None, "system": None},
    "model": {"adapter": None, "adapter_revision": None, "quantization": None},
}


class DecodingSettings(NamedTuple):
    """preset: its name; None for the YAML's own choice.  changes: settings on top of it."""

    preset: str | None
    changes: Mapping[str, Any]


def decoding_settings(given: Any) -> DecodingSettings:
    """The parts of the setting `generation`: a preset's name, or settings with or without `preset`.

    >>> decoding_settings({"preset": "paper", "max_new_tokens": 64})
    DecodingSettings(preset='paper', changes={'max_new_tokens': 64})
    """
    if not isinstance(given, Mapping):
        return DecodingSettings(str(given) if given else None, {})
    preset = given.get("preset")
    return DecodingSettings(str(preset) if preset else None, {k: v for k, v in given.items() if k != "preset"})


def with_recipe(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a verb with decoding, chat template and wording as the user gave them.

    Files are read here, so that the configuration of a run holds what was asked and not where it was written.

    Args:
        overrides: the `key=value` words of the command line.

    Raises:
        ConfigError: a decoding setting is unknown or of another type; a file is not there, or a config file names it.
    """
    typed = typed_values(overrides)
    result = dict(config)
    if "generation" in config:
        result["generation"] = _generation(config["generation"])
    if isinstance(config.get("model"), Mapping):
        result["model"] = _model(config["model"], config.get("chat_template"), typed)
    if isinstance(config.get("task"), Mapping):
        result["task"] = _task(config["task"], typed)
    return result


def _generation(given: Any) -> Any:
    """None for an empty setting, a name for a preset alone, and settings whose names and types are checked."""
    if not isinstance(given, Mapping):
        return given
    from evalkit.models.generation_presets import check_settings

    preset, changes = decoding_settings(given)
    check_settings(changes, "generation")
    return dict(given) if changes else preset


def _model(model: Mapping[str, Any], chat_template: Any, typed: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings with the text of its chat template, without those of all models that are not given."""
    from evalkit.models.templates import is_file_name, read_template_file

    found = _given(model, "model")
    key = "model.chat_template" if chat_template is None else "chat_template"
    template = found.get("chat_template") if chat_template is None else chat_template
    if chat_template is not None and found.get("kind", "checkpoint") != "checkpoint":
        raise ConfigError("chat_template= is of a checkpoint, and this model is not a checkpoint.")
    if template is not None and not isinstance(template, str):
        raise ConfigError(f"{key}={template!r} is not possible: expected a file, or jinja text.")
    if template is None or not is_file_name(template):
        return found if chat_template is None else {**found, "chat_template": template}
    _check_typed(typed, key, template)
    return {**found, "chat_template": read_template_file(expand_home(template), key)}


def _task(task: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """A task's settings with its wording as texts, without those of all tasks that are not given."""
    from evalkit.tasks.question_template import QuestionTemplate, names_file, read_question_template

    found = _system(_given(task, "task"), typed)
    template = found.get("template")
    if template is None:
        return found
    if not isinstance(template, str):
        raise ConfigError(
            f"task.template={template!r} is not possible: expected a text with {{question}}, or a file. On the command "
            "line write it in two pairs of quotes: task.template=\"'{question}'\"."
        )
    if names_file(template):
        _check_typed(typed, "task.template", template)
    text = read_question_template(template)
    QuestionTemplate(text)
    return {**found, "template": text}


def _system(task: dict[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """A task's settings with the text of its system message in place of the file that it names."""
    from evalkit.tasks.question_template import names_system_file, read_system

    system = task.get("system")
    if not isinstance(system, str) or not names_system_file(system):
        return task
    _check_typed(typed, "task.system", system)
    return {**task, "system": read_system(system)}


def _given(settings: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Settings without those of SETTINGS_OF_ALL that are null."""
    optional = [key for key, default in SETTINGS_OF_ALL[group].items() if default is None]
    return {key: value for key, value in settings.items() if key not in optional or value is not None}


def _check_typed(typed: Mapping[str, Any], setting: str, value: str) -> None:
    """Check that the user has chosen a file, whose text may go to a server; see `evalkit.cli.sent_settings`."""
    place, _, key = setting.rpartition(".")
    if not is_typed(typed, place, key, value):
        raise ConfigError(
            f"{setting}={value[:200]!r} is given in a config file, which cannot choose a file of this machine. Give it "
            f"on the command line, {setting}=FILE, or beside the YAML of the model or task itself."
        )
