"""Ranking: a task is claimed, filled in, and submitted; then comes the next.

Each address answers twice: to htmx with the part of the page that changes (`#work`), otherwise with
a whole page or a redirect. Looking never claims.
"""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import push_url

from annotate.forms.ranking import RankingForm, draft_of
from annotate.models import Assignment, Membership, Project, ProjectText
from annotate.requests import SignedInRequest
from annotate.services import assignments
from annotate.services.assignments import Conflict, claim, live_lease
from annotate.services.people import see_guidelines
from annotate.services.rankings import (
    InvalidRanking,
    reopen,
    revisable_ranking,
    submit_ranking,
    undoable,
)
from annotate.services.tasks import TaskProgress, task_progress

SKIP_REASONS = {
    "knowledge": gettext_lazy("I don't know enough about this"),
    "broken": gettext_lazy("The texts are broken or unclear"),
    "upsetting": gettext_lazy("I'd rather not read this"),
    "other": gettext_lazy("Another reason"),
}
TOTALS_KEPT_S = 10


def member_of(request: SignedInRequest, slug: str) -> Membership:
    """The person's membership; everybody else gets 404."""
    return get_object_or_404(
        Membership.objects.select_related("project"),
        project__slug=slug,
        user=request.user,
        state__in=Membership.MAY_ENTER,
    )


def own_assignment(request: SignedInRequest, assignment_id: int) -> Assignment:
    """The person's assignment; everybody else gets 404."""
    mine = Assignment.objects.of(request.user).select_related(
        "task__project", "task__prompt", "annotator__project"
    )
    return get_object_or_404(mine, pk=assignment_id)


@require_http_methods(["GET", "POST"])
def rank(request: SignedInRequest, slug: str) -> HttpResponse:
    """Where a volunteer begins: a look shows what there is, a POST claims the next task."""
    member = member_of(request, slug)
    if must_agree(member):
        return redirect("annotate:consent", slug)
    if request.method == "POST":
        see_guidelines(member)
        return next_task(request, member)
    if lease := live_lease(member):
        return redirect("annotate:assignment", lease.pk)
    return render_pause(request, member)


def must_agree(member: Membership) -> bool:
    return member.consent_version < member.project.text_version(ProjectText.Kind.CONSENT)


