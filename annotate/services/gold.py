"""Gold and practice tasks as an admin sees them: how people did, and what could become one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from annotate.models import KEYED, Project, Prompt, Ranking, Response, Task, base_language
from annotate.services.checks import outcome

KINDS = (Task.Kind.GOLD, Task.Kind.TRAINING)
WANTED = 60  # gold tasks in a language, so that nobody meets the same ones again and again
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


@dataclass(frozen=True)
class Stock:
    """The gold tasks in one language: those that are given out, and those that are retired."""

    language: str
    n: int
    n_adversarial: int
    n_retired: int

    @property
    def is_enough(self) -> bool:
        return self.n >= WANTED

    @property
    def adversarial_share(self) -> float:
        return self.n_adversarial / self.n if self.n else 0.0


def stock(project: Project) -> list[Stock]:
    """By language how much gold there is; of a project's languages also those without any."""
    is_open = Q(state=Task.State.OPEN)
    rows = project.tasks.filter(KEYED, kind=Task.Kind.GOLD).values("language")
    found = rows.order_by("language").annotate(
        n=Count("pk", filter=is_open),
        n_adversarial=Count("pk", filter=is_open & Q(adversarial=True)),
        n_retired=Count("pk", filter=~is_open),
    )
    by_language = {row["language"]: Stock(**row) for row in found}
    wanted = sorted({base_language(tag) for tag in project.languages} - by_language.keys())
    return [*by_language.values(), *(Stock(language, 0, 0, 0) for language in wanted)]


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
