"""Line plot of a few curves as SVG, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 56, 190, 44, 48
INK, GREY = "#24292f", "#d0d7de"
# Colours that stay apart for colour-blind readers (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#24292f")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named curve over the plot's x values, with y in [0, 1]; colour: its place in COLOURS."""

    name: str
    y: Sequence[float]
    colour: int
    dashed: bool = False


def line_plot(title: str, x_name: str, x: Sequence[float], curves: Sequence[Curve], mark: float | None = None) -> str:
    """Draw curves with y from 0 to 100 % over increasing x from 0; mark: a height to draw a thin line at."""
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(place: float, height: float) -> str:
        return f"{LEFT + (right - LEFT) * place / x[-1]:.1f},{floor - (floor - TOP) * height:.1f}"

    parts = [_text(LEFT, 22, title, "start", 15)]
    for tick in range(6):
        height, place = tick / 5, x[-1] * tick / 5
        parts.append(_path([at(0, height), at(x[-1], height)], GREY, 1))
        parts.append(_text(LEFT - 8, floor - (floor - TOP) * height + 4, f"{100 * height:.0f}", "end"))
        parts.append(_text(LEFT + (right - LEFT) * tick / 5, floor + 18, f"{place:g}", "middle"))
    if mark is not None:
        parts.append(_path([at(0, mark), at(x[-1], mark)], INK, 1, dashed=True))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 10, x_name, "middle"))
    for number, curve in enumerate(curves):
        colour = COLOURS[curve.colour % len(COLOURS)]
        points = [at(place, min(1.0, max(0.0, y))) for place, y in zip(x, curve.y, strict=True)]
        parts.append(_path(points, colour, 2, dashed=curve.dashed))
        level = TOP + 8 + 20 * number
        parts.append(_path([f"{right + 12},{level}", f"{right + 36},{level}"], colour, 2, dashed=curve.dashed))
        parts.append(_text(right + 42, level + 4, curve.name, "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _path(points: Sequence[str], colour: str, width: float, *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{INK}" text-anchor="{anchor}">{escape(text)}</text>'
