"""Handing out work: a slot of a task is leased to one annotator, and comes back or is used.

A slot is taken only by the compare-and-swap on the task's row (`n_done + n_live < need`); row locks
merely reduce contention. Locks are always taken in the order task, then assignment.

A claim reads a bounded number of rows: the front of the queue, and where a person can be given
nothing that stands there, the fronts of those parts of the queue that suit him.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import (
    BooleanField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    Subquery,
)
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotate.compiled import Given, Insert, Objects, Rows, Update, of_part
from annotate.models import (
    Adjudication,
    Assignment,
    Membership,
    Response,
    Task,
    TaskQuerySet,
    TaskResponse,
    open_to,
)
from annotate.selection import check_draw, display_order, gold_share, seed_from

# So many rows of the queue's front are looked at, whoever may have judged or skipped them.
FRONT = 24
# So many tasks are tried, equally urgent ones in random order: people who claim at once spread.
WINDOW = 16
ATTEMPTS = 4
# Leases that a claim ends at most; the sweep of each minute ends the rest.
EXPIRED_BY_A_CLAIM = 16
# Rankings a person gives before one of his own may come again, and among how many of those before
# them it is drawn.
BEFORE_A_REPEAT = 5
REPEATED_AMONG = 100
# What a person's own work, or an admin, changes while he works.
COUNTS = ("state", "trained_at", "n_submitted", "last_day", "n_last_day", "streak_days")
REPEATED = (Task.Kind.NORMAL, Task.Kind.AUDIT)


class Conflict(Exception):
    """Something else happened to the assignment meanwhile; the message says what."""


class _Refused(Exception):
    """A cap was reached at this very moment."""


class _Gone(Exception):
    """The person skipped or submitted the task at this very moment, in another tab."""


def claim(member: Membership) -> Assignment | None:
    """The annotator's task: the one leased already, or a new lease, or None when nothing is left.

    None also when the project is paused, the person may not take part now, or a cap is reached. A
    newcomer gets the explained tasks first. Gold tasks and repeats come among the others, never
    when those are over. `member` knows afterwards what he has done.
    """
    if _read_counts(member) and (lease := live_lease(member)):
        heartbeat(lease)
        return lease
    if member.project.paused or member.state != Membership.State.ACTIVE or cap_reached(member):
        return None
    try:
        return _claim_new(member)
    except _Refused:
        return None


def _claim_new(member: Membership) -> Assignment | None:
    if _is_newcomer(member):
        training = _training_left(member)
        if lease := _lease_first(training, member, wait=True):
            return lease
        if not training:
            _finish_training(member)
    for attempt in range(ATTEMPTS):
        window = _window(member) or _freed_window(member)
        if not window:
            break
        if attempt == 0 and (lease := _claim_check(member)):
            return lease
        # Passing over tasks that others are busy with is quicker, but in the end we wait: a task
        # that is merely being looked at must not read as "nothing left".
        if lease := _lease_first(window, member, wait=attempt >= 2):
            return lease
    return None


def _freed_window(member: Membership) -> list[int]:
    """What is there once leases that ran out are ended, as the sweep of each minute does."""
    of_project = Assignment.objects.filter(task__project=member.project)
    return _window(member) if of_project.expire_overdue(EXPIRED_BY_A_CLAIM) else []


def _read_counts(member: Membership) -> bool:
    """Let `member` know what he has done, and say whether a task is leased to him.

    He may just have submitted, in this request or in another tab.
    """
    [(*counts, is_leased)] = _counts().all(member=member.pk)
    for column, value in zip(COUNTS, counts, strict=True):
        setattr(member, column, value)
    return bool(is_leased)


@cache
def _counts() -> Rows:
    leased = Assignment.objects.leased().filter(annotator=OuterRef("pk"))
    member = Membership.objects.filter(pk=Given("member"))
    return Rows(member.values_list(*COUNTS, Exists(leased)))


def live_lease(member: Membership) -> Assignment | None:
    lease = Assignment.objects.leased().filter(annotator=member).first()
    if lease:
        lease.annotator = member
    return lease


def has_work(member: Membership) -> bool:
    """Whether a claim would probably find a task."""
    return (_is_newcomer(member) and bool(_training_left(member))) or bool(_window(member))


def cap_reached(member: Membership) -> bool:
    """Whether the person has given as many rankings as he may, today or in all."""
    daily, total = member.project.daily_cap, member.project.total_cap
    return (daily is not None and submitted_today(member) >= daily) or (
        total is not None and member.n_submitted >= total
    )


def submitted_today(member: Membership) -> int:
    """Rankings given since midnight, UTC."""
    return member.n_last_day if member.last_day == timezone.now().date() else 0


def _is_newcomer(member: Membership) -> bool:
    """Whether explained tasks come first."""
    return (
        member.trained_at is None
        and member.project.training_tasks > 0
        and member.role == Membership.Role.ANNOTATOR
    )


def _training_left(member: Membership) -> list[int]:
    """The explained tasks the newcomer is still to do; another takes the place of a skipped one."""
    training = Task.objects.keyed(member.project, Task.Kind.TRAINING)
    submitted = Assignment.objects.filter(
        annotator=member, state=Assignment.State.SUBMITTED, task__in=training.order_by()
    )
    left = max(0, member.project.training_tasks - submitted.count())
    return _suiting(training.with_free_slots().open_to(member), member)[:left]


def _finish_training(member: Membership) -> None:
    member.trained_at = timezone.now()
    Membership.objects.filter(pk=member.pk, trained_at=None).update(trained_at=member.trained_at)


def _suiting(tasks: TaskQuerySet, member: Membership) -> list[int]:
    rows = tasks.values_list("pk", "language", "categories")
    return [pk for pk, language, categories in rows if member.takes(language, categories)]


def _window(member: Membership) -> list[int]:
    """Some tasks the person may be given, most urgent first and otherwise in random order.

    Empty only when the queue has nothing for him.
    """
    found = _among(_fronts().all(project=member.project_id, member=member.pk), member)
    if not found:
        queue = Task.objects.filter(project=member.project)
        parts = [queue.filter(language=a, categories=b) for a, b in _contents(queue, member)]
        for part in parts:
            found += _among(_front(part.begun(), member), member)
            # Nobody has judged these, so at most what he skipped is passed over.
            found += _among(_front(part.fresh().open_to(member), member), member)
    if not found:  # however many he has judged that wait for others
        for part in parts:
            found += _among(_front(part.begun().open_to(member), member), member)
    found.sort(key=lambda row: (-row.priority, row.pk))
    tried = found[:WINDOW]
    # In random order, so that the same two people do not judge task after task together.
    random.shuffle(tried)
    tried.sort(key=lambda row: -row.priority)
    return [row.pk for row in tried]


class _Waiting(NamedTuple):
    """What decides about a task of the queue; the names are columns."""

    priority: int
    pk: int
    language: str
    categories: str
    may_have: bool


@cache
def _fronts() -> Rows:
    queue = Task.objects.filter(project=Given("project"))
    fresh, begun = (_front(part, Given("member")) for part in (queue.fresh(), queue.begun()))
    return Rows(fresh.union(begun, all=True))


def _front(tasks: TaskQuerySet, member: Membership | Given) -> Any:
    """The first of the tasks, and for each whether the person may have it.

    Only these are asked about, so no more rows are read however many he has judged.
    """
    first = tasks.only("priority", "language", "categories", "reserved_for")[:FRONT]
    may_have = ExpressionWrapper(open_to(member), BooleanField())
    asked = Task.objects.annotate(may_have=may_have).values_list(*_Waiting._fields)
    return of_part(asked, first)


def _among(rows: Iterable[Sequence[Any]], member: Membership) -> list[_Waiting]:
    """Those of a front that the person may have, and that suit him."""
    found = [row for row in map(_Waiting._make, rows) if row.may_have]
    if member.languages or member.category_opt_outs:
        found = [row for row in found if member.takes(row.language, row.categories)]
    return found


def _contents(queue: TaskQuerySet, member: Membership) -> list[tuple[str, str]]:
    """The languages and categories of tasks in the queue that suit the person."""
    found = set()
    for part in (queue.fresh(), queue.begun()):
        for language in member.reads or part.steps("language"):
            alike = part.filter(language=language)
            found |= {(language, categories) for categories in alike.steps("categories")}
    return sorted(content for content in found if member.takes(*content))


def _claim_check(member: Membership) -> Assignment | None:
    """A gold task or a repeat, where the draw says that one is due and there is one."""
    project = member.project
    if not project.gold_rate and not project.repeat_rate:
        return None
    # Every assignment is either submitted, and counted, or has no date of submission.
    had = member.assignments.exclude(state=Assignment.State.BARRED)
    n = member.n_submitted + had.filter(submitted_at=None).count()
    told_by = project.slug, member.pseudonym, n
    if check_draw("gold", *told_by) < gold_share(project.gold_rate, n):
        # Who has ranked the prompt, or decided about it, may be one of those from whom its right
        # ranking was learned.
        ranked = Assignment.objects.filter(annotator=member, task__prompt=OuterRef("prompt"))
        gold = Task.objects.keyed(project, Task.Kind.GOLD).with_free_slots().open_to(member)
        decided = Adjudication.objects.filter(reviewer=member, task__prompt=OuterRef("prompt"))
        gold = gold.filter(~Exists(ranked), ~Exists(decided))
        if (unseen := _suiting(gold, member)) and (
            lease := _lease_first([_draw("which gold", told_by, unseen)], member, wait=True)
        ):
            return lease
    if check_draw("repeat", *told_by) < project.repeat_rate:
        return _claim_repeat(member, told_by)
    return None


def _draw(what: str, told_by: tuple[str, str, int], ids: Sequence[int]) -> int:
    """One of them, the same whoever repeats the draw."""
    return ids[seed_from(what, *map(str, told_by)) % len(ids)]


def _claim_repeat(member: Membership, told_by: tuple[str, str, int]) -> Assignment | None:
    """One of the person's own earlier tasks once more, mirrored; first one he has left undone."""
    undone = Task.objects.filter(kind=Task.Kind.REPEAT, reserved_for=member).with_free_slots()
    if waiting := _suiting(undone.open_to(member).order_by("pk"), member):
        return _lease_first(waiting[:WINDOW], member, wait=True)
    given = member.assignments.filter(state=Assignment.State.SUBMITTED).order_by("-submitted_at")
    some = given.values_list("task", flat=True)[BEFORE_A_REPEAT:][:REPEATED_AMONG]
    again = Task.objects.filter(mirror_of=OuterRef("pk"), reserved_for=member)
    may_come = Task.objects.filter(~Exists(again), pk__in=list(some), kind__in=REPEATED)
    if not (ids := _suiting(may_come.order_by("pk"), member)):
        return None
    try:
        return _open_repeat(_draw("which repeat", told_by, ids), member)
    except IntegrityError:  # the annotator's other tab was quicker
        return live_lease(member)


