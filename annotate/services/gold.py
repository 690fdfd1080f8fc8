"""Gold and practice tasks as an admin sees them: how people did, and what could become one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from annotate.models import KEYED, Project, Prompt, Ranking, Response, Task
from annotate.services.checks import outcome

KINDS = (Task.Kind.GOLD, Task.Kind.TRAINING)
AGREED_BY = 3  # people who all say the same make a task worth suggesting
SUGGESTED = 10
FOUND = 20


@dataclass(frozen=True)
class KnownTask:
    """A task whose right ranking is known, and how many of those who ranked it were right."""

    task: Task
    n: int
    n_passed: int


def known_tasks(project: Project) -> QuerySet[Task]:
    """Gold and practice tasks, the newest first."""
    return project.tasks.filter(KEYED, kind__in=KINDS).select_related("prompt").order_by("-id")


def with_results(tasks: Iterable[Task]) -> list[KnownTask]:
    """How people did; reads every ranking of these tasks."""
    tasks = list(tasks)
    passed: dict[int, list[bool]] = defaultdict(list)
    rankings = Ranking.objects.current().filter(assignment__task__in=tasks)
    for ranking in rankings.select_related("assignment__task"):
        if found := outcome(ranking):
            passed[ranking.assignment.task_id].append(bool(found.passed))
    return [KnownTask(task, len(passed[task.pk]), sum(passed[task.pk])) for task in tasks]


def candidates(project: Project) -> list[Task]:
    """The newest tasks that several people ranked alike, one of a prompt.

    Prompts that have or had a gold or practice task are left out.
    """
    known = Task.objects.filter(prompt=OuterRef("prompt"), kind__in=KINDS)
    agreed = project.tasks.filter(agreement=1, n_done__gte=AGREED_BY).exclude(
        kind__in=(*KINDS, Task.Kind.REPEAT)
    )
    agreed = agreed.filter(~Exists(known)).select_related("prompt")
    by_prompt: dict[int, Task] = {}
    for task in agreed.order_by("-id")[: SUGGESTED * 10]:
        by_prompt.setdefault(task.prompt_id, task)
    return list(by_prompt.values())[:SUGGESTED]


def agreed_ranking(task: Task) -> Ranking | None:
    """What the people said who agree about the task."""
    said = Ranking.objects.current().not_excluded().filter(assignment__task=task)
    return said.order_by("pk").first() if task.agreement == 1 else None


def prompts_with(project: Project, words: str) -> QuerySet[Prompt]:
    """Prompts with at least two responses whose messages hold the words, or with that topic."""
    # A database may keep other letters than ASCII as escapes, as JSON allows.
    escaped = json.dumps(words)[1:-1]
    several = (
        Response.objects.filter(prompt=OuterRef("pk"), retired_at=None)
        .order_by()
        .values("prompt")
        .annotate(n=Count("pk"))
        .filter(n__gte=2)
    )
    found = project.prompts.annotate(written=Cast("messages", TextField())).filter(
        Q(written__icontains=words) | Q(written__icontains=escaped) | Q(topic__iexact=words)
    )
    return found.filter(Exists(several)).order_by("pk")[:FOUND]
