"""What the pages show of agreement and of a reward model, in the form that templates want."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from annotate.models import Project
from rewards.charts import IntervalChart, Reference
from rewards.models import GateReport, RewardModelVersion
from rewards.templatetags.figures import interval_of

Figures = Mapping[str, Any]


def agreement_chart(figures: Figures, gate: GateReport) -> IntervalChart:
    """Alpha of all prompts and of every topic that has one, beside the gate's threshold."""
    topics = [
        interval_of(topic["alpha"], topic["topic"])
        for topic in figures["topics"]
        if topic["alpha"]["value"] is not None
    ]
    references = [
        Reference(_("chance"), 0.0),
        Reference(_("gate"), gate.report["settings"]["threshold"]),
    ]
    everything = interval_of(figures["alpha"], _("All prompts"))
    return IntervalChart(_("Agreement, alpha"), [everything, *topics], references=references)


def thin_topics(figures: Figures) -> list[Mapping[str, Any]]:
    """The topics on which too few prompts were judged by two people."""
    return [topic for topic in figures["topics"] if topic["alpha"]["value"] is None]


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
    ]
    return [measure for measure in found if measure.estimate["value"] is not None]


@dataclass(frozen=True)
class Person:
    """An annotator's line; `member_id` is None for one who is not in the project any more."""

    pseudonym: str
    member_id: int | None
    n_prompts: int
    agreement: Mapping[str, Any]


def annotators(figures: Figures) -> list[Mapping[str, Any]]:
    """What was found of each annotator, who judged most first."""
    return sorted(figures["annotators"], key=lambda one: (-one["n_prompts"], one["annotator"]))


def people(project: Project, found: Iterable[Mapping[str, Any]]) -> list[Person]:
    """The lines of these annotators."""
    found = list(found)
    named = project.memberships.filter(pseudonym__in=[one["annotator"] for one in found])
    members = dict(named.values_list("pseudonym", "pk"))
    return [
        Person(
            pseudonym=one["annotator"],
            member_id=members.get(one["annotator"]),
            n_prompts=one["n_prompts"],
            agreement=one["agreement"],
        )
        for one in found
    ]


def peer_chance(figures: Figures) -> float | None:
    """How far somebody who chooses at random agrees with his peers; the same for everybody."""
    known = (one["agreement"]["chance"] for one in figures["annotators"])
    return next((chance for chance in known if chance is not None), None)


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
