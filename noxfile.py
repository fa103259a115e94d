"""What CI runs: lint, types, tests, and a wheel that works from another folder."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "wheel"]
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = ("-c", "constraints.txt")
# The dependencies that mypy reads; the others are skipped in pyproject.toml.  Also in .pre-commit-config.yaml.
TYPED = (
    "filelock", "huggingface-hub", "jinja2", "numpy", "omegaconf", "openai", "pillow", "rich", "sentencepiece",
    "tokenizers",
)  # fmt: skip


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install(*CONSTRAINTS, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, on the package; needs none of its dependencies but the typed ones."""
    session.install(*CONSTRAINTS, "mypy", *TYPED)
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The default suite: everything, with a few cases of each long suite."""
    session.install(*CONSTRAINTS, "-e", ".[dev]")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The long suites whole, and fuzzing with many examples: weekly, and before a release."""
    session.install(*CONSTRAINTS, "-e", ".[dev]")
    session.run("pytest", "-n", "2", "-m", "slow", *session.posargs)
    session.run("pytest", "-n", "2", "--hypothesis-profile=thorough", "-k", "fuzz", *session.posargs)


@nox.session
def site(session: nox.Session) -> None:
    """Build the documentation's site into build/site; a missing page, link or anchor is an error."""
    session.install(*CONSTRAINTS, ".[docs]")
    session.run("python", "docs/make_site.py")
    session.run("mkdocs", "build", "--strict")


@nox.session
def lock(session: nox.Session) -> None:
    """Write requirements.lock: the hashes of every file of every pin, torch aside (see constraints.txt)."""
    session.install(*CONSTRAINTS, "uv")
    session.run(
        "uv", "pip", "compile", "constraints.txt", "--output-file", "requirements.lock", "--no-emit-package", "torch",
        "--no-deps", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate",
        "--custom-compile-command", "nox -s lock", "--quiet",
    )  # fmt: skip


@nox.session
def audit(session: nox.Session) -> None:
    """Compare what is installed with pins, hashes and known holes; `nox -s audit -- --online` asks a service too."""
    session.install(*CONSTRAINTS, ".[hf]", "packaging", "pip-audit")
    session.run("python", ".ci/supply_chain.py", *session.posargs)


@nox.session
def sbom(session: nox.Session) -> None:
    """Write the software bill of materials of the default install, CycloneDX JSON, to build/sbom.cdx.json."""
    session.install(*CONSTRAINTS, ".[hf]")
    python = session.bin + "/python"
    tools = Path(session.create_tmp()) / "tools"
    session.run("python", "-m", "venv", str(tools))
    session.run(str(tools / "bin/pip"), "install", "-q", *CONSTRAINTS, "cyclonedx-bom", external=True)
    Path("build").mkdir(exist_ok=True)
    session.run(
        str(tools / "bin/cyclonedx-py"), "environment", python, "--pyproject", "pyproject.toml",
        "--output-reproducible", "--output-file", "build/sbom.cdx.json", external=True,
    )  # fmt: skip


@nox.session
def wheel(session: nox.Session) -> None:
    """Build sdist and wheel; use the wheel light, then with `hf`, from another folder."""
    session.install(*CONSTRAINTS, "build", "twine")
    out = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "build", "--outdir", str(out / "dist"), ".")
    session.run("python", "-m", "twine", "check", "--strict", *map(str, (out / "dist").iterdir()))
    built = max((out / "dist").glob("*.whl"), key=lambda p: p.stat().st_mtime)
    session.install(*CONSTRAINTS, "--force-reinstall", "--no-deps", str(built))
    session.install(*CONSTRAINTS, str(built))
    with session.chdir(out):
        session.run("evalkit", "model=majority", f"out={out / 'runs'}")
        session.run("evalkit", "list")
    session.install(*CONSTRAINTS, f"{built}[hf]")
    with session.chdir(out):
        session.run("evalkit", "limit=40", f"out={out / 'runs'}")