@transaction.atomic
def _open_repeat(task_id: int, member: Membership) -> Assignment | None:
    """The task as a new one for this person alone, leased; None where it has come again already."""
    earlier = Task.objects.select_for_update().get(pk=task_id)
    if Task.objects.filter(mirror_of=earlier, reserved_for=member).exists():
        return None
    first = earlier.assignments.get(annotator=member)
    repeat = Task.objects.create(
        project=member.project,
        prompt_id=earlier.prompt_id,
        kind=Task.Kind.REPEAT,
        n_live=1,
        batch="repeat",
        language=earlier.language,
        categories=earlier.categories,
        mirror_of=earlier,
        reserved_for=member,
    )
    TaskResponse.objects.bulk_create(
        TaskResponse(task=repeat, response_id=slot.response_id, slot=slot.slot)
        for slot in earlier.slots.all()
    )
    lease = Assignment.objects.create(
        task=repeat,
        annotator=member,
        lease_expires_at=_lease_ends(member),
        display_order=first.display_order[::-1],
    )
    _check_again(member)
    return lease


def _lease_first(task_ids: Iterable[int], member: Membership, *, wait: bool) -> Assignment | None:
    """A slot of the first of the tasks that still has one."""
    for task_id in task_ids:
        try:
            lease = _take_slot(task_id, member, wait=wait)
        except IntegrityError:  # the annotator's other tab was quicker
            lease = live_lease(member)
        except _Gone:
            continue
        if lease:
            return lease
    return None


