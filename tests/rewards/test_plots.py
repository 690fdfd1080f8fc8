"""Charts show the numbers they are given, and survive the numbers that training really produces."""

import math
import re
from xml.etree import ElementTree

import pytest
from django.template import Context, Template
from django.utils import translation

from rewards import charts
from rewards.charts import Interval, IntervalChart, LineChart, Reference, Series


def rendered(chart):
    tag = "line_chart" if isinstance(chart, LineChart) else "interval_chart"
    return Template("{% load plots %}{% " + tag + " chart %}").render(Context({"chart": chart}))


def drawing(html):
    """The parsed svg element; fails when it is no well-formed XML."""
    return ElementTree.fromstring(re.search(r"<svg.*?</svg>", html, re.DOTALL)[0])


def coordinates(path):
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", path)]


def path_of(html, series=1):
    groups = [g for g in drawing(html).iter("g") if f"plot-{series}" in g.get("class").split()]
    return groups[0].find("path").get("d")


def test_a_higher_value_is_drawn_higher_and_a_later_step_further_right():
    first, second, third = coordinates(
        path_of(rendered(LineChart("Reward", [Series("reward", [(0, 1.0), (10, 3.0), (20, 2.0)])])))
    )
    assert first[0] < second[0] < third[0]
    assert second[1] < third[1] < first[1]
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.11)
    assert first[1] - second[1] == pytest.approx(2 * (third[1] - second[1]), abs=0.31)


def test_missing_and_infinite_values_leave_a_gap_and_a_lone_point_a_dot():
    points = [(0, 1.0), (1, 2.0), (2, None), (3, 1.5), (4, math.nan), (5, 2.0), (6, 1.0)]
    html = rendered(LineChart("Loss", [Series("loss", points), Series("b", [(2, math.inf)])]))
    assert path_of(html).count("M") == 2
    assert len(list(drawing(html).iter("circle"))) == 1
    assert "nan" not in html and "inf" not in html and "None" not in html


@pytest.mark.parametrize(
    "points",
    [
        [(3, 0.71)],
        [(0, 5.0), (1, 5.0)],
        [(0, 0.0), (1, 0.0)],
        [(0, -1e-7), (1, 1e-7)],
        [(0, 1e9), (1, 3e9)],
        [(0, -4.0), (0.5, -4.0000001)],
        [(i, math.sin(i) * 10) for i in range(5000)],
    ],
)
def test_awkward_but_possible_numbers_stay_inside_the_drawing(points):
    svg = drawing(rendered(LineChart("Curve", [Series("curve", points)])))
    width, height = (float(n) for n in svg.get("viewBox").split()[2:])
    places = [(float(e.get(a)), float(e.get(b))) for tag, a, b in
              (("circle", "cx", "cy"), ("line", "x1", "y1"), ("line", "x2", "y2"))
              for e in svg.iter(tag)]  # fmt: skip
    places += [place for e in svg.iter("path") for place in coordinates(e.get("d"))]
    assert places
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)


def test_nothing_measured_is_said_and_not_drawn():
    for chart in (
        LineChart("Reward", []),
        LineChart("Reward", [Series("reward", [])]),
        LineChart("Reward", [Series("reward", [(1, None)])]),
        IntervalChart("Accuracy", []),
        IntervalChart("Accuracy", [Interval("Reward model", None)]),
    ):
        html = rendered(chart)
        assert "Not measured yet" in html
        assert "<svg" not in html


def test_a_spike_survives_thinning():
    points = [(i, 0.0) for i in range(20_000)]
    points[12_345] = (12_345, 9.0)
    kept = charts.thinned(points)
    assert (12_345, 9.0) in kept
    assert len(kept) <= charts.MOST_POINTS
    assert kept == sorted(kept)


def test_ticks_are_round_and_enclose_the_data():
    assert charts.ticks_around([0.13, 0.48]) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert charts.ticks_around([-7, 12]) == [-10, -5, 0, 5, 10, 15]
    assert charts.ticks_around([0.93, 1.0], percent=True)[-1] == pytest.approx(1.0)
    assert charts.ticks_between(0, 39) == [0, 10, 20, 30]
    assert charts.ticks_between(1, 3) == [1, 2, 3]
    assert charts.ticks_between(7, 7) == [7]


def test_tick_names_have_as_many_decimals_as_they_need():
    assert charts.written([0.2, 0.25, 0.3]) == ["0.20", "0.25", "0.30"]
    assert charts.written([0.4, 0.6], percent=True) == ["40 %", "60 %"]
    assert charts.written([-0.5, 0.0]) == ["−0.5", "0.0"]
    assert charts.written([0, 5000, 10000]) == ["0", "5k", "10k"]
    assert charts.written([0, 5e-6, 1e-5]) == ["0", "5e−6", "1e−5"]


def test_figures_are_written_for_people():
    assert charts.readable(0.7134, percent=True) == "71.3 %"
    assert charts.readable(0.41234) == "0.412"
    assert charts.readable(-0.5) == "−0.5"
    assert charts.readable(1204.0) == "1,204"
    assert charts.readable(None) == charts.readable(math.nan) == "–"


