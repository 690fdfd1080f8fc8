"""What the pages show of agreement and of a reward model, in the form that templates want."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.formats import date_format
from django.utils.translation import get_language_info, pgettext
from django.utils.translation import gettext as _

from annotate.models import base_language
from rewards.charts import Interval, IntervalChart, Mark, Reference, Window, WindowChart
from rewards.models import GateReport, RewardModelVersion
from rewards.services.sums import Happening
from rewards.templatetags.figures import interval_of

Figures = Mapping[str, Any]
MOST_NAMES = 4  # of what happened in one window


def agreement_chart(
    figures: Figures, gate: GateReport, two_way: Mapping[str, float] | None
) -> IntervalChart:
    """Alpha of these people, of others in their place, and of each with himself."""
    alpha = figures["alpha"]
    intervals = [interval_of(alpha, _("These people"))]
    if two_way:
        other = _("If other people had done it")
        intervals.append(Interval(other, alpha["value"], two_way["low"], two_way["high"]))
    repeats = figures.get("repeats")
    if repeats and repeats["alpha"]["value"] is not None:
        intervals.append(interval_of(repeats["alpha"], _("The same people, asked again")))
    references = [
        Reference(_("chance"), 0.0),
        Reference(_("gate"), gate.report["settings"]["threshold"]),
    ]
    return IntervalChart(_("Agreement, alpha"), intervals, references=references)


def slice_chart(figures: Figures, what: str, title: str) -> IntervalChart | None:
    """The slices with enough prompts, pooled where there are several; None where none has."""
    judged = [one for one in figures.get(f"{what}s", []) if one["alpha"]["value"] is not None]
    if not judged:
        return None
    everything = Reference(_("all prompts"), figures["alpha"]["value"])
    intervals = [
        interval_of(one.get("pooled") or one["alpha"], what_is_called(one, what)) for one in judged
    ]
    return IntervalChart(title, intervals, references=[Reference(_("chance"), 0.0), everything])


def what_is_called(one: Figures, what: str) -> str:
    """The slice's name; of a language its own name, where it is known by one."""
    name: str = one[what]
    if what == "language":
        try:
            return str(get_language_info(base_language(name))["name_translated"])
        except KeyError:
            return name
    return name


@dataclass(frozen=True)
class Slice:
    """A topic's or a language's line."""

    name: str
    n_prompts: int
    share: float
    alpha: Mapping[str, Any]
    pooled: Mapping[str, Any] | None
    is_low: bool  # large, and surely below the floor


def slice_rows(figures: Figures, what: str, floor: float, traffic: float) -> list[Slice]:
    """The lines of all slices that are known; `floor` and `traffic` are those of the gate."""
    rows = []
    for one in figures.get(f"{what}s", []):
        # Reports of the first version had neither shares nor pooled alphas.
        share = one.get("share", one["n_prompts"] / figures["n_prompts"])
        high = (one.get("pooled") or one["alpha"])["high"]
        rows.append(
            Slice(
                name=what_is_called(one, what),
                n_prompts=one["n_prompts"],
                share=share,
                alpha=one["alpha"],
                pooled=one.get("pooled"),
                is_low=high is not None and high < floor and share >= traffic,
            )
        )
    return rows


def window_chart(figures: Figures, happened: Sequence[Happening]) -> WindowChart:
    """Alpha over time with what changed in each window."""
    windows = figures.get("windows", [])
    starts = [window["first"] for window in windows[1:]]
    days = {_when(windows[at][name], "DATE_FORMAT") for at, name in ((0, "first"), (-1, "last"))}
    how = "DATE_FORMAT" if len(days) > 1 else "TIME_FORMAT"
    by_window: dict[int, list[Happening]] = defaultdict(list)
    for one in happened:
        by_window[bisect_right(starts, one.at.timestamp())].append(one)
    return WindowChart(
        _("Agreement over time, alpha"),
        [
            Window(
                interval_of(window["alpha"], _when(window["first"], how)),
                _when(window["last"], how),
                marks(by_window[place]),
            )
            for place, window in enumerate(windows)
        ],
        references=[Reference(_("chance"), 0.0)],
    )


def marks(happened: Sequence[Happening]) -> list[Mark]:
    """At most one of each kind, with the letters that the page explains."""
    kinds = {
        "guidelines": (pgettext("letter for guidelines", "G"), _("Guidelines, version %(names)s")),
        "people": (pgettext("letter for people", "P"), _("New: %(names)s")),
        "responses": (pgettext("letter for responses", "R"), _("Responses from %(names)s")),
    }
    found = []
    for kind, (letter, text) in kinds.items():
        names = [one.name for one in happened if one.kind == kind]
        if names:
            found.append(Mark(letter, text % {"names": _some(names)}))
    return found


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    if len(names) <= MOST_NAMES:
        return shown
    return _("%(names)s and %(n)d more") % {"names": shown, "n": len(names) - MOST_NAMES}


def _when(seconds: float, how: str) -> str:
    return date_format(datetime.fromtimestamp(seconds, UTC), how)


@dataclass(frozen=True)
class Measure:
    """One line of the table of measures."""

    name: str
    hint: str
    estimate: Mapping[str, Any]
    is_share: bool = True


def measures(figures: Figures) -> list[Measure]:
    """The figures beside alpha, which papers report and people ask for; those that are known."""
    found = [
        Measure(
            _("Same order, ties counted"),
            _("two people say the same of two responses: one better, or a tie"),
            figures["agreement_with_ties"],
        ),
        Measure(
            _("Same order, without ties"),
            _("of the pairs on which neither of two people tied"),
            figures["agreement_without_ties"],
        ),
        Measure(_("Same best response"), _("ties share it"), figures["top_1"]),
        Measure(
            _("Rank correlation"),
            _("Kendall's tau-b, mean over prompts"),
            figures["tau_b"],
            is_share=False,
        ),
        Measure(
            _("Gwet's AC2"),
            _("another correction for chance, a tie being half a win"),
            figures.get("gwet", {"value": None}),
            is_share=False,
        ),
    ]
    return [measure for measure in found if measure.estimate["value"] is not None]


def accuracy_chart(version: RewardModelVersion) -> IntervalChart:
    """How often the model prefers what people preferred, beside simpler ways to tell."""
    ways = {
        "accuracy": _("This model"),
        "human_accuracy": _("Another person"),
        "longest_wins_accuracy": _("The longer response"),
        "tfidf_accuracy": _("A linear model of words"),
        "accuracy_where_shorter_won": _("This model, where the shorter won"),
    }
    intervals = [
        interval_of(version.metrics[name], label)
        for name, label in ways.items()
        if name in version.metrics
    ]
    chance = Reference(_("chance"), version.metrics.get("chance", 0.5))
    return IntervalChart(_("Right on held-out pairs"), intervals, references=[chance], percent=True)