@transaction.atomic
def _take_slot(task_id: int, member: Membership, *, wait: bool) -> Assignment | None:
    if not _slot(wait).run(task=task_id):  # the last one has just gone, or somebody is at it
        return None
    task = _leased_task().get(task=task_id, member=member.pk)
    task.project = member.project
    lease_ends = _lease_ends(member)
    if task.had_before:  # type: ignore[attr-defined]
        earlier = Assignment.objects.filter(task=task, annotator=member)
        # The order on the screen and the draft are kept.
        late = earlier.filter(state__in=Assignment.LATE)
        if not late.update(state=Assignment.State.LEASED, lease_expires_at=lease_ends):
            raise _Gone
        lease = earlier.get()
    else:
        lease = _new_lease(task, member, lease_ends)
    _check_again(member)
    return lease


def _new_lease(task: Task, member: Membership, lease_ends: datetime) -> Assignment:
    responses = _responses().all(task=task.pk)
    seed = seed_from("order", task.project.slug, task.prompt.content_hash, task.batch)
    n_earlier: int = task.n_assigned  # type: ignore[attr-defined]
    lease = Assignment(
        task=task,
        annotator=member,
        lease_expires_at=lease_ends,
        display_order=display_order([one.pk for one in responses], seed, n_earlier),
        order_seed=seed,
    )
    lease.responses = {response.pk: response for response in responses}
    return _lease_row().save(lease)


