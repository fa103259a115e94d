"""Limits, headers and formats that the documentation states are those of the code."""

from __future__ import annotations

import pytest

from evalkit.cli import defaults_tree, expansion, yaml_text
from evalkit.cli.code_settings import FROM_FILES, OWN_CLUSTERS
from evalkit.cli.sent_settings import ENDING, FILE_SETTINGS, KEY_SETTING, KNOWN_SERVERS
from evalkit.cli.shared_yaml import HYDRA_SETTINGS, RESOLVERS
from evalkit.clients import openai_client, redaction, response, transport
from evalkit.core import archives, image_files, json_text
from evalkit.engines.server_log import MAX_FAILURES_IN_A_ROW
from tests.support.paths import ROOT

TASK, ENGINES, FOLDERS = "docs/adding-a-task.md", "docs/engines.md", "docs/config-folders.md"
SIDE = 8192
GIB, MIB = 1 << 30, 1 << 20
FORMATS = {"JPEG2000": "JPEG 2000", "WEBP": "WebP"}
STATED = {
    "pixels": (TASK, f"at most {image_files.MAX_PIXELS:,} pixels ({SIDE} x {SIDE};"),
    "variable": (TASK, f"`{image_files.LIMIT_VARIABLE}=N` sets another limit"),
    "image bytes": (TASK, "eight bytes a pixel of it and 16 MiB"),
    "member": (TASK, f"A member of an archive may have {archives.MAX_MEMBER // GIB} GiB"),
    "ratio": (TASK, f"above {archives.UNCHECKED // MIB} MiB, {archives.MAX_RATIO} times its compressed size"),
    "members": (TASK, f"all members that are read together {archives.MAX_ARCHIVE // GIB} GiB"),
    "reply": (ENGINES, f"{openai_client.MAX_REPLY_BYTES:,}: limit of a reply"),
    "levels": (ENGINES, f"more than {response.MAX_DEPTH} levels"),
    "values": (ENGINES, f"more than {response.MAX_VALUES:,} values"),
    "names": (ENGINES, f"names are cut at {response.MAX_NAME} characters"),
    "redirects": (ENGINES, "307 and 308, three at most"),
    "secret": (ENGINES, f"Values of fewer than {redaction.SHORTEST_SECRET} characters"),
    "failures": (ENGINES, "Ten failures in a row end the run"),
    "YAML": (FOLDERS, f"at most {yaml_text.MAX_BYTES // 1024} KiB, {yaml_text.MAX_VALUES:,} values"),
    "YAML texts": (
        FOLDERS,
        f"number has at most {yaml_text.MAX_NUMBER} characters, a text with an interpolation "
        f"{yaml_text.MAX_INTERPOLATED:,}",
    ),
    "references": (FOLDERS, f"at most {expansion.MAX_REFERENCES:,} interpolations are resolved"),
    "expansion": (FOLDERS, f"{expansion.MAX_EXPANDED:,} characters (a value counts as {expansion.VALUE})"),
    "defaults": (FOLDERS, f"{defaults_tree.MAX_FILES:,} files, {defaults_tree.MAX_LEVELS} levels deep"),
    "YAML levels": (FOLDERS, f"and {yaml_text.MAX_DEPTH} levels"),
    "clusters": (FOLDERS, "`local` or `auto`; any other"),
    "keys": (FOLDERS, f"`{KEY_SETTING}`, and every setting whose name ends with `{ENDING}`"),
}


def page(name: str) -> str:
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


@pytest.mark.parametrize("name", STATED)
def test_a_stated_limit_is_that_of_the_code(name: str) -> None:
    path, text = STATED[name]
    assert text in page(path)


def test_the_numbers_in_words_are_those_of_the_code() -> None:
    assert image_files.MAX_PIXELS == SIDE * SIDE
    assert image_files.max_file_bytes() == 8 * image_files.MAX_PIXELS + 16 * MIB
    assert (transport.MAX_REDIRECTS, transport.REPEATING) == (3, (307, 308))
    assert MAX_FAILURES_IN_A_ROW == 10 and json_text.MAX_COUNT == 10**9 and "beyond 10⁹" in page(ENGINES)
    assert OWN_CLUSTERS == ("local", "auto")


def test_the_formats_of_images_are_named() -> None:
    names = [FORMATS.get(name, name) for name in image_files.FORMATS]
    assert f"Images are {', '.join(names[:-1])} or {names[-1]} with at most" in page(TASK)


def test_every_setting_of_a_list_is_named() -> None:
    text = page(FOLDERS)
    names = [*FROM_FILES["engine_args"], *(f"{name}" for name in FILE_SETTINGS), *(KNOWN_SERVERS)]
    names += [name.removeprefix("launcher.") for name in HYDRA_SETTINGS if name.startswith("launcher.")]
    assert [name for name in names if f"`{name}`" not in text] == []
    assert all(f"`{server}/…`" in text for server in KNOWN_SERVERS.values())
    assert all(f"${{{name}:" in text for name in RESOLVERS)
