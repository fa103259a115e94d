"""Keys and files that a server gets: those of the command line and of evalkit's own YAMLs, never of a shared one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.cli.config import load_option, options
from evalkit.cli.main import main
from evalkit.cli.sent_settings import KNOWN_SERVERS, check_sent_settings
from evalkit.core.errors import ConfigError
from tests.support.fake_server import Body, FakeServer, verdict
from tests.support.fuzzing import value_or_error
from tests.support.hostile_server import HostileServer

SECRET = "sk-of-another-service-0123456789"
OPENAI = "https://api.openai.com/v1"
EVIL = "http://evil.example/v1"
JUDGE = "about: mine\ntarget: evalkit.judge.config:JudgeConfig\nname: lab\nmodel: judge-2026-01-01\n"
ENGINE = "about: mine\ntarget: evalkit.engines.server:ServerEngine\nserved_model: tiny\nunlisted: true\n"
GLOBAL = "# @package _global_\n"
HOSTED = "gpt-4.1-2025-04-14"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "LAB_KEY"):
        monkeypatch.setenv(name, SECRET)
    for name in ("EVALKIT_CONF", "EVALKIT_TRUST"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "private.txt").write_text(SECRET, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert main(["model=scripted", "task=phantom", "limit=4", f"out={out}", "leaderboard=null"]) == 0
    return next(out.glob("scripted-*"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "finished" / finished.name))


class Way(NamedTuple):
    """A way in which a config folder chooses what a server gets.

    files: below the folder; @URL@ is a server.  words: of the command line; says: in the message.
    """

    files: dict[str, str]
    words: tuple[str, ...]
    says: str


def judge_way(files: dict[str, str], *words: str, says: str = "judge.api_key_env=AWS_SECRET_ACCESS_KEY") -> Way:
    return Way(files, ("judge", "run=@RUN@", *words), says)


def engine_way(files: dict[str, str], *words: str, says: str = "engine.api_key_env=AWS_SECRET_ACCESS_KEY") -> Way:
    return Way(files, ("task=phantom", "limit=2", "leaderboard=null", "model=phantom-llava", *words), says)


AWS = "api_key_env: AWS_SECRET_ACCESS_KEY\n"
WAYS = {
    "a judge": judge_way({"judge/lab.yaml": f"{JUDGE}base_url: @URL@\n{AWS}"}, "judge=lab"),
    "a judge on a built-in one": judge_way(
        {"judge/lab.yaml": f"defaults: [server, _self_]\nname: lab\nmodel: m\nbase_url: @URL@\n{AWS}"}, "judge=lab"
    ),
    "a hosted judge at another server": judge_way(
        {"judge/lab.yaml": f"defaults: [{HOSTED}, _self_]\nname: lab\nbase_url: @URL@\n"}, "judge=lab",
        says="judge.api_key_env=OPENAI_API_KEY",
    ),
    "a file that is read without being named": judge_way(
        {"local/default.yaml": f"{GLOBAL}judge: {{base_url: '@URL@', api_key_env: AWS_SECRET_ACCESS_KEY}}\n"},
        "judge=server", "judge.model=m",
    ),
    "another server for a built-in judge": judge_way(
        {"local/default.yaml": f"{GLOBAL}judge: {{base_url: '@URL@'}}\n"}, f"judge={HOSTED}",
        says="judge.api_key_env=OPENAI_API_KEY",
    ),
    "a key for the user's server": judge_way(
        {"local/default.yaml": f"{GLOBAL}judge: {{{AWS.strip()}}}\n"}, "judge=server", "judge.model=m",
        "judge.base_url=@URL@",
    ),
    "a key by interpolation": judge_way(
        {"judge/lab.yaml": f"{JUDGE}base_url: @URL@\nnote: AWS_SECRET_ACCESS_KEY\napi_key_env: ${{judge.note}}\n"},
        "judge=lab",
    ),
    "a key with the name of an option": judge_way(
        {"judge/api_key_env.yaml": f"{JUDGE}base_url: @URL@\n{AWS}"}, "judge=api_key_env"
    ),
    "a key that was typed for another server": judge_way(
        {"judge/lab.yaml": f"{JUDGE}base_url: @URL@\n{AWS}"}, "judge=lab", "+engine.api_key_env=AWS_SECRET_ACCESS_KEY",
    ),
    "a judge in batches": judge_way(
        {"judge/lab.yaml": f"{JUDGE}base_url: @URL@\ntransport: batch\n{AWS}"}, "judge=lab"
    ),
    "a prompt file": judge_way(
        {"judge/lab.yaml": f"{JUDGE}base_url: @URL@\nprompt_file: private.txt\n"}, "judge=lab",
        says="judge.prompt_file='private.txt'",
    ),
    "a prompt file for a built-in judge": judge_way(
        {"local/default.yaml": f"{GLOBAL}judge: {{prompt_file: private.txt, base_url: '@URL@'}}\n"},
        "judge=qwen3-next-80b", says="judge.prompt_file='private.txt'",
    ),
    "a prompt file for the user's server": judge_way(
        {"local/default.yaml": f"{GLOBAL}judge: {{prompt_file: private.txt}}\n"}, "judge=server", "judge.model=m",
        "judge.base_url=@URL@", says="judge.prompt_file='private.txt'",
    ),
    "an engine": engine_way({"engine/lab.yaml": f"{ENGINE}url: @URL@\n{AWS}"}, "engine=lab"),
    "an engine by an experiment": engine_way(
        {
            "experiment/e.yaml": f"{GLOBAL}defaults: [override /engine: server]\nengine:\n  url: @URL@\n"
            f"  served_model: tiny\n  unlisted: true\n  {AWS}"
        },
        "experiment=e",
    ),
    "an engine by a local file": engine_way(
        {"local/default.yaml": f"{GLOBAL}engine: {{url: '@URL@', {AWS.strip()}}}\n"}, "engine=server"
    ),
    "an engine in a dry run": engine_way(
        {"engine/lab.yaml": f"{ENGINE}url: @URL@\n{AWS}"}, "engine=lab", "dry_run=true"
    ),
    "the inner engine of another": engine_way(
        {"engine/lab.yaml": f"{ENGINE}url: @URL@\n{AWS}"}, "engine=ray", "engine@engine.inner=lab",
        says="engine.inner.api_key_env=AWS_SECRET_ACCESS_KEY",
    ),
    "a model that is an engine": engine_way(
        {"model/lab.yaml": f"{ENGINE}kind: engine\nname: lab\nurl: @URL@\n{AWS}"}, "model=lab",
        says="model.api_key_env=AWS_SECRET_ACCESS_KEY",
    ),
    "an engine that bench compares": Way(
        {"engine/lab.yaml": f"{ENGINE}url: @URL@\n{AWS}"},
        ("bench", "task=phantom", "limit=2", "engines={lab: {}}"),
        "engines.lab.api_key_env=AWS_SECRET_ACCESS_KEY",
    ),
    "one of two engines that bench compares": Way(
        {"engine/lab.yaml": f"{ENGINE}url: @URL@\n{AWS}", "engine/other.yaml": f"{ENGINE}url: @URL@\n{AWS}"},
        ("bench", "task=phantom", "limit=2", "engines={lab: {api_key_env: AWS_SECRET_ACCESS_KEY}, other: {}}"),
        "engines.other.api_key_env=AWS_SECRET_ACCESS_KEY",
    ),
    "a cluster that bench compares": Way(
        {"engine/lab.yaml": "target: evalkit.engines.ray:RayEngine\naddress: ray://evil.example:1\nruntime_env: {}\n"},
        ("bench", "task=phantom", "limit=2", "engines={lab: {}}"),
        "engines.lab.address is given in a config file",
    ),
    "code in an engine that bench compares": Way(
        {"engine/lab.yaml": "target: evalkit.engines.vllm:VllmEngine\nengine_args: {worker_cls: os.path}\n"},
        ("bench", "task=phantom", "limit=2", "engines={lab: {}}"),
        "engines.lab.engine_args.worker_cls is given in a config file",
    ),
    "a cluster that answers with pickles": engine_way(
        {"local/default.yaml": f"{GLOBAL}engine: {{address: 'evil.example:6379'}}\n"}, "engine=ray",
        says="engine.address is given in a config file",
    ),
}  # fmt: skip


def lay_out(files: dict[str, str], place: Path, url: str) -> None:
    for name, text in files.items():
        path = place / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("@URL@", url), encoding="utf-8")


def with_folder(words: tuple[str, ...]) -> list[str]:
    verb = list(words[:1]) if "=" not in words[0] else []
    return [*verb, "--config-dir", "own", *words[len(verb) :]]


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.few(4)
def test_a_config_folder_chooses_no_key_and_no_file(
    name: str, place: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    way = WAYS[name]
    before = sorted(path.name for path in run.iterdir())
    with HostileServer(lambda text: "yes") as server:
        lay_out(way.files, place, server.url)
        words = tuple(w.replace("@URL@", server.url).replace("@RUN@", str(run)) for w in way.words)
        assert main(with_folder(words)) == 2
        assert not server.requests
    out, err = capsys.readouterr()
    assert way.says in err and SECRET not in out + err
    message = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert len(message) == 1 and message[0].startswith("evalkit: ") and "on the command line: " in message[0]
    assert sorted(path.name for path in run.iterdir()) == before and not (place / "runs").exists()


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "name",
    ["a judge", "a prompt file", "an engine", pytest.param("an engine that bench compares", marks=pytest.mark.slow)],
)
def test_the_word_that_the_message_names_is_accepted(
    name: str, place: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    way = WAYS[name]
    with HostileServer(lambda text: "yes") as server:
        lay_out(way.files, place, server.url)
        words = with_folder(tuple(w.replace("@RUN@", str(run)) for w in way.words))
        assert main(words) == 2
        word = capsys.readouterr().err.strip().rpartition("on the command line: ")[2].partition(". ")[0].rstrip(".")
        main([*words, word.replace("=FILE", "=private.txt")])
        assert server.requests
    err = capsys.readouterr().err
    assert "is given in a config file" not in err and "cannot be read" not in err and "is not a setting" not in err


def test_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nkeys and files for servers: {len(WAYS)} ways to have a config folder choose them")
    assert len(WAYS) >= 20


def correct(n: int, body: Body) -> Any:
    return verdict("correct")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{JUDGE}base_url: @URL@\napi_key_env: LAB_KEY\n", ("judge=lab", "judge.api_key_env=LAB_KEY")),
        (f"{JUDGE}base_url: @URL@\n", ("judge=lab", "++judge.api_key_env='LAB_KEY'")),
        (f"{JUDGE}api_key_env: LAB_KEY\n", ("judge=lab", "+judge.base_url=@URL@", "judge.api_key_env=LAB_KEY")),
        ("", (f"judge={HOSTED}", "judge.base_url=@URL@")),
        ("", ("judge=server", "judge.model=m", "judge.base_url=@URL@", "judge.api_key_env=LAB_KEY")),
    ],
)
@pytest.mark.few(2)
def test_what_the_command_line_names_is_sent(
    text: str, words: tuple[str, ...], place: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "own").mkdir()
    with FakeServer(correct) as server:
        server.model = HOSTED if HOSTED in words[0] else "m" if "judge.model=m" in words else server.model
        lay_out({"judge/lab.yaml": text} if text else {}, place, server.url)
        typed = (w.replace("@URL@", server.url) for w in words)
        assert main(with_folder(("judge", f"run={run}", *typed))) == 0, capsys.readouterr().err
        assert {h["authorization"] for h in server.headers} == {f"Bearer {SECRET}"}


def test_a_prompt_file_of_the_command_line_is_used(place: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "my prompt.j2").write_text("Is {{ candidate }} right?", encoding="utf-8")
    with FakeServer(correct) as server:
        lay_out({"judge/lab.yaml": f"{JUDGE}base_url: @URL@\nprompt_file: null\n"}, place, server.url)
        words = ("judge", f"run={run}", "judge=lab", "judge.prompt_file='my prompt.j2'")
        assert main(with_folder(words)) == 0, capsys.readouterr().err
        assert all("right?" in call["messages"][0]["content"] for call in server.calls)


def test_a_file_with_the_name_of_a_built_in_one_replaces_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {group: options(group) for group in ("protocol", "engine", "judge")}
    lay_out(
        {
            "protocol/strict.yaml": "about: evil\ntarget: evalkit.scoring.protocols.strict:Strict\nversion: 99\n",
            "engine/server.yaml": f"about: evil\nurl: @URL@\n{AWS}", f"judge/{HOSTED}.yaml": "about: evil\n",
        },
        place, EVIL,
    )  # fmt: skip
    monkeypatch.setenv("EVALKIT_CONF", str(place / "own"))
    assert {group: options(group) for group in own} == own
    assert load_option("engine", "server")["url"] is None and load_option("protocol", "strict")["version"] != 99
    assert main(["judge", "run=none", f"judge={HOSTED}", "--cfg", "job"]) == 0
    assert "evil" not in capsys.readouterr().out


def test_every_yaml_of_evalkit_is_accepted_as_it_is() -> None:
    for group in ("judge", "engine", "model", "task"):
        for name in options(group):
            content = load_option(group, name)
            check_sent_settings({group: content, "choices": {group: name}}, [])
            if variable := content.get("api_key_env"):
                assert content["base_url"].startswith(f"{KNOWN_SERVERS[variable]}/"), name


def pair(url: str | None, name: str = "OPENAI_API_KEY", option: str = "lab") -> dict[str, Any]:
    return {"judge": {"base_url": url, "api_key_env": name}, "choices": {"judge": option}}


def test_a_key_that_belongs_to_the_server_may_stand_in_a_yaml() -> None:
    for url in (OPENAI, "https://api.openai.com", "https://api.openai.com/", "https://api.openai.com/v2/x"):
        check_sent_settings(pair(url), [])


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1", "https://api.openai.com.evil.example/v1", "https://api.openai.com@evil.example/v1",
        "https://api.openai.com:443@evil.example/", "https://evil.example/https://api.openai.com/v1",
        "https://api.openai.com\\@evil.example/", "https://api.openai.com#@evil.example/", "https://api.openai.comx",
        "https://api.openai.com?x=/", "https://API.OPENAI.COM.evil.example/", " https://evil.example/", "", None,
        "https://[::1", "https://api.openai.com:8000/v1", "//api.openai.com/v1", "https:/api.openai.com/v1",
    ],
)  # fmt: skip
def test_an_address_that_only_looks_like_the_service_gets_no_key(url: str | None) -> None:
    with pytest.raises(ConfigError, match=r"judge\.api_key_env=OPENAI_API_KEY is given in a config file") as caught:
        check_sent_settings(pair(url), [])
    assert "@" not in str(caught.value), "an address may hold a password"


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "OPENAI_ADMIN_KEY", "HOME", "PATH"])
def test_another_variable_is_not_for_the_known_service_either(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        check_sent_settings(pair(OPENAI, name), [])


def test_a_key_itself_in_a_yaml_is_never_shown() -> None:
    for key in (SECRET, "sk-\x1b[2J", "", "lower_case", "A B"):
        with pytest.raises(ConfigError, match="must be the name of an environment variable") as caught:
            check_sent_settings(pair(EVIL, key), [])
        assert not key or key not in str(caught.value)


@pytest.mark.parametrize("option", ["lab", "none", "../judge/" + HOSTED, "x/" + HOSTED, "", "None"])
def test_only_a_judge_of_evalkit_takes_its_key_to_a_typed_server(option: str) -> None:
    check_sent_settings(pair(EVIL, option=HOSTED), [f"judge.base_url={EVIL}"])
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        check_sent_settings(pair(EVIL, option=option), [f"judge.base_url={EVIL}"])


@pytest.mark.parametrize(
    "words",
    [
        [], ["judge.base_url=https://other.example/v1"], ["judge.base_url_x=" + EVIL], ["engine.url=" + EVIL],
        ["judge.api_key_env=LAB_KEY"], ["judge.api_key_env=null"], ["~judge.base_url"], ["judge.api_key_env_x=A"],
        ["judge={api_key_env: LAB_KEY}"], ["judge={model: OPENAI_API_KEY}"], ["name='judge.api_key_env=X'"],
    ],
)  # fmt: skip
def test_other_words_allow_nothing(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        check_sent_settings(pair(EVIL, option=HOSTED), words)


def test_settings_of_trusted_packages_are_checked_at_any_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KEY", SECRET)
    monkeypatch.setenv("lower", SECRET)
    with pytest.raises(ConfigError, match=r"task\.my_env=lower is given"):
        check_sent_settings({"task": {"my_env": "lower"}}, [])
    config = {"engine": {"parts": {"a": {"token_env": "LAB_KEY", "url": EVIL}}}}
    with pytest.raises(ConfigError, match=r"engine\.parts\.a\.token_env=LAB_KEY .* the server evil\.example gets"):
        check_sent_settings(config, [])
    for word in ("engine.parts.a.token_env=LAB_KEY", "engine.parts={a: {token_env: LAB_KEY}}"):
        check_sent_settings(config, [f"+{word}"])
    check_sent_settings(
        {"engine": {"env": "x", "environment": "y", "runtime_env": {}, "max_env": 3, "conda_env": "base 1"}}, []
    )


NAMES = st.sampled_from(
    ["api_key_env", "base_url", "url", "prompt_file", "x_env", "judge", "engines", "server", "a.b", "", 1, 1.5, True]
)
VALUES = st.sampled_from(["LAB_KEY", "HOME", EVIL, OPENAI, "\ud83d", "a\0"])
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | VALUES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(NAMES, TREES, max_size=4))
def test_any_configuration_is_accepted_or_refused_in_one_paragraph(tree: dict[str, Any]) -> None:
    value_or_error(lambda: check_sent_settings(tree, []))
