"""How far a project's annotators agree: which rankings count, measured and kept.

Only prompts that were drawn at random may tell: the audited ones, and imported ones, about whose
choice nothing better is known. What people said is keyed by the ids of responses, so that neither
the order on screen nor which task showed them plays a part.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.db.models import Case, F, Q, QuerySet, Value, When

from annotate.models import Project, Ranking, RankingQuerySet, Task, content_hash
from rewards.ml.agreement import (
    MIN_PROMPTS,
    AnnotatorAgreement,
    Estimate,
    Report,
    report,
)
from rewards.ml.alpha import Forecast, LeaveOneOut
from rewards.ml.version import code_version
from rewards.models import AgreementReport
from rewards.services.dataset import trainable

SEED = 0
MEASURED_EVERY = timedelta(minutes=10)
ESTIMATES = ("alpha", "agreement_with_ties", "agreement_without_ties", "top_1", "tau_b")

# Of one prompt: each annotator's rankings, as a rank by response id.
Said = dict[str, list[dict[str, int | None]]]


def measure(project: Project) -> AgreementReport:
    """The agreement as it is now; the report that exists where nothing has changed since.

    `figures` is rewards.ml.agreement.Report as JSON, and `topics`, a list of {"topic", "n_prompts",
    "alpha"}. Annotators are named by their pseudonyms.
    """
    prompts = audited(project)
    facts = {"data_hash": content_hash(prompts), "seed": SEED, "code_version": code_version()}
    newest = newest_report(project)
    if (
        newest
        and all(getattr(newest, name) == value for name, value in facts.items())
        and not (newer_rankings(newest) or exclusions_changed(newest))  # which came to nothing
    ):
        return newest
    figures = report([said for _, _, said in prompts], SEED).as_dict()
    return AgreementReport.objects.create(
        project=project, figures=figures | {"topics": _topics(prompts)}, **facts
    )


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
    return _counting(report.project).filter(created_at__gt=report.created_at).count()


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
    found: list[tuple[str, str, Said]] = []
    rows = groupby(_rows(project), key=lambda row: (row["prompt"], row["item"], row["topic"]))
    for (prompt, _, topic), of_prompt in rows:
        said: Said = defaultdict(list)
        for (kind, need, _), of_task in groupby(
            of_prompt, key=lambda row: (row["kind"], row["need"], row["task"])
        ):
            planned = list(of_task)
            for row in planned if kind == Task.Kind.IMPORT else planned[:need]:
                said[row["annotator"]].append(
                    {response: row["ranks"][response] for response in sorted(row["ranks"], key=int)}
                )
        found.append((prompt, topic, dict(said)))
    return found


def _counting(project: Project) -> RankingQuerySet:
    rankings = Ranking.objects.current().not_excluded().in_project(project)
    return rankings.filter(assignment__task__kind__in=(Task.Kind.AUDIT, Task.Kind.IMPORT))


def _rows(project: Project) -> QuerySet[Ranking, Any]:
    """Rankings by prompt, imported item, task and the order in which they were first given."""
    task = "assignment__task__"
    # The tasks of one imported item have a batch of their own.
    item = Case(
        When(**{f"{task}kind": Task.Kind.IMPORT}, then=F(f"{task}batch")), default=Value("")
    )
    return (
        _counting(project)
        .annotate(item=item)
        .order_by(
            f"{task}prompt__content_hash",
            "item",
            f"{task}pk",
            "assignment__submitted_at",
            "assignment",
        )
        .values(
            "ranks",
            "item",
            prompt=F(f"{task}prompt__content_hash"),
            topic=F(f"{task}prompt__topic"),
            task=F(f"{task}pk"),
            kind=F(f"{task}kind"),
            need=F(f"{task}need"),
            annotator=F("assignment__annotator__pseudonym"),
        )
    )


def _topics(prompts: list[tuple[str, str, Said]]) -> list[dict[str, Any]]:
    """Alpha of each topic, by name; empty where prompts have no topics."""
    by_topic: dict[str, list[Said]] = defaultdict(list)
    for _, topic, said in prompts:
        if topic:
            by_topic[topic].append(said)
    found = []
    for topic, of_topic in sorted(by_topic.items()):
        several = sum(len(said) > 1 for said in of_topic)
        alpha = Estimate("not enough overlap", None, None, None, several)
        if several >= MIN_PROMPTS:
            alpha = report(of_topic, SEED).alpha
        found.append({"topic": topic, "n_prompts": len(of_topic), "alpha": vars(alpha)})
    return found


def report_of(figures: Mapping[str, Any]) -> Report:
    """The report that a row's `figures` were stored from."""
    stored = {name: value for name, value in figures.items() if name != "topics"}
    estimates = {name: Estimate(**figures[name]) for name in ESTIMATES}
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
