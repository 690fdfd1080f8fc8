"""How far a project's annotators agree: which rankings count, measured and kept.

Only prompts that were drawn at random may tell: the audited ones, and imported ones, about whose
choice nothing better is known. What people said is keyed by the ids of responses, so that neither
the order on screen nor which task showed them plays a part.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np
from django.db.models import Case, F, Q, QuerySet, Value, When

from annotate.models import Project, Ranking, RankingQuerySet, Task, content_hash
from rewards.ml.agreement import AnnotatorAgreement, Estimate, Report, report_of_sums
from rewards.ml.alpha import AlphaSums, Forecast, LeaveOneOut, alpha_sums
from rewards.ml.comparisons import compare, tabulate
from rewards.ml.drift import change
from rewards.ml.prompt_sums import sums_of
from rewards.ml.slices import slices
from rewards.ml.two_way import two_way_interval
from rewards.ml.version import code_version
from rewards.models import AgreementReport
from rewards.services.dataset import trainable

SEED = 0
MEASURED_EVERY = timedelta(minutes=10)
REPORTED = {column.name for column in fields(Report)}
ESTIMATES = ("alpha", "agreement_with_ties", "agreement_without_ties", "top_1", "tau_b", "gwet")

COUNTING = (Task.Kind.AUDIT, Task.Kind.IMPORT)

# Of one prompt: each annotator's rankings, as a rank by response id.
Said = dict[str, list[dict[str, int | None]]]


@dataclass(frozen=True)
class Item:
    """A prompt that counts, or one imported item of it, and what people said of it."""

    prompt_id: int
    prompt_hash: str
    item: str  # "", or the batch of an imported item
    topic: str
    language: str
    batch: str  # of the newest task
    judged_at: datetime  # when the newest judgement of it was first given
    first_judged: Mapping[str, datetime]  # by annotator
    said: Said
    criteria: Mapping[str, Sequence[Mapping[str, Mapping[str, int]]]]  # as `said`; may be empty


def measure(project: Project) -> AgreementReport:
    """The agreement as it is now; the report that exists where nothing has changed since.

    `figures` is rewards.ml.agreement.Report as JSON, and `topics`, as `named_slices` gives them,
    `change`, a rewards.ml.drift.Change or null, and `two_way`, {"low", "high"} of alpha for other
    people than these, or null. Annotators are named by their pseudonyms.
    """
    found = list(items(project))
    prompts = [(item.prompt_hash, item.topic, item.said) for item in found]
    facts = {"data_hash": content_hash(prompts), "seed": SEED, "code_version": code_version()}
    newest = newest_report(project)
    if (
        newest
        and all(getattr(newest, name) == value for name, value in facts.items())
        and not (newer_rankings(newest) or exclusions_changed(newest))  # which came to nothing
    ):
        return newest
    return AgreementReport.objects.create(project=project, figures=_figures(found), **facts)


def _figures(found: Sequence[Item]) -> dict[str, Any]:
    table = tabulate(item.said for item in found)
    comparisons = compare(table)
    alpha = alpha_sums(comparisons)
    when = np.array([item.judged_at.timestamp() for item in found])
    moved = change(alpha, when, SEED)
    figures = report_of_sums(sums_of(table, comparisons, alpha), SEED).as_dict()
    two_way = None
    if figures["state"] == "ok":
        two_way = two_way_interval(comparisons, seed=SEED)
    return {
        **figures,
        "topics": named_slices("topic", [item.topic for item in found], alpha),
        "change": asdict(moved) if moved else None,
        "two_way": dict(zip(("low", "high"), two_way, strict=True)) if two_way else None,
    }


def named_slices(what: str, names: Sequence[str], sums: AlphaSums) -> list[dict[str, Any]]:
    """Lists of {`what`: name, "n_prompts", "share", "alpha", "pooled"}, the largest first."""
    found = [asdict(one) for one in slices(names, sums, SEED)]
    return [{what: one.pop("name"), **one} for one in found]


def newest_report(project: Project) -> AgreementReport | None:
    return project.agreement_reports.order_by("-pk").first()


def is_due(project: Project, now: datetime) -> bool:
    """Whether the clock should measure: there is news, and the newest report is not quite new."""
    newest = newest_report(project)
    if newest is None:
        return trainable(project).exists()
    if newest.created_at > now - MEASURED_EVERY:
        return False
    return newer_rankings(newest) > 0 or exclusions_changed(newest)


def newer_rankings(report: AgreementReport) -> int:
    """How many rankings that may count have come since the report."""
    return counting(report.project).filter(created_at__gt=report.created_at).count()


def exclusions_changed(report: AgreementReport) -> bool:
    """Whether something was excluded, or taken in again, since the report."""
    since = Q(created_at__gt=report.created_at) | Q(lifted_at__gt=report.created_at)
    return report.project.exclusions.filter(since).exists()


def audited(project: Project) -> list[tuple[str, str, Said]]:
    """Content hash and topic of every prompt that counts, and what people said of it.

    Of an audited task as many rankings count as were planned, the first ones: whoever is asked
    beyond that is asked because of what the first said. A prompt's tasks are taken together, but
    imported items each stand for themselves, since their source drew them one by one: a prompt
    that came in several items is in the list several times.
    """
    return [(one.prompt_hash, one.topic, one.said) for one in items(project)]


def items(
    project: Project, prompts: Collection[int] | None = None, *, named: str = "pseudonym"
) -> Iterator[Item]:
    """What `audited` says, one by one; with `prompts`, of these alone.

    Annotators go by that column of their membership, as text.
    """
    rows = groupby(_rows(project, prompts, named), key=lambda row: (row["prompt"], row["item"]))
    for (prompt, item), of_prompt in rows:
        said: Said = defaultdict(list)
        criteria: dict[str, list[Mapping[str, Mapping[str, int]]]] = defaultdict(list)
        first_judged: dict[str, datetime] = {}
        for (kind, need, _), of_task in groupby(
            of_prompt, key=lambda row: (row["kind"], row["need"], row["task"])
        ):
            planned = list(of_task)
            for row in planned if kind == Task.Kind.IMPORT else planned[:need]:
                name, given = str(row["annotator"]), row["submitted_at"] or row["created_at"]
                said[name].append(
                    {response: row["ranks"][response] for response in sorted(row["ranks"], key=int)}
                )
                criteria[name].append(row["criteria"])
                first_judged[name] = min(given, first_judged.get(name, given))
        yield Item(
            prompt_id=row["prompt_id"],
            prompt_hash=prompt,
            item=item,
            topic=row["topic"],
            language=row["language"],
            batch=row["batch"],
            judged_at=max(first_judged.values()),
            first_judged=first_judged,
            said=dict(said),
            criteria=dict(criteria),
        )


def counting(project: Project) -> RankingQuerySet:
    """The rankings that may count, but for those beyond the plan of their task."""
    rankings = Ranking.objects.current().not_excluded().in_project(project)
    return rankings.filter(assignment__task__kind__in=COUNTING)


def _rows(project: Project, prompts: Collection[int] | None, named: str) -> QuerySet[Ranking, Any]:
    """Rankings by prompt, imported item, task and the order in which they were first given."""
    task = "assignment__task__"
    # The tasks of one imported item have a batch of their own.
    item = Case(
        When(**{f"{task}kind": Task.Kind.IMPORT}, then=F(f"{task}batch")), default=Value("")
    )
    if prompts is None:
        rankings = counting(project)
    else:  # without the project, whose tasks the database would go through
        rankings = Ranking.objects.current().not_excluded()
        rankings = rankings.filter(**{f"{task}prompt__in": prompts, f"{task}kind__in": COUNTING})
    return (
        rankings.annotate(item=item)
        .order_by(
            f"{task}prompt__content_hash",
            "item",
            f"{task}pk",
            "assignment__submitted_at",
            "assignment",
        )
        .values(
            "ranks",
            "criteria",
            "item",
            "created_at",
            submitted_at=F("assignment__submitted_at"),
            prompt=F(f"{task}prompt__content_hash"),
            prompt_id=F(f"{task}prompt"),
            topic=F(f"{task}prompt__topic"),
            language=F(f"{task}prompt__language"),
            batch=F(f"{task}batch"),
            task=F(f"{task}pk"),
            kind=F(f"{task}kind"),
            need=F(f"{task}need"),
            annotator=F(f"assignment__annotator__{named}"),
        )
    )


def report_of(figures: Mapping[str, Any]) -> Report:
    """The report that a row's `figures` were stored from."""
    stored = {name: value for name, value in figures.items() if name in REPORTED}
    # Reports that were stored before a figure was measured do not have it.
    unknown = vars(Estimate("not enough overlap", None, None, None, 0))
    estimates = {name: Estimate(**figures.get(name, unknown)) for name in ESTIMATES}
    left_out, coming = figures["leave_one_out"], figures["forecast"]
    parts = {
        "leave_one_out": LeaveOneOut(**left_out) if left_out else None,
        "forecast": Forecast(**coming) if coming else None,
        "annotators": tuple(
            AnnotatorAgreement(**one | {"agreement": Estimate(**one["agreement"])})
            for one in figures["annotators"]
        ),
    }
    return Report(**stored | estimates | parts)