@require_GET
@vary_on_headers("HX-Request")
def show(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """The assignment to fill in; one that is closed leads back to the beginning."""
    assignment = own_assignment(request, assignment_id)
    slug = assignment.task.project.slug
    if must_agree(assignment.annotator):
        return redirect("annotate:consent", slug)
    if not assignment.is_editable:
        return redirect("annotate:rank", slug)
    return render_work(request, assignment, filled_in(assignment))


@require_POST
def save_draft(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """Keep what is filled in; 409 says that another tab has changed it meanwhile."""
    assignment = own_assignment(request, assignment_id)
    draft = RankingForm(request.POST, assignment=assignment).draft
    seen = request.POST.get("draft_revision", "")
    try:
        revision = assignments.save_draft(
            assignment, draft, int(seen) if seen.isdecimal() and len(seen) < 10 else -1
        )
    except Conflict as conflict:
        context = {"assignment": assignment, "conflict": conflict, "draft_revision": seen}
        return render(request, "annotate/_draft_state.html", context, status=409)
    context = {"draft_revision": revision, "saved": True}
    return render(request, "annotate/_draft_state.html", context)


@require_POST
def keep_alive(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """Extend the lease while the page is looked at."""
    assignment = own_assignment(request, assignment_id)
    if assignments.heartbeat(assignment):
        return HttpResponse(status=204)
    return render(request, "annotate/_alive.html", {"assignment": assignment, "ended": True})


@require_POST
def submit(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """Store the ranking and go on with the next task."""
    assignment = own_assignment(request, assignment_id)
    form = RankingForm(request.POST, assignment=assignment)
    if not form.is_valid():
        return render_work(request, assignment, form)
    try:
        submit_ranking(assignment, **form.judgement, client=client_of(request))
    except InvalidRanking as error:
        form.add_error(None, str(error))
        return render_work(request, assignment, form)
    except Conflict as conflict:
        return render_conflict(request, assignment, conflict)
    return next_task(request, assignment.annotator, _("Saved."))


@require_POST
def skip(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """Give the task back, and go on with the next."""
    assignment = own_assignment(request, assignment_id)
    reason = request.POST.get("reason", "")
    assignments.skip(assignment, reason if reason in SKIP_REASONS else "other")
    return next_task(request, assignment.annotator, _("Skipped."))


@require_POST
def undo(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """Open the ranking again, filled in as it was stored."""
    assignment = own_assignment(request, assignment_id)
    try:
        reopen(assignment, draft_of(revisable_ranking(assignment)))
    except Conflict as conflict:
        return render_conflict(request, assignment, conflict)
    if not request.htmx:
        return redirect("annotate:assignment", assignment.pk)
    response = render_work(request, assignment, filled_in(assignment))
    return push_url(response, reverse("annotate:assignment", args=[assignment.pk]))


def filled_in(assignment: Assignment) -> RankingForm:
    """The form with the draft, if there is one."""
    current = assignment.rankings.filter(is_current=True).first()
    revises = current.revision if current else None
    return RankingForm(
        initial={**(assignment.draft or {}), "revises": revises}, assignment=assignment
    )


def client_of(request: SignedInRequest) -> dict[str, str]:
    """What of the browser may bear on a judgement: its language and its width class."""
    width = request.POST.get("width", "")
    language = request.headers.get("Accept-Language", "").split(",")[0].split(";")[0]
    return {
        "language": language[:16],
        "width": width if width in ("narrow", "medium", "wide") else "unknown",
    }


def next_task(request: SignedInRequest, member: Membership, done: str = "") -> HttpResponse:
    """Claim what comes next, and show it; `done` says what has just been done."""
    lease = claim(member)
    if not request.htmx:
        if lease:
            return redirect("annotate:assignment", lease.pk)
        return redirect("annotate:rank", member.project.slug)
    if lease is None:
        response = render_pause(request, member, done)
        return push_url(response, reverse("annotate:rank", args=[member.project.slug]))
    response = render_work(request, lease, filled_in(lease), done)
    return push_url(response, reverse("annotate:assignment", args=[lease.pk]))


def render_work(
    request: SignedInRequest, assignment: Assignment, form: RankingForm, done: str = ""
) -> HttpResponse:
    """The ranking page, or to htmx its part that changes."""
    prompt = assignment.task.prompt
    member = assignment.annotator
    turns = list(zip(prompt.messages, prompt.html, strict=True))
    last = undoable(member)
    context = {
        "assignment": assignment,
        "form": form,
        "turns": turns[:-1],
        "last_turn": turns[-1],
        "skip_reasons": SKIP_REASONS,
        "draft_revision": assignment.draft_revision,
        "undoable": last if last != assignment else None,
        "done": done,
        **project_context(member),
    }
    name = "annotate/_work.html" if request.htmx else "annotate/work.html"
    return render(request, name, context)


def render_pause(request: SignedInRequest, member: Membership, done: str = "") -> HttpResponse:
    """What stands there while nothing is leased: the start, or why there is nothing to do."""
    context = {
        "state": pause_state(member),
        "guidelines": member.project.text(ProjectText.Kind.GUIDELINES),
        "undoable": undoable(member),
        "done": done,
        **project_context(member),
    }
    name = "annotate/_pause.html" if request.htmx else "annotate/pause.html"
    return render(request, name, context)


def pause_state(member: Membership) -> str:
    if member.project.paused:
        return "project paused"
    if member.state != Membership.State.ACTIVE:
        return "member paused"
    if assignments.cap_reached(member):
        return "cap reached"
    return "ready" if assignments.has_work(member) else "caught up"


def render_conflict(
    request: SignedInRequest, assignment: Assignment, conflict: Conflict
) -> HttpResponse:
    context = {"conflict": conflict, **project_context(assignment.annotator)}
    name = "annotate/_conflict.html" if request.htmx else "annotate/conflict.html"
    return render(request, name, context, status=409)


def project_context(member: Membership) -> dict[str, Any]:
    return {
        "project": member.project,
        "member": member,
        "today": assignments.submitted_today(member),
        "totals": project_totals(member.project),
    }


def project_totals(project: Project) -> TaskProgress:
    """The project's progress, counted every few seconds at most, since it touches every task."""
    return cache.get_or_set(  # type: ignore[return-value]
        f"progress-{project.pk}", lambda: task_progress(project), TOTALS_KEPT_S
    )
