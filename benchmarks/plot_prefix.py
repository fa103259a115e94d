"""Generator of the plot and the tables of docs/speed.md from benchmarks/results: `python benchmarks/plot_prefix.py`.

Writes docs/prefix-cpu.svg and the text between the markers of the page, so that new results need no manual edits.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "speed.md"
PLOT = ROOT / "docs" / "prefix-cpu.svg"
MARK = "<!-- {name}: {where} (benchmarks/plot_prefix.py) -->"
INK, GREY = "#24292f", "#8c959f"
SERIES = (("one", "one at a time", GREY), ("static", "best static batch", "#d4a72c"), ("shared", "shared", "#0969da"))
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 340, 56, 64, 48
BAR, GAP = 40, 6


def read(name: str) -> dict[str, Any]:
    """Read one result file."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def modes(workload: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Select the modes of a workload for the plot: one at a time, the fastest static batch, shared prefixes."""
    best = workload["ratios"]["best_static_batch"]
    measured = workload["modes"]
    return {"one": measured["one"], "static": measured[best], "shared": measured["shared"]}


# --- the plot


def plot(result: dict[str, Any]) -> str:
    """Draw samples per second of every workload as SVG, with whiskers from the slowest to the fastest repetition."""
    workloads = result["workloads"]
    highest = max(1 / m["seconds_per_sample_range"][0] for w in workloads.values() for m in modes(w).values())
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if highest / s <= 8)
    top = step * (int(highest / step) + 1)
    floor = HEIGHT - BOTTOM

    def y(value: float) -> float:
        return round(floor - (floor - TOP) * value / top, 1)

    parts = [_text(LEFT, 20, "Samples a second, one prefill an image against one a question", "start", 15, bold=True)]
    for i, (_, label, colour) in enumerate(SERIES):
        parts.append(_box(LEFT + 160 * i, 32, 12, 12, colour, label))
        parts.append(_text(LEFT + 18 + 160 * i, 43, label, "start"))
    for tick in range(round(top / step) + 1):
        value = tick * step
        parts.append(_line(LEFT, y(value), WIDTH - 10, y(value), GREY, 0.5))
        parts.append(_text(LEFT - 8, y(value) + 4, f"{value:g}", "end"))
    room = (WIDTH - LEFT - 10) / len(workloads)
    for i, (questions, workload) in enumerate(workloads.items()):
        parts += _bars(LEFT + room * (i + 0.5), questions, workload, y, floor)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" role="img" aria-label="Samples a second with and without shared prefixes">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _bars(middle: float, questions: str, workload: dict[str, Any], y: Any, floor: float) -> list[str]:
    parts = []
    drawn = modes(workload)
    first = middle - (len(SERIES) * (BAR + GAP) - GAP) / 2
    for k, (name, label, colour) in enumerate(SERIES):
        mode, x = drawn[name], round(first + k * (BAR + GAP), 1)
        speed = mode["samples_per_second"]
        fastest, slowest = (1 / seconds for seconds in mode["seconds_per_sample_range"])
        title = f"{questions} questions an image, {label}: {speed:.2f} samples/s ({slowest:.2f} to {fastest:.2f})"
        parts.append(_box(x, y(speed), BAR, round(floor - y(speed), 1), colour, title))
        centre = x + BAR / 2
        parts.append(_line(centre, y(slowest), centre, y(fastest), INK, 1.5))
        parts.append(_text(centre, y(fastest) - 6, f"{speed:.1f}", "middle"))
    times = workload["ratios"]["over_one_at_a_time"]
    parts.append(_text(middle, floor + 18, f"{questions} question{'s' if questions != '1' else ''} an image", "middle"))
    parts.append(_text(middle, floor + 36, f"{times:.1f} × one at a time", "middle", bold=True))
    return parts


def _box(x: float, y: float, width: float, height: float, colour: str, title: str) -> str:
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {place} fill="{colour}"><title>{escape(title)}</title></rect>'


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, width: float) -> str:
    place = f'x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width:g}"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 12, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}"{weight}'
    return f'<text {place} fill="{INK}">{escape(text)}</text>'


# --- the tables


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Make a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def machine(record: dict[str, Any]) -> str:
    """Describe the machine of a measurement in one line."""
    software = [f"{name} {record[name]}" for name in ("python", "torch", "transformers") if record.get(name)]
    chip = record.get("gpu") or f"{record['cores']} cores of {record['cpu']}"
    load = record["load_average"][0] if record.get("load_average") else "not known"
    return f"{chip}, {', '.join(software)}, load average {load} when it ended"


def prefix_table(name: str = "prefix-cpu") -> str:
    """Make the table of all workloads and modes with their ratios."""
    result = read(name)
    rows: list[tuple[Any, ...]] = []
    for questions, workload in result["workloads"].items():
        one = workload["modes"]["one"]
        for name, mode in workload["modes"].items():
            slow, fast = (f"{1 / s:.2f}" for s in reversed(mode["seconds_per_sample_range"]))
            rows.append((
                questions, name, f"{mode['samples_per_second']:.2f} ({slow} to {fast})",
                f"{one['seconds_per_sample'] / mode['seconds_per_sample']:.2f}",
                f"{one['cpu_seconds_per_sample'] / mode['cpu_seconds_per_sample']:.2f}",
                mode["counters"]["prefill_tokens"], mode["counters"]["vision_encodes"],
                f"{mode['peak_mib']:.0f}" if mode["peak_mib"] is not None else "–", f"{mode['share_of_limit']:.0%}",
                mode["texts_unlike_one"],
            ))  # fmt: skip
    head = ("questions an image", "mode", "samples/s (range)", "× one", "× one, processor time", "prompt tokens",
            "images encoded", "MiB over the model", "of the limit", "other texts")  # fmt: skip
    last = list(result["workloads"].values())[-1]
    return f"{table(head, rows)}\n\n{machine(last['machine'])}."


