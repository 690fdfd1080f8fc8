"""A volunteer's own page."""

from __future__ import annotations

from django.db.models import Count, Q
from django.db.models.functions import TruncDate
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotate.models import Assignment
from annotate.requests import SignedInRequest
from annotate.views.rank import member_of, project_context

DAYS_SHOWN = 14


@require_GET
def me(request: SignedInRequest, slug: str) -> HttpResponse:
    """What I did, day by day; nothing here compares me with others."""
    member = member_of(request, slug)
    submitted = member.assignments.filter(state=Assignment.State.SUBMITTED)
    days = submitted.annotate(day=TruncDate("submitted_at")).values("day")
    counts = member.assignments.aggregate(
        ranked=Count("pk", filter=Q(state=Assignment.State.SUBMITTED)),
        skipped=Count("pk", filter=Q(state=Assignment.State.SKIPPED)),
        days=Count(TruncDate("submitted_at"), distinct=True),
    )
    context = {
        "days": days.annotate(n=Count("pk")).order_by("-day")[:DAYS_SHOWN],
        "counts": counts,
        **project_context(member),
    }
    return render(request, "annotate/me.html", context)
