"""More prompts for audit, drawn so that they stay a random sample of all prompts.

Every prompt has a number that project and prompt fix (`audit_draw`); new tasks are for audit where
it is below the project's share. Whoever wants more takes those with the next lowest numbers, which
is the same as having had a larger share: nothing that people said plays a part, nor who chose a
prompt for which reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery

from annotate.models import (
    Adjudication,
    Assignment,
    AuditEvent,
    Project,
    Prompt,
    Response,
    Task,
    User,
)
from annotate.selection import audit_draw
from annotate.services.tasks import (
    AUDIT_JUDGES,
    bar,
    count_progress,
    distinct,
    open_ranking_tasks,
)

MOST_AT_ONCE = 500
VERB = "draw for audit"
BATCH = "drawn for audit"  # how the batches of new tasks begin
NORMAL = Task.Kind.NORMAL


@dataclass(frozen=True)
class Drawn:
    """The prompts that were drawn, and how many judgements that asks people for."""

    prompts: list[int]
    judgements: int


def drawable(project: Project) -> QuerySet[Prompt]:
    """Prompts with at least two responses in use that are not for audit yet.

    Not those whose right ranking people are examined by or shown, nor those that an admin closed.
    What the next choice closed in reserve stays: without it the audit would have fewer of the
    prompts that taught little.
    """
    used = Response.objects.filter(prompt=OuterRef("pk"), retired_at=None).order_by()
    number = used.values("prompt").annotate(n=Count("pk")).values("n")
    taken = Q(kind__in=(Task.Kind.AUDIT, Task.Kind.GOLD, Task.Kind.TRAINING))
    closed = Q(kind=NORMAL, state=Task.State.CLOSED) & ~Q(arm=Task.Arm.RESERVE)
    unsuitable = Task.objects.filter(taken | closed, prompt=OuterRef("pk"))
    return (
        project.prompts.filter(~Exists(unsuitable))
        .annotate(n_responses=Subquery(number))
        .filter(n_responses__gte=2)
    )


@transaction.atomic
def draw_for_audit(project: Project, n: int, *, key: str, by: User | None) -> Drawn:
    """Let two people judge `n` more prompts, or as many as there are, MOST_AT_ONCE at most.

    Where one judgement was planned, one more is asked for and the first one counts too. Where a
    further one was asked for because of what the first said, both are left aside and two people
    judge anew. Nobody is asked who was handed the prompt before or decided about it. Asking again
    with the same `key` draws nothing more.
    """
    # A double click waits here, and then finds its key.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if AuditEvent.objects.filter(project=project, verb=VERB, detail__key=key).exists():
        return Drawn([], 0)
    chosen = list(islice(_in_order(project), min(n, MOST_AT_ONCE)))
    normal = Task.objects.filter(prompt__in=[prompt.pk for prompt, _ in chosen], kind=NORMAL)
    # In their order, as whoever locks several tasks does; of a prompt's tasks the newest is kept.
    there = {
        task.prompt_id: task
        for task in normal.exclude(state=Task.State.CLOSED).select_for_update().order_by("pk")
    }
    judgements = 0
    for prompt, responses in chosen:
        task = there.get(prompt.pk)
        if task and task.need == 1 and task.n_done <= 1:
            judgements += _make_audit(task)
        else:
            shown = list(task.responses.order_by("slots__slot")) if task else responses
            [fresh] = open_ranking_tasks(
                project, [(prompt, shown)], batch=f"{BATCH} {key}", kind=Task.Kind.AUDIT
            )
            _bar_who_knows(fresh)
            judgements += AUDIT_JUDGES
            if task and task.state == Task.State.OPEN:  # the further one counts for nothing now
                task.state = Task.State.CLOSED
                task.save(update_fields=["state"])
    drawn = Drawn([prompt.pk for prompt, _ in chosen], judgements)
    if drawn.prompts:
        AuditEvent.record(
            VERB, project, project=project, actor=by, key=key, n=len(chosen), judgements=judgements
        )
        count_progress(project)
    return drawn


def _in_order(project: Project) -> Iterator[tuple[Prompt, list[Response]]]:
    """The prompts to draw, those with the lowest numbers first, with the responses to rank.

    Where responses differ in nothing but white space there is nothing to rank.
    """
    rows = drawable(project).values_list("pk", "content_hash")
    for _, pk in sorted((audit_draw(project.slug, digest), pk) for pk, digest in rows):
        prompt = Prompt.objects.get(pk=pk)
        different = distinct(list(prompt.responses.filter(retired_at=None).order_by("-pk")))
        if len(different) >= 2:
            yield prompt, different[: project.responses_per_prompt]


def _make_audit(task: Task) -> int:
    """Let the task count; returns how many more judgements it asks for.

    Like new tasks for audit it came by chance, however it was proposed, and is certain to be asked.
    """
    task.kind, task.need, task.state = Task.Kind.AUDIT, AUDIT_JUDGES, Task.State.OPEN
    task.arm, task.inclusion_probability = Task.Arm.RANDOM, 1.0
    task.priority = max(0, task.priority)  # what was in reserve would come last
    task.save(update_fields=["kind", "need", "state", "arm", "inclusion_probability", "priority"])
    _bar_who_knows(task)
    return AUDIT_JUDGES - task.n_done


def _bar_who_knows(task: Task) -> None:
    """Never hand the task to who was handed another of its prompt, or decided about one of these.

    The agreement would be in part that of people with what they remember.
    """
    of_prompt = Assignment.objects.filter(task__prompt=task.prompt_id)
    handed = of_prompt.exclude(task=task).values_list("annotator", flat=True)
    decided = Adjudication.objects.filter(task__prompt=task.prompt_id)
    bar(task, [*handed, *decided.values_list("reviewer", flat=True)])