def flips_table() -> str:
    """Make the table of answers that differ from one at a time in half precision, by mode."""
    workloads = read("prefix-cpu-bfloat16")["workloads"]
    names = [name for name in next(iter(workloads.values()))["modes"] if name != "one"]
    rows = [
        (questions, *(f"{w['modes'][name]['texts_unlike_one']} of {w['requests']['n']}" for name in names))
        for questions, w in workloads.items()
    ]
    return table(("questions an image", *names), rows)


def host_table() -> str:
    """Make the table of host work, start-up, --help, and the run of 100,000 questions."""
    host, scale = read("host-cpu"), read("scale-cpu")
    many = scale["fastest"][-1]
    whole, small = host["host"]
    used = host["start_processor_seconds"]
    rows: list[tuple[Any, ...]] = [
        ("host work, packs by tokens", f"{whole['host_ms_a_sample']:.2f} ms a sample", "3 ms"),
        ("host work, batches of 8", f"{small['host_ms_a_sample']:.2f} ms a sample", "3 ms"),
        ("start of `run` to the first answers on the disk",
         f"{host['start_seconds']:.1f} s ({used:.1f} s of processor time)", "8 s"),
        ("`--help`", f"{host['help_seconds']:.2f} s", "0.5 s"),
        (f"`run` of {many['n']:,} with the scripted model, all of it",
         f"{many['samples_per_second']:,} samples/s", "2,000 samples/s"),
        ("of that, asking and writing", f"{many['samples_per_second_asking_and_writing']:,} samples/s", ""),
        ("peak memory of that run", f"{many['peak_mib']} MiB", "400 MiB"),
    ]  # fmt: skip
    for run in scale["fastest"][:-1]:
        rows.append((f"peak memory at {run['n']:,}", f"{run['peak_mib']} MiB", ""))
    rows.append(("memory that one more sample takes", f"{scale['kib_a_sample']:.1f} KiB", ""))
    return f"{table(('what', 'measured', 'target'), rows)}\n\n{machine(host['machine'])} (host work and start)."


def bench_table() -> str:
    """Make the table of speed and time by phase for the built-in model on the built-in task."""
    result = read("bench-phantom-llava-phantom")
    phases = ("vision", "prefill", "decode", "outside_the_model", "preparing_in_threads", "writing_in_a_thread")
    rows = [
        (name, f"{mode['samples_per_second']:.0f}", mode["counters"]["vision_encodes"],
         mode["counters"]["prefill_tokens"], f"{mode['share_of_limit']:.0%}",
         *(f"{mode['seconds'][p] / mode['seconds']['all']:.0%}" for p in phases))
        for name, mode in result["modes"].items()
    ]  # fmt: skip
    head = (
        "mode",
        "samples/s",
        "images encoded",
        "prompt tokens",
        "of the limit",
        *(p.replace("_", " ") for p in phases),
    )
    return f"{table(head, rows)}\n\n{machine(result['machine'])}."


def peers_table() -> str:
    """Make the table of engine=hf beside other engines, by the number of questions an image."""
    result = read("peers-cpu")
    rows: list[tuple[Any, ...]] = []
    for questions, engines in result["workloads"].items():
        for name, found in engines.items():
            speed, used = found["samples_per_second"], found["processor_seconds_per_sample"]
            times = found.get("hf_over_it"), found.get("hf_over_it_processor")
            shown = (f"{t['median']:.2f} ({t['least']:.2f} to {t['greatest']:.2f})" if t else "–" for t in times)
            different = found["texts_unlike_hf"]
            rows.append((questions, PEERS[name], f"{speed['median']:.2f}", f"{used['median']:.3f}", *shown, different))
    head = ("questions an image", "engine", "samples/s", "processor seconds a sample", "hf is × as fast (range)",
            "× as fast, processor time (range)", "other texts")  # fmt: skip
    return f"{table(head, rows)}\n\n{machine(result['machine'])}."


def gpu_table() -> str:
    """Make the table of a model of seven billion parameters on a GPU."""
    return prefix_table("prefix-h100")


PEERS = {
    "hf": "hf", "before": "hf, before", "static": "static batches of 8", "vllm": "vLLM, CPU build",
    "lmms": "lmms-eval's LLaVA class",
}  # fmt: skip
TABLES = {
    "prefix": prefix_table, "gpu": gpu_table, "flips": flips_table, "host": host_table, "bench": bench_table,
    "peers": peers_table,
}  # fmt: skip


def page(text: str) -> str:
    """Replace the tables in the text of the page."""
    for name, made in TABLES.items():
        begin, end = (MARK.format(name=name, where=where) for where in ("begin", "end"))
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{made()}\n\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    PLOT.write_text(plot(read("prefix-cpu")), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
