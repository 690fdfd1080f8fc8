"""Rows for tests, made through the services that pages and jobs use. Defaults are spelled out."""

from collections.abc import Sequence
from itertools import count

from annotate.models import (
    Assignment,
    Membership,
    Project,
    Prompt,
    Ranking,
    Response,
    Task,
    User,
)
from annotate.services.assignments import claim
from annotate.services.content import add_prompt, add_response
from annotate.services.people import add_member
from annotate.services.projects import create_project, publish_text
from annotate.services.rankings import submit_ranking
from annotate.services.tasks import open_ranking_tasks

PASSWORD = "volunteers-rank-7"
_numbers = count(1)


def make_user(name: str, **columns: object) -> User:
    return User.objects.create_user(name, password=PASSWORD, **columns)


def make_project(slug: str = "climate", **settings: object) -> Project:
    """A project without audit, so that a task wants one judgement unless a test says otherwise."""
    settings = {"audit_share": 0.0, "audit_first": 0, **settings}
    project = create_project(slug, slug.title(), **settings)
    publish_text(project, "guidelines", "Prefer the **correct** response.", by=None)
    return project


def make_member(project: Project, name: str, role: str = Membership.Role.ANNOTATOR) -> Membership:
    """The user of that name, made where there is none, as a member of the project."""
    user = User.objects.filter(username=name).first() or make_user(name)
    return add_member(project, user, role)


def make_prompt(
    project: Project, text: str = "", *, responses: int | Sequence[str] = 4, **columns: str
) -> Prompt:
    """A prompt with that many responses, or with these; without `text` it is a new one."""
    prompt, _ = add_prompt(
        project, [{"role": "user", "content": text or f"Question {next(_numbers)}?"}], **columns
    )
    texts = (
        [f"Answer {n + 1}." for n in range(responses)] if isinstance(responses, int) else responses
    )
    for answer in texts:
        add_response(prompt, answer, source=Response.Source.POLICY)
    return prompt


def make_task(
    project: Project, *, batch: str = "", responses: int | Sequence[str] = 4, **options: object
) -> Task:
    """An open task for a new prompt; `options` are those of `open_ranking_tasks`."""
    prompt = make_prompt(project, responses=responses)
    batch = batch or f"batch {prompt.pk}"
    (task,) = open_ranking_tasks(
        project, [(prompt, list(prompt.responses.order_by("pk")))], batch=batch, **options
    )
    return task


def make_assignment(member: Membership, **options: object) -> Assignment:
    """A new task leased to the annotator. `options` are those of `make_task`."""
    task = make_task(member.project, priority=10**6, **options)
    assignment = claim(member)
    assert assignment is not None and assignment.task_id == task.pk
    return assignment


def make_ranking(
    member: Membership,
    ranks: Sequence[int | None] = (1, 2, 3, 4),
    *,
    task: Task | None = None,
    **options: object,
) -> Ranking:
    """The annotator's ranking, `ranks` in the order of the responses' ids; of a new task or of one
    that is there, which then gets one slot more. `options` are those of `submit_ranking`.
    """
    if task is None:
        task = make_task(member.project, responses=len(ranks))
    else:
        Task.objects.filter(pk=task.pk).update(need=task.assignments.count() + 1, state="open")
    ids = list(task.responses.order_by("pk").values_list("pk", flat=True))
    assignment = Assignment.objects.create(task=task, annotator=member, display_order=ids)
    Task.objects.filter(pk=task.pk).update(n_live=1)
    return submit_ranking(assignment, dict(zip(ids, ranks, strict=True)), **options)
