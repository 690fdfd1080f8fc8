"""What is to be judged: tasks are opened for prompts and their responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction
from django.db.models import OuterRef

from annotate.models import (
    Assignment,
    AuditEvent,
    Project,
    Prompt,
    Response,
    Task,
    TaskQuerySet,
    TaskResponse,
    User,
    base_language,
)
from annotate.selection import audit_draw

AUDIT_JUDGES = 2
# Tasks of these kinds say which prompts have had their audit draw.
DRAWN = (Task.Kind.NORMAL, Task.Kind.AUDIT)


@dataclass(frozen=True)
class Chosen:
    """How a prompt came into the queue, by which arm and how probably.

    `audit_share` takes the place of the project's: of the prompts that came by chance so many more
    are for audit as others are not, and a prompt that was chosen for any reason never is.
    """

    arm: Task.Arm
    inclusion_probability: float
    audit_share: float
    priority: int = 0


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
    chosen: Mapping[int, Chosen] | None = None,
) -> list[Task]:
    """One task for each prompt whose responses differ; a prompt has at most one task in a batch.

    Opening the same batch again gives the tasks that are there. Responses that read alike count as
    one, and a prompt with fewer than two different responses gets no task. Without `kind`, a prompt
    is for audit (judged by two people) or normal (by one): the project's first `audit_first`
    prompts are all for audit, the others by a draw fixed by project and prompt. `need` overrides
    how many people judge. `chosen` says by the id of a prompt how it came into the queue; without,
    it came by chance.
    """
    there = {task.prompt_id: task for task in Task.objects.filter(project=project, batch=batch)}
    drawn = n_drawn(project)
    by_chance = Chosen(Task.Arm.RANDOM, 1.0, project.audit_share, priority)
    new, opened = [], []
    for prompt, responses in prompts_with_responses:
        different = distinct(responses)
        if prompt.pk not in there and len(different) >= 2:
            way = (chosen or {}).get(prompt.pk) or by_chance
            drawn_kind = kind or _drawn_kind(project, prompt, drawn, way)
            drawn += drawn_kind in DRAWN
            there[prompt.pk] = open_task(
                prompt,
                different,
                kind=Task.Kind(drawn_kind),
                need=need or (AUDIT_JUDGES if drawn_kind == Task.Kind.AUDIT else 1),
                priority=way.priority,
                batch=batch,
                proposed_by=dict(proposed_by or {}),
                arm=way.arm,
                inclusion_probability=way.inclusion_probability,
            )
            new.append(there[prompt.pk])
        if prompt.pk in there:
            opened.append(there[prompt.pk])
    _add_to_progress(project, new)
    return opened


def open_task(prompt: Prompt, responses: Sequence[Response], **columns: Any) -> Task:
    """A task for these responses of the prompt; `columns` are further columns of Task."""
    task = Task.objects.create(
        project_id=prompt.project_id,
        prompt=prompt,
        language=base_language(prompt.language),
        categories=joined_categories(prompt.content_categories),
        **columns,
    )
    TaskResponse.objects.bulk_create(
        TaskResponse(task=task, response=response, slot=slot)
        for slot, response in enumerate(responses)
    )
    return task


@transaction.atomic
def label_prompt(prompt: Prompt, *, language: str, content_categories: Iterable[str]) -> None:
    """Correct what a prompt is in and shows; from now on its tasks go to whom they suit."""
    locked = Prompt.objects.select_for_update(no_key=True).get(pk=prompt.pk)
    locked.language = language
    locked.content_categories = sorted(set(content_categories))
    locked.save(update_fields=["language", "content_categories"])
    # Also the tasks that are done, since a second opinion opens them again.
    locked.tasks.update(
        language=base_language(language), categories=joined_categories(locked.content_categories)
    )
    prompt.language, prompt.content_categories = language, locked.content_categories


@transaction.atomic
def ask_second_opinion(
    task: Task, proposed_by: Mapping[str, Any] | None = None, *, by: User | None = None
) -> bool:
    """Ask one more person about a task that was judged; False where that cannot be.

    `proposed_by` says what proposed it, such as a reward model, which asks about a task once; `by`
    is the person who did. An open task has somebody to be asked already, so asking twice is the
    same as once. Tasks for audit are never asked about: what is chosen because of what people said
    would bias the agreement that is reported. Nor is a task while its prompt has open gold: who has
    done that could be asked here.
    """
    locked = Task.objects.select_for_update().get(pk=task.pk)
    earlier = locked.proposed_by.get("second_opinion")
    if locked.kind != Task.Kind.NORMAL or locked.state != Task.State.DONE:
        return False
    if open_gold(locked.prompt_id).exists():
        return False
    if proposed_by and earlier == proposed_by:
        return False
    locked.need = locked.n_done + 1
    locked.state = Task.State.OPEN
    if proposed_by:
        locked.proposed_by = locked.proposed_by | {"second_opinion": dict(proposed_by)}
    locked.save(update_fields=["need", "state", "proposed_by"])
    if by:
        AuditEvent.record("ask second opinion", task, project=locked.project, actor=by)
    return True


def bar(task: Task, member_ids: Iterable[int]) -> None:
    """Never hand the task to these members, who know what was said of its responses.

    Who has judged or skipped it, or is at it, keeps that. The task's row must be locked, or new.
    """
    ids = set(member_ids)
    there = Assignment.objects.filter(task=task, annotator__in=ids)
    there.filter(state__in=Assignment.LATE).update(state=Assignment.State.BARRED)
    shown = list(task.slots.order_by("slot").values_list("response", flat=True))
    Assignment.objects.bulk_create(
        Assignment(
            task=task,
            annotator_id=member_id,
            state=Assignment.State.BARRED,
            display_order=shown,
        )
        for member_id in ids.difference(there.values_list("annotator", flat=True))
    )


def open_gold(prompt: int | OuterRef) -> TaskQuerySet:
    """The prompt's gold that is given out. While it is, its other tasks are not opened again."""
    return Task.objects.filter(prompt=prompt, kind=Task.Kind.GOLD, state=Task.State.OPEN)


