"""Plot of a plan: the power over the true difference, and the chance to pass over the margin."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.analysis.gate.verdicts import BOUND
from evalkit.analysis.plan import Plan
from evalkit.reports.line_plot import Curve, line_plot
from evalkit.stats import PlannedRows, difference_power, pass_power

STEPS = 40


def plan_plot(plan: Plan, rows: Sequence[PlannedRows], metrics: int) -> str:
    """The SVG of a plan over `rows`, `metrics` metrics on each."""
    given, aims = plan.assumptions, plan.aims
    reached = [m.detectable_difference for m in plan.metrics] + [m.smallest_margin for m in plan.metrics]
    reached += [plan.joint.smallest_margin] if plan.joint else []
    top = min(1.0, 1.5 * max(r for r in (*reached, aims.difference, aims.margin) if r is not None))
    x = [top * step / STEPS for step in range(STEPS + 1)]
    curves = []
    for colour, r in enumerate(rows):
        found = [difference_power(r, given, min(d, given.discordance), aims.alpha) if d else 0.0 for d in x]
        passed = [pass_power([r], given, d, BOUND, aims.loss) for d in x]
        curves.append(Curve(name=f"{r.name}: found", y=found, colour=colour))
        curves.append(Curve(name=f"{r.name}: passed", y=passed, colour=colour, dashed=True))
    every = [r for r in rows for _ in range(metrics)]
    if len(every) > 1:
        joint = [pass_power(every, given, d, BOUND, aims.loss) for d in x]
        curves.append(Curve(name=f"all {len(every)}: passed", y=joint, colour=-1, dashed=True))
    return line_plot(
        "Power % over the true difference (lines), chance to pass % over the margin (dashes)",
        "points",
        [round(100 * d, 6) for d in x],
        curves,
        aims.power,
    )
