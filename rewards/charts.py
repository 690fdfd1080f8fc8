"""Charts as plain geometry: where lines, dots, ticks and labels go, for the templates in plots/.

Coordinates count from the top left corner in units of the viewBox, which is as wide as a phone, so
that text keeps its size there. They are strings, because a template would write a float with the
decimal comma of some languages, and SVG reads none. A value that is missing or not finite is a gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from django.utils.formats import get_format
from django.utils.translation import get_language_bidi, gettext

WIDTH = 360
PLOT_HEIGHT = 150  # of a line chart, between its axes
ROW_HEIGHT = 44  # of an interval chart: a line of words over a line of drawing
LABEL_HEIGHT = 14
CHARACTER_WIDTH = 6.4  # of the labels, measured generously
WHISKER_STEP = 3  # between the intervals of two lines at the same x
MOST_POINTS = 300  # that a line draws; more would lie on top of each other
MOST_TABLE_ROWS = 60


@dataclass(frozen=True)
class Series:
    """One line, at most five in a chart: x and y of each point, in the order of x.

    A y of None or NaN is a gap. `bounds` are x, low and high of the intervals that are drawn.
    """

    label: str
    points: Sequence[tuple[float, float | None]]
    bounds: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Reference:
    """A value to compare with, such as chance, drawn as a thin line with its name."""

    label: str
    value: float | None


@dataclass(frozen=True)
class Interval:
    """One estimate, its interval and the number of units it rests on; None where not measured."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class LineChart:
    title: str
    series: Sequence[Series]
    x_label: str = field(default_factory=lambda: gettext("step"))
    references: Sequence[Reference] = ()
    percent: bool = False


@dataclass(frozen=True)
class IntervalChart:
    title: str
    intervals: Sequence[Interval]
    references: Sequence[Reference] = ()
    percent: bool = False


@dataclass(frozen=True)
class Mark:
    """Something that happened: a letter in the chart, and what it stands for in the table."""

    letter: str
    text: str


@dataclass(frozen=True)
class Window:
    """One stretch of time: its estimate, labelled by when it began, and what happened in it."""

    estimate: Interval
    ends: str
    marks: Sequence[Mark] = ()


@dataclass(frozen=True)
class WindowChart:
    """An estimate over time, in windows that are drawn equally wide."""

    title: str
    windows: Sequence[Window]
    references: Sequence[Reference] = ()


def finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def at(value: float) -> str:
    """A coordinate as SVG reads it, to a tenth of a unit."""
    return f"{value:.1f}"


def local(text: str) -> str:
    """A number as the page's language writes it, its minus sign as wide as a digit.

    Where words run from right to left, a mark keeps the sign on the left of its number.
    """
    marks = {
        ",": get_format("THOUSAND_SEPARATOR"),
        ".": get_format("DECIMAL_SEPARATOR"),
        "-": "\u200e−" if get_language_bidi() else "−",
    }
    return text.translate(str.maketrans(marks))


def nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that crosses `span` in at most `most` steps."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= most + 1e-9)


