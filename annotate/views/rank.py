"""Ranking: a task is claimed, filled in, and submitted; then comes the next.

Each address answers twice: to htmx with the part of the page that changes (`#work`), otherwise with
a whole page or a redirect. Looking never claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop, ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import push_url

from annotate.compiled import Given, Objects
from annotate.forms.ranking import CONFIDENCE_LABELS, RankingForm, draft_of
from annotate.keys import ACTIONS, keys_of
from annotate.models import Assignment, Membership, ProjectText, Task
from annotate.requests import SignedInRequest
from annotate.services import assignments
from annotate.services.assignments import Conflict, claim, live_lease
from annotate.services.checks import outcome
from annotate.services.people import opt_out, see_guidelines
from annotate.services.rankings import (
    InvalidRanking,
    reopen,
    revisable_ranking,
    submit_ranking,
    undoable,
)
from annotate.services.tasks import stored_progress
from annotate.services.texts import must_read_guidelines

SKIP_REASONS = {
    "knowledge": gettext_noop("I don't know enough about this"),
    "broken": gettext_noop("The texts are broken or unclear"),
    "upsetting": gettext_noop("I'd rather not read this"),
    "other": gettext_noop("Another reason"),
}
# Earlier turns of a conversation are open at first unless they are longer.
SHORT_CHARS = 1500

# What the script says. Names in braces are put in by it.
SCRIPT_WORDS = {
    "unranked": gettext_lazy("not ranked yet"),
    "placed": gettext_lazy("{letter}: {place}"),
    "tied": gettext_lazy("{letter}: {place}, the same as {others}"),
    "removed": gettext_lazy("{letter}: not ranked"),
    "unanswered": gettext_lazy("No answer any more: {question}"),
    "unacceptable": gettext_lazy("{letter}: unacceptable"),
    "acceptable": gettext_lazy("{letter}: not unacceptable"),
    "allBad": gettext_lazy("All are unacceptable."),
    "notAllBad": gettext_lazy("No longer unacceptable."),
    "missing": gettext_lazy("No place yet: {letters}"),
    "missingPair": gettext_lazy("Choose which response is better."),
    "complete": gettext_lazy("All have a place."),
    "pick": gettext_lazy("Choose a response first, then its place."),
    "picked": gettext_lazy("{letter} is chosen. Now choose its place."),
    "roundBest": gettext_lazy("Which is the best of the {n} left?"),
    "roundWorst": gettext_lazy("And the worst of the {n} left?"),
    "roundsDone": gettext_lazy("Done: every response has its place."),
    "unread": gettext_lazy("You have not seen the end of {letters} yet."),
    "elsewhere": gettext_lazy("This ranking was edited in another tab or window."),
    "load": gettext_lazy("Load what is stored"),
    "keepMine": gettext_lazy("Keep mine"),
    "offline": gettext_lazy("No connection. What you chose is kept here; trying again…"),
    "submitOffline": gettext_lazy("No connection. It is sent as soon as there is one."),
    "notSent": gettext_lazy("Not sent, since you changed it. Submit again."),
    "refused": gettext_lazy(
        "The server did not take this. What you chose is kept here; load the page again."
    ),
    "otherPerson": gettext_lazy(
        "Somebody else is signed in now, in another tab. Sign in again; your choice is kept here."
    ),
    "restored": gettext_lazy("What you had chosen is here again."),
    "undone": gettext_lazy("Undone."),
    "covered": gettext_lazy("Uncover the texts first."),
    "uncovered": gettext_lazy("The texts are shown."),
    "differences": gettext_lazy("{n} differences between {letters} are marked."),
    "same": gettext_lazy("{letters} have the same words."),
    "tooDifferent": gettext_lazy("{letters} have too little in common to mark what differs."),
    "compareWith": gettext_lazy("Choose a second response to compare {letter} with."),
    "plain": gettext_lazy("Differences are no longer marked."),
    "together": gettext_lazy("Both scroll together."),
    "apart": gettext_lazy("Each scrolls by itself."),
    "raw": gettext_lazy("Texts as they were written."),
    "rendered": gettext_lazy("Texts as they are meant to look."),
}


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
    assignment = _own_assignment().first(assignment=assignment_id, user=request.user.pk)
    if assignment is None:
        raise Http404
    assignment.annotator.project = assignment.task.project
    return assignment


@cache
def _own_assignment() -> Objects[Assignment]:
    """Without what only the page shows: the texts, and what examines people."""
    mine = Assignment.objects.of(Given("user")).filter(pk=Given("assignment"))
    return Objects(
        mine.select_related("task__project", "annotator").defer(
            "client", "task__proposed_by", "task__gold_ranks", "task__gold_unacceptable"
        )
    )


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
    if assignment.is_editable:
        return render_work(request, assignment, filled_in(assignment))
    if is_practice(assignment) and assignment.state == Assignment.State.SUBMITTED:
        return render_feedback(request, assignment)
    return redirect("annotate:rank", slug)


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
        assignment.refresh_from_db()
        if not _is_own(assignment, draft):
            context = {"assignment": assignment, "conflict": conflict, "draft_revision": seen}
            return render(
                request, "annotate/_draft_state.jinja", context, status=409, using="jinja2"
            )
        revision = assignments.save_draft(assignment, draft, assignment.draft_revision)
    context = {"draft_revision": revision, "saved": True}
    return render(request, "annotate/_draft_state.jinja", context, using="jinja2")


def _is_own(assignment: Assignment, draft: Mapping[str, Any]) -> bool:
    """Whether the same page wrote what is stored, and only never learnt that it was stored."""
    stored = assignment.draft or {}
    return assignment.is_editable and bool(draft["tab"]) and stored.get("tab") == draft["tab"]


@require_POST
def keep_alive(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """Extend the lease while the page is looked at."""
    assignment = own_assignment(request, assignment_id)
    if assignments.heartbeat(assignment):
        return HttpResponse(status=204)
    context = {"assignment": assignment, "ended": True}
    return render(request, "annotate/_alive.jinja", context, using="jinja2")


@require_POST
def begin_edit(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """Put the text of a response, the best where none is chosen, where it can be improved."""
    assignment = own_assignment(request, assignment_id)
    form = RankingForm(request.POST, assignment=assignment)
    letter = form.one("edited_from")
    letter = letter if letter in form.responses else form.best
    draft = form.draft | {
        "edited_from": letter,
        "edited": form.responses[letter].text,
        "revises": form.data.get("revises"),
    }
    filled = RankingForm(initial=draft, assignment=assignment)
    if request.htmx:
        context = {"form": filled, "assignment": assignment, "opened": True}
        return render(request, "annotate/_edit.jinja", context, using="jinja2")
    return render_work(request, assignment, filled)


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
    if is_practice(assignment):
        if not request.htmx:
            return redirect("annotate:assignment", assignment.pk)
        return render_feedback(request, assignment)
    return next_task(request, assignment.annotator, _("Saved."), assignment)


@require_POST
def skip(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """Give the task back for good, and go on with the next."""
    assignment = own_assignment(request, assignment_id)
    reason = request.POST.get("reason", "")
    assignments.skip(assignment, reason if reason in SKIP_REASONS else "other")
    return next_task(request, assignment.annotator, _("Skipped."))


@require_POST
def no_more(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """Skip the task and hand out no more with this kind of content."""
    assignment = own_assignment(request, assignment_id)
    category = request.POST.get("category", "")
    if category in assignment.task.prompt.content_categories:
        opt_out(assignment.annotator, category)
    assignments.skip(assignment, "upsetting")
    return next_task(request, assignment.annotator, _("You get no more of this kind."))


@require_POST
def release(request: SignedInRequest, assignment_id: int) -> HttpResponse:
    """Give the task back for now, and rest."""
    assignment = own_assignment(request, assignment_id)
    assignments.release(assignment)
    return rest(request, assignment.annotator, _("Given back."))


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
    draft = dict(assignment.draft or {})
    if assignment.state == Assignment.State.SUBMITTED:  # else there is nothing to revise
        draft["revises"] = str(assignment.rankings.current().get().revision)
    return RankingForm(initial=draft, assignment=assignment)


def client_of(request: SignedInRequest) -> dict[str, str]:
    """What of the browser may bear on a judgement: its language and its width class."""
    width = request.POST.get("width", "")
    language = request.headers.get("Accept-Language", "").split(",")[0].split(";")[0]
    return {
        "language": language[:16],
        "width": width if width in ("narrow", "medium", "wide") else "unknown",
    }


def next_task(
    request: SignedInRequest,
    member: Membership,
    done: str = "",
    submitted: Assignment | None = None,
) -> HttpResponse:
    """Claim what comes next, and show it; `done` says what has just been done.

    Where the guidelines have changed, they come first. What was just `submitted` can be undone.
    """
    lease = None if must_read_guidelines(member) else claim(member)
    if lease is None:
        return rest(request, member, done)
    if not request.htmx:
        return redirect("annotate:assignment", lease.pk)
    response = render_work(request, lease, filled_in(lease), done, submitted)
    return push_url(response, reverse("annotate:assignment", args=[lease.pk]))


def rest(request: SignedInRequest, member: Membership, done: str = "") -> HttpResponse:
    """Nothing is leased now: the page between tasks."""
    if not request.htmx:
        return redirect("annotate:rank", member.project.slug)
    response = render_pause(request, member, done)
    return push_url(response, reverse("annotate:rank", args=[member.project.slug]))


def render_work(
    request: SignedInRequest,
    assignment: Assignment,
    form: RankingForm,
    done: str = "",
    submitted: Assignment | None = None,
) -> HttpResponse:
    """The ranking page, or to htmx its part that changes."""
    prompt = assignment.task.prompt
    member = assignment.annotator
    turns = list(zip(prompt.messages, prompt.html, strict=True))
    last = (submitted or undoable(member)) if member.project.undo_s else None
    context = {
        "assignment": assignment,
        "form": form,
        "turns": turns[:-1],
        "earlier": ngettext(
            "Earlier in this conversation: %(n)s message",
            "Earlier in this conversation: %(n)s messages",
            len(turns) - 1,
        )
        % {"n": len(turns) - 1},
        "last_turn": turns[-1],
        "turns_are_short": sum(len(message["content"]) for message, _ in turns[:-1]) < SHORT_CHARS,
        "categories": categories_of(assignment),
        "is_practice": is_practice(assignment),
        "skip_reasons": SKIP_REASONS,
        "confidences": CONFIDENCE_LABELS,
        "draft_revision": assignment.draft_revision,
        "undoable": last if last != assignment else None,
        "done": done,
        **project_context(member),
    }
    if request.htmx:
        return render(request, "annotate/_work.jinja", context, using="jinja2")
    return render_page(request, "work", context)


def render_part(
    request: SignedInRequest, name: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """To htmx the part of the page, otherwise the page."""
    if request.htmx:
        return render(request, f"annotate/_{name}.html", context, status=status)
    return render_page(request, name, context, status)


def render_page(
    request: SignedInRequest, name: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """The page with what its script needs."""
    keys = keys_of(request.user)
    context |= {
        "actions": [(keys[action.name], action.label) for action in ACTIONS if keys],
        "keys": keys,
        "words": SCRIPT_WORDS,
    }
    return render(request, f"annotate/{name}.html", context, status=status)


def categories_of(assignment: Assignment) -> list[tuple[str, str]]:
    """The kinds of content the prompt is marked with, and what the project calls them."""
    labels = {one["name"]: one["label"] for one in assignment.task.project.content_categories}
    return [(name, labels.get(name, name)) for name in assignment.task.prompt.content_categories]


def is_practice(assignment: Assignment) -> bool:
    """Whether it is one of the explained tasks for newcomers, the only kind that the page names."""
    return assignment.task.kind == Task.Kind.TRAINING


def render_feedback(request: SignedInRequest, assignment: Assignment) -> HttpResponse:
    """After practice: what the person said beside what is right, and why."""
    ranking = assignment.rankings.current().get()
    found = outcome(ranking)
    assert found is not None  # practice has a right ranking
    rows = [
        (letter.upper(), response, ranking.ranks[str(response.pk)], found.ranks[response.pk])
        for letter, response in RankingForm(assignment=assignment).responses.items()
    ]
    context = {
        "outcome": found,
        "rows": sorted(rows, key=lambda row: (row[3] or len(rows), row[0])),
        "turns": list(
            zip(assignment.task.prompt.messages, assignment.task.prompt.html, strict=True)
        ),
        **project_context(assignment.annotator),
    }
    return render_part(request, "feedback", context)


def render_pause(request: SignedInRequest, member: Membership, done: str = "") -> HttpResponse:
    """What stands there while nothing is leased: the start, or why there is nothing to do."""
    context = {
        "state": pause_state(member),
        "guidelines": member.project.text(ProjectText.Kind.GUIDELINES),
        "undoable": undoable(member),
        "done": done,
        **project_context(member),
    }
    return render_part(request, "pause", context)


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
    return render_part(request, "conflict", context, status=409)


def project_context(member: Membership) -> dict[str, Any]:
    today = assignments.submitted_today(member)
    return {
        "project": member.project,
        "member": member,
        "today": today,
        "ranked_today": ngettext("%(n)s ranked today", "%(n)s ranked today", today) % {"n": today},
        "totals": stored_progress(member.project),
    }
