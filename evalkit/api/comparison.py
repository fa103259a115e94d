"""Two runs over the same samples: paired differences, and the verdict of the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.api.arguments import as_texts
from evalkit.api.tables import list_html, table_html
from evalkit.api.words import as_words
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.core.format import interval, percent
from evalkit.core.plain_text import visible

if TYPE_CHECKING:
    import pandas as pd

# Changed answers that a printed comparison shows.
SHOWN = 10


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Comparison:
    """The paired differences of a run (`second`) from another over the same samples (`first`).

    metrics: one row a metric: first, second, difference (second minus first, fractions), low, high (95 %, clustered by
    image), p (sign flips, Holm), n, n_worse, n_better, unscored counts.  first and second count unscored samples as the
    worst score; table_first and table_second are the values of the runs' tables.
    changed: one row a sample whose score changed in some metric, with both answers.
    text: the comparison as the command line prints it.
    """

    first: str
    second: str
    metrics: pd.DataFrame
    changed: pd.DataFrame
    text: str

    def __repr__(self) -> str:
        return visible(self.text)

    def _repr_html_(self) -> str:
        rows = [
            (
                m.metric, percent(m.first), percent(m.second), percent(m.difference, signed=True),
                interval(m.low, m.high, signed=True), f"{m.p:.4f}", m.n, m.n_worse, m.n_better,
            )
            for m in self.metrics.itertuples()
        ]  # fmt: skip
        headings = ("metric", "first %", "second %", "difference", "95 % interval", "p", "n", "worse", "better")
        caption = f"{len(self.changed)} samples changed their score; unscored samples count as the worst score"
        return table_html(headings, rows, f"{self.second} against {self.first}", caption)


def compare_runs(first: Path, second: Path, metrics: Sequence[str] | None) -> Comparison:
    """The comparison of two runs by their folders."""
    from evalkit.analysis.compare import compare, p_values, render
    from evalkit.analysis.run_scores import read_all

    wanted = as_texts("metrics", metrics, "strict open_recall")
    with console.captured(is_shown=False):
        runs = read_all([first, second])
    (found,) = compare(runs, wanted)
    rows = [
        {
            "metric": str(p.key), "first": p.first, "second": p.second, "difference": p.difference,
            "low": p.interval.low, "high": p.interval.high, "p": q.value, "n": p.n, "n_worse": p.n_worse,
            "n_better": p.n_better, "first_unscored": p.first_unscored, "second_unscored": p.second_unscored,
            "table_first": p.table_values[0], "table_second": p.table_values[1],
            "direction": "higher is better" if p.higher_is_better else "lower is better",
        }
        for p, q in zip(found.pairs, p_values(runs[0], [found])[0], strict=True)
    ]  # fmt: skip
    import pandas as pd

    changed = sorted({k for p in found.pairs for k in p.flipped})
    return Comparison(
        first=f"{runs[0].header.model} ({runs[0].header.run_id})",
        second=f"{runs[1].header.model} ({runs[1].header.run_id})",
        metrics=pd.DataFrame(rows),
        changed=_changed_frame(runs[0], runs[1], changed),
        text=render([found], runs[0], SHOWN),
    )


def _changed_frame(one: Any, two: Any, changed: Sequence[int]) -> pd.DataFrame:
    import pandas as pd

    place = {i: k for k, i in enumerate(two.ids)}
    rows = [
        {
            "sample_id": one.ids[k],
            "image_id": one.image_ids[k],
            "question": one.questions[k] if one.questions else None,
            "first": one.texts[k] if one.texts else None,
            "second": two.texts[place[one.ids[k]]] if two.texts else None,
        }
        for k in changed
    ]
    return pd.DataFrame(rows, columns=["sample_id", "image_id", "question", "first", "second"])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Verdict:
    """The verdict of the gate; true exactly where it passes.

    verdict: "pass", "improved", "fail" or "inconclusive".  content: what `evalkit gate` writes as gate.json.
    """

    verdict: str
    content: Mapping[str, Any]
    warnings: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether the run is good enough: the verdict is pass or improved."""
        from evalkit.analysis.gate.verdicts import IMPROVED, PASS

        return self.verdict in (PASS, IMPROVED)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a task and metric: its verdict, margin, both values, difference with bounds, p values and counts."""
        import pandas as pd

        rows = [{"task": c["task"], **m} for c in self.content["comparisons"] for m in c["metrics"]]
        return pd.DataFrame(rows)

    def _sentences(self) -> list[str]:
        from evalkit.analysis.gate.report import exact_sentence, sentence

        found = []
        for c in self.content["comparisons"]:
            found += [f"{c['task']}: {sentence(m)}" for m in c["metrics"]]
            found += [f"{c['task']}: {exact_sentence(c)}"] if self.content["exact"] else []
        return found

    def __repr__(self) -> str:
        said = [f"{console.WARNING}{text}" for text in self.warnings]
        return visible("\n".join([*self._sentences(), f"gate: {self.verdict}", *said]))

    def _repr_html_(self) -> str:
        rows = [(text,) for text in self._sentences()]
        return table_html(("metric",), rows, f"gate: {self.verdict}") + list_html({"warning": self.warnings})


def gate_runs(baseline: Path, candidate: Path, settings: Mapping[str, Any]) -> Verdict:
    """The gate's verdict over a candidate; writes no file."""
    from evalkit.cli.commands.gate import compare_scores
    from evalkit.cli.hydra_app import configuration

    if refused := [key for key in settings if key in ("save", "dry_run", "prompts", "out", "baseline", "candidate")]:
        raise ConfigError(
            f"{refused[0]}= is not possible in `gate` from Python, which writes nothing; use the command line."
        )
    words = as_words({"baseline": baseline, "candidate": candidate, **settings})
    with console.captured(is_shown=False) as said:
        content = compare_scores(configuration("gate", words))
    return Verdict(verdict=str(content["verdict"]), content=content, warnings=tuple(said.warnings))
