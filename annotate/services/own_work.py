"""What a person sees of his own work: days, rankings in words, and how they fit with others'.

Each function reads a bounded number of rows, whatever the person has done. Nothing here tells which
tasks were gold or repeats.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.core.cache import cache
from django.db.models import Max, Prefetch, QuerySet
from django.db.models.functions import TruncDate
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext

from annotate.models import Assignment, Membership, Project, Ranking, Task
from annotate.rendering import show_hidden
from annotate.services.rankings import mean_agreement

DAYS_SHOWN = 28
NEWEST = 500  # rankings that the figures of one person rest on at most
LEAST_SHARED = 10
LEAST_REPEATS = 10
EXCERPT_CHARS = 140
LEAST_TIMED, MOST_TIMED, KEPT_S = 20, 200, 600


def streak(member: Membership) -> int:
    """Days in a row with a ranking, up to today or yesterday (UTC); 0 when the row has ended."""
    yesterday = timezone.now().date() - timedelta(days=1)
    alive = member.last_day is not None and member.last_day >= yesterday
    return member.streak_days if alive else 0


@dataclass(frozen=True)
class Day:
    date: date
    ranked: bool
    is_today: bool


def recent_days(member: Membership) -> list[Day]:
    """The last four weeks, the oldest day first, and on which of them the person ranked."""
    today = timezone.now().date()
    days = [today - timedelta(days=n) for n in reversed(range(DAYS_SHOWN))]
    since = datetime.combine(days[0], datetime.min.time(), timezone.get_default_timezone())
    submitted = member.assignments.filter(state=Assignment.State.SUBMITTED, submitted_at__gte=since)
    worked = set(submitted.values_list(TruncDate("submitted_at"), flat=True).distinct())
    return [Day(day, day in worked, day == today) for day in days]


def minutes_needed(project: Project) -> int | None:
    """How long a ranking takes, by the median of newest ones; None where too few were timed."""

    def measured() -> int:
        timed = Ranking.objects.in_project(project).filter(dwell_ms__isnull=False)
        rows = timed.order_by("-pk").values_list("dwell_ms", flat=True)[:MOST_TIMED]
        newest = [dwell_ms for dwell_ms in rows if dwell_ms is not None]
        if len(newest) < LEAST_TIMED:
            return 0
        return max(1, round(statistics.median(newest) / 60_000))

    return cache.get_or_set(f"minutes-{project.pk}", measured, KEPT_S) or None


# ---- My rankings ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Own:
    """One line of a person's list of rankings."""

    assignment: Assignment
    excerpt: str
    said: str
    is_practice: bool
    is_fixed: bool


def submitted(member: Membership) -> QuerySet[Assignment]:
    """What the person has ranked, the newest first, for `in_words`."""
    current = Prefetch("rankings", Ranking.objects.current(), to_attr="current")
    mine = member.assignments.filter(state=Assignment.State.SUBMITTED)
    mine = mine.select_related("task__prompt").prefetch_related(current)
    return mine.order_by("-submitted_at", "-pk")


def in_words(member: Membership, assignments: Sequence[Assignment]) -> list[Own]:
    """The lines for these assignments, which `submitted` gave.

    Once a dataset is frozen all that was ranked before counts as fixed, whether it entered or not:
    which rankings enter none would tell who looks which tasks examine him.
    """
    mine = Ranking.objects.filter(assignment__annotator=member)
    frozen_at = mine.aggregate(newest=Max("frozen_at"))["newest"]
    found = []
    for assignment in assignments:
        for ranking in assignment.current:  # type: ignore[attr-defined]
            fixed = frozen_at is not None and ranking.created_at <= frozen_at
            question = show_hidden(assignment.task.prompt.messages[-1]["content"])
            found.append(
                Own(
                    assignment=assignment,
                    excerpt=Truncator(" ".join(question.split())).chars(EXCERPT_CHARS),
                    said=said(ranking, assignment.display_order),
                    is_practice=assignment.task.kind == Task.Kind.TRAINING,
                    is_fixed=fixed or ranking.frozen_at is not None,
                )
            )
    return found


