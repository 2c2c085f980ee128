"""The figures that are kept: what was measured again replaces what it was, and every page says the same."""

import re
import xml.etree.ElementTree as ET

import pytest

from benchmarks.document import FILE, ROOT, RUNS, document, figures_of, kept, measured, merged, pages
from benchmarks.figure import Figure, growth, table
from benchmarks.measurement import Spread
from benchmarks.plot import picture
from benchmarks.sizes import FULL, QUICK

SVG = "{http://www.w3.org/2000/svg}"

ORDER = ("P1", "P2", "P3")


def figure(name: str, ratio: float = 2.0, goal: float | None = 1.0) -> Figure:
    return Figure(name, "something / something else", goal, "at least", Spread(ratio, ratio, ratio + 1))


def whole(*figures: Figure) -> dict[str, object]:
    return document("P1", figures, QUICK, {"cores": "2"})


@pytest.mark.parametrize("path", pages(kept()), ids=lambda path: path.name)
def test_every_page_says_what_was_measured_last(path: object) -> None:
    current = {page: page.read_text(encoding="utf-8") for page in pages(kept())}
    assert current[path] == pages(kept())[path], "stale: uv run python -m benchmarks.document"  # type: ignore[index]


def test_a_figure_that_is_measured_alone_leaves_the_others_as_they_were() -> None:
    old = merged(document("P1", [figure("P1")], QUICK, {}), document("P3", [figure("P3")], QUICK, {}), ORDER)
    new = document("P2", [figure("P2", 5.0)], QUICK, {})
    assert merged(old, new, ORDER) == {**figures_of(old), **new, RUNS: {**old[RUNS], **new[RUNS]}}
    assert list(figures_of(merged(old, new, ORDER))) == ["P1", "P2", "P3"]


def test_what_is_measured_again_replaces_all_that_the_measure_said_before() -> None:
    old = document("P1", [figure("P1"), figure("P1 under its old name")], QUICK, {})
    again = document("P1", [figure("P1", 7.0)], QUICK, {})
    assert merged(old, again, ORDER) == again


def test_each_measure_says_where_and_how_large_it_was_taken() -> None:
    run = document("P1", [figure("P1")], QUICK, {"cores": "2"})[RUNS]["P1"]
    assert run["machine"] == {"cores": "2"}
    assert run["sizes"]["reports"] == QUICK.reports


def test_what_was_measured_in_other_sizes_is_named_under_the_table() -> None:
    computer = dict.fromkeys(("cpu", "cores", "kafka", "python", "aiokafka", "numpy"), "one")
    large, small = (
        document(name, [figure(name)], of, computer) for name, of in (("P1", FULL), ("P2", QUICK))
    )
    assert "In other sizes or elsewhere: P2." in measured(merged(large, small, ORDER))
    assert "elsewhere" not in measured(merged(large, large, ORDER))


def test_the_table_says_whether_a_goal_is_met_and_nothing_where_there_is_none() -> None:
    shown = [figure("good", 2.0), figure("bad", 0.5), figure("free", goal=None)]
    lines = table(figures_of(whole(*shown)).items())[2:]
    assert [line.split("|")[1:][0].strip() + ":" + line.split("|")[-2].strip() for line in lines] == [
        "good:met",
        "bad:missed",
        "free:",
    ]


def test_a_curve_is_told_by_its_exponent() -> None:
    square = growth("curve", "exponent", {10: 100.0, 100: 10_000.0}, over="instances", unit="seconds")
    assert square.document()["ratio"] == 2
    assert square.document()["curve"]["points"] == {"10": 100, "100": 10_000}


def test_the_picture_has_a_bar_for_each_goal_and_a_panel_for_each_curve() -> None:
    linear = growth("curve", "exponent", {10: 1.0, 100: 10.0}, over="instances", unit="seconds")
    drawn = picture(figures_of(whole(figure("good"), figure("bad", 0.5), figure("free", goal=None), linear)))
    root = ET.fromstring(drawn)  # noqa: S314  (our own)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert len(list(root.iter(f"{SVG}rect"))) == 2
    assert len({bar.get("fill") for bar in root.iter(f"{SVG}rect")}) == 2
    (line,) = root.iter(f"{SVG}polyline")
    assert len(str(line.get("points")).split()) == 2
    assert "curve: seconds, exponent 1.00" in texts
    assert "free" not in texts


def test_a_curve_rises_where_values_rise() -> None:
    rising = growth("curve", "exponent", {10: 1.0, 100: 10.0}, over="instances", unit="seconds")
    (line,) = ET.fromstring(picture(figures_of(whole(rising)))).iter(f"{SVG}polyline")  # noqa: S314
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in str(line.get("points")).split())
    assert x2 > x1
    assert y2 < y1


@pytest.mark.parametrize("ratio", [0.0, -0.3, 1e-9])
def test_a_figure_off_the_scale_is_drawn_nevertheless(ratio: float) -> None:
    assert "<rect" in picture(figures_of(whole(figure("P8", ratio))))


def test_every_goal_that_is_missed_has_a_sentence_on_what_holds_it_back() -> None:
    said = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    missed = [name for name, one in figures_of(kept()).items() if one["met"] is False]
    assert [name for name in missed if f"- **{name}**" not in said] == []


def test_every_figure_that_the_page_explains_is_measured() -> None:
    _, _, said = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8").partition("hangs on\n")
    assert said
    assert set(re.findall(r"^- \*\*(.+?)\*\*", said, re.MULTILINE)) <= figures_of(kept()).keys()


def test_all_goals_are_among_the_figures() -> None:
    assert FILE.exists()
    goals = [name for name, one in figures_of(kept()).items() if one["goal"] is not None]
    assert {"P1", "P2", "P3", "P4", "P5", "P5b", "P6", "P7", "P8"} <= set(goals)
