"""Handing out work: a slot of a task is leased to one annotator, and comes back or is used.

A slot is taken only by the compare-and-swap on the task's row (`n_done + n_live < need`); row locks
merely reduce contention. Locks are always taken in the order task, then assignment.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from annotate.models import Assignment, Membership, Task
from annotate.selection import display_order, seed_from

# So many tasks are looked at, equally urgent ones in random order: people who claim at once spread.
WINDOW = 16
ATTEMPTS = 4


class Conflict(Exception):
    """Something else happened to the assignment meanwhile; the message says what."""


def claim(member: Membership) -> Assignment | None:
    """The annotator's task: the one leased already, or a new lease, or None when nothing is left.

    None also when the project is paused, the person may not take part now, or the day's cap is
    reached.
    """
    if lease := live_lease(member):
        heartbeat(lease)
        return lease
    if member.project.paused or member.state != Membership.State.ACTIVE or cap_reached(member):
        return None
    Assignment.objects.filter(task__project=member.project).expire_overdue()
    for attempt in range(ATTEMPTS):
        free = Task.objects.for_member(member).order_by("-priority", "id")
        window = list(free.values_list("priority", "pk")[:WINDOW])
        random.shuffle(window)
        window.sort(key=lambda row: -row[0])
        for _priority, task_id in window:
            try:
                # Passing over tasks that others are busy with is quicker, but in the end we wait:
                # a task that is merely being looked at must not read as "nothing left".
                lease = _take_slot(task_id, member, wait=attempt >= 2)
            except IntegrityError:  # the annotator's other tab was quicker
                if lease := live_lease(member):
                    return lease
                continue
            if lease:
                return lease
        if not window:
            break
    return None


def live_lease(member: Membership) -> Assignment | None:
    return Assignment.objects.leased().filter(annotator=member).first()


def has_work(member: Membership) -> bool:
    """Whether a claim would probably find a task."""
    return Task.objects.for_member(member).exists()


def cap_reached(member: Membership) -> bool:
    cap = member.project.daily_cap
    return cap is not None and submitted_today(member) >= cap


def submitted_today(member: Membership) -> int:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    submitted = member.assignments.filter(state=Assignment.State.SUBMITTED)
    return submitted.filter(submitted_at__gte=midnight).count()


@transaction.atomic
def _take_slot(task_id: int, member: Membership, *, wait: bool) -> Assignment | None:
    locked = Task.objects.select_for_update(skip_locked=not wait, of=("self",))
    task = locked.select_related("prompt", "project").filter(pk=task_id).first()
    if task is None:
        return None
    if not (
        Task.objects.with_free_slots().filter(pk=task_id).update(n_live=F("n_live") + 1)
    ):  # the last slot has just gone
        return None
    lease_ends = timezone.now() + timedelta(seconds=task.project.lease_s)
    begun = Assignment.objects.filter(task=task, annotator=member)
    if begun.filter(state__in=Assignment.LATE).update(
        state=Assignment.State.LEASED, lease_expires_at=lease_ends
    ):  # the order on the screen and the draft are kept
        return begun.get()
    seed = seed_from("order", task.project.slug, task.prompt.content_hash, task.batch)
    by_content = task.responses.order_by("content_hash").values_list("pk", flat=True)
    return Assignment.objects.create(
        task=task,
        annotator=member,
        lease_expires_at=lease_ends,
        display_order=display_order(list(by_content), seed, task.assignments.count()),
        order_seed=seed,
    )


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
