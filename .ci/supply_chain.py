"""Check of what evalkit installs: `python .ci/supply_chain.py [--online [OPTION ...]]`.

Without the network: every distribution that `pip install '.[hf]'` brings is pinned in constraints.txt and has hashes in
requirements.lock, what is installed is what is pinned, and neither a pin, nor an installed distribution, nor the lowest
version that pyproject.toml allows is named by .ci/advisories.json.

With --online, pip-audit asks an advisory service about the pins as well; the options are pip-audit's.  A service that
cannot be reached or knows none of them is said to have checked nothing: it never counts as "no vulnerability".

Exit codes: 0 nothing found, 1 problems, each on a line of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
# Pinned, and without hashes: one version of it is another file for each kind of accelerator and each package index.
UNLOCKED = frozenset({"torch"})
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)", re.M)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A known hole of a distribution.  affected: its versions, in the form of a requirement ("<2.11")."""

    id: str
    package: str
    affected: SpecifierSet
    source: str
    date: str
    why: str

    def names(self, package: str, version: str) -> bool:
        """Whether this version of the package has the hole."""
        return package == self.package and self.affected.contains(Version(version).public, prereleases=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an advisory service said.  found: its problems.  asked, answered: distributions; why: a failure's reason."""

    found: Sequence[str]
    asked: int
    answered: int
    why: str = ""


def pins(text: str) -> dict[str, str]:
    """The pins of a constraints or lock file: name in canonical form -> version."""
    return {canonicalize_name(m["name"]): m["version"] for m in _PIN.finditer(text)}


def hashes(text: str) -> dict[str, int]:
    """The number of hashes of each pin of a lock file."""
    places = [*_PIN.finditer(text)]
    ends = [*(m.start() for m in places[1:]), len(text)]
    return {
        canonicalize_name(m["name"]): len(_HASH.findall(text, m.end(), end))
        for m, end in zip(places, ends, strict=True)
    }


def declared(extra: str | None = None) -> list[Requirement]:
    """The requirements in pyproject.toml, of the core or of an extra; extras that it includes are resolved."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    found: list[Requirement] = []
    for requirement in map(Requirement, texts):
        if requirement.name == project["name"]:
            found += [r for name in sorted(requirement.extras) for r in declared(name)]
        else:
            found.append(requirement)
    return found


def default_install() -> list[Requirement]:
    """The requirements of the README's first command: the core and the extra `hf`."""
    return [*declared(), *declared("hf")]


def closure(requirements: Iterable[Requirement]) -> dict[str, str | None]:
    """Every distribution that the requirements bring into this environment -> its version, None where it is missing."""
    found: dict[str, str | None] = {}
    extras: dict[str, set[str]] = {}
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        new = ({""} | requirement.extras) - extras.setdefault(name, set())
        extras[name] |= new
        if not new:
            continue
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
            continue
        of_it = map(Requirement, metadata.requires(name) or ())
        waiting += [r for r in of_it if any(r.marker is None or r.marker.evaluate({"extra": e}) for e in new)]
    return found


def advisories(path: Path = ROOT / ".ci" / "advisories.json") -> list[Advisory]:
    """The committed advisories."""
    entries = json.loads(path.read_text(encoding="utf-8"))["advisories"]
    return [Advisory(**{**entry, "affected": SpecifierSet(entry["affected"])}) for entry in entries]


def pin_problems(installed: Mapping[str, str | None], pinned: Mapping[str, str]) -> list[str]:
    """Distributions without a pin."""
    return [f"{name} is installed with evalkit and not pinned in constraints.txt" for name in installed.keys() - pinned]


def version_problems(installed: Mapping[str, str | None], pinned: Mapping[str, str]) -> list[str]:
    """Distributions that are installed in another version than the pinned one, or not at all."""
    return [
        f"{name}: {installed[name] or 'nothing'} is installed, {pinned[name]} is pinned"
        for name in sorted(installed.keys() & pinned.keys())
        if installed[name] is None or Version(str(installed[name])).public != Version(pinned[name]).public
    ]


def lock_problems(pinned: Mapping[str, str], lock: str) -> list[str]:
    """Differences between the pins and the lock."""
    locked, counted = pins(lock), hashes(lock)
    wanted = {name: version for name, version in pinned.items() if name not in UNLOCKED}
    differ = sorted(wanted.items() ^ locked.items())
    return [
        *(f"{name}=={version} is in only one of constraints.txt and requirements.lock" for name, version in differ),
        *(f"{name} has no hash in requirements.lock" for name, n in counted.items() if not n),
    ]


def advisory_problems(known: Iterable[Advisory], versions: Iterable[tuple[str, str]], what: str) -> list[str]:
    """Versions that an advisory names.  what: where the versions are from, for the message."""
    given = sorted(set(versions))
    return [
        f"{name} {version} ({what}): {a.id}, {a.why}; affected are {a.affected}, see {a.source}"
        for a in known
        for name, version in given
        if a.names(name, version)
    ]


def lowest(requirements: Iterable[Requirement]) -> list[tuple[str, str]]:
    """The lowest versions that the requirements allow, of those with a lower bound."""
    return [
        (canonicalize_name(requirement.name), clause.version)
        for requirement in requirements
        for clause in requirement.specifier
        if clause.operator in (">=", "~=", "==")
    ]


def installed_here() -> list[tuple[str, str]]:
    """Every distribution of this environment."""
    return [(canonicalize_name(d.metadata["Name"]), d.version) for d in metadata.distributions()]


def offline(known: Sequence[Advisory], constraints: str, lock: str) -> list[str]:
    """The problems that can be seen without the network."""
    pinned, installed = pins(constraints), closure(default_install())
    return [
        *pin_problems(installed, pinned),
        *version_problems(installed, pinned),
        *lock_problems(pinned, lock),
        *advisory_problems(known, pinned.items(), "pinned"),
        *advisory_problems(known, installed_here(), "installed"),
        *advisory_problems(known, lowest(default_install()), "the lowest that pyproject.toml allows"),
    ]


def online(constraints: Path, options: Sequence[str]) -> Audit:
    """What pip-audit's service says about the pins."""
    asked = len(pins(constraints.read_text(encoding="utf-8")))
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--no-deps", "--disable-pip"]
    done = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        entries = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines() or ["no output"]
        return Audit(found=(), asked=asked, answered=0, why=said[-1][:300])
    answered = [entry for entry in entries if "vulns" in entry]
    found = [
        f"{entry['name']} {entry['version']}: {hole['id']}, fixed in {', '.join(hole['fix_versions']) or 'no version'}"
        for entry in answered
        for hole in entry["vulns"]
    ]
    return Audit(found=found, asked=asked, answered=len(answered), why=_skipped(entries))


def _skipped(entries: Iterable[Mapping[str, str]]) -> str:
    reasons = [entry["skip_reason"] for entry in entries if "skip_reason" in entry]
    return reasons[0][:300] if reasons else ""


def main(argv: Sequence[str]) -> int:
    """Run the checks, print what they found, and return the exit code."""
    constraints = ROOT / "constraints.txt"
    text, known = constraints.read_text(encoding="utf-8"), advisories()
    problems = offline(known, text, (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    n = len(closure(default_install()))
    print(f"{n} distributions with evalkit, {len(pins(text))} pins, {len(known)} advisories")
    if argv[:1] == ["--online"]:
        audit = online(constraints, argv[1:])
        problems += audit.found
        print(f"the advisory service answered for {audit.answered} of {audit.asked} pins")
        if audit.answered < audit.asked:
            print(f"not checked: {audit.asked - audit.answered} pins ({audit.why or 'no reason given'})")
    for problem in problems:
        print(f"problem: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
