"""engine.provider=NAME: each preset against a stand-in that behaves as the provider's documentation says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import config_dir, load_option, options
from evalkit.clients.providers import Provider
from evalkit.core.errors import ConfigError
from tests.support import command_line
from tests.support.command_line import environment, folder_of
from tests.support.providers import KEY, STAND_INS, ProviderServer

KEY_VARIABLES = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "GEMINI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY")
# What each stand-in refuses of a request that is decoded greedily and of one that is sampled, after the preset.
REFUSED = {"openai": ["stop", "temperature", "top_p"], "anthropic": ["temperature"]}
SAMPLED = "+model.presets.sampled={max_new_tokens: 16, temperature: 0.7, top_p: 0.9, stop: ['###']}"


def env(**more: str) -> dict[str, str]:
    plain = {k: v for k, v in environment().items() if not k.startswith(("OPENAI_", "AZURE_"))}
    return plain | dict.fromkeys(KEY_VARIABLES, KEY) | more


def run(cwd: Path, *words: str, **more: str) -> Any:
    at = ("task=phantom", "limit=4", "model=phantom-llava", "leaderboard=null", "engine=server")
    return command_line.in_this_process(*at, "engine.served_model=some-model", *words, cwd=cwd, env=env(**more))


def manifest(result: Any, cwd: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder_of(result, cwd) / "manifest.json").read_text(encoding="utf-8"))
    return found


def test_every_preset_has_a_stand_in_and_sources_for_what_it_says() -> None:
    assert set(options("provider")) == set(STAND_INS)
    for name in options("provider"):
        content = load_option("provider", name)
        Provider.of({**content, "name": name})
        assert content["about"] and content["sources"]
        assert all(url.startswith("https://") for url in content["sources"].values())


@pytest.mark.few(5)
@pytest.mark.parametrize("name", STAND_INS)
@pytest.mark.parametrize("generation", ["greedy", "sampled"])
def test_a_preset_is_answered_by_its_provider(tmp_path: Path, name: str, generation: str) -> None:
    words = () if generation == "greedy" else (SAMPLED, "generation=sampled")
    with ProviderServer(STAND_INS[name]) as server:
        result = run(tmp_path, f"engine.provider={name}", f"engine.url={server.url}", *words)
        assert result.returncode == 0, result.stderr
        calls = server.calls
    facts = manifest(result, tmp_path)["facts"]
    assert facts["provider"] == name and facts["counters"]["replies"] == 4
    refused = [p for p in REFUSED.get(name, []) if generation == "sampled" or p == "temperature"]
    assert facts["refused_by_server"] == refused
    assert len(calls) == 4 + len(refused), "one call more for each refusal, whatever is in flight"
    for body in calls:
        assert body.get("max_tokens", body.get("max_completion_tokens")) == 16, "the limit is always sent"
        if name in ("llamacpp", "lmstudio"):
            assert body["repeat_penalty"] == 1.0
    assert KEY not in "".join(p.read_text(encoding="utf-8") for p in folder_of(result, tmp_path).glob("*.json*"))


@pytest.mark.slow
def test_a_refused_value_of_a_local_server_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    with ProviderServer(STAND_INS["vllm"]) as server:
        words = ("+model.presets.long={max_new_tokens: 900}", "generation=long")
        result = run(tmp_path, "engine.provider=vllm", f"engine.url={server.url}", *words)
        assert all(body["max_tokens"] == 900 for body in server.calls)
    assert (result.returncode == 3 and "4 samples failed" in result.stderr) or "too large" in result.stderr


@pytest.mark.slow
def test_azure_gets_the_version_that_is_asked_for_and_others_none(tmp_path: Path) -> None:
    with ProviderServer(STAND_INS["azure"]) as server:
        words = ("engine.provider=azure", f"engine.url={server.url}", "engine.api_version=2023-05-15")
        assert run(tmp_path, *words).returncode != 0
        assert all("api-version=2023-05-15" in path for _, path, _, _ in server.requests)
    with ProviderServer(STAND_INS["openai"]) as server:
        result = run(tmp_path, "engine.provider=openai", f"engine.url={server.url}", "engine.api_version=2023-05-15")
    assert result.returncode == 2 and "engine.api_version is for servers with dated versions" in result.stderr


@pytest.mark.slow
def test_azure_takes_its_address_from_its_own_variable_and_needs_one(tmp_path: Path) -> None:
    missing = run(tmp_path, "engine.provider=azure")
    assert missing.returncode == 2 and "set engine.url=https://RESOURCE.openai.azure.com" in missing.stderr
    assert "or the environment variable AZURE_OPENAI_ENDPOINT" in missing.stderr
    with ProviderServer(STAND_INS["azure"]) as server:
        result = run(tmp_path, "engine.provider=azure", AZURE_OPENAI_ENDPOINT=server.url)
        assert result.returncode == 0, result.stderr
    assert "from the environment variable AZURE_OPENAI_ENDPOINT" in result.stderr
    assert manifest(result, tmp_path)["facts"]["server_from"] == "AZURE_OPENAI_ENDPOINT"


@pytest.mark.few(1)
@pytest.mark.parametrize("provider", [(), ("engine.provider=openai",)])
def test_the_address_of_the_environment_is_used_said_and_recorded(tmp_path: Path, provider: tuple[str, ...]) -> None:
    with ProviderServer(STAND_INS["openai"]) as server:
        result = run(tmp_path, *provider, OPENAI_BASE_URL=server.url)
        assert result.returncode == 0, result.stderr
    assert f"the server is {server.url}, from the environment variable OPENAI_BASE_URL" in result.stderr
    found = manifest(result, tmp_path)
    assert found["facts"]["server_from"] == "OPENAI_BASE_URL"
    assert found["config"]["engine"]["url"] == server.url


@pytest.mark.slow
def test_another_providers_answers_are_not_continued(tmp_path: Path) -> None:
    for name, code in (("openai", 0), ("openai", 0), ("azure", 2)):
        with ProviderServer(STAND_INS[name]) as server:
            result = run(tmp_path, f"engine.provider={name}", f"engine.url={server.url}")
            assert result.returncode == code, result.stderr
    assert "has answers of engine.provider=openai" in result.stderr and "out=" in result.stderr
    with ProviderServer(STAND_INS["azure"]) as server:
        elsewhere = run(tmp_path, "engine.provider=azure", f"engine.url={server.url}", "out=azure")
        assert elsewhere.returncode == 0 and len(server.calls) == 4, elsewhere.stderr


@pytest.mark.slow
def test_an_address_that_is_given_goes_before_the_environment_and_takes_no_key_along(tmp_path: Path) -> None:
    with ProviderServer(STAND_INS["openai"]) as other, ProviderServer(STAND_INS["vllm"]) as server:
        result = run(tmp_path, f"engine.url={server.url}", OPENAI_BASE_URL=other.url)
        assert result.returncode == 0, result.stderr
        assert not other.requests and "OPENAI_BASE_URL" not in result.stderr


def test_without_its_variable_a_key_is_asked_for_by_name(tmp_path: Path) -> None:
    with ProviderServer(STAND_INS["gemini"]) as server:
        words = ("engine.provider=gemini", f"engine.url={server.url}")
        result = run(tmp_path, *words, GEMINI_API_KEY="")
        assert result.returncode == 2 and "the environment variable GEMINI_API_KEY is not set" in result.stderr
        assert not server.requests


def test_a_password_in_the_environments_address_is_refused_and_not_shown(tmp_path: Path) -> None:
    result = run(tmp_path, OPENAI_BASE_URL="http://me:geheim123@127.0.0.1:1/v1")
    assert result.returncode == 2 and "must contain no user, password" in result.stderr
    assert "geheim123" not in result.stderr + result.stdout


# Config folders of a stranger that would send a key of the reader's to a server of the stranger's.
FOLDERS = {
    "a preset's key for another server": {"engine/lab.yaml": "provider: openai\nurl: @URL@\n"},
    "a preset of the folder": {
        "engine/lab.yaml": "provider: lab\n",
        "provider/lab.yaml": "about: x\nurl: @URL@\napi_key_env: OPENAI_API_KEY\n",
    },
    "a preset with the name of a built-in one": {
        "engine/lab.yaml": "provider: openai\nurl: @URL@\n",
        "provider/openai.yaml": "about: x\nurl: @URL@\napi_key_env: OPENAI_API_KEY\n",
    },
    "a preset whose address is in a variable": {
        "engine/lab.yaml": "provider: lab\n",
        "provider/lab.yaml": "about: x\nurl_env: LAB_URL\napi_key_env: OPENAI_API_KEY\n",
    },
    "a variable of the machine's for the azure preset": {"engine/lab.yaml": "provider: azure\nurl: @URL@\n"},
}
ENGINE = "about: mine\ntarget: evalkit.engines.server:ServerEngine\nserved_model: some-model\nunlisted: true\n"


@pytest.mark.few(1)
@pytest.mark.parametrize("name", FOLDERS)
def test_a_shared_folder_gets_no_key_through_a_preset(tmp_path: Path, name: str) -> None:
    with ProviderServer(STAND_INS["openai"]) as server:
        for file, text in FOLDERS[name].items():
            path = tmp_path / "theirs" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            head = ENGINE if file.startswith("engine/") else ""
            path.write_text(head + text.replace("@URL@", server.url), encoding="utf-8")
        words = ("task=phantom", "limit=2", "model=phantom-llava", "leaderboard=null", "engine=lab")
        result = command_line.in_this_process(
            *words, "--config-dir", "theirs", cwd=tmp_path, env=env(LAB_URL=server.url)
        )
        assert not server.requests, "nothing was sent"
    assert result.returncode == 2, result.stderr
    assert "api_key_env" in result.stderr and KEY not in result.stderr


@pytest.mark.slow
def test_a_preset_of_a_folder_works_with_the_key_that_the_command_line_names(tmp_path: Path) -> None:
    with ProviderServer(STAND_INS["openai"]) as server:
        path = tmp_path / "mine" / "provider" / "lab.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"about: x\nurl: {server.url}\ndrop: [top_k, repetition_penalty]\n", encoding="utf-8")
        words = ("engine.provider=lab", "engine.api_key_env=OPENAI_API_KEY", "--config-dir", "mine")
        result = run(tmp_path, *words)
        assert result.returncode == 0, result.stderr


BAD: list[tuple[dict[str, Any], str]] = [
    ({"drpo": ["seed"]}, "'drpo' is not a setting of a preset.*drop"),
    ({"chat_path": "https://evil.example/v1/chat"}, "is not a path"),
    ({"chat_path": "//evil.example/v1"}, "is not a path"),
    ({"chat_path": "/../../other"}, "is not a path"),
    ({"key_header": "Host"}, "key_header must be one of"),
    ({"drop": 3}, "provider.drop=3 is not possible"),
    ({"prices": {"m": {"input": 1}}}, "prices.m must have input and output"),
    ({"prices": {"m": {"input": 1, "output": 2}}}, "the date of these prices"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_a_preset_with_a_mistake_is_one_paragraph(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Provider.of({"name": "lab", **content})


def test_an_unknown_provider_is_answered_with_the_near_ones(tmp_path: Path) -> None:
    result = run(tmp_path, "engine.provider=opnai")
    assert result.returncode == 2 and "openai" in result.stderr and "Traceback" not in result.stderr


def test_the_prices_of_presets_are_those_of_the_judges_of_the_same_name() -> None:
    prices = load_option("provider", "openai")["prices"]
    judges = {name: load_option("judge", name) for name in options("judge") if name in prices}
    assert set(judges) == set(prices)
    for name, judge in judges.items():
        assert judge["price"] == prices[name]
    assert (config_dir() / "provider").is_dir()
