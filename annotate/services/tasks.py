"""What is to be judged: tasks are opened for prompts and their responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models, transaction
from django.db.models.functions import Least

from annotate.models import Project, Prompt, Response, Task, TaskResponse
from annotate.selection import audit_draw

AUDIT_JUDGES = 2
# Tasks of these kinds say which prompts have had their audit draw.
DRAWN = (Task.Kind.NORMAL, Task.Kind.AUDIT)


@transaction.atomic
def open_ranking_tasks(
    project: Project,
    prompts_with_responses: Iterable[tuple[Prompt, Sequence[Response]]],
    *,
    batch: str,
    kind: str | None = None,
    need: int | None = None,
    priority: int = 0,
    proposed_by: Mapping[str, Any] | None = None,
) -> list[Task]:
    """One task for each prompt whose responses differ; a prompt has at most one task in a batch.

    Opening the same batch again gives the tasks that are there. Responses that read alike count as
    one, and a prompt with fewer than two different responses gets no task. Without `kind`, a prompt
    is for audit (judged by two people) or normal (by one): the project's first `audit_first`
    prompts are all for audit, the others by a draw fixed by project and prompt. `need` overrides
    how many people judge.
    """
    there = {task.prompt_id: task for task in Task.objects.filter(project=project, batch=batch)}
    drawn = project.tasks.filter(kind__in=DRAWN).values("prompt").distinct().count()
    opened = []
    for prompt, responses in prompts_with_responses:
        different = distinct(responses)
        if prompt.pk not in there and len(different) >= 2:
            chosen = kind or _drawn_kind(project, prompt, drawn)
            drawn += chosen in DRAWN
            there[prompt.pk] = Task.objects.create(
                project=project,
                prompt=prompt,
                kind=Task.Kind(chosen),
                need=need or (AUDIT_JUDGES if chosen == Task.Kind.AUDIT else 1),
                priority=priority,
                batch=batch,
                proposed_by=dict(proposed_by or {}),
                language=prompt.language,
                categories=joined_categories(prompt.content_categories),
            )
            TaskResponse.objects.bulk_create(
                TaskResponse(task=there[prompt.pk], response=response, slot=slot)
                for slot, response in enumerate(different)
            )
        if prompt.pk in there:
            opened.append(there[prompt.pk])
    return opened


def joined_categories(names: Iterable[str]) -> str:
    """As a task holds them: |health|violence|, so that |health| finds it in any database."""
    return f"|{'|'.join(sorted(names))}|" if names else ""


def distinct(responses: Sequence[Response]) -> list[Response]:
    """The first of each group of responses that differ in nothing but white space."""
    by_words: dict[str, Response] = {}
    for response in responses:
        by_words.setdefault(" ".join(response.text.split()), response)
    return list(by_words.values())


def _drawn_kind(project: Project, prompt: Prompt, drawn: int) -> str:
    if drawn < project.audit_first:
        return Task.Kind.AUDIT
    drawn_in = audit_draw(project.slug, prompt.content_hash) < project.audit_share
    return Task.Kind.AUDIT if drawn_in else Task.Kind.NORMAL


@dataclass(frozen=True)
class TaskProgress:
    """Counts over tasks, and over the judgements they ask for."""

    tasks: int
    tasks_done: int
    wanted: int
    given: int
    live: int

    @property
    def waiting(self) -> int:
        """Judgements that nobody has given or is giving."""
        return max(0, self.wanted - self.given - self.live)


def task_progress(project: Project, *, batch: str | None = None) -> TaskProgress:
    """How far the project's tasks, or those of one batch, have come.

    A late judgement beyond what a task needs is not counted, so `given` never exceeds `wanted`.
    """
    tasks = project.tasks.exclude(state=Task.State.CLOSED)
    if batch is not None:
        tasks = tasks.filter(batch=batch)
    sums = tasks.aggregate(
        tasks=models.Count("pk"),
        tasks_done=models.Count("pk", filter=models.Q(state=Task.State.DONE)),
        wanted=models.Sum("need", default=0),
        given=models.Sum(Least("n_done", "need", output_field=models.IntegerField()), default=0),
        live=models.Sum("n_live", default=0),
    )
    return TaskProgress(**sums)