def test_an_estimate_has_the_decimals_that_its_interval_is_worth():
    assert charts.in_words(Interval("", 0.41238, 0.3312, 0.4817, 96)) == "0.41 [0.33, 0.48], n = 96"
    assert charts.in_words(Interval("", 0.0, -0.118, 0.1215)) == "0.00 [−0.12, 0.12]"
    assert charts.in_words(Interval("", 0.41238, 0.4052, 0.4191)) == "0.412 [0.405, 0.419]"
    assert charts.in_words(Interval("", 1204.3, 1010.2, 1398.0)) == "1,204 [1,010, 1,398]"
    assert charts.in_words(Interval("", 0.7, 0.65, 0.75, 212), percent=True) == (
        "70.0 % [65.0, 75.0], n = 212"
    )
    assert charts.in_words(Interval("", 0.5, 0.5, 0.5)) == "0.5 [0.5, 0.5]"
    assert charts.in_words(Interval("", math.nan, 0.1, 0.2)) == "not measured yet"


def test_lines_are_told_apart_without_colour():
    """Each has its name at its end; names of lines that end together do not overlap."""
    chart = LineChart("KL", [Series("to reference", [(0, 0.0), (9, 2.0)]),
                             Series("to parent", [(0, 0.0), (9, 2.001)]),
                             Series("budget left", [(0, 0.0), (9, 1.999)])])  # fmt: skip
    svg = drawing(rendered(chart))
    names = {t.text: float(t.get("y")) for g in svg.iter("g") for t in g.iter("text")}
    assert set(names) == {"to reference", "to parent", "budget left"}
    heights = sorted(names.values())
    assert all(b - a >= 12 for a, b in zip(heights, heights[1:], strict=False))
    assert len({g.get("class") for g in svg.iter("g")}) == 3


def test_a_line_chart_has_a_name_a_description_and_its_numbers():
    html = rendered(
        LineChart(
            "Reward", [Series("reward", [(1, -0.25), (2, 0.5), (3, 0.125)])], x_label="update"
        )
    )
    svg = drawing(html)
    assert svg.get("role") == "img"
    assert svg.find("title").text == "Reward"
    assert svg.find("desc").text == (
        "reward: from −0.25 at update 1 to 0.125 at 3, between −0.25 and 0.5"
    )
    assert re.findall(r"<td>(.*?)</td>", html) == ["1", "−0.25", "2", "0.5", "3", "0.125"]


def test_long_tables_are_cut_down_and_say_so():
    html = rendered(LineChart("Loss", [Series("loss", [(i, float(i)) for i in range(1000)])]))
    assert html.count("<tr>") < 70
    assert "<td>999</td>" in html
    assert "Every 17th row" in html


def test_an_interval_lies_between_its_ends_and_beside_its_references():
    html = rendered(
        IntervalChart(
            "Accuracy",
            [Interval("Reward model", 0.7, 0.65, 0.75, n=212), Interval("People", None)],
            [Reference("chance", 0.5), Reference("longest wins", 0.72), Reference("none", None)],
            percent=True,
        )
    )
    svg = drawing(html)
    dot = float(next(svg.iter("circle")).get("cx"))
    low, high, *_ = coordinates(next(svg.iter("path")).get("d"))
    assert low[0] < dot < high[0]
    chance, longest = (float(e.get("x1")) for e in svg.iter("line")
                       if e.get("class") == "plot-reference")  # fmt: skip
    assert chance < low[0] and dot < longest < high[0]
    assert "70.0 % [65.0, 75.0], n = 212" in html
    assert "not measured yet" in html


def test_names_of_neighbouring_references_stand_in_different_rows():
    marks, height = charts.place_references([("length rule", 200.0), ("human", 210.0)])
    assert len({mark["text_y"] for mark in marks}) == 2
    assert height == 2 * charts.LABEL_HEIGHT


def test_no_style_attribute_since_the_csp_forbids_it():
    html = rendered(LineChart("a", [Series("b", [(1, 1.0), (2, 2.0)])])) + rendered(
        IntervalChart("a", [Interval("b", 0.5, 0.4, 0.6)])
    )
    assert "style" not in html


def test_words_are_escaped():
    html = rendered(LineChart("<script>", [Series("<b>", [(1, 1.0)]), Series("c", [(1, 2.0)])]))
    assert "<script>" not in html and "<b>" not in html


def test_coordinates_are_the_same_in_a_language_with_a_decimal_comma():
    chart = LineChart("Reward", [Series("reward", [(0, 0.5), (10, 1.5)])])
    english = drawing(rendered(chart))
    with translation.override("de"):
        german = drawing(rendered(chart))
    assert [part.attrib for part in english.iter()] == [part.attrib for part in german.iter()]


def test_figures_are_written_as_the_language_writes_them():
    with translation.override("de"):
        assert charts.readable(1204.0) == "1.204"
        assert charts.written([-0.5, 0.0]) == ["−0,5", "0,0"]
        assert charts.in_words(Interval("", 0.0, -0.118, 0.1215)) == "0,00 [−0,12; 0,12]"
    with translation.override("ar"):  # the mark keeps the sign on the left of its number
        assert charts.readable(-0.5) == "\u200e−0,5"
