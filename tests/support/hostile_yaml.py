"""Config folders of someone who wants to run a command or read a secret, by the way in that each tries."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, NamedTuple

SECRET = "sk-secret-0123456789"
RUN = ("model=scripted", "task=phantom", "limit=2")
# Stands for the path of a file that the attacker's command makes.
MARK = "@MARK@"
HF = f"{{_target_: huggingface_hub.utils._subprocess.run_subprocess, command: 'touch {MARK}'}}"
TORCH = f"{{_target_: torch.utils.collect_env.run, command: 'touch {MARK}'}}"
SYSTEM = f"{{_target_: os.system, command: 'touch {MARK}'}}"
HANDLER = f"{{version: 1, root: {{handlers: [x]}}, handlers: {{x: {{'()': os.system, command: 'touch {MARK}'}}}}}}"
TO_FILE = (
    f"{{version: 1, root: {{handlers: [x]}}, handlers: {{x: {{class: logging.FileHandler, filename: '{MARK}'}}}}}}"
)
GLOBAL = "# @package _global_\n"
LOCAL = "local/default.yaml"
PHANTOM = "about: mine\nname: mine\npath: null\nsplit: test\nprompt: short\nprotocols: [strict]\n"


class Case(NamedTuple):
    """kind: for the counts.  files: below the config folder.  words: of the command line.  says: in the message."""

    kind: str
    files: dict[str, str | bytes]
    words: tuple[str, ...] = ()
    says: str = ""
    verb: str = "run"


def local(text: str, says: str = LOCAL, kind: str = "hydra node", *words: str) -> Case:
    return Case(kind, {LOCAL: GLOBAL + text}, words, says)


def experiment(text: str, says: str, kind: str = "hydra node") -> Case:
    return Case(kind, {"experiment/e.yaml": text}, ("+experiment=e",), says)


def task(target: str, says: str) -> Case:
    return Case("target", {"task/mine.yaml": f"{PHANTOM}target: {target}\n"}, ("task=mine",), says)


def broken(content: str | bytes, says: str = "default.yaml cannot be read") -> Case:
    return Case("broken file", {LOCAL: content}, (), says)


LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 10)
)
CASES: dict[str, Case] = {
    # Hydra's own node, by every way into it.
    "callbacks, huggingface_hub": local(f"hydra: {{callbacks: {{x: {HF}}}}}\n"),
    "callbacks, torch": local(f"hydra: {{callbacks: {{x: {TORCH}}}}}\n"),
    "callbacks, os.system": local(f"hydra: {{callbacks: {{x: {SYSTEM}}}}}\n"),
    "callbacks in a dry run": local(f"hydra: {{callbacks: {{x: {HF}}}}}\n", LOCAL, "hydra node", "dry_run=true"),
    "callbacks for the printed configuration": local(
        f"hydra: {{callbacks: {{x: {HF}}}}}\n", LOCAL, "hydra node", "--cfg", "job"
    ),
    "callbacks in a sweep": local(f"hydra: {{callbacks: {{x: {HF}}}}}\n", LOCAL, "hydra node", "-m"),
    "callbacks of one job of a sweep": Case(
        "hydra node",
        {
            "experiment/a.yaml": GLOBAL + "limit: 2\n",
            "experiment/b.yaml": f"{GLOBAL}hydra: {{job_logging: {HANDLER}}}\n",
        },
        ("-m", "experiment=a,b"),
        "b.yaml",
    ),
    "package hydra.callbacks": experiment("# @package hydra.callbacks\nx: {y: 1}\n", "@package hydra.callbacks"),
    "package hydra": experiment("# @package hydra\njob: {chdir: true}\n", "@package hydra"),
    "package _global_.hydra": experiment("# @package _global_.hydra.job\nchdir: true\n", "_global_.hydra"),
    "package a._global_.hydra": experiment("# @package a._global_.hydra.job\nchdir: true\n", "_global_.hydra"),
    "defaults place a file in hydra": Case(
        "hydra node",
        {
            "experiment/e.yaml": GLOBAL + "defaults: [/piece@hydra.job: p]\n",
            "piece/p.yaml": f"chdir: true\nenv_set: {{X: {MARK}}}\n",
        },
        ("+experiment=e",),
        "about Hydra itself",
    ),
    "defaults place a file in _global_.hydra": Case(
        "hydra node",
        {"experiment/e.yaml": GLOBAL + "defaults: [/piece@_global_.hydra.job: p]\n", "piece/p.yaml": "chdir: true\n"},
        ("+experiment=e",),
        "about Hydra itself",
    ),
    "defaults choose a logging of Hydra": experiment(
        GLOBAL + "defaults: [override /hydra/job_logging: stdout]\n", "about Hydra itself"
    ),
    "defaults choose a launcher": experiment(
        GLOBAL + "defaults:\n  - override /hydra/launcher: submitit_local\n  - _self_\n", "about Hydra itself"
    ),
    "defaults name a file of hydra": experiment(GLOBAL + "defaults: [/hydra/job_logging/stdout]\n", "about Hydra"),
    "a launcher in the folder": Case(
        "hydra folder", {"hydra/launcher/evil.yaml": HF}, ("hydra/launcher=evil", "-m"), "own settings are not read"
    ),
    "the basic launcher replaced": Case("hydra folder", {"hydra/launcher/basic.yaml": HF}, ("-m",), "hydra"),
    "a logging in the folder": Case(
        "hydra folder", {"hydra/job_logging/x.yaml": HANDLER}, ("hydra/job_logging=x",), "own settings are not read"
    ),
    "Hydra's configuration replaced": Case(
        "hydra folder", {"hydra/config.yaml": f"callbacks: {{x: {HF}}}\n"}, (), "own settings are not read"
    ),
    "a file hydra.yaml": Case(
        "hydra folder",
        {"hydra.yaml": f"# @package _name_\ncallbacks: {{x: {HF}}}\n", LOCAL: GLOBAL + "defaults: [/hydra]\n"},
        (),
        "hydra.yaml",
    ),
    "factory of a logging handler": local(f"hydra: {{job_logging: {HANDLER}}}\n"),
    "a log file": local(f"hydra: {{job_logging: {TO_FILE}}}\n"),
    "factory of Hydra's logging": local(f"hydra: {{hydra_logging: {HANDLER}}}\n"),
    "sweeper": local(f"hydra: {{sweeper: {HF}}}\n", LOCAL, "hydra node", "-m"),
    "launcher": local(f"hydra: {{launcher: {HF}}}\n", LOCAL, "hydra node", "-m"),
    "parameters of the sweeper": local(
        f"hydra: {{sweeper: {{params: {{+hydra.callbacks.x: {MARK}}}}}}}\n", "hydra.sweeper", "hydra node", "-m"
    ),
    "a line break in a cluster's setting": local(f"hydra: {{launcher: {{partition: \"gpu\\ntouch {MARK}\"}}}}\n"),
    "environment set, then trusted": Case(
        "hydra node",
        {
            LOCAL: GLOBAL + "hydra: {job: {env_set: {EVALKIT_TRUST: subprocess}}}\n",
            "task/mine.yaml": f"target: subprocess:run\nargs: [touch, {MARK}]\n",
        },
        ("task=mine",),
        LOCAL,
    ),
    "environment copied": local("hydra: {job: {env_copy: [API_SECRET]}}\nname: ${hydra:job.env_set.API_SECRET}\n"),
    "working directory": local(f"hydra: {{run: {{dir: {MARK}}}}}\n"),
    "output folder": local(f"hydra: {{output_subdir: {MARK}}}\n"),
    "search path": local("hydra: {searchpath: [file:///tmp]}\n"),
    "help template": local("hydra: {help: {template: '${oc.env:API_SECRET}'}}\n"),
    "hydra by interpolation": local(f"evil: {{callbacks: {{x: {HF}}}}}\nhydra: ${{evil}}\n"),
    "hydra with an escaped letter": local(f'"hydr\\x61": {{callbacks: {{x: {HF}}}}}\n'),
    "hydra by a merge key": local("evil: &e {hydra: {job: {chdir: true}}}\n<<: *e\n"),
    "a dotted key": local("hydra.job: {chdir: true}\n"),
    "_target_ in a task": Case(
        "hydra node",
        {"task/mine.yaml": f"{PHANTOM}target: evalkit.tasks.phantom:Phantom\nx: {HF}\n"},
        ("task=mine",),
        "_target_",
    ),
    "_target_ deep in a list": local(f"a: {{b: [{{c: {HF}}}]}}\n", "_target_"),
    "defaults that are no list": local("defaults: {task: phantom}\n", "`defaults` must be a list"),
    "defaults with two keys in an item": local("defaults: [{a: b, c: d}]\n", "`defaults` must be a list"),
    "defaults with a number": local("defaults: [{a: 5}]\n", "`defaults` must be a list"),
    # Classes.
    "a function that a module imported": task("evalkit.importers:import_module", "not among the classes"),
    "a module that a module imported": task("evalkit.cli.targets:importlib", "not among the classes"),
    "a class that a task's module imported": task("evalkit.tasks.coloninst:Path", "is defined in pathlib"),
    "a function of a task's module": task("evalkit.tasks.base:load_train", "'function'"),
    "a loader": task("evalkit.tasks.phantom:__loader__", "expected a class"),
    "the builtins": task("evalkit.tasks.phantom:__builtins__", "expected a class"),
    "another room": task("evalkit.cli.commands.paper:run_missing", "not among the classes"),
    "an engine as a task": task("evalkit.engines.scripted:ScriptedEngine", "not among the classes"),
    "a helper class as a task": task("evalkit.tasks.base:LoadedTask", "expected the methods"),
    "another package": task("subprocess:run", "outside the trusted packages"),
    "a name that begins like evalkit": task("evalkit_evil:run", "outside the trusted packages"),
    "a dotted attribute": task("'evalkit.tasks.phantom:Phantom.load'", "of plain names"),
    "a relative module": task("'evalkit..os:system'", "of plain names"),
    "a protocol's target": Case(
        "target",
        {"protocol/p.yaml": "about: a\nname: p\nversion: 1\ntarget: evalkit.scoring.row_protocol:ABC\n"},
        ("protocol=p",),
        "is defined in abc",
    ),
    "an engine's target": Case(
        "target",
        {"engine/e.yaml": "target: evalkit.engines.ray_workers:dataclass\n"},
        ("engine=e", "model=phantom-llava"),
        "engine",
    ),
    "a model's target": Case(
        "target",
        {"model/m.yaml": "kind: engine\ntarget: evalkit.engines.ray:socket\nname: m\n"},
        ("model=m",),
        "'module'",
    ),
    "code of a checkpoint": Case(
        "target",
        {LOCAL: GLOBAL + "engine: {engine_args: {trust_remote_code: true}}\n"},
        ("engine=vllm",),
        "engine.engine_args.trust_remote_code",
    ),
    "a program for Ray's workers": Case(
        "target",
        {LOCAL: f"{GLOBAL}engine: {{runtime_env: {{py_executable: 'touch {MARK}'}}}}\n"},
        ("engine=ray",),
        "engine.runtime_env.py_executable",
    ),
    "engine_args by interpolation": Case(
        "target",
        {LOCAL: GLOBAL + "evil: {worker_cls: os.path}\nengine: {engine_args: '${evil}'}\n"},
        ("engine=vllm",),
        "engine.engine_args.worker_cls",
    ),
    # The environment.
    "secret as a name": local("name: ${oc.env:API_SECRET}\n", "name=", "environment"),
    "secret in a longer text": local("name: a-${oc.env:API_SECRET}\n", "name=", "environment"),
    "secret as a path": local("task: {path: '${oc.env:API_SECRET}'}\n", "task.path", "environment"),
    "secret as an output folder": local("out: runs/${oc.env:API_SECRET}\n", "out", "environment"),
    "secret as a server": Case(
        "environment",
        {LOCAL: GLOBAL + "engine: {url: 'http://localhost:1/${oc.env:API_SECRET}'}\n"},
        ("engine=server",),
        "engine.url",
    ),
    "secret by oc.decode": local("x: ${oc.decode:'${oc.env:API_SECRET}'}\nname: ${x}\n", "oc.decode", "environment"),
    "secret by a text that is decoded": local(
        "x: '$'\nname: \"${oc.decode:'${x}{oc.env:API_SECRET}'}\"\n", "oc.decode", "environment"
    ),
    "secret by oc.create": local("x: \"${oc.create:{a: '${oc.env:API_SECRET}'}}\"\n", "oc.create", "environment"),
    "secret by a computed resolver": local("x: env\nname: ${oc.${x}:API_SECRET}\n", "oc.${x}", "environment"),
    "secret as an option": local("defaults: [/task: '${oc.env:API_SECRET}']\n", "", "environment"),
    "secret by way of a folder": local("out: ${oc.env:API_FOLDER}\nname: ${out}\n", "name=${out}", "environment"),
    "secret of a whole section": local(
        "task: {path: '${oc.env:API_FOLDER}'}\nmodel: {x: '${task}'}\n", "model.x=${task}", "environment"
    ),
    "secret in a protocol": Case(
        "environment",
        {"protocol/p.yaml": "about: ${oc.env:API_SECRET}\ntarget: evalkit.scoring.protocols.strict:Strict\n"},
        ("protocol=p",),
        "about",
    ),
    "secret as a default of another": local("name: '${oc.env:NO_SUCH,${oc.env:API_SECRET}}'\n", "name", "environment"),
    "secret of Hydra's node": local("name: ${hydra:runtime.cwd}\n", "hydra:...", "environment"),
    # Files that cannot be read.
    "a tab": broken("a:\n\tb: 1\n"),
    "bytes that are not UTF-8": broken(b"about: \xff\xfe\n"),
    "UTF-16": broken("a: 1\n".encode("utf-16")),
    "a list": broken("- a\n- b\n", "must be a YAML mapping"),
    "a number": broken("5\n", "must be a YAML mapping"),
    "a text": broken("hello\n", "must be a YAML mapping"),
    "billion laughs": broken(LAUGHS),
    "billion laughs of mappings": broken(
        "a0: &a0 {x: 1, y: 2}\n"
        + "".join(f"a{k}: &a{k} {{{', '.join(f'k{j}: *a{k - 1}' for j in range(9))}}}\n" for k in range(1, 10))
    ),
    "a value that contains itself": broken("a: &a [*a]\n"),
    "a key that contains itself": broken("a: &a {b: *a}\n"),
    "brackets a thousand deep": broken("a: " + "[" * 1000 + "]" * 1000 + "\n"),
    "brackets a hundred deep": broken("a: " + "[" * 100 + "]" * 100 + "\n"),
    "a very big file": broken("a: 1\n" * 200_000, "too many"),
    "doubled keys": broken("a: 1\nb: 2\na: 3\n"),
    "doubled number keys": broken("1: a\n1: b\n"),
    "a Python object": broken(f"a: !!python/object/apply:os.system ['touch {MARK}']\n"),
    "a Python name": broken("a: !!python/name:os.system\n"),
    "a Path": broken("a: !!python/object/apply:pathlib.Path [/etc]\n"),
    "bytes in base 64": broken("a: !!binary aGVsbG8=\n"),
    "an unknown tag": broken("a: !evil x\n"),
    "control characters": broken("a: \x1b[31m\n"),
    "a number of 5,000 digits": broken("a: " + "1" * 5000 + "\n"),
    "two documents": broken("a: 1\n---\nb: 2\n"),
    "an alias without an anchor": broken("a: *nothing\n"),
    "a header of three words": broken("# @package a b\na: 1\n", "default.yaml"),
    # What a shared command or paper may say.
    "callbacks on the command line": Case(
        "command line",
        {},
        ("+hydra.callbacks.x._target_=os.system", f"+hydra.callbacks.x.command=touch {MARK}"),
        "_target_",
    ),
    "callbacks as a mapping": Case("command line", {}, (f"+hydra.callbacks.x={{a: '{MARK}'}}",), "hydra.callbacks"),
    "the whole node": Case("command line", {}, (f"hydra={{callbacks: {{x: '{MARK}'}}}}",), "hydra="),
    "a file placed in hydra": Case(
        "command line", {"experiment/e.yaml": "x: 1\n"}, ("+experiment@hydra.callbacks=e",), "Hydra's own settings"
    ),
    "a search path": Case("command line", {}, ("hydra.searchpath=[file:///tmp]",), "--config-dir"),
    "another tree": Case(
        "command line",
        {"run.yaml": f"hydra: {{callbacks: {{x: {HF}}}}}\n"},
        ("--config-path", "own"),
        "not a flag",
    ),
    "another tree, shortened": Case("command line", {}, ("--config-pa=own",), "not a flag"),
    "another tree, short": Case("command line", {}, ("-cp", "own"), "not a flag"),
    "another primary file": Case("command line", {}, ("--config-name", "evil"), "not a flag"),
    "a pickle": Case("command line", {}, ("--experimental-rerun", "evil.pickle"), "not a flag"),
    "a pickle, shortened": Case("command line", {}, ("--exp=evil.pickle",), "not a flag"),
}  # fmt: skip


class Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def lay_out(case: Case, place: Path) -> Path:
    """The files of a case below place/own; returns the marker that its command would make."""
    mark = place / "marker"
    (place / "own").mkdir()
    for name, content in case.files.items():
        path = place / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.replace(MARK, str(mark)).encode() if isinstance(content, str) else content
        path.write_bytes(data)
    (place / "evil.pickle").write_bytes(pickle.dumps(Evil(f"touch {mark}")))
    return mark
