"""The figures as one picture: how far each is from its goal, and the curves of growth. Plain SVG."""

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10
from typing import Any

WIDTH, HEIGHT, MARGIN = 360, 220, 48
COLUMNS = 2

#: A colour that is readable on white and on dark, and one for what is missed.
INK, GOOD, BAD = "#7a8794", "#2f7ed8", "#d8552f"


def picture(document: Mapping[str, Any]) -> str:
    """Return the SVG of a run's document."""
    panels = [_goals(document), *(_curve(name, one) for name, one in document.items() if "curve" in one)]
    rows = -(-len(panels) // COLUMNS)
    size = f'width="{COLUMNS * WIDTH}" height="{rows * HEIGHT}"'
    placed = [
        f'<g transform="translate({number % COLUMNS * WIDTH} {number // COLUMNS * HEIGHT})">{panel}</g>'
        for number, panel in enumerate(panels)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    return "\n".join([head, *placed, "</svg>", ""])


def _goals(document: Mapping[str, Any]) -> str:
    """Return bars: how many times better than its goal each figure is, on a logarithmic axis around 1."""
    figures = {name: one for name, one in document.items() if one.get("goal")}
    step = (HEIGHT - MARGIN) / max(1, len(figures))
    middle, decade = WIDTH * 0.6, WIDTH * 0.18
    parts = [_text(12, 18, "Times better than the goal (logarithmic)", anchor="start")]
    for row, (name, one) in enumerate(figures.items()):
        # An exponent can be below zero, and nothing can be right: both are off the scale.
        times = max(0.01, one["ratio"] / one["goal"])
        better = times if one["sense"] == "at least" else 1 / times
        length = max(-2.0, min(2.0, log10(better))) * decade
        y = 30 + row * step
        parts.append(
            f'<rect x="{middle + min(0, length):.1f}" y="{y:.1f}" width="{abs(length) + 1:.1f}" '
            f'height="{step * 0.6:.1f}" fill="{GOOD if one["met"] else BAD}"/>'
        )
        parts.append(_text(12, y + step * 0.5, name, anchor="start"))
        parts.append(_text(middle - decade * 1.1, y + step * 0.5, f"{better:.2g}", anchor="end"))
    parts.append(_line(middle, 26, middle, HEIGHT - 12))
    return "".join(parts)


def _curve(name: str, figure: Mapping[str, Any]) -> str:
    """Return a curve of growth on logarithmic axes, with its exponent."""
    over, unit = figure["curve"]["over"], figure["curve"]["unit"]
    points = [(float(size), value) for size, value in figure["curve"]["points"].items()]
    xs, ys = _axis([x for x, _ in points]), _axis([y for _, y in points])
    placed = [(_place(x, xs, MARGIN, WIDTH - 24), _place(y, ys, HEIGHT - MARGIN, 40)) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    parts = [
        _text(12, 18, f"{name}: {unit}, exponent {figure['ratio']:.2f}", anchor="start"),
        _line(MARGIN, HEIGHT - MARGIN, WIDTH - 16, HEIGHT - MARGIN),
        _line(MARGIN, 30, MARGIN, HEIGHT - MARGIN),
        f'<polyline points="{path}" fill="none" stroke="{GOOD}" stroke-width="2"/>',
        _text(WIDTH / 2, HEIGHT - 12, over),
    ]
    for (x, y), (size, value) in zip(placed, points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{GOOD}"/>')
        parts.append(_text(x, HEIGHT - MARGIN + 14, f"{size:,.0f}"))
        parts.append(_text(x, y - 8, f"{value:.3g}"))
    return "".join(parts)


def _axis(values: Sequence[float]) -> tuple[float, float]:
    """Return the logarithms between which values lie, a decade apart at least."""
    low = floor(log10(min(values)))
    return low, max(low + 1.0, log10(max(values)))


def _place(value: float, axis: tuple[float, float], start: float, end: float) -> float:
    return start + (log10(value) - axis[0]) / (axis[1] - axis[0]) * (end - start)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{INK}"/>'
