"""How fast a run's page is: writing it, its first paint and a filter, in headless Chromium.

    python benchmarks/page_speed.py [--n 45000] [--out benchmarks/results/page-speed.json]

A run of n made-up samples (half closed, five questions an image, three protocols, every question and every wrong answer
a text of its own) is written and shown; the filters are those that a person uses, timed from the event to the second
frame after it, by when the result is on the screen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evalkit.core.types import Prediction, Sample
from evalkit.reports.run_page import page_data, write_page
from tests.support.browser import CHROMIUM, Browser, browsers
from tests.support.made_runs import made_run, made_samples, mixed

PAINT = "performance.getEntriesByName('first-contentful-paint').map((e) => e.startTime)[0] ?? null"
FILTERS = {
    "wrong": ("outcome", "wrong"),
    "everything": ("outcome", "all"),
    "protocols disagree": ("outcome", "disagree"),
    "slice": ("slice", "modality=CT"),
    "every slice": ("slice", ""),
    "first letter of a search": ("text", "k"),
    "word of a search": ("text", "kidney"),
    "search that finds nothing": ("text", "no such word"),
    "no search": ("text", ""),
    "lowest score first": ("order", "worst"),
    "as in the data": ("order", "data"),
}


def timed(page: Browser, element: str, value: str) -> float:
    """Milliseconds from the event to the frame after next, by when its result is on the screen."""
    kind = "input" if element == "text" else "change"
    return float(
        page.run(f"""new Promise((done) => requestAnimationFrame(() => {{
            const e = document.getElementById("{element}"), from = performance.now();
            e.value = {json.dumps(value)};
            e.dispatchEvent(new Event("{kind}"));
            requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - from)));
        }}))""")
    )


def prose(drawn: random.Random, words: int) -> str:
    return " ".join("".join(drawn.choices("abcdefghiklmnoprstuvw", k=drawn.randint(2, 9))) for _ in range(words))


def made(n: int) -> tuple[list[Sample], list[Prediction]]:
    """Samples and answers of the length of a talkative model's; no two wrong ones are alike."""
    drawn = random.Random(0)
    samples = [replace(s, question=f"{s.question} {prose(drawn, 6)}") for s in made_samples(n, per_image=5)]
    answers = mixed(samples, 1)
    return samples, [
        a if a.text is None or a.text == s.references[0] else replace(a, text=f"{a.text} {prose(drawn, 25)}")
        for s, a in zip(samples, answers, strict=True)
    ]


def measure(n: int, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples, answers = made(n)
        run = made_run(folder / "run", samples, answers)
        started = time.perf_counter()
        data = page_data([run], {s.id: s for s in samples}, {})
        collected = time.perf_counter()
        write_page(run / "report.html", data)
        written = time.perf_counter()
        paints, readies, filters = [], [], {name: [] for name in FILTERS}
        with browsers() as new:
            for _ in range(repeats):
                page = new()
                page.screen(1300, 900)
                page.open(run / "report.html")
                readies.append(page.run("performance.getEntriesByType('navigation')[0].domInteractive"))
                page.wait(f"({PAINT}) !== null")
                paints.append(page.run(PAINT))
                for name, (element, value) in FILTERS.items():
                    filters[name].append(timed(page, element, value))
                assert page.complaints() == []
        return {
            "n": n,
            "page_mb": round((run / "report.html").stat().st_size / 1e6, 2),
            "data_seconds": round(collected - started, 2),
            "write_seconds": round(written - collected, 2),
            "first_contentful_paint_ms": summary(paints),
            "ready_ms": summary(readies),
            "filter_ms": {name: summary(times) for name, times in filters.items()},
        }


def summary(times: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(times), 1), "max": round(max(times), 1)}


def arguments(doc: str | None, n: int, repeats: int, out: str) -> argparse.ArgumentParser:
    """What both benchmarks of pages are told: how many samples, how often, where the figures go."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=n)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / out)
    return parser


def reported(measured: Callable[[], dict[str, Any]], repeats: int, out: Path) -> None:
    """Write and print what `measured` finds, with the machine and its load before and after."""
    if CHROMIUM is None:
        sys.exit("This needs Chromium: apt install chromium.")
    version = subprocess.run([CHROMIUM, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    before = os.getloadavg()[0]
    found = measured()
    machine = {"chromium": version, "python": platform.python_version(), "cores": len(os.sched_getaffinity(0))}
    machine |= {"load_before": round(before, 1), "load_after": round(os.getloadavg()[0], 1)}
    text = json.dumps({**found, "repeats": repeats, "machine": machine}, indent=1)
    out.write_text(text + "\n", encoding="utf-8")
    print(text)


def main() -> None:
    given = arguments(__doc__, 45_000, 5, "page-speed.json").parse_args()
    reported(lambda: measure(given.n, given.repeats), given.repeats, given.out)


if __name__ == "__main__":
    main()