def ticks_around(values: Sequence[float], percent: bool = False, most: int = 4) -> list[float]:
    """Round numbers at equal distances, the first at or below all values, the last above.

    Shares between 0 and 1 get no ticks beyond those two.
    """
    low, high = min(values), max(values)
    shares = percent and low >= 0 and high <= 1
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-6):  # one value: give it room on both sides
        room = 0.1 if percent else abs(low) / 2 or 1.0
        low, high = low - room, high + room
    step = nice_step(high - low, most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [i * step for i in range(first, last + 1)]
    return [tick for tick in ticks if -1e-9 < tick < 1 + 1e-9] if shares else ticks


def ticks_between(low: float, high: float, most: int = 5) -> list[float]:
    """Round whole numbers from `low` to `high`; a lone `low` where there is no way between."""
    if high <= low:
        return [low]
    step = max(1.0, nice_step(high - low, most))
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def written(values: Sequence[float], percent: bool = False) -> list[str]:
    """Tick labels with as many decimals as their distance asks for: 0.25, 40 %, 15k, 5e-6."""
    step = values[1] - values[0] if len(values) > 1 else abs(values[0]) or 1.0
    scale, unit = (100.0, " %") if percent else (1.0, "")
    largest = max(abs(value) for value in values)
    if not percent and largest >= 10_000:
        scale, unit = (1e-6, "M") if largest >= 1e6 else (1e-3, "k")
    elif not percent and 0 < largest < 1e-3:
        return [local(f"{value:.0e}".replace("e-0", "e-")) if value else "0" for value in values]
    decimals = max(0, -math.floor(math.log10(step * scale) + 1e-9))
    names = (local(f"{value * scale + 0.0:.{decimals}f}") for value in values)
    return [
        name + unit if value or percent else name for name, value in zip(names, values, strict=True)
    ]


def readable(value: float | None, percent: bool = False) -> str:
    """A figure for people: 71.3 %, 0.412, 1,204; a dash where there is none."""
    if not finite(value):
        return "–"
    if percent:
        return local(f"{value * 100:.1f} %")
    if value == int(value) and abs(value) < 1e9 or abs(value) >= 100:
        return local(f"{value:,.0f}")
    return local(f"{value:.3g}")


def thinned(
    points: Sequence[tuple[float, float | None]], most: int = MOST_POINTS
) -> list[tuple[float, float | None]]:
    """At most `most` points: the lowest and the highest of each stretch, so that spikes stay."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / (most // 2))
    kept: list[tuple[float, float | None]] = []
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        known = [(y, i) for i in stretch if finite(y := points[i][1])]
        ends = {min(known)[1], max(known)[1]} if known else {start}
        kept += [points[i] for i in sorted(ends)]
    return kept


def spread(wanted: Sequence[float], gap: float, lowest: float) -> list[float]:
    """Positions near the wanted ones, in the same order, `gap` apart, none beyond `lowest`."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = list(wanted)
    for before, after in zip(order, order[1:], strict=False):
        places[after] = max(places[after], places[before] + gap)
    limit = lowest
    for i in reversed(order):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    return places


def strokes(pixels: Iterable[tuple[float, float] | None]) -> tuple[str, list[dict[str, str]]]:
    """A path through the points, broken at each None, and the points that stand alone."""
    stretches: list[list[tuple[float, float]]] = [[]]
    for pixel in pixels:
        if pixel is not None:
            stretches[-1].append(pixel)
        elif stretches[-1]:
            stretches.append([])
    lines = [stretch for stretch in stretches if len(stretch) > 1]
    path = " ".join("M" + " L".join(f"{at(x)} {at(y)}" for x, y in line) for line in lines)
    alone = [stretch[0] for stretch in stretches if len(stretch) == 1]
    return path, [{"x": at(x), "y": at(y)} for x, y in alone]


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on the stretch from `start` to `end` of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + (self.end - self.start) * share


def draw_lines(chart: LineChart) -> dict[str, Any]:
    """What plots/_line_chart.html needs; `lines` is empty where there is no point to draw."""
    series = [s for s in chart.series if any(finite(y) for _, y in s.points)]
    if not series:
        return {"chart": chart, "lines": []}
    xs = [x for s in series for x, y in s.points if finite(y)]
    ys = [y for s in series for _, y in s.points if finite(y)]
    ys += [end for s in series for _, *ends in s.bounds for end in ends]
    near, far = by_distance(chart.references, min(ys), max(ys))
    y_ticks = ticks_around(ys + [value for _, value in near], chart.percent)
    y_names = written(y_ticks, chart.percent)
    x_ticks = ticks_between(min(xs), max(xs))
    names = max(len(s.label) for s in series) if len(series) > 1 else 0
    top, bottom = 10, 10 + PLOT_HEIGHT
    left = 8 + CHARACTER_WIDTH * max(map(len, y_names))
    right = WIDTH - 10 - CHARACTER_WIDTH * names
    to_x = Scale(min(xs), max(xs), left, right)
    to_y = Scale(y_ticks[0], y_ticks[-1], bottom, top)
    return {
        "chart": chart,
        "lines": draw_series(series, to_x, to_y),
        "labelled": len(series) > 1,
        "references": [
            {"label": label, "y": at(to_y(value)), "text_y": at(to_y(value) - 4)}
            for label, value in near
        ],
        "beyond": [f"{label} {readable(value, chart.percent)}" for label, value in far],
        "y_ticks": [
            {"text": text, "y": at(to_y(value)), "text_y": at(to_y(value) + 4)}
            for value, text in zip(y_ticks, y_names, strict=True)
        ],
        "x_ticks": [
            {"text": text, "x": at(to_x(value))}
            for value, text in zip(x_ticks, written(x_ticks), strict=True)
        ],
        "left": at(left),
        "right": at(right),
        "middle": at((left + right) / 2),
        "tick_end": at(left - 5),
        "label_x": at(right + 7),
        "x_names_y": at(bottom + 16),
        "x_label_y": at(bottom + 31),
        "width": str(WIDTH),
        "height": str(bottom + 36),
        "description": "; ".join(described(s, chart) for s in series),
        "table": table(chart),
    }


def by_distance(
    references: Sequence[Reference], low: float, high: float
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """The references worth drawing, and those so far off that the curve would be squeezed flat."""
    room = max(high - low, abs(high) / 2)
    known = [(r.label, r.value) for r in references if finite(r.value)]
    near = [mark for mark in known if low - room <= mark[1] <= high + room]
    return near, [mark for mark in known if mark not in near]


def draw_series(series: Sequence[Series], to_x: Scale, to_y: Scale) -> list[dict[str, Any]]:
    """Each line's path, its lone points, and where its name stands beside its end."""
    lines = []
    ends = []
    for number, one in enumerate(series, start=1):
        pixels = [(to_x(x), to_y(y)) if finite(y) else None for x, y in thinned(one.points)]
        path, dots = strokes(pixels)
        ends.append([pixel[1] for pixel in pixels if pixel][-1])
        # Side by side, so that the intervals of two lines at the same x can be told apart.
        aside = WHISKER_STEP * (number - (len(series) + 1) / 2)
        whiskers = " ".join(whisker(to_x(x) + aside, to_y(a), to_y(b)) for x, a, b in one.bounds)
        lines.append(
            {
                "number": str(number),
                "label": one.label,
                "path": path,
                "dots": dots,
                "whiskers": whiskers,
            }
        )
    for line, y in zip(lines, spread(ends, LABEL_HEIGHT, to_y.start), strict=True):
        line["label_y"] = at(y + 4)
    return lines


def whisker(x: float, low: float, high: float) -> str:
    """An upright interval with a cap at each end, as a path."""
    caps = " ".join(f"M{at(x - 2)} {at(y)} L{at(x + 2)} {at(y)}" for y in (low, high))
    return f"M{at(x)} {at(low)} L{at(x)} {at(high)} {caps}"


def described(series: Series, chart: LineChart) -> str:
    """The line in words: how it begins and ends, and its extremes."""
    known = [(x, y) for x, y in series.points if finite(y)]
    (first_x, first), (last_x, last) = known[0], known[-1]
    lowest, highest = min(y for _, y in known), max(y for _, y in known)

    def number(y: float) -> str:
        return readable(y, chart.percent)

    named = {"line": series.label, "x_label": chart.x_label}
    begins = {"first": number(first), "first_x": readable(first_x)}
    if len(known) == 1:
        return gettext("%(line)s: %(first)s at %(x_label)s %(first_x)s") % (named | begins)
    ends = {"last": number(last), "last_x": readable(last_x)}
    extremes = {"lowest": number(lowest), "highest": number(highest)}
    return gettext(
        "%(line)s: from %(first)s at %(x_label)s %(first_x)s to %(last)s at %(last_x)s, "
        "between %(lowest)s and %(highest)s"
    ) % (named | begins | ends | extremes)


def table(chart: LineChart) -> dict[str, Any]:
    """The numbers behind a line chart, at most MOST_TABLE_ROWS of them, evenly chosen."""
    columns = [dict(s.points) for s in chart.series]
    xs = sorted({x for column in columns for x in column})
    every = math.ceil(len(xs) / MOST_TABLE_ROWS)
    shown = xs[::every] if xs[-1] in xs[::every] else [*xs[::every], xs[-1]]
    return {
        "head": [chart.x_label, *(s.label for s in chart.series)],
        "rows": [
            [readable(x), *(readable(column.get(x), chart.percent) for column in columns)]
            for x in shown
        ],
        "every": every,
    }


def draw_intervals(chart: IntervalChart) -> dict[str, Any]:
    """What plots/_interval_chart.html needs; `rows` is empty where nothing was measured."""
    known = [one for one in chart.intervals if finite(one.value)]
    if not known:
        return {"chart": chart, "rows": []}
    references = [(r.label, r.value) for r in chart.references if finite(r.value)]
    values = [v for one in known for v in (one.value, one.low, one.high) if finite(v)]
    ticks = ticks_around(values + [value for _, value in references], chart.percent)
    to_x = Scale(ticks[0], ticks[-1], 18, WIDTH - 18)
    marks, top = place_references([(label, to_x(value)) for label, value in references])
    bottom = top + ROW_HEIGHT * len(chart.intervals)
    return {
        "chart": chart,
        "rows": [
            draw_interval(one, to_x, top + ROW_HEIGHT * number + 30, chart.percent)
            for number, one in enumerate(chart.intervals)
        ],
        "references": marks,
        "ticks": [
            {"text": text, "x": at(to_x(value))}
            for value, text in zip(ticks, written(ticks, chart.percent), strict=True)
        ],
        "top": str(top),
        "bottom": str(bottom),
        "names_y": str(bottom + 16),
        "width": str(WIDTH),
        "height": str(bottom + 22),
        "description": "; ".join(
            [f"{one.label}: {in_words(one, chart.percent)}" for one in chart.intervals]
            + [f"{label}: {readable(value, chart.percent)}" for label, value in references]
        ),
    }


def draw_interval(one: Interval, to_x: Scale, y: float, percent: bool) -> dict[str, str]:
    """A row's words and, where it was measured, its dot at height `y` and its whisker.

    No line of the chart goes through the words: from `words_y` on they stand on a ground of theirs.
    """
    row = {"label": one.label, "text": in_words(one, percent), "text_y": at(y - 13), "y": at(y)}
    row["words_y"] = at(y - 25)
    if finite(one.value):
        row["x"] = at(to_x(one.value))
        if finite(one.low) and finite(one.high):
            low, high = at(to_x(one.low)), at(to_x(one.high))
            caps = " ".join(f"M{x} {at(y - 5)} L{x} {at(y + 5)}" for x in (low, high))
            row["whisker"] = f"M{low} {at(y)} L{high} {at(y)} {caps}"
    return row


def draw_windows(chart: WindowChart) -> dict[str, Any]:
    """What plots/_window_chart.html needs; `windows` is empty where nothing was measured."""
    known = [one.estimate for one in chart.windows if finite(one.estimate.value)]
    if not known:
        return {"chart": chart, "windows": []}
    values = [v for one in known for v in (one.value, one.low, one.high) if finite(v)]
    near, far = by_distance(chart.references, min(values), max(values))
    ticks = ticks_around(values + [value for _, value in near])
    names = written(ticks)
    top, bottom = 10 + LABEL_HEIGHT, 10 + LABEL_HEIGHT + PLOT_HEIGHT
    left = 8 + CHARACTER_WIDTH * max(map(len, names))
    wide = (WIDTH - 10 - left) / len(chart.windows)
    to_y = Scale(ticks[0], ticks[-1], bottom, top)
    middles = [left + wide * (place + 0.5) for place in range(len(chart.windows))]
    dots = [
        (x, to_y(one.estimate.value)) if finite(one.estimate.value) else None
        for x, one in zip(middles, chart.windows, strict=True)
    ]
    return {
        "chart": chart,
        "path": strokes(dots)[0],
        "windows": [
            draw_window(one, x, dot, to_y)
            for one, x, dot in zip(chart.windows, middles, dots, strict=True)
        ],
        "references": [
            {"label": label, "y": at(to_y(value)), "text_y": at(to_y(value) - 4)}
            for label, value in near
        ],
        "beyond": [f"{label} {readable(value)}" for label, value in far],
        "ticks": [
            {"text": text, "y": at(to_y(value)), "text_y": at(to_y(value) + 4)}
            for value, text in zip(ticks, names, strict=True)
        ],
        "left": at(left),
        "right": str(WIDTH - 10),
        "tick_end": at(left - 5),
        "marks_y": str(LABEL_HEIGHT),
        "marks_end": str(top),
        "bottom": str(bottom),
        "names_y": str(bottom + 16),
        "first": chart.windows[0].estimate.label,
        "last": chart.windows[-1].ends,
        "width": str(WIDTH),
        "height": str(bottom + 22),
        "description": "; ".join(
            f"{one.estimate.label}: {in_words(one.estimate)}" for one in chart.windows
        ),
    }


def draw_window(
    window: Window, x: float, dot: tuple[float, float] | None, to_y: Scale
) -> dict[str, Any]:
    """A window's dot with its whisker, and its letters, which stand above it."""
    one = window.estimate
    drawn = {
        "x": at(x),
        "letters": "".join(dict.fromkeys(mark.letter for mark in window.marks)),
        "words": in_words(one),
        "window": window,
    }
    if dot:
        drawn["y"] = at(dot[1])
        if finite(one.low) and finite(one.high):
            low, high = at(to_y(one.low)), at(to_y(one.high))
            caps = " ".join(f"M{at(x - 4)} {y} L{at(x + 4)} {y}" for y in (low, high))
            drawn["whisker"] = f"M{at(x)} {low} L{at(x)} {high} {caps}"
    return drawn


def place_references(marks: Sequence[tuple[str, float]]) -> tuple[list[dict[str, str]], int]:
    """Names above the reference lines, in as many rows as keep them from overlapping.

    Takes each label with its x; returns what to draw and the height that the names take up.
    """
    ends: list[float] = []  # where the last name of each row ends, the row nearest the plot first
    placed = []
    for label, x in sorted(marks, key=lambda mark: mark[1]):
        half = CHARACTER_WIDTH * len(label) / 2
        middle = min(max(x, half + 2), WIDTH - half - 2)
        row = next((i for i, end in enumerate(ends) if end < middle - half), len(ends))
        ends[row : row + 1] = [middle + half + 6]
        placed.append((label, x, middle, row))
    height = LABEL_HEIGHT * len(ends)
    drawn = [
        {
            "label": label,
            "x": at(x),
            "text_x": at(middle),
            "text_y": at(height - LABEL_HEIGHT * row - 4),
            "line_top": at(height - LABEL_HEIGHT * row - 2),
        }
        for label, x, middle, row in placed
    ]
    return drawn, height


def in_words(one: Interval, percent: bool = False) -> str:
    """0.41 [0.33, 0.48], n = 96; 71.3 % [66.0, 76.0], n = 212"""
    value, interval = value_words(one, percent), interval_words(one, percent)
    if value is None:
        return gettext("not measured yet")
    return f"{value} {interval}" if interval else value


def value_words(one: Interval, percent: bool = False) -> str | None:
    """The value alone, as in_words has it; None where it was not measured."""
    return _in_figures(one.value, one, percent) if finite(one.value) else None


def interval_words(one: Interval, percent: bool = False) -> str:
    """[0.33, 0.48], n = 96"""
    words = []
    if finite(one.low) and finite(one.high):
        low, high = (_in_figures(end, one, percent) for end in (one.low, one.high))
        interval = gettext("[%(low)s, %(high)s]") % {"low": low, "high": high}
        words.append(interval.replace(" %", ""))
    if one.n is not None:
        words.append(f"n = {local(f'{one.n:,}')}")
    return ", ".join(words)


def _in_figures(number: float, one: Interval, percent: bool) -> str:
    """A number of an estimate, with as many decimals as the width of its interval is worth."""
    width = one.high - one.low if finite(one.low) and finite(one.high) else 0.0
    if percent or width <= 0:
        return readable(number, percent)
    decimals = max(0, 1 - math.floor(math.log10(width)))
    return local(f"{number + 0.0:,.{decimals}f}")
