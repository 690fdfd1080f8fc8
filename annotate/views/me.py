"""A volunteer's own page. Nothing here compares anybody with others by name, and looking writes
nothing.
"""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotate.requests import SignedInRequest, page_of
from annotate.services import own_work
from annotate.views.rank import member_of, project_context

NEWEST_SHOWN = 5
ON_A_PAGE = 25


@require_GET
def me(request: SignedInRequest, slug: str) -> HttpResponse:
    """What I did, how it fits with what others say, and what became of it."""
    member = member_of(request, slug)
    newest = list(own_work.submitted(member)[: NEWEST_SHOWN + 1])
    context = {
        "days": own_work.recent_days(member),
        "streak": own_work.streak(member),
        "rankings": own_work.in_words(member, newest[:NEWEST_SHOWN]),
        "has_more": len(newest) > NEWEST_SHOWN,
        "agreement": own_work.agreement_with_others(member),
        "consistency": own_work.self_consistency(member),
        **project_context(member),
    }
    return render(request, "annotate/me.html", context)


@require_GET
def my_rankings(request: SignedInRequest, slug: str) -> HttpResponse:
    """All that I ranked, page by page, the newest first."""
    member = member_of(request, slug)
    page = page_of(request, own_work.submitted(member), n=ON_A_PAGE)
    context = {
        "page": page,
        "rankings": own_work.in_words(member, list(page)),
        "project": member.project,
        "member": member,
    }
    return render(request, "annotate/my_rankings.html", context)