def joined_categories(names: Iterable[str]) -> str:
    """As a task holds them: |health|violence|, so that |health| finds it in any database."""
    return f"|{'|'.join(sorted(names))}|" if names else ""


def distinct(responses: Sequence[Response]) -> list[Response]:
    """The first of each group of responses that differ in nothing but white space."""
    by_words: dict[str, Response] = {}
    for response in responses:
        by_words.setdefault(" ".join(response.text.split()), response)
    return list(by_words.values())


def n_drawn(project: Project) -> int:
    """How many prompts have had their audit draw; beyond the project's first, none is counted."""
    drawn = project.tasks.filter(kind__in=DRAWN).values("prompt").distinct()
    return drawn[: project.audit_first].count()


def _drawn_kind(project: Project, prompt: Prompt, drawn: int, way: Chosen) -> str:
    if way.arm == Task.Arm.RANDOM and drawn < project.audit_first:
        return Task.Kind.AUDIT
    drawn_in = audit_draw(project.slug, prompt.content_hash) < way.audit_share
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
    """How far the project's tasks, or those of one batch, have come; reads all of them.

    A late judgement beyond what a task needs is not counted, so `given` never exceeds `wanted`.
    Gold and training tasks and repeats, which examine people, are not counted either.
    """
    tasks = Task.objects.filter(project=project)
    if batch is not None:
        tasks = tasks.filter(batch=batch)
    return TaskProgress(**tasks.totals())


def count_progress(project: Project) -> TaskProgress:
    """Count the project's progress and store it for `stored_progress`; done each minute as well."""
    progress = task_progress(project)
    Project.objects.filter(pk=project.pk).update(progress=asdict(progress))
    return progress


def stored_progress(project: Project) -> TaskProgress:
    """The project's progress as it was counted last, for pages: at most a minute old.

    Counts only where it was never counted.
    """
    return TaskProgress(**project.progress) if project.progress else task_progress(project)


def _add_to_progress(project: Project, tasks: Sequence[Task]) -> None:
    """Let pages know of tasks that were just opened, without counting all the others."""
    locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if not locked.progress:
        count_progress(project)
    elif tasks:
        locked.progress["tasks"] += len(tasks)
        locked.progress["wanted"] += sum(task.need for task in tasks)
        locked.save(update_fields=["progress"])