def said(ranking: Ranking, order: Sequence[int]) -> str:
    """The ranking as `B › A = C`, by the letters that the responses had on the screen."""
    letters = {str(pk): chr(ord("A") + place) for place, pk in enumerate(order)}
    places = defaultdict(list)
    unranked = []
    for pk, letter in letters.items():
        rank = ranking.ranks.get(pk)
        if rank is None:
            unranked.append(letter)
        else:
            places[rank].append(letter)
    words = " › ".join(" = ".join(places[rank]) for rank in sorted(places))
    bad = [letters[str(pk)] for pk in ranking.unacceptable if str(pk) in letters]
    if len(bad) == len(letters):
        return f"{words}; {gettext('all unacceptable')}" if words else gettext("all unacceptable")
    notes = [words]
    if rest := sorted(set(unranked) - set(bad)):
        notes.append(gettext("%(letters)s not ranked") % {"letters": ", ".join(rest)})
    if bad:
        notes.append(gettext("%(letters)s unacceptable") % {"letters": ", ".join(sorted(bad))})
    return "; ".join(filter(None, notes))


# ---- How they fit --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """A mean over tasks of how far judgements agree, 0 to 1, with its 95 % interval.

    `value` is None while there are fewer than the least number of tasks; `missing` says how many.
    """

    n: int
    missing: int
    value: float | None = None
    low: float = 0.0
    high: float = 1.0


def agreement_with_others(member: Membership) -> Fit:
    """How far the person agrees with those who ranked the same tasks, over the newest of these.

    On each task the mean over the others, see mean_agreement. Practice tasks, whose right ranking
    is explained, and tasks that examine people do not count.
    """
    kinds = (Task.Kind.NORMAL, Task.Kind.AUDIT, Task.Kind.EVALUATION, Task.Kind.IMPORT)
    shared = Ranking.objects.current().filter(
        assignment__annotator=member,
        assignment__task__n_done__gt=1,
        assignment__task__kind__in=kinds,
    )
    mine = dict(shared.order_by("-pk").values_list("assignment__task", "ranks")[:NEWEST])
    theirs = Ranking.objects.current().not_excluded().filter(assignment__task__in=mine)
    theirs = theirs.exclude(assignment__annotator=member)
    by_task: dict[int, list[float]] = defaultdict(list)
    for task_id, ranks in theirs.values_list("assignment__task", "ranks"):
        same = mean_agreement([mine[task_id], ranks])
        if same is not None:
            by_task[task_id].append(same)
    return _fit([statistics.fmean(values) for values in by_task.values()], LEAST_SHARED)


def self_consistency(member: Membership) -> Fit:
    """How far the person says the same of tasks that came a second time, unannounced.

    Over repeats done before today, so that nobody sees the number move after one.
    """
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    repeats = member.assignments.filter(
        state=Assignment.State.SUBMITTED,
        submitted_at__lt=midnight,
        task__kind=Task.Kind.REPEAT,
        task__mirror_of__isnull=False,
    )
    newest = repeats.order_by("-submitted_at", "-pk")
    pairs = newest.values_list("task", "task__mirror_of")[:NEWEST]
    mirrors = {task: mirrored for task, mirrored in pairs if mirrored is not None}
    both = Ranking.objects.current().filter(
        assignment__annotator=member, assignment__task__in={*mirrors, *mirrors.values()}
    )
    ranks = dict(both.values_list("assignment__task", "ranks"))
    same = [
        mean_agreement([ranks[first], ranks[second]])
        for second, first in mirrors.items()
        if first in ranks and second in ranks
    ]
    return _fit([value for value in same if value is not None], LEAST_REPEATS)


def share(passed: int, n: int, least: int) -> Fit:
    """The share of `n` tasks that were passed."""
    return _fit([1.0] * passed + [0.0] * (n - passed), least)


def _fit(values: Sequence[float], least: int) -> Fit:
    n = len(values)
    if n < least:
        return Fit(n, least - n)
    value = statistics.fmean(values)
    return Fit(n, 0, value, *_interval(value, n))


def _interval(mean: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval of a mean of `n` values from 0 to 1, rather too wide than too narrow.

    Source: Wilson 1927, the score interval; no values in [0, 1] vary more than 0 and 1 do.
    """
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    spread = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, centre - spread), min(1.0, centre + spread)