@cache
def _slot(wait: bool) -> Update:
    """Take a slot where there is one; who may not wait passes over a task that others lock."""
    tasks = Task.objects.with_free_slots().filter(pk=Given("task"))
    if not wait:
        free = Task.objects.select_for_update(skip_locked=True).filter(pk=Given("task"))
        tasks = tasks.filter(pk__in=free.values("pk"))
    return Update(tasks, n_live=F("n_live") + 1)


@cache
def _leased_task() -> Objects[Task]:
    """The task with its prompt, and how many had it before; its row is locked by now."""
    before = Assignment.objects.filter(task=OuterRef("pk")).exclude(state=Assignment.State.BARRED)
    mine = before.filter(annotator=Given("member"), state__in=Assignment.LATE)
    n_before = before.order_by().values("task").annotate(n=Count("pk")).values("n")
    tasks = Task.objects.select_related("prompt").filter(pk=Given("task"))
    return Objects(
        tasks.annotate(n_assigned=Coalesce(Subquery(n_before), 0), had_before=Exists(mine))
    )


@cache
def _responses() -> Objects[Response]:
    of_task = Response.objects.filter(slots__task=Given("task"))
    return Objects(of_task.order_by("content_hash"))


@cache
def _lease_row() -> Insert[Assignment]:
    return Insert(Assignment)


def _check_again(member: Membership) -> None:
    """Raise _Refused if a cap is reached by now.

    The person's other tab may have submitted since his counts were read. Now that the lease is his
    only one, nothing but late work can be counted before it ends.
    """
    if member.project.daily_cap is not None or member.project.total_cap is not None:
        _read_counts(member)
        if cap_reached(member):
            raise _Refused


def _lease_ends(member: Membership) -> datetime:
    return timezone.now() + timedelta(seconds=member.project.lease_s)


def heartbeat(assignment: Assignment) -> bool:
    """Extend the lease of a task that is being looked at; False when the lease has ended."""
    lease_ends = timezone.now() + timedelta(seconds=assignment.task.project.lease_s)
    mine = Assignment.objects.leased().filter(pk=assignment.pk)
    return bool(mine.update(lease_expires_at=lease_ends))


def save_draft(assignment: Assignment, draft: Mapping[str, Any], revision: int) -> int:
    """Keep what the annotator has filled in so far, and return the draft's new revision.

    `revision` is the one this draft began from. Raises Conflict when another tab has saved since,
    or when the assignment is closed.
    """
    editable = Q(state__in=(Assignment.State.LEASED, *Assignment.LATE)) | Q(
        state=Assignment.State.SUBMITTED, draft__isnull=False
    )
    now = timezone.now()
    saved = Assignment.objects.filter(editable, pk=assignment.pk, draft_revision=revision).update(
        draft=dict(draft), draft_revision=F("draft_revision") + 1
    )
    if not saved:
        raise Conflict("This ranking was edited in another tab or window.")
    Assignment.objects.filter(pk=assignment.pk, first_interaction_at=None).update(
        first_interaction_at=now
    )
    return revision + 1


def skip(assignment: Assignment, reason: str) -> bool:
    """Give the task back for good: this annotator does not see it again."""
    skipped = {"state": Assignment.State.SKIPPED, "skip_reason": reason[:200]}
    late = Assignment.objects.filter(pk=assignment.pk, state__in=Assignment.LATE)
    return assignment.free_slot(**skipped) or bool(late.update(**skipped))


def release(assignment: Assignment) -> bool:
    """Give the task back for now: this annotator may be given it again."""
    return assignment.free_slot(Assignment.State.RELEASED)
