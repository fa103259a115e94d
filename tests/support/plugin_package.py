"""Tiny packages with plug-ins, installed by pip from a wheel into a folder that PYTHONPATH names."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ENGINE = '''
from evalkit.core.types import Prediction


class Parrot:
    """Repeats the question.  Not only here."""

    name = "parrot"
    needs_images = False
    local_weights = False

    def __init__(self, *, spec, word: str = "heard", times: int = 1):
        self.generation = spec.generation
        self.word, self.times = word, times
        self.identity = f"parrot-{word}-{times}"

    def generate(self, requests):
        yield [
            Prediction(sample_id=r.sample_id, text=f"{self.word} {r.question}", finish_reason="stop",
                       fingerprint=r.fingerprint)
            for r in requests
        ]

    def metadata(self):
        return {"engine": self.name, "word": self.word}


class Hidden(Parrot):
    """In the package, and not registered."""
'''

TASK = '''
from evalkit.core.types import ImagePlace, ImageRef, Message, Sample
from evalkit.tasks.base import LoadedTask


class Sums:
    """Sums of small numbers."""

    SETTINGS = {"protocols": ["exact-match"], "licence": "CC0-1.0"}

    def __init__(self, *, name: str, n: int = 5):
        self.name, self.n = name, n

    def load(self, *, images: bool = True):
        samples = tuple(
            Sample(id=str(k), image_id=str(k), question=f"{k} + 1", references=(str(k + 1),),
                   tags={"answer_type": "OPEN"},
                   images=(ImageRef(kind="draw", path="evalkit.tasks.phantom:draw", member=f"0/test/{k}"),))
            for k in range(self.n)
        )
        return LoadedTask(
            name=self.name, split="test", form="drawn", samples=samples, closed_rule="label", prompt="plain.1"
        )

    def load_train(self):
        return self.load()

    def messages(self, sample):
        return (Message(role="user", content=(ImagePlace(0), sample.question)),)
'''

PROTOCOL = '''
from evalkit.core.types import Metric
from evalkit.scoring.row_protocol import RowProtocol


class Long(RowProtocol):
    """Right when the answer has at least so many characters."""

    SETTINGS = {"version": 1, "rule": "label", "unscored": "exclude", "card": {}}
    metrics = (Metric(name="accuracy", rows="all"),)
    norm = "none"

    def __init__(self, *, at_least: int = 3, **settings):
        super().__init__(**settings)
        self.at_least = at_least

    def metric_results(self, sample, answer):
        from evalkit.scoring.row_protocol import MetricResult

        return {"accuracy": MetricResult(value=float(len(answer) >= self.at_least), extracted=answer)}
'''

IMPORTER = """
from evalkit.importers.base import Columns, Format
from evalkit.importers.columns import override, read_columns


def _read(raw, columns):
    return read_columns(raw, override(Columns(id="case", prediction="says"), columns))


FORMAT = Format(about="lab logs (case, says)", recognises=lambda raw: {"case", "says"} <= raw.keys, read=_read)


def _fails(raw, columns):
    raise KeyError("a field that is not there")


FAILING = Format(about="fails", recognises=lambda raw: 1 // 0, read=_fails)
"""

EXPORT = '''
def write_lines(run, out):
    """Write one line a number."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "lines.txt"
    path.write_text("".join(f"{n.metric} {n.value}\\\\n" for n in run.numbers), encoding="utf-8")
    return [path]


def write_nothing(run, out):
    raise RuntimeError("the printer is off")
'''

MODULES = {"engine": ENGINE, "task": TASK, "protocol": PROTOCOL, "importer": IMPORTER, "export": EXPORT}
ENTRIES = {
    "engines": {"parrot": "labkit.engine:Parrot"},
    "tasks": {"sums": "labkit.task:Sums"},
    "protocols": {"long": "labkit.protocol:Long"},
    "importers": {"lab-log": "labkit.importer:FORMAT"},
    "exports": {"lines": "labkit.export:write_lines"},
}


def build_wheel(
    folder: Path,
    entries: dict[str, dict[str, str]],
    *,
    name: str = "evalkit-labkit",
    package: str = "labkit",
    modules: dict[str, str] = MODULES,
) -> Path:
    """Write a wheel: a package and its entry points (group without "evalkit." -> name -> value)."""
    stem = f"{name.replace('-', '_')}-1.2"
    points = "".join(
        f"[evalkit.{group}]\n" + "".join(f"{key} = {value}\n" for key, value in named.items())
        for group, named in entries.items()
    )
    files = {f"{package}/__init__.py": "", **{f"{package}/{key}.py": text for key, text in modules.items()}}
    info = f"{stem}.dist-info"
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": points,
    }
    path = folder / f"{stem}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        for place, text in files.items():
            wheel.writestr(place, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{place},,\n" for place in (*files, f"{info}/RECORD")))
    return path


def install(wheel: Path, to: Path) -> None:
    """Install a wheel by pip, without an index, into a folder."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(to), str(wheel)]
    subprocess.run([*command, "--disable-pip-version-check"], check=True, capture_output=True, timeout=120)
