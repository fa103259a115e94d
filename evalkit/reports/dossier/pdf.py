"""The page of a dossier as a PDF, printed by a program of this machine: WeasyPrint or a Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from evalkit.core.errors import ConfigError, Partial, first_line

NAME = "dossier.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Seconds after which a program that does not end is stopped.
LIMIT = 120

Printer = Callable[[Path, Path], None]


def printer() -> Printer:
    """What prints a page (first path) into a PDF (second path).

    Raises:
        ConfigError: this machine has nothing that prints pages.
    """
    if found := shutil.which("weasyprint"):
        return partial(_by_weasyprint, found)
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ConfigError(
            "pdf=true needs the program chromium (apt install chromium) or weasyprint (pip install weasyprint), and "
            "neither is here. Without pdf=true the dossier is written as a page, whose print style is for A4: any "
            "browser prints it into a PDF, which then is no part of the hash chain."
        )
    return partial(_by_browser, browser)


def _by_weasyprint(program: str, page: Path, target: Path) -> None:
    _run([program, str(page.resolve()), str(target.resolve())], target)


def _by_browser(browser: str, page: Path, target: Path) -> None:
    """Print with a browser that has a profile of its own and speaks to nobody: the page forbids it, too."""
    flags = [
        "--headless", "--disable-gpu", "--no-first-run", "--disable-extensions", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
        "--no-pdf-header-footer",
    ]  # fmt: skip
    if os.name == "posix" and os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium has no sandbox for this user, and ends
    with tempfile.TemporaryDirectory(prefix="evalkit-pdf-", ignore_cleanup_errors=True) as profile:
        files = [f"--user-data-dir={profile}", f"--print-to-pdf={target.resolve()}", page.resolve().as_uri()]
        _run([browser, *flags, *files], target)


def _run(words: Sequence[str], target: Path) -> None:
    """Run a program that writes a PDF.  Raises Partial where it does not."""
    try:
        done = subprocess.run(words, capture_output=True, timeout=LIMIT, check=False)  # noqa: S603 - no shell, own words
    except subprocess.TimeoutExpired:
        raise _unprinted(words[0], f"it did not end in {LIMIT} s", target) from None
    except OSError as problem:
        raise _unprinted(words[0], first_line(problem), target) from problem
    if done.returncode != 0 or not target.is_file() or not target.read_bytes().startswith(b"%PDF"):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _unprinted(words[0], said[-1] if said else f"exit code {done.returncode}", target)


def _unprinted(program: str, reason: str, target: Path) -> Partial:
    """The error of a failed print, of which nothing is left."""
    target.unlink(missing_ok=True)
    return Partial(
        f"{target.name} was not printed by {program}: {reason}. The dossier is complete without it, its hash chain "
        "too (`verify` prints the head); print dossier.html with a browser, or make the dossier anew."
    )
