"""What an admin sees and does about the people of a project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.core.paginator import Page
from django.db.models import Count, Max, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from annotate.forms.people import InviteForm, MembersForm, MemberStateForm, ProfileForm
from annotate.models import Assignment, Exclusion, Invite, Membership, Project, Task
from annotate.requests import SignedInRequest, administered, page_of
from annotate.services import own_work
from annotate.services.checks import gold_record
from annotate.services.own_work import Fit
from annotate.services.people import create_invite, revoke_invite
from annotate.services.projects import (
    InvalidName,
    LastAdmin,
    exclude,
    lift,
    set_member_state,
    update_member,
)
from annotate.views.audit import entries, events_about

STATES_BY_ACTION = {"pause": Membership.State.PAUSED, "resume": Membership.State.ACTIVE}
ACTIONS_BY_STATE = {
    Membership.State.ACTIVE: ("pause", "exclude"),
    Membership.State.PAUSED: ("resume", "exclude"),
    Membership.State.EXCLUDED: ("lift",),
    Membership.State.LEFT: ("exclude",),
}
INVITES_SHOWN = 50
EVENTS_SHOWN = 15
LEAST_GOLD = 5  # with fewer the interval is wider than half of all that is possible
RANKINGS_SHOWN = 15


@require_http_methods(["GET", "POST"])
def people(request: SignedInRequest, slug: str) -> HttpResponse:
    """Members and invitations; a POST makes an invitation and shows its link, this once."""
    project = administered(request, slug)
    form = InviteForm(request.POST if request.method == "POST" else None)
    link = ""
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        _invite, token = create_invite(
            project, data["role"], max_uses=data["max_uses"], days=data["days"], by=request.user
        )
        link = request.build_absolute_uri(reverse("annotate:invite", args=[token]))
        form = InviteForm()
    wanted = MembersForm(request.GET)
    members = project.memberships.order_by("pk")
    if wanted.is_valid():
        members = chosen(members, wanted.cleaned_data)
    invites = project.invites.select_related("created_by").order_by("-created_at", "-pk")
    context = {
        "project": project,
        "members": counted(page_of(request, members)),
        "wanted": wanted,
        "invites": invites[:INVITES_SHOWN],
        "form": form,
        "link": link,
    }
    response = render(request, "annotate/people.html", context)
    if link:  # neither the browser nor a proxy keeps the page with the token
        response["Cache-Control"] = "no-store"
    return response


def chosen(members: QuerySet[Membership], wanted: Mapping[str, str]) -> QuerySet[Membership]:
    """The members that the form asks for."""
    for column in ("state", "role"):
        if wanted[column]:
            members = members.filter(**{column: wanted[column]})
    if wanted["q"]:
        names = ("pseudonym", "user__username", "cohort")
        found = [Q(**{f"{name}__icontains": wanted["q"]}) for name in names]
        members = members.filter(found[0] | found[1] | found[2])
    return members


def counted(page: Page) -> Page:
    """The page, with what its members did; that of all the others is not counted."""
    submitted = Q(assignments__state=Assignment.State.SUBMITTED)
    skipped = Q(assignments__state=Assignment.State.SKIPPED)
    members = Membership.objects.filter(pk__in=[member.pk for member in page])
    page.object_list = (
        members.select_related("user")
        .annotate(
            ranked=Count("assignments", filter=submitted),
            skipped=Count("assignments", filter=skipped),
            last=Max("assignments__submitted_at"),
        )
        .order_by("pk")
    )
    return page


@require_http_methods(["GET", "POST"])
def person(request: SignedInRequest, slug: str, member_id: int) -> HttpResponse:
    """One person: what he did and what was done; a POST changes his state or his profile."""
    project = administered(request, slug)
    member = get_object_or_404(project.memberships.select_related("project", "user"), pk=member_id)
    sent = request.POST if request.method == "POST" else None
    profile = ProfileForm(sent if sent and "profile" in sent else None, member=member)
    form = MemberStateForm(
        sent if sent is not None and "profile" not in sent else None,
        actions=actions_for(member),
    )
    if profile.is_valid() and changed(request, member, profile):
        messages.success(request, _("Saved."))
        return redirect("annotate:person", slug, member.pk)
    if form.is_valid() and acted(request, member, form):
        done = _("Done: %(who)s is %(state)s now.")
        state = member.get_state_display()
        messages.success(request, done % {"who": member, "state": state})
        return redirect("annotate:person", slug, member.pk)
    return render_person(request, project, member.pk, form, profile)


def render_person(
    request: SignedInRequest,
    project: Project,
    member_id: int,
    form: MemberStateForm,
    profile: ProfileForm,
) -> HttpResponse:
    """The page with the person as stored, whatever was tried."""
    member = project.memberships.select_related("project", "user", "invite").get(pk=member_id)
    recent = member.assignments.filter(state=Assignment.State.SUBMITTED).order_by("-pk")
    recent = recent.select_related("task__prompt")[:RANKINGS_SHOWN]
    tasks = Task.objects.reviewable().filter(pk__in=[assignment.task_id for assignment in recent])
    context = {
        "project": project,
        "person": member,
        "form": form,
        "profile": profile,
        "counts": counts_of(member),
        "fits": fits_of(member),
        "recent": recent,
        "reviewable": set(tasks.values_list("pk", flat=True)),
        "exclusions": Exclusion.objects.filter(membership=member)
        .select_related("created_by", "lifted_by")
        .order_by("-created_at"),
        "entries": entries(project, events_about(member)[:EVENTS_SHOWN]),
    }
    return render(request, "annotate/person.html", context)


def counts_of(member: Membership) -> dict[str, Any]:
    return member.assignments.aggregate(
        ranked=Count("pk", filter=Q(state=Assignment.State.SUBMITTED)),
        skipped=Count("pk", filter=Q(state=Assignment.State.SKIPPED)),
        late=Count("pk", filter=Q(late=True)),
        last=Max("submitted_at"),
    )


def fits_of(member: Membership) -> list[tuple[str, Fit]]:
    """How well the person judges, by three signs that mean little one by one."""
    gold = gold_record(member)
    return [
        (_("Agreement with others"), own_work.agreement_with_others(member)),
        (_("Self-consistency"), own_work.self_consistency(member)),
        (_("Gold tasks right"), own_work.share(gold.passed, gold.n, LEAST_GOLD)),
    ]


def actions_for(member: Membership) -> tuple[str, ...]:
    """What can be done about the person; what he took out himself, nobody takes in again."""
    in_force = Exclusion.objects.filter(membership=member, lifted_at=None).first()
    if in_force:
        return () if in_force.evidence.get("withdrawn") else ("lift",)
    return ACTIONS_BY_STATE[Membership.State(member.state)]


def changed(request: SignedInRequest, member: Membership, form: ProfileForm) -> bool:
    """Store the profile; False with an error in the form where it cannot be."""
    try:
        update_member(member, by=request.user, **form.cleaned_data)
    except InvalidName as error:
        form.add_error("pseudonym", str(error))
    except LastAdmin:
        form.add_error("role", last_admin())
    else:
        return True
    return False


def acted(request: SignedInRequest, member: Membership, form: MemberStateForm) -> bool:
    """Do what was chosen; False with an error in the form where it cannot be."""
    action, reason = form.cleaned_data["action"], form.cleaned_data["reason"]
    by = request.user
    try:
        if action == "exclude":
            exclude(member.project, member, reason, by=by)
        elif action == "lift":
            for exclusion in Exclusion.objects.filter(membership=member, lifted_at=None):
                lift(exclusion, by=by)
        else:
            set_member_state(member, STATES_BY_ACTION[action], by=by, reason=reason)
    except LastAdmin:
        form.add_error("action", last_admin())
        return False
    member.refresh_from_db()
    return True


def last_admin() -> str:
    return _("Nobody else runs this project. Make somebody else an admin first.")


@require_POST
def revoke(request: SignedInRequest, slug: str, invite_id: int) -> HttpResponse:
    project = administered(request, slug)
    revoke_invite(get_object_or_404(Invite, pk=invite_id, project=project), by=request.user)
    messages.success(request, _("The link lets nobody in any more."))
    return redirect("annotate:people", slug)
