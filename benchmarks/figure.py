"""A figure: one ratio with its goal, what it was computed from, and what holds it back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.measurement import Spread, exponent


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    what: str
    #: ``None``: printed for information.
    goal: float | None
    #: Whether the ratio may not be below or may not be above its goal.
    sense: Literal["at least", "at most"]
    ratio: Spread
    #: What the ratio was computed from, with units in the names.
    details: dict[str, Any] = field(default_factory=dict)
    #: Why it is not better.
    limit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.ratio.median >= self.goal if self.sense == "at least" else self.ratio.median <= self.goal

    def document(self) -> dict[str, Any]:
        """Return the figure as JSON."""
        return {
            "what": self.what,
            "goal": self.goal,
            "sense": self.sense,
            "ratio": _rounded(self.ratio.median),
            "low": _rounded(self.ratio.low),
            "high": _rounded(self.ratio.high),
            "met": self.met,
            **{name: _rounded(value) for name, value in self.details.items()},
            "limit": self.limit,
        }


def growth(
    name: str, what: str, points: Mapping[int, float], *, over: str, unit: str, **details: Any
) -> Figure:
    """Return how something grows: its ratio is the exponent that fits, its curve is part of the picture."""
    slope = exponent(list(points), list(points.values()))
    curve = {"over": over, "unit": unit, "points": {str(size): value for size, value in points.items()}}
    return Figure(name, what, None, "at most", Spread(slope, slope, slope), {"curve": curve, **details})


def table(figures: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return figures, each a name and its document, as the lines of a Markdown table."""
    lines = ["| | measured as a ratio | goal | ratio | spread | |", "| --- | --- | --- | --- | --- | --- |"]
    for name, one in figures:
        sign = "≥" if one["sense"] == "at least" else "≤"
        goal = "" if one["goal"] is None else f"{sign} {one['goal']:g}"
        verdict = {None: "", True: "met", False: "missed"}[one["met"]]
        verdict = "; ".join(said for said in (verdict, one["limit"]) if said)
        spread = f"{_short(one['low'])} … {_short(one['high'])}" if one["low"] < one["high"] else ""
        lines.append(f"| {name} | {one['what']} | {goal} | {_short(one['ratio'])} | {spread} | {verdict} |")
    return lines


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004
