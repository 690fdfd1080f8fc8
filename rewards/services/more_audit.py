"""How many more prompts two people should judge, how many there are, and asking for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotate.models import Membership, Project, Task, User
from annotate.services.audit_sample import Drawn, draw_for_audit, drawable
from rewards.ml.agreement import MIN_PROMPTS
from rewards.services.sums import recount

ACTIVE = timedelta(days=28)


@dataclass(frozen=True)
class Wanted:
    """How many more prompts would do, as a range, without those that wait in the queue already."""

    low: int
    high: int
    waiting: int


@dataclass(frozen=True)
class Room:
    """How many prompts could be drawn, and how many people would judge them."""

    n_prompts: int
    n_people: int


def wanted_more(project: Project, figures: Mapping[str, Any]) -> Wanted | None:
    """From the forecast, or until there is a figure at all; None where enough is known."""
    coming = figures["forecast"]
    missing = MIN_PROMPTS - figures["n_overlapped_prompts"]
    low, high = (coming["low"], coming["high"]) if coming else (missing, missing)
    if high <= 0:
        return None
    waiting = project.tasks.filter(kind=Task.Kind.AUDIT, state=Task.State.OPEN).count()
    return Wanted(max(0, low - waiting), max(0, high - waiting), waiting)


def room_for_more(project: Project) -> Room:
    lately = project.memberships.filter(
        state=Membership.State.ACTIVE, last_day__gte=(timezone.now() - ACTIVE).date()
    )
    return Room(drawable(project).count(), lately.count())


@transaction.atomic
def audit_more(project: Project, n: int, *, key: str, by: User | None) -> Drawn:
    """As `draw_for_audit`; what was said of the prompts before counts from now on."""
    drawn = draw_for_audit(project, n, key=key, by=by)
    if drawn.prompts:
        recount(project, drawn.prompts)
    return drawn
