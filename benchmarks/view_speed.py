"""How fast the viewer is with a large run, in headless Chromium: first paint, numbers, samples, filters.

    python benchmarks/view_speed.py [--n 200000] [--run DIR] [--out benchmarks/results/view-speed.json]

The run is that of page_speed.py: answers of 25 words, no two wrong ones alike.  Numbers are shown
before the samples are there; the page is ready when they are.  A filter is timed twice: the work of the page alone, and
until the second frame after it.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.page_speed import FILTERS, PAINT, arguments, made, reported, summary, timed
from evalkit.reports.viewer import RunList, Site
from tests.support.browser import Browser, browsers
from tests.support.made_runs import made_run
from tests.support.viewer import served, source_of


def work(page: Browser, element: str, value: str) -> float:
    """Milliseconds that the page works on a filter before it returns to the browser."""
    kind = "input" if element == "text" else "change"
    return float(
        page.run(f"""(() => {{
            const e = document.getElementById("{element}"), from = performance.now();
            e.value = {json.dumps(value)};
            e.dispatchEvent(new Event("{kind}"));
            return performance.now() - from;
        }})()""")
    )


def painted(page: Browser, address: str) -> float:
    page.visit(address)
    page.wait(f"({PAINT}) !== null")
    return float(page.run(PAINT))


def measure(folder: Path, n: int, repeats: int) -> dict[str, Any]:
    samples, answers = made(n)
    if not (folder / "big-toy" / "summary.json").is_file():
        made_run(folder / "big-toy", samples, answers)
    del answers
    site = Site(RunList(folder), source_of(samples), is_live=True)
    started = time.perf_counter()
    data = site.find("data/big-toy.json")
    assert data is not None
    found: dict[str, Any] = {"n": n, "data_mb": round(len(data.content) / 1e6, 1)}
    found["data_seconds"] = round(time.perf_counter() - started, 1)
    times: dict[str, list[float]] = {name: [] for name in ("list_paint_ms", "page_paint_ms", "numbers_ms", "ready_ms")}
    filters: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in FILTERS}
    with served(site) as address, browsers() as new:
        for _ in range(repeats):
            page = new()
            page.screen(1300, 900)
            times["list_paint_ms"].append(painted(page, address))
            times["page_paint_ms"].append(painted(page, f"{address}run.html?run=big-toy"))
            for name, mark in (("numbers_ms", "numbers"), ("ready_ms", "ready")):
                page.wait(f"document.documentElement.dataset.{mark} === '1'")
                times[name].append(page.run(f"performance.getEntriesByName('{mark}')[0].startTime"))
            time.sleep(2)  # as long as nobody types, the texts are prepared for the search
            for k, timer in enumerate((work, timed)):
                for name, (element, value) in FILTERS.items():
                    filters[name][k].append(timer(page, element, value))
            assert page.complaints() == []
    found |= {name: summary(values) for name, values in times.items()}
    found["filter_work_ms"] = {name: summary(values[0]) for name, values in filters.items()}
    found["filter_shown_ms"] = {name: summary(values[1]) for name, values in filters.items()}
    found["slowest_filter_work_ms"] = round(max(statistics.median(v[0]) for v in filters.values()), 1)
    return found


def main() -> None:
    parser = arguments(__doc__, 200_000, 3, "view-speed.json")
    parser.add_argument("--run", type=Path, help="a folder to keep the made run in, and to take it from")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        reported(lambda: measure(given.run or Path(folder), given.n, given.repeats), given.repeats, given.out)


if __name__ == "__main__":
    main()
