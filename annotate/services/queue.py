"""What waits to be judged, as an admin sees it, and what an admin does about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models, transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Least
from django.utils.text import Truncator

from annotate.models import AuditEvent, Project, Prompt, Response, Task, User
from annotate.rendering import show_hidden
from annotate.services.checks import EVERYBODY
from annotate.services.tasks import count_progress, distinct, open_gold, open_ranking_tasks

BY_HAND = "opened by hand"  # the batch of tasks that an admin opens for responses that are there
OPENED_AT_ONCE = 500
CHANGED_AT_ONCE = 200
# The kinds that ask for judgements; the others examine people, or came with an import.
ASKING = (Task.Kind.NORMAL, Task.Kind.AUDIT, Task.Kind.EVALUATION)
MAX_LINE_CHARS = 140
SHOWN_NEXT = 5
SHOWN_BATCHES = 25
SHOWN_TOPICS = 12


@dataclass(frozen=True)
class KindOfTask:
    """Tasks of one kind: how many in each state, and of those not closed the judgements."""

    kind: Task.Kind
    n_open: int
    n_done: int
    n_closed: int
    wanted: int
    given: int
    live: int

    @property
    def is_for_everybody(self) -> bool:
        """Whether each person is asked, as for practice, so that no number is wanted."""
        return self.wanted >= EVERYBODY

    @property
    def waiting(self) -> int:
        return max(0, self.wanted - self.given - self.live)


def tasks_by_kind(project: Project) -> list[KindOfTask]:
    """One row for each kind that the project has, in the order of Task.Kind."""
    still = ~Q(state=Task.State.CLOSED)
    given = Least("n_done", "need", output_field=models.IntegerField())
    rows = project.tasks.values("kind").annotate(
        n_open=Count("pk", filter=Q(state=Task.State.OPEN)),
        n_done_tasks=Count("pk", filter=Q(state=Task.State.DONE)),
        n_closed=Count("pk", filter=Q(state=Task.State.CLOSED)),
        wanted=Sum("need", filter=still, default=0),
        given=Sum(given, filter=still, default=0),
        live=Sum("n_live", filter=still, default=0),
    )
    found = {
        row["kind"]: KindOfTask(
            kind=Task.Kind(row["kind"]),
            n_open=row["n_open"],
            n_done=row["n_done_tasks"],
            n_closed=row["n_closed"],
            wanted=row["wanted"],
            given=row["given"],
            live=row["live"],
        )
        for row in rows
    }
    return [found[kind] for kind in Task.Kind.values if kind in found]


def tasks_by_topic(project: Project) -> Sequence[Mapping[str, object]]:
    """The topics and languages with most tasks that ask people: how many, wanted and given."""
    asked = project.tasks.filter(kind__in=ASKING).exclude(state=Task.State.CLOSED)
    given = Least("n_done", "need", output_field=models.IntegerField())
    rows = asked.values(topic=F("prompt__topic"), in_language=F("prompt__language"))
    rows = rows.annotate(n=Count("pk"), wanted=Sum("need"), given=Sum(given))
    return list(rows.order_by("-n", "topic", "in_language")[:SHOWN_TOPICS])


def batches(project: Project) -> Sequence[Mapping[str, object]]:
    """What tasks that are open or closed were made for, the most urgent first."""
    rows = project.tasks.filter(kind__in=ASKING).exclude(state=Task.State.DONE)
    is_open, is_closed = Q(state=Task.State.OPEN), Q(state=Task.State.CLOSED)
    found = rows.values("batch").annotate(
        n_open=Count("pk", filter=is_open),
        n_closed=Count("pk", filter=is_closed),
        top=Max("priority", filter=is_open, default=0),
    )
    return list(found.order_by("-top", "-n_open", "batch")[:SHOWN_BATCHES])


def next_tasks(project: Project) -> list[Task]:
    """The most urgent tasks with a free slot, without those that examine people."""
    tasks = project.tasks.select_related("prompt")
    # Each half has an index of its own; over both at once all tasks would be read.
    found = [*tasks.fresh()[:SHOWN_NEXT], *tasks.begun()[:SHOWN_NEXT]]
    return sorted(found, key=lambda task: (-task.priority, task.pk))[:SHOWN_NEXT]


def in_a_line(prompt: Prompt) -> str:
    """The beginning of what the prompt asks, with nothing hidden in it."""
    words = " ".join(show_hidden(prompt.messages[-1]["content"]).split())
    return Truncator(words).chars(MAX_LINE_CHARS)


def without_tasks(project: Project) -> QuerySet[Prompt]:
    """Prompts about which nobody was or is asked anything."""
    return project.prompts.filter(~Exists(Task.objects.filter(prompt=OuterRef("pk"))))


def rankable(project: Project) -> QuerySet[Prompt]:
    """Prompts without a task that have at least two responses in use."""
    used = Response.objects.filter(prompt=OuterRef("pk"), retired_at=None).order_by()
    number = used.values("prompt").annotate(n=Count("pk")).values("n")
    return (
        without_tasks(project)
        .annotate(n_responses=models.Subquery(number))
        .filter(n_responses__gte=2)
    )


@transaction.atomic
def open_missing_tasks(project: Project, *, by: User | None) -> int:
    """Open tasks for prompts that have responses and no task; returns how many.

    Of more responses than people rank at once the newest are asked about. Up to OPENED_AT_ONCE
    prompts a call, the oldest first; asked again, it goes on.
    """
    # A double click waits here, and then finds no prompt without a task.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    prompts = rankable(project).order_by("pk")[:OPENED_AT_ONCE]
    pairs = []
    for prompt in prompts:
        responses = distinct(list(prompt.responses.filter(retired_at=None).order_by("-pk")))
        pairs.append((prompt, responses[: project.responses_per_prompt]))
    opened = open_ranking_tasks(project, pairs, batch=BY_HAND)
    if opened:
        AuditEvent.record("open tasks", project, project=project, actor=by, n=len(opened))
    return len(opened)


def close_task(task: Task, *, by: User | None) -> bool:
    """Ask nobody else; what was said stays. False where the task was not open.

    Who has the task on the screen may still submit it.
    """
    still_open = Task.objects.filter(pk=task.pk, state=Task.State.OPEN)
    with transaction.atomic():
        closed = still_open.update(state=Task.State.CLOSED)
        if closed:
            AuditEvent.record("close task", task, project=task.project, actor=by)
    if closed:
        # Locks the project, which whoever needs both locks before any task.
        count_progress(task.project)
    return bool(closed)


def close_batch(project: Project, batch: str, *, by: User | None) -> int:
    """Close the open tasks of a batch, as `close_task` does; returns how many."""
    n = change_in_order(_of(project, batch).filter(state=Task.State.OPEN), state=Task.State.CLOSED)
    return _noted("close batch", project, batch, n, by)


def reopen_batch(project: Project, batch: str, *, by: User | None) -> int:
    """Ask for the judgements again that closed tasks of a batch still lack; returns how many.

    Not where the prompt has open gold, as with second opinions.
    """
    lacking = _of(project, batch).filter(state=Task.State.CLOSED, n_done__lt=F("need"))
    lacking = lacking.filter(~Exists(open_gold(OuterRef("prompt"))))
    n = change_in_order(lacking, state=Task.State.OPEN)
    return _noted("reopen batch", project, batch, n, by)


def raise_batch(project: Project, batch: str, *, by: User | None) -> int:
    """Put the open tasks of a batch before all others; returns how many."""
    waiting = project.tasks.filter(state=Task.State.OPEN, kind__in=ASKING)
    top = waiting.exclude(batch=batch).aggregate(top=Max("priority", default=0))["top"]
    n = change_in_order(_of(project, batch).filter(state=Task.State.OPEN), priority=top + 1)
    return _noted("raise batch", project, batch, n, by)


def _of(project: Project, batch: str) -> QuerySet[Task]:
    return project.tasks.filter(batch=batch, kind__in=ASKING)


def change_in_order(tasks: QuerySet[Task], **columns: Any) -> int:
    """Change these columns of the tasks; returns of how many.

    So many a transaction that nobody who submits waits long, and locked in their order, as whoever
    locks several tasks does. A batch that was left halfway is finished by doing it again.
    """
    ids = list(tasks.order_by("pk").values_list("pk", flat=True))
    n = 0
    for start in range(0, len(ids), CHANGED_AT_ONCE):
        some = tasks.filter(pk__in=ids[start : start + CHANGED_AT_ONCE])
        with transaction.atomic():
            list(some.select_for_update().order_by("pk").values_list("pk", flat=True))
            n += some.update(**columns)
    return n


@transaction.atomic
def _noted(verb: str, project: Project, batch: str, n: int, by: User | None) -> int:
    if n:
        AuditEvent.record(verb, project, project=project, actor=by, batch=batch, n=n)
        count_progress(project)  # so that the page that is shown next is right
    return n
